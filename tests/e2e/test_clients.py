"""Every kind of client gets right answers, and the second request is a hit."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Callable

import psutil
import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def pages(origin: Origin) -> None:
    @origin.page("/plain")
    def plain(exchange: Exchange) -> None:
        exchange.answer(b"hello\n", cache_control="max-age=60", content_type="text/plain")

    @origin.page("/echo")
    def echo(exchange: Exchange) -> None:
        exchange.answer(exchange.body, x_method=exchange.method)

    @origin.page("/chunked")
    def chunked(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n")
        for piece in (b"one ", b"two ", b"three"):
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        exchange.send(b"0\r\n\r\n")

    @origin.page("/unsized")
    def unsized(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: max-age=60\r\n\r\nuntil the end")
        exchange.close = True


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


CURL = {
    "http1": ["--http1.1"],
    "prior knowledge": ["--http2-prior-knowledge"],
    "h2c upgrade": ["--http2"],
}


@pytest.mark.parametrize("how", list(CURL))
def test_curl(cache: Cache, origin: Origin, program: Callable[[str], str], how: str) -> None:
    curl = [program("curl"), "-sS", "-i", *CURL[how]]
    first = run(*curl, f"{cache.url}/plain")
    second = run(*curl, f"{cache.url}/plain")
    for text in (first, second):
        assert text.replace("\r\n", "\n").rstrip("\n").endswith("\n\nhello")
        if how != "http1":
            assert "HTTP/2 200" in text
    fields = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in second.splitlines()}
    assert len(fields["x-varnish"].split()) == 2
    assert int(fields["age"]) >= 0
    assert origin.hits["/plain"] == 1


@pytest.mark.parametrize("how", list(CURL))
@pytest.mark.parametrize("page", ["/chunked", "/unsized"])
def test_curl_bodies_of_unknown_length(cache: Cache, program: Callable[[str], str], how: str, page: str) -> None:
    expected = {"/chunked": "one two three", "/unsized": "until the end"}[page]
    for _ in range(2):
        assert run(program("curl"), "-sS", *CURL[how], f"{cache.url}{page}") == expected


@pytest.mark.parametrize("how", list(CURL))
def test_curl_head(cache: Cache, program: Callable[[str], str], how: str) -> None:
    text = run(program("curl"), "-sS", "-I", *CURL[how], f"{cache.url}/plain").lower()
    assert "200" in text.splitlines()[0] or "200" in text
    assert "content-length: 6" in text


@pytest.mark.parametrize("how", ["http1", "prior knowledge"])
def test_curl_posts_ten_megabytes(cache: Cache, program: Callable[[str], str], how: str, short_tmp: object) -> None:
    data = hashlib.shake_128(b"seed").digest(10 << 20)
    done = subprocess.run(
        [program("curl"), "-sS", *CURL[how], "--data-binary", "@-", f"{cache.url}/echo"],
        input=data, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == data


def test_nghttp(cache: Cache, program: Callable[[str], str]) -> None:
    out = run(program("nghttp"), "-v", f"{cache.url}/plain", f"{cache.url}/chunked")
    assert out.count(":status: 200") == 2
    assert "hello" in out
    assert all(piece in out for piece in ("one", "two", "three"))  # between them it may tell of frames


def test_nghttp_upgrade(cache: Cache, program: Callable[[str], str]) -> None:
    out = run(program("nghttp"), "-u", "-v", f"{cache.url}/plain")
    assert ":status: 200" in out
    assert "101" in out


def test_h2load(cache: Cache, program: Callable[[str], str]) -> None:
    out = run(program("h2load"), "-n", "2000", "-c", "10", "-m", "10", f"{cache.url}/plain")
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in out
    assert "2000 2xx" in out


def test_h2_package(cache: Cache, origin: Origin) -> None:
    with H2Client(cache.port) as client:
        first = client.get("/plain")
        second = client.get("/plain")
        assert (first.status, bytes(first.body)) == (200, b"hello\n")
        assert (second.status, bytes(second.body)) == (200, b"hello\n")
        assert len(second.headers["x-varnish"].split()) == 2
        assert "age" in second.headers
        head = client.get("/plain", method="HEAD")
        assert (head.status, bytes(head.body), head.headers["content-length"]) == (200, b"", "6")
        assert bytes(client.get("/chunked").body) == b"one two three"
        assert bytes(client.get("/unsized").body) == b"until the end"
        assert client.get("/nosuch").status == 404
        body = hashlib.shake_128(b"h2").digest(10 << 20)
        echo = client.get("/echo", method="POST", body=body)
        assert echo.status == 200
        assert bytes(echo.body) == body
    assert origin.hits["/plain"] == 1


def test_a_hundred_streams_on_one_connection(cache: Cache, origin: Origin) -> None:
    gate = threading.Event()

    for number in range(100):

        def page(exchange: Exchange, number: int = number) -> None:
            gate.wait(20)
            exchange.answer(b"%d" % number * 100, cache_control="max-age=60")

        origin.pages[f"/n/{number}"] = page
    with H2Client(cache.port) as client:
        numbers = [client.request(f"/n/{number}") for number in range(100)]
        # nothing is answered before all are under way at the origin
        wait_for(lambda: sum(origin.hits.values()) == 100, "a hundred fetches at once")
        gate.set()
        for index, stream in enumerate(client.finish(*numbers)):
            assert stream.status == 200
            assert bytes(stream.body) == b"%d" % index * 100


@pytest.mark.parametrize("how", ["http1", "prior knowledge"])
def test_hundred_megabytes_stream_through(
    cache: Cache, origin: Origin, program: Callable[[str], str], how: str
) -> None:
    piece = bytes(range(256)) * 256
    total = 100 << 20

    @origin.page("/huge")
    def huge(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: no-store\r\n\r\n" % total)
        for _ in range(total // len(piece)):
            exchange.send(piece)

    child = psutil.Process(cache.child_pid)
    before = child.memory_info().rss
    peak = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], child.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        command = [program("curl"), "-sS", *CURL[how], "-o", "/dev/null", "-w", "%{size_download}"]
        assert run(*command, f"{cache.url}/huge") == str(total)
    finally:
        done.set()
        watcher.join()
    assert peak[0] - before < 30 << 20, f"RSS grew by {(peak[0] - before) >> 20} MiB"
