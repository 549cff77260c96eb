"""What the RFCs want that only whole connections show."""

from __future__ import annotations

from pathlib import Path

import h2.events

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin, running


def test_early_hints_over_both_protocols(cache: Cache, origin: Origin) -> None:
    """RFC 9110 section 15.2, RFC 8297."""

    @origin.page("/hints")
    def hints(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n")
        exchange.answer(b"body", cache_control="no-store")

    cache.cli("param.set", "feature", "+interim")
    got = cache.raw(b"GET /hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert got.endswith(b"body")
    got = cache.raw(b"GET /hints HTTP/1.0\r\nHost: a\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    seen: list[h2.events.Event] = []
    with H2Client(cache.port) as client:
        handle = client._event

        def hear(event: h2.events.Event) -> None:
            seen.append(event)
            handle(event)

        client._event = hear  # type: ignore[method-assign]
        assert client.get("/hints").body == b"body"
    early = [dict(event.headers) for event in seen if isinstance(event, h2.events.InformationalResponseReceived)]
    assert [{_text(name): _text(value) for name, value in block.items()} for block in early] == [
        {":status": "103", "link": "</x>; rel=preload"}
    ]


def _text(octets: bytes | str) -> str:
    return octets if isinstance(octets, str) else octets.decode()


def test_a_mapped_client_is_an_ipv4_client(origin: Origin, short_tmp: Path) -> None:
    """As a PROXY header may name it: one text for logs, X-Forwarded-For and ACLs."""

    @origin.page("/")
    def plain(exchange: Exchange) -> None:
        exchange.answer(exchange.headers["x-forwarded-for"].encode())

    arguments = ["-a", "127.0.0.1:0,PROXY", "-b", f"127.0.0.1:{origin.port}"]
    with running(short_tmp / "v", *arguments) as made:
        head = b"PROXY TCP6 ::ffff:192.0.2.4 ::ffff:192.0.2.5 1 2\r\n"
        got = made.raw(head + b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert got.endswith(b"\r\n\r\n192.0.2.4")
