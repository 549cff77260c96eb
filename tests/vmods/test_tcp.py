"""VMOD tcp, on a connection of the test's own; tests/vtc/vmod_tcp.vtc asks Debian's module too."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.vcl.vcl_bench import Bench


@pytest.fixture
def connection() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        yield client


def run(connection: socket.socket, body: str, is_uds: bool = False) -> tuple[str | None, Bench]:
    bench = Bench(f"import tcp; sub vcl_recv {{ {body} }}")
    req = bench.request()
    req.sess.fd = connection.fileno()
    req.sess.listen = replace(req.sess.listen, is_uds=is_uds)
    bench.run("recv", req)
    return req.http.get("out"), bench


def test_options_are_set_on_the_connection(connection: socket.socket) -> None:
    out, bench = run(connection, 'set req.http.out = tcp.congestion_algorithm("reno"); tcp.set_socket_pace(100);')
    assert out == "0"
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"
    assert connection.getsockopt(socket.SOL_SOCKET, 47) == 100 * 1024
    assert bench.log.texts("VCL_Log") == ["vmod-tcp: Socket paced to 100 KB/s."]


def test_what_the_kernel_refuses(connection: socket.socket) -> None:
    out, bench = run(connection, 'set req.http.out = tcp.congestion_algorithm("no-such-thing");')
    assert out == "-1"
    assert "TCP_CONGESTION" in bench.log.texts("VCL_Error")[0]


def test_information(connection: socket.socket) -> None:
    out, bench = run(connection, "set req.http.out = tcp.get_estimated_rtt(); tcp.dump_info();")
    assert float(out or "-1") >= 0
    first, second = bench.log.texts("VCL_Log")
    assert first.startswith("tcpi: snd_mss=")
    assert second.startswith("tcpi2: pmtu=")


@pytest.mark.parametrize(
    "body", ["tcp.dump_info();", "tcp.set_socket_pace(1);", "set req.http.out = tcp.get_estimated_rtt();"]
)
def test_a_unix_socket_has_none_of_it(connection: socket.socket, body: str) -> None:
    out, bench = run(connection, body, is_uds=True)
    assert out in (None, "-1.000")
    assert bench.log.texts("VCL_Error") == ["vmod-tcp: the client did not come by TCP"]


def test_on_the_backend_side() -> None:
    bench = Bench('import tcp; sub vcl_backend_fetch { set bereq.http.out = tcp.congestion_algorithm("reno"); }')
    bo = bench.fetch()
    bench.run("backend_fetch", bo)
    assert bo.bereq.get("out") == "-1"
    assert bench.log.texts("VCL_Error") == ["vmod-tcp: only usable in client subroutines"]
