"""The address grammar, and sockets opened from it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from varnishpy.base import endpoint
from varnishpy.base.endpoint import EndpointError, parse_backend, parse_cli, parse_listen


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("127.0.0.1:8080", "127.0.0.1", "8080", ""),
        ("127.0.0.1", "127.0.0.1", "80", ""),
        (":8080", None, "8080", ""),
        ("8080", None, "8080", ""),
        ("[::1]:8080", "::1", "8080", ""),
        ("[::1]", "::1", "80", ""),
        ("::1", "::1", "80", ""),
        ("localhost:http", "localhost", "http", ""),
        ("127.0.0.1 8080", "127.0.0.1", "8080", ""),
        ("/tmp/x.sock", None, "", "/tmp/x.sock"),
        ("@varnish", None, "", "@varnish"),
    ],
)
def test_addresses(text: str, host: str | None, port: str, path: str) -> None:
    address = parse_listen(text, "a0").address
    assert (address.host, address.port, address.path) == (host, port, path)


def test_listen_name_protocol_and_options() -> None:
    found = parse_listen("web=/tmp/w.sock,PROXY,mode=0660", "a0")
    assert (found.name, found.proto, found.mode, found.text) == ("web", "PROXY", 0o660, "/tmp/w.sock")
    assert parse_listen(":0,https", "a3").proto == "HTTPS"
    assert parse_listen(":0", "a3").name == "a3"


def test_certificate_and_key_of_an_https_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.pem").touch()
    (tmp_path / "k.pem").touch()
    monkeypatch.chdir(tmp_path)
    found = parse_listen("web=:0,cert=c.pem,HTTPS,key=k.pem", "a0")
    assert found.proto == "HTTPS"
    assert found.options == {"cert": str(tmp_path / "c.pem"), "key": str(tmp_path / "k.pem")}
    uds = parse_listen("/tmp/x.sock,HTTPS,mode=0600,cert=c.pem", "a0")
    assert uds.mode == 0o600 and uds.options["cert"] == str(tmp_path / "c.pem")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo=", 'Empty named -a argument "foo="'),
        ("x.y=:0", 'invalid -a name "x.y"=[...]'),
        ("1x=:0", 'invalid -a name "1x"=[...]'),
        ("=:0", 'invalid -a name ""=[...]'),
        (":0,PROXYX", "Unknown protocol 'PROXYX'"),
        ("/tmp/x,HTTP,PROXY", "Too many protocol sub-args in -a (PROXY)"),
        ("/tmp/x,mode=999", "Invalid mode sub-arg 999 in -a"),
        ("/tmp/x,mode=", "Empty mode sub-arg in -a"),
        ("/tmp/x,mode=0", "Mode sub-arg 0 out of range in -a"),
        ("/tmp/x,mode=7777", "Mode sub-arg 7777 out of range in -a"),
        ("/tmp/x,mode=660,mode=600", "Too many mode sub-args in -a (mode=600)"),
        ("/tmp/x,user=nobody-by-this-name", "Unknown user nobody-by-this-name in -a"),
        ("/tmp/x,group=nobody-by-this-name", "Unknown group nobody-by-this-name in -a"),
        ("/tmp/x,foo=bar", "Invalid sub-arg foo=bar in -a"),
        (":0,mode=600", "Invalid sub-arg mode=600 in -a"),
        ("@abstract,mode=600", "Invalid sub-arg mode=600 in -a"),
        (f":0,cert={__file__}", "cert and key are for HTTPS in -a"),
        (f":0,HTTPS,key={__file__}", "key without cert in -a"),
        (":0,HTTPS,cert=", "Cannot read cert  in -a: No such file or directory"),
        (":0,HTTPS,cert=/nonexistent.pem", "Cannot read cert /nonexistent.pem in -a: No such file or directory"),
        (f":0,HTTPS,cert={__file__},cert={__file__}", "Too many cert sub-args in -a"),
        ("a/b", "Unix domain socket addresses must be absolute paths in -a (a/b)"),
        (
            "127.0.0.1:99999",
            "Got no socket(s) for a0=127.0.0.1:99999 (Port number 99999 is out of range: at most 65535)",
        ),
        ("x=[::1", "Got no socket(s) for x=[::1 (IPv6 address lacks ']')"),
        ("[::1]80", "(IPv6 address has wrong port separator)"),
        ("@", "Got no socket(s) for a0=@ (The empty abstract socket name is not supported)"),
        ("/" + "x" * 120, "(Path too long for a Unix domain socket: at most 107 bytes)"),
    ],
)
def test_wrong_listen_arguments_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse_listen(text, "a0")
    assert message in str(caught.value)


def test_backend_and_cli_defaults() -> None:
    assert str(parse_backend("127.0.0.1").address) == "127.0.0.1:80"
    assert str(parse_backend("[::1]:81").address) == "[::1]:81"
    assert parse_backend("/tmp/o.sock").address.is_uds
    assert str(parse_backend("8080").address) == "localhost:8080"
    assert str(parse_backend(":8080").address) == "localhost:8080"
    assert parse_cli("localhost").port == "0"
    with pytest.raises(EndpointError, match="-b"):
        parse_backend("")


def test_resolve_numeric_and_unknown() -> None:
    found = parse_backend("127.0.0.1:81").address.resolve()
    assert found == [(socket.AF_INET, ("127.0.0.1", 81))]
    with pytest.raises(EndpointError):
        parse_backend("127.0.0.1:nosuchservice").address.resolve()


def test_resolve_order_by_family() -> None:
    address = parse_backend("localhost:80").address
    for prefer in (True, False):
        found = address.resolve(prefer_ipv6=prefer)
        families = [family for family, _ in found]
        assert families == sorted(families, key=lambda f: f != (socket.AF_INET6 if prefer else socket.AF_INET))


def test_open_tcp_listens_and_reports_its_port() -> None:
    (sock,) = endpoint.open_listen(parse_listen("127.0.0.1:0", "a0"), 5)
    try:
        host, port = sock.getsockname()
        assert host == "127.0.0.1" and port > 0
        assert not sock.get_inheritable() and sock.gettimeout() == 0
        with socket.create_connection((host, port), timeout=5):
            pass
    finally:
        endpoint.close_all([sock])


def test_port_range_opens_every_port() -> None:
    for _attempt in range(20):
        with socket.socket() as probe:  # a free port, of which the next one is most likely free too
            probe.bind(("127.0.0.1", 0))
            low = probe.getsockname()[1]
        try:
            sockets = endpoint.open_listen(parse_listen(f"127.0.0.1:{low}-{low + 1}", "a0"), 10)
            break
        except EndpointError:
            continue
    ports = [sock.getsockname()[1] for sock in sockets]
    endpoint.close_all(sockets)
    assert ports == [low, low + 1]


@pytest.mark.parametrize(
    ("ports", "message"),
    [
        ("0-80", "Range start cannot be 0"),
        ("81-80", "Range start higher than range end"),
        ("80-65536", "Range end higher than 65535"),
    ],
)
def test_impossible_port_ranges(ports: str, message: str) -> None:
    with pytest.raises(EndpointError, match=message):
        endpoint.open_listen(parse_listen(f"127.0.0.1:{ports}", "a0"), 10)


@pytest.mark.parametrize("depth", [5, None])
def test_fast_open(depth: int | None) -> None:
    (sock,) = endpoint.open_listen(parse_listen("127.0.0.1:0", "a0"), depth, fast_open=True)
    with sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == (depth or 1024)


def test_bound_but_not_listening_refuses() -> None:
    (sock,) = endpoint.open_listen(parse_listen("127.0.0.1:0", "a0"), None)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(sock.getsockname(), timeout=5)
    sock.listen(1)
    socket.create_connection(sock.getsockname(), timeout=5).close()
    sock.close()


def test_port_in_use_names_option_and_address() -> None:
    (sock,) = endpoint.open_listen(parse_listen("127.0.0.1:0", "a0"), 5)
    text = f"127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(EndpointError, match=f"Could not get socket .*{text}: Address already in use .*-a"):
        endpoint.open_listen(parse_listen(text, "a1"), 5)
    sock.close()


def test_uds_mode_and_whose_file_it_is(tmp_path: Path) -> None:
    path = tmp_path / "v.sock"
    wanted = parse_listen(f"{path},mode=0600", "a0")
    (first,) = endpoint.open_listen(wanted, 5)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert first.getsockname() == str(path)
    (second,) = endpoint.open_listen(wanted, 5)  # who starts last has it
    endpoint.close_all([first])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    second.close()  # leaves its file, as a killed server does
    (third,) = endpoint.open_listen(wanted, 5)
    endpoint.close_all([third])
    assert not path.exists()


@pytest.mark.parametrize("text", ["{path}", "@varnishpy-twice-{pid}", "127.0.0.1:{port}"])
def test_two_arguments_have_the_same_address(tmp_path: Path, text: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = text.format(path=tmp_path / "v.sock", pid=os.getpid(), port=port)
    taken: dict[endpoint.SockAddr, str] = {}
    sockets = endpoint.open_listen(parse_listen(text, "a0"), 5, taken=taken)
    with pytest.raises(EndpointError, match=f"-a arguments {text} and {text} have same address"):
        endpoint.open_listen(parse_listen(text, "a1"), 5, taken=taken)
    endpoint.close_all(sockets)


def test_uds_never_removes_another_file(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(EndpointError, match="exists"):
        endpoint.open_listen(parse_listen(str(path), "a0"), 5)
    assert path.read_text() == "data"


def test_uds_in_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="No such file or directory"):
        endpoint.open_listen(parse_listen(str(tmp_path / "no" / "x.sock"), "a0"), 5)


def test_abstract_socket() -> None:
    name = f"@varnishpy-test-{os.getpid()}"
    (sock,) = endpoint.open_listen(parse_listen(name, "a0"), 5)
    assert sock.getsockname() == b"\0" + name[1:].encode()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name[1:])
    sock.close()


def test_open_cli_picks_a_port() -> None:
    sockets = endpoint.open_cli("127.0.0.1")
    assert sockets[0].getsockname()[1] > 0
    endpoint.close_all(sockets)


def test_names_for_logs() -> None:
    assert endpoint.split_name(("::1", 80, 0, 0)) == ("::1", "80")
    assert endpoint.split_name("/tmp/x") == ("0.0.0.0", "0")
