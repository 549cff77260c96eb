"""What a server must do with frames right and wrong, as a table: section, what the client does, what it may see.

The cases are those a conformance suite of RFC 9113 (in the numbering of RFC 7540) and RFC 7541 asks for. Each is one
connection: after the handshake the steps are taken, octets being sent and functions called, and the verdict looks at
what comes back. An error of the connection may show as GOAWAY or as the end of the connection, one of a stream as
RST_STREAM too. ``generic`` cases are legal traffic, which must be served.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.interop.raw_h2 import (
    ACK,
    COMPRESSION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL,
    FRAME_SIZE,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PROTOCOL,
    PUSH_PROMISE,
    REFUSED,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Frame,
    RawClient,
    block,
    continuation,
    data,
    frame,
    goaway,
    headers,
    integer,
    ping,
    priority,
    request,
    reset,
    settings,
    text,
    window_update,
)

Step = bytes | Callable[[RawClient], None]
Verdict = Callable[[RawClient], bool]

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT, INITIAL_WINDOW, MAX_FRAME_SIZE = range(1, 6)
LONG = "x" * 4000
OPEN = END_HEADERS  # flags of a request whose body follows


@dataclass(frozen=True)
class Case:
    """One row. ``greet``: begin with an ordinary handshake."""

    section: str
    name: str
    steps: tuple[Step, ...]
    verdict: Verdict
    greet: bool = True

    @property
    def ident(self) -> str:
        return f"{self.section} {self.name}"


# -- verdicts --------------------------------------------------------------------------------------------------------


def _look(client: RawClient, wanted: Callable[[Frame], bool], closed: bool) -> bool:
    try:
        while (got := client.read()) is not None:
            if wanted(got):
                return True
    except TimeoutError:
        return False
    return closed


def connection_error(*codes: int) -> Verdict:
    """GOAWAY with one of the codes, or the end of the connection."""
    return lambda client: _look(client, lambda f: f.kind == GOAWAY and f.code in codes, True)


def stream_error(*codes: int) -> Verdict:
    """RST_STREAM or GOAWAY with one of the codes, or the end of the connection."""
    return lambda client: _look(client, lambda f: f.kind in (GOAWAY, RST_STREAM) and f.code in codes, True)


def closes(client: RawClient) -> bool:
    """The connection ends."""
    return _look(client, lambda f: False, True)


def answers(stream: int = 1) -> Verdict:
    """A response comes, and nothing but: no reset, no GOAWAY before it."""

    def verdict(client: RawClient) -> bool:
        found = _look(client, lambda f: f.kind == HEADERS and f.stream == stream, False)
        return found and not any(f.kind in (RST_STREAM, GOAWAY) for f in client.seen)

    return verdict


def shows(kind: int, stream: int = 0, flags: int = 0, payload: bytes | None = None, size: int | None = None) -> Verdict:
    """A frame comes that looks so."""

    def fits(got: Frame) -> bool:
        return (
            got.kind == kind
            and got.stream == stream
            and got.flags & flags == flags
            and (payload is None or got.payload == payload)
            and (size is None or len(got.payload) == size)
        )

    return lambda client: _look(client, fits, False)


PONG = shows(PING, flags=ACK, payload=b"h2 probe")
ACKNOWLEDGED = shows(SETTINGS, flags=ACK)


def first_data_is(size: int) -> Verdict:
    """The first DATA of the response has that many octets."""

    def verdict(client: RawClient) -> bool:
        return _look(client, lambda f: f.kind == DATA, False) and len(client.seen[-1].payload) == size

    return verdict


# -- steps -----------------------------------------------------------------------------------------------------------


def ended(stream: int = 1) -> Step:
    """Wait for the end of the response."""
    return lambda client: client.read_until_last(stream)


def until_data(size: int) -> Step:
    """Wait for DATA of so many octets."""

    def step(client: RawClient) -> None:
        assert first_data_is(size)(client), client.seen

    return step


def until_acknowledged(client: RawClient) -> None:
    """Wait for the acknowledgement of settings."""
    assert ACKNOWLEDGED(client), client.seen


def too_many_streams(client: RawClient) -> None:
    """One stream more than allowed, none of which can end: their windows are closed."""
    client.send(settings((INITIAL_WINDOW, 0)))
    until_acknowledged(client)
    for number in range(client.settings[MAX_CONCURRENT] + 1):
        client.send(headers(2 * number + 1))


def too_long_data(client: RawClient) -> None:
    client.send(data(1, bytes(client.settings.get(MAX_FRAME_SIZE, 16384) + 1)))


def too_long_headers(client: RawClient) -> None:
    fields = request(
        extra=[(f"x-long-{n}", LONG) for n in range(1 + client.settings.get(MAX_FRAME_SIZE, 16384) // 4000)]
    )
    client.send(headers(1, fields))


def preface_by_server(client: RawClient) -> None:
    client.send(PREFACE + settings())


POST = request("POST")
POST_OPEN = headers(1, POST, OPEN)
OPENED = headers(flags=OPEN)
UNFINISHED = headers(flags=END_STREAM)  # END_HEADERS is missing
MORE = [("x-more", LONG)]
ROOM = b"\x04"  # pad length

GENERIC = (
    Case("generic/1", "preface", (preface_by_server,), shows(SETTINGS), greet=False),
    Case("generic/2", "PRIORITY on idle stream", (priority(1), ping()), PONG),
    Case("generic/2", "WINDOW_UPDATE on half closed (remote)", (headers(), window_update(1, 100), ping()), PONG),
    Case("generic/2", "PRIORITY on half closed (remote)", (headers(), priority(1), ping()), PONG),
    Case("generic/2", "RST_STREAM on half closed (remote)", (headers(), reset(1), ping()), PONG),
    Case("generic/2", "PRIORITY on closed stream", (headers(), ended(), priority(1), ping()), PONG),
    Case("generic/3.1", "DATA", (POST_OPEN, data()), answers()),
    Case("generic/3.1", "DATA, many", (POST_OPEN, data(flags=0), data()), answers()),
    Case(
        "generic/3.1", "DATA, padded", (POST_OPEN, data(1, ROOM + b"test" + bytes(4), PADDED | END_STREAM)), answers()
    ),
    Case("generic/3.2", "HEADERS", (headers(),), answers()),
    Case(
        "generic/3.2",
        "HEADERS, padded",
        (headers(flags=END_STREAM | END_HEADERS | PADDED, before=ROOM, after=bytes(4)),),
        answers(),
    ),
    Case(
        "generic/3.2",
        "HEADERS with priority",
        (headers(flags=END_STREAM | END_HEADERS | PRIORITIZED, before=b"\x00\x00\x00\x00\xff"),),
        answers(),
    ),
    Case("generic/3.3", "PRIORITY, weight 1", (priority(1, weight=0), headers()), answers()),
    Case("generic/3.3", "PRIORITY, weight 256", (priority(1, weight=255), headers()), answers()),
    Case("generic/3.3", "PRIORITY with dependency", (priority(1), priority(3, 1), headers(1)), answers()),
    Case("generic/3.3", "PRIORITY, exclusive", (priority(1), priority(3, 1, exclusive=True), headers(1)), answers()),
    Case("generic/3.3", "PRIORITY on idle stream, then a lower one", (priority(5), headers(3)), answers(3)),
    Case("generic/3.4", "RST_STREAM", (OPENED, reset(), ping()), PONG),
    Case("generic/3.5", "SETTINGS", (settings((MAX_CONCURRENT, 100)),), ACKNOWLEDGED),
    Case("generic/3.7", "PING", (ping(),), PONG),
    Case("generic/3.8", "GOAWAY", (goaway(), ping()), lambda client: PONG(client) or closes(client)),
    Case("generic/3.9", "WINDOW_UPDATE on connection", (window_update(0, 1), headers()), answers()),
    Case("generic/3.9", "WINDOW_UPDATE on stream", (OPENED, window_update(1, 1), data()), answers()),
    Case("generic/3.10", "CONTINUATION", (UNFINISHED, continuation(1, MORE)), answers()),
    Case(
        "generic/3.10", "CONTINUATION, many", (UNFINISHED, continuation(1, MORE, 0), continuation(1, MORE)), answers()
    ),
    Case("generic/4", "GET", (headers(),), answers()),
    Case("generic/4", "HEAD", (headers(1, request("HEAD")),), answers()),
    Case("generic/4", "POST", (POST_OPEN, data()), answers()),
    Case(
        "generic/4",
        "POST with trailers",
        (headers(1, request("POST", [("trailer", "x-test")]), OPEN), data(flags=0), headers(1, [("x-test", "ok")])),
        answers(),
    ),
)

# "/" Huffman coded, as the value of :path; "accept: */*" the same way
_SLASH = b"\x81\x63"
_STAR = b"\x83\xf9\x63\xe7"
_ACCEPT = b"\x84\x19\x08\x5a\xd3"
_FIRST = b"\x82\x86" + b"\x01" + text("127.0.0.1")  # :method GET, :scheme http, :authority
_WITH_PATH = _FIRST + b"\x84"


def _field(name: str, representation: bytes) -> Case:
    return Case("generic/5", name, (headers(1, representation),), answers())


HPACK_USES = (
    _field("indexed", _FIRST + b"\x84"),
    _field("incremental, indexed name", _FIRST + b"\x44" + text("/")),
    _field("incremental, indexed name, Huffman", _FIRST + b"\x44" + _SLASH),
    _field("incremental, new name", _WITH_PATH + b"\x40" + text("x-test") + text("ok")),
    _field("incremental, new name, Huffman", _WITH_PATH + b"\x40" + _ACCEPT + _STAR),
    _field("without indexing, indexed name", _FIRST + b"\x04" + text("/")),
    _field("without indexing, indexed name, Huffman", _FIRST + b"\x04" + _SLASH),
    _field("without indexing, new name", _WITH_PATH + b"\x00" + text("x-test") + text("ok")),
    _field("without indexing, new name, Huffman", _WITH_PATH + b"\x00" + _ACCEPT + _STAR),
    _field("never indexed, indexed name", _FIRST + b"\x14" + text("/")),
    _field("never indexed, indexed name, Huffman", _FIRST + b"\x14" + _SLASH),
    _field("never indexed, new name", _WITH_PATH + b"\x10" + text("x-test") + text("ok")),
    _field("never indexed, new name, Huffman", _WITH_PATH + b"\x10" + _ACCEPT + _STAR),
    _field("table size update", integer(128, 5, 0x20) + _WITH_PATH),
    _field("table size updates", integer(128, 5, 0x20) + integer(4096, 5, 0x20) + _WITH_PATH),
)

HTTP2_3_TO_5 = (
    Case("http2/3.5", "preface", (preface_by_server,), shows(SETTINGS), greet=False),
    Case("http2/3.5", "wrong preface", (b"INVALID CONNECTION PREFACE\r\n\r\n",), closes, greet=False),
    Case("http2/4.1", "unknown type", (frame(0x16, 0, 0, bytes(8)), ping()), PONG),
    Case("http2/4.1", "unknown flags", (ping(flags=0x16),), PONG),
    Case("http2/4.1", "reserved bit", (ping(stream=0x80000000),), PONG),
    Case("http2/4.2", "DATA of 2^14 octets", (POST_OPEN, data(1, bytes(16384))), answers()),
    Case("http2/4.2", "DATA too long", (POST_OPEN, too_long_data), stream_error(FRAME_SIZE)),
    Case("http2/4.2", "HEADERS too long", (too_long_headers,), connection_error(FRAME_SIZE)),
    Case("http2/4.3", "broken header block", (headers(1, b"\x40" + b"\xff" * 16),), connection_error(COMPRESSION)),
    Case("http2/4.3", "PRIORITY inside a header block", (UNFINISHED, priority(1)), connection_error(PROTOCOL)),
    Case("http2/4.3", "HEADERS inside a header block", (UNFINISHED, headers(3)), connection_error(PROTOCOL)),
    Case("http2/5.1", "idle: DATA", (data(),), connection_error(PROTOCOL)),
    Case("http2/5.1", "idle: RST_STREAM", (reset(),), connection_error(PROTOCOL)),
    Case("http2/5.1", "idle: WINDOW_UPDATE", (window_update(1, 100),), connection_error(PROTOCOL)),
    Case("http2/5.1", "idle: CONTINUATION", (continuation(1, MORE),), connection_error(PROTOCOL)),
    Case("http2/5.1", "half closed (remote): DATA", (headers(), data()), stream_error(STREAM_CLOSED)),
    Case("http2/5.1", "half closed (remote): HEADERS", (headers(), headers()), stream_error(STREAM_CLOSED)),
    Case(
        "http2/5.1",
        "half closed (remote): CONTINUATION",
        (headers(), continuation(1, MORE)),
        stream_error(STREAM_CLOSED, PROTOCOL),
    ),
    Case("http2/5.1", "reset: DATA", (OPENED, reset(), data()), stream_error(STREAM_CLOSED)),
    Case("http2/5.1", "reset: HEADERS", (OPENED, reset(), headers()), stream_error(STREAM_CLOSED)),
    Case(
        "http2/5.1",
        "reset: CONTINUATION",
        (OPENED, reset(), continuation(1, MORE)),
        stream_error(STREAM_CLOSED, PROTOCOL),
    ),
    Case("http2/5.1", "closed: DATA", (headers(), ended(), data()), stream_error(STREAM_CLOSED)),
    Case("http2/5.1", "closed: HEADERS", (headers(), ended(), headers()), connection_error(STREAM_CLOSED)),
    Case(
        "http2/5.1",
        "closed: CONTINUATION",
        (headers(), ended(), continuation(1, MORE)),
        connection_error(STREAM_CLOSED, PROTOCOL),
    ),
    Case("http2/5.1.1", "even stream", (headers(2),), connection_error(PROTOCOL)),
    Case("http2/5.1.1", "smaller stream", (headers(5), headers(3)), connection_error(PROTOCOL)),
    Case("http2/5.1.2", "too many streams", (too_many_streams,), stream_error(PROTOCOL, REFUSED)),
    Case(
        "http2/5.3.1",
        "HEADERS depending on itself",
        (headers(flags=END_STREAM | END_HEADERS | PRIORITIZED, before=b"\x00\x00\x00\x01\xff"),),
        stream_error(PROTOCOL),
    ),
    Case("http2/5.3.1", "PRIORITY depending on itself", (priority(2, 2),), stream_error(PROTOCOL)),
    Case("http2/5.4.1", "connection error closes", (ping(b"\x00" * 6),), closes),
    Case(
        "http2/5.4.1",
        "connection error says GOAWAY",
        (headers(), ended(), ping(b"\x00" * 6)),
        lambda client: shows(GOAWAY)(client) and client.seen[-1].payload[:4] == b"\x00\x00\x00\x01",
    ),
    Case("http2/5.5", "unknown frame", (frame(0xFF, 0, 0, bytes(8)), ping()), PONG),
    Case(
        "http2/5.5",
        "unknown frame inside a header block",
        (UNFINISHED, frame(0xFF, 0, 1, bytes(8))),
        connection_error(PROTOCOL),
    ),
)

HTTP2_6 = (
    Case("http2/6.1", "DATA on stream 0", (data(0),), connection_error(PROTOCOL)),
    Case("http2/6.1", "DATA on half closed (remote)", (headers(), data()), stream_error(STREAM_CLOSED)),
    Case(
        "http2/6.1",
        "DATA with too much padding",
        (POST_OPEN, data(1, b"\x06test", PADDED | END_STREAM)),
        connection_error(PROTOCOL),
    ),
    Case("http2/6.2", "PRIORITY without END_HEADERS", (UNFINISHED, priority(1)), connection_error(PROTOCOL)),
    Case("http2/6.2", "HEADERS without END_HEADERS", (UNFINISHED, headers(3)), connection_error(PROTOCOL)),
    Case("http2/6.2", "HEADERS on stream 0", (headers(0),), connection_error(PROTOCOL)),
    Case(
        "http2/6.2",
        "HEADERS with too much padding",
        (headers(1, b"", END_STREAM | END_HEADERS | PADDED, b"\xff" + _WITH_PATH),),
        connection_error(PROTOCOL),
    ),
    Case("http2/6.3", "PRIORITY on stream 0", (priority(0),), connection_error(PROTOCOL)),
    Case("http2/6.3", "PRIORITY of 4 octets", (OPENED, frame(PRIORITY, 0, 1, bytes(4))), stream_error(FRAME_SIZE)),
    Case("http2/6.4", "RST_STREAM on stream 0", (reset(0),), connection_error(PROTOCOL)),
    Case("http2/6.4", "RST_STREAM on idle stream", (reset(1),), connection_error(PROTOCOL)),
    Case(
        "http2/6.4", "RST_STREAM of 3 octets", (OPENED, frame(RST_STREAM, 0, 1, bytes(3))), connection_error(FRAME_SIZE)
    ),
    Case(
        "http2/6.5", "SETTINGS with ACK and content", (frame(SETTINGS, ACK, 0, b"\x00"),), connection_error(FRAME_SIZE)
    ),
    Case("http2/6.5", "SETTINGS on a stream", (frame(SETTINGS, 0, 1, bytes(6)),), connection_error(PROTOCOL)),
    Case("http2/6.5", "SETTINGS of 3 octets", (frame(SETTINGS, 0, 0, bytes(3)),), connection_error(FRAME_SIZE)),
    Case("http2/6.5.2", "ENABLE_PUSH 2", (settings((ENABLE_PUSH, 2)),), connection_error(PROTOCOL)),
    Case(
        "http2/6.5.2",
        "INITIAL_WINDOW_SIZE 2^31",
        (settings((INITIAL_WINDOW, 1 << 31)),),
        connection_error(FLOW_CONTROL),
    ),
    Case("http2/6.5.2", "MAX_FRAME_SIZE 16383", (settings((MAX_FRAME_SIZE, 16383)),), connection_error(PROTOCOL)),
    Case("http2/6.5.2", "MAX_FRAME_SIZE 2^24", (settings((MAX_FRAME_SIZE, 1 << 24)),), connection_error(PROTOCOL)),
    Case("http2/6.5.2", "unknown setting", (settings((0xFF, 1)), ping()), PONG),
    Case(
        "http2/6.5.3",
        "the last of many values holds",
        (settings((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 1)), headers()),
        first_data_is(1),
    ),
    Case("http2/6.5.3", "SETTINGS are acknowledged", (settings(),), ACKNOWLEDGED),
    Case("http2/6.7", "PING", (ping(),), PONG),
    Case("http2/6.7", "PING with ACK is not answered", (ping(b"not this", ACK), ping()), PONG),
    Case("http2/6.7", "PING on a stream", (ping(stream=1),), connection_error(PROTOCOL)),
    Case("http2/6.7", "PING of 6 octets", (ping(bytes(6)),), connection_error(FRAME_SIZE)),
    Case("http2/6.8", "GOAWAY on a stream", (frame(GOAWAY, 0, 1, bytes(8)),), connection_error(PROTOCOL)),
    Case("http2/6.9", "WINDOW_UPDATE of 0", (window_update(0, 0),), connection_error(PROTOCOL)),
    Case("http2/6.9", "WINDOW_UPDATE of 0 on a stream", (OPENED, window_update(1, 0)), stream_error(PROTOCOL)),
    Case(
        "http2/6.9", "WINDOW_UPDATE of 3 octets", (frame(WINDOW_UPDATE, 0, 0, bytes(3)),), connection_error(FRAME_SIZE)
    ),
    Case("http2/6.9.1", "window of 1", (settings((INITIAL_WINDOW, 1)), headers()), first_data_is(1)),
    Case(
        "http2/6.9.1",
        "connection window beyond 2^31-1",
        (window_update(0, (1 << 31) - 1), window_update(0, (1 << 31) - 1)),
        connection_error(FLOW_CONTROL),
    ),
    Case(
        "http2/6.9.1",
        "stream window beyond 2^31-1",
        (OPENED, window_update(1, (1 << 31) - 1), window_update(1, (1 << 31) - 1)),
        stream_error(FLOW_CONTROL),
    ),
    Case(
        "http2/6.9.2",
        "window opened after HEADERS",
        (settings((INITIAL_WINDOW, 0)), until_acknowledged, headers(), settings((INITIAL_WINDOW, 1))),
        first_data_is(1),
    ),
    Case(
        "http2/6.9.2",
        "window below 0",
        (
            settings((INITIAL_WINDOW, 3)),
            until_acknowledged,
            headers(),
            until_data(3),
            settings((INITIAL_WINDOW, 2)),
            until_acknowledged,
            window_update(1, 2),
        ),
        first_data_is(1),
    ),
    Case(
        "http2/6.9.2",
        "INITIAL_WINDOW_SIZE 2^31",
        (settings((INITIAL_WINDOW, 1 << 31)),),
        connection_error(FLOW_CONTROL),
    ),
    Case("http2/6.10", "CONTINUATION, many", (UNFINISHED, continuation(1, MORE, 0), continuation(1, MORE)), answers()),
    Case(
        "http2/6.10",
        "CONTINUATION, then DATA",
        (UNFINISHED, continuation(1, MORE, 0), data()),
        connection_error(PROTOCOL),
    ),
    Case("http2/6.10", "CONTINUATION on stream 0", (UNFINISHED, continuation(0, MORE)), connection_error(PROTOCOL)),
    Case("http2/6.10", "CONTINUATION after END_HEADERS", (OPENED, continuation(1, MORE)), connection_error(PROTOCOL)),
    Case(
        "http2/6.10",
        "CONTINUATION after its END_HEADERS",
        (headers(flags=0), continuation(1, MORE), continuation(1, MORE)),
        connection_error(PROTOCOL),
    ),
    Case(
        "http2/6.10",
        "CONTINUATION after DATA",
        (POST_OPEN, data(flags=0), continuation(1, MORE)),
        connection_error(PROTOCOL),
    ),
)


def _malformed(section: str, name: str, fields: list[tuple[str, str]]) -> Case:
    return Case(section, name, (headers(1, fields),), stream_error(PROTOCOL))


def _without(name: str) -> list[tuple[str, str]]:
    return [field for field in request() if field[0] != name]


HTTP2_7_AND_8 = (
    Case("http2/7", "GOAWAY with unknown code", (goaway(0xFF), ping()), lambda client: PONG(client) or closes(client)),
    Case("http2/7", "RST_STREAM with unknown code", (OPENED, reset(1, 0xFF), ping()), PONG),
    Case("http2/8.1", "second HEADERS without END_STREAM", (POST_OPEN, headers(1, MORE, OPEN)), stream_error(PROTOCOL)),
    _malformed("http2/8.1.2", "upper-case name", request(extra=[("X-TEST", "ok")])),
    _malformed("http2/8.1.2.1", "unknown pseudo-header", [(":test", "ok"), *request()]),
    _malformed("http2/8.1.2.1", "pseudo-header of responses", [(":status", "200"), *request()]),
    Case(
        "http2/8.1.2.1",
        "pseudo-header in trailers",
        (POST_OPEN, data(flags=0), headers(1, [(":method", "200")])),
        stream_error(PROTOCOL),
    ),
    _malformed("http2/8.1.2.1", "pseudo-header after others", [("x-test", "ok"), *request()]),
    _malformed("http2/8.1.2.2", "connection-specific field", request(extra=[("connection", "keep-alive")])),
    _malformed(
        "http2/8.1.2.2", "TE other than trailers", request(extra=[("trailers", "test"), ("te", "trailers, deflate")])
    ),
    _malformed("http2/8.1.2.3", "empty :path", request(path="")),
    _malformed("http2/8.1.2.3", "no :method", _without(":method")),
    _malformed("http2/8.1.2.3", "no :scheme", _without(":scheme")),
    _malformed("http2/8.1.2.3", "no :path", _without(":path")),
    _malformed("http2/8.1.2.3", ":method twice", request(extra=[(":method", "GET")])),
    _malformed("http2/8.1.2.3", ":scheme twice", [(":scheme", "http"), *request()]),
    _malformed("http2/8.1.2.3", ":path twice", [(":path", "/"), *request()]),
    Case(
        "http2/8.1.2.6",
        "content-length differs from DATA",
        (headers(1, request("POST", [("content-length", "1")]), OPEN), data()),
        stream_error(PROTOCOL),
    ),
    Case(
        "http2/8.1.2.6",
        "content-length differs from the sum of DATA",
        (headers(1, request("POST", [("content-length", "1")]), OPEN), data(flags=0), data()),
        stream_error(PROTOCOL),
    ),
    Case(
        "http2/8.2",
        "PUSH_PROMISE",
        (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + block(request())),),
        connection_error(PROTOCOL),
    ),
)


def _broken(section: str, name: str, representation: bytes) -> Case:
    return Case(section, name, (headers(1, _WITH_PATH + representation),), connection_error(COMPRESSION))


HPACK = (
    _broken("hpack/2.3.3", "indexed field, index beyond the tables", integer(70, 7, 0x80)),
    _broken("hpack/2.3.3", "literal, index of the name beyond the tables", integer(70, 6, 0x40) + text("x")),
    _broken("hpack/4.2", "table size update behind a field", integer(1, 5, 0x20)),
    _broken("hpack/5.2", "Huffman padding longer than 7 bits", b"\x00" + text("x-test") + b"\x82\x1c\xff" + b"\xff"),
    _broken("hpack/5.2", "Huffman padding of zeros", b"\x00" + text("x-test") + b"\x84\x50\xa7\x29\x80"),
    _broken("hpack/5.2", "Huffman with EOS", b"\x00" + text("x-test") + b"\x88\x4f\x85\xff\xff\xff\xfc\xd5\x14"),
    _broken("hpack/6.1", "index 0", b"\x80"),
    Case(
        "hpack/6.3",
        "table size update beyond the setting",
        (headers(1, integer(4097, 5, 0x20) + _WITH_PATH),),
        connection_error(COMPRESSION),
    ),
)

CASES = GENERIC + HPACK_USES + HTTP2_3_TO_5 + HTTP2_6 + HTTP2_7_AND_8 + HPACK
