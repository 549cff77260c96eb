"""The origin misbehaves; clients get the right answer in bounded time, and the cache counts it."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin, Response


def test_hundred_clients_cause_one_fetch(cache: Cache, origin: Origin) -> None:
    release = threading.Event()

    @origin.page("/one")
    def one(exchange: Exchange) -> None:
        release.wait(20)
        exchange.answer(b"shared", cache_control="max-age=60")

    answers: list[Response] = []
    clients = [threading.Thread(target=lambda: answers.append(cache.get("/one"))) for _ in range(100)]
    for client in clients:
        client.start()
    cache.wait_counter("MAIN.busy_sleep", lambda value: value >= 99)
    release.set()
    for client in clients:
        client.join(20)
    assert len(answers) == 100
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"shared")}
    assert origin.hits["/one"] == 1


def test_origin_down(cache: Cache, origin: Origin) -> None:
    origin.close()
    answer = cache.get("/")
    assert answer.status == 503
    with H2Client(cache.port) as client:
        assert client.get("/").status == 503
    assert cache.counter("MAIN.backend_fail") >= 1
    assert cache.counter("VBE.boot.default.fail_econnrefused") >= 1


def head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: max-age=60\r\n\r\n" % length


def reset(exchange: Exchange) -> None:
    exchange.send(head(1000) + b"x" * 100)
    exchange.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.close = True


def short(exchange: Exchange) -> None:
    exchange.send(head(1000) + b"x" * 100)
    exchange.close = True


def bad_chunk(exchange: Exchange) -> None:
    exchange.send(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n5\r\nhello\r\nzz\r\n"
    )
    exchange.close = True


@pytest.mark.parametrize("page", [reset, short, bad_chunk])
def test_body_that_breaks_off(cache: Cache, origin: Origin, page: object) -> None:
    origin.pages["/broken"] = page  # type: ignore[assignment]
    request = b"GET /broken HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
    out = cache.raw(request)
    # either the failure was seen before the head left (503), or the answer is visibly cut short
    if not out.startswith(b"HTTP/1.1 503"):
        top, _, body = out.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 200")
        if b"chunked" in top.lower():
            assert not body.endswith(b"0\r\n\r\n"), "a chunked body must not look complete"
        else:
            assert len(body) < 1000
    with H2Client(cache.port) as client:
        stream = client.get("/broken")
        assert stream.status == 503 or stream.reset is not None
    assert cache.counter("MAIN.fetch_failed") >= 2
    assert origin.hits["/broken"] >= 2, "what broke off is not served from the cache"


@pytest.mark.parametrize(
    "garbage",
    [
        b"complete nonsense\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, banana\r\n\r\n",
        b"\x00\xff\x16\x03\x01",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
    ],
)
def test_garbage(cache: Cache, origin: Origin, garbage: bytes) -> None:
    @origin.page("/garbage")
    def page(exchange: Exchange) -> None:
        exchange.send(garbage)
        exchange.close = True

    assert cache.get("/garbage").status == 503
