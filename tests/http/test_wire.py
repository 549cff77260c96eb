"""HTTP/1 heads: what is read, what is refused and in which words, and what is written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.test_authority import BAD_HOSTS
from varnishpy.http.message import Message
from varnishpy.http.wire import (
    CHUNKED_BODY,
    EOF_BODY,
    NO_BODY,
    PREFACE,
    BodyKind,
    Framing,
    Prefix,
    RequestHead,
    head_end,
    parse_request,
    parse_response,
    preface_match,
    request_head,
    response_head,
    skip_blank_lines,
)
from varnishpy.http.wire_fields import FieldBlock, WireError


def read(octets: bytes, **limits: int | bool) -> tuple[Message, RequestHead]:
    msg = Message()
    return msg, parse_request(octets, msg, **limits)  # type: ignore[arg-type]


def refused(octets: bytes, **limits: int | bool) -> WireError:
    with pytest.raises(WireError) as caught:
        read(octets, **limits)
    return caught.value


def test_a_request() -> None:
    msg, head = read(b"GET /a?b HTTP/1.1\r\nHost: x\r\nX-Odd:\t v \t\r\nEmpty:\r\n\r\n")
    assert (msg.method, msg.url, msg.proto) == ("GET", "/a?b", "HTTP/1.1")
    assert msg.headers == [("host", "Host", "x"), ("x-odd", "X-Odd", "v"), ("empty", "Empty", "")]
    assert head.framing is NO_BODY
    assert head.target == "/a?b"
    assert not (head.absolute_form or head.has_upgrade)


def test_octets_above_ascii_survive() -> None:
    msg, _ = read(b"GET /\xff HTTP/1.1\r\nA: \x80\xe9\r\n\r\n")
    assert request_head(msg) == b"GET /\xff HTTP/1.1\r\nA: \x80\xe9\r\n\r\n"


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.2",
        b"GET / HTTP/2.0",
        b"GET / HTTP/0.9",
        b"GET / http/1.1",
        b"GET / HTTP/1.1 ",
        b"GET  / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET /",
        b"GET",
        b"",
        b"G(T / HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"GET /\t HTTP/1.1",
        b"GET /a\0 HTTP/1.1",
        b"GET  HTTP/1.1",
    ],
)
def test_bad_first_lines(first: bytes) -> None:
    assert refused(first + b"\r\nHost: x\r\n\r\n").text == ""


@pytest.mark.parametrize(
    ("field", "text"),
    [
        (b" Host: x", "1st header has white space:  Host: x"),
        (b"A: b\r\n\tfold: c", "Header line is folded: \tfold: c"),
        (b": novalue", "Missing header name: : novalue"),
        (b"no colon in this line at all", "Illegal char 0x20 in header name"),
        (b"nocolon", "Header without ':' nocolon"),
        (b"Host", "Header without ':' Host"),
        (b"Na me: x", "Illegal char 0x20 in header name"),
        (b"Host : x", "Illegal char 0x20 in header name"),
        (b"N\xe9: x", "Illegal char 0xe9 in header name"),
        (b"A: b\rc", "Header has ctrl char 0x0d"),
        (b"A: b\r", "Header has ctrl char 0x0d"),
        (b"A: b\nC: d", "Header has ctrl char 0x0a"),
        (b"A: \0", "Header has ctrl char 0x00"),
        (b"A: \x0b", "Header has ctrl char 0x0b"),
        (b"A: " + b"x" * 60, "Header too long: A: " + "x" * 17),
        (b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5", "Too many headers: E: 5"),
    ],
)
def test_bad_fields(field: bytes, text: str) -> None:
    assert refused(b"GET / HTTP/1.1\r\n" + field + b"\r\n\r\n", hdr_len=40, max_hdr=4).text == text


@pytest.mark.parametrize(
    ("fields", "text", "known"),
    [
        (b"Host: a\r\nHost: a", "Multiple Host: headers", True),
        (b"Content-Length: 1\r\nContent-Length: 1", "Multiple Content-Length: headers", True),
        (b"Content-Length: 1, 1", "Bad Content-Length: header", False),
        (b"Content-Length: +1", "Bad Content-Length: header", False),
        (b"Content-Length: -1", "Bad Content-Length: header", False),
        (b"Content-Length: 0x1", "Bad Content-Length: header", False),
        (b"Content-Length: 1_0", "Bad Content-Length: header", False),
        (b"Content-Length: \xb2", "Bad Content-Length: header", False),
        (b"Content-Length:", "Bad Content-Length: header", False),
        (b"Content-Length: 9223372036854775808", "Bad Content-Length: header", False),
        (b"Content-Length: " + b"0" * 5000, "Bad Content-Length: header", False),
        (
            b"Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Both Transfer-Encoding: and Content-Length: headers",
            False,
        ),
        (b"Transfer-Encoding: gzip, chunked", "Unsupported Transfer-Encoding: header", False),
        (b"Transfer-Encoding: chunked, chunked", "Unsupported Transfer-Encoding: header", False),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "Unsupported Transfer-Encoding: header", False),
        (b"Transfer-Encoding: xchunked", "Unsupported Transfer-Encoding: header", False),
        (b"Transfer-Encoding: identity", "Unsupported Transfer-Encoding: header", False),
        (b"Transfer-Encoding:", "Unsupported Transfer-Encoding: header", False),
    ],
)
def test_framing_that_could_be_read_two_ways(fields: bytes, text: str, known: bool) -> None:
    error = refused(b"POST / HTTP/1.1\r\n" + fields + b"\r\n\r\n")
    assert (error.text, error.headers_known) == (text, known)


@pytest.mark.parametrize(
    ("octets", "framing"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 007\r\n\r\n", Framing(BodyKind.LENGTH, 7)),
        (b"POST / HTTP/1.1\r\ncontent-LENGTH: 9223372036854775807 \r\n\r\n", Framing(BodyKind.LENGTH, 2**63 - 1)),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", NO_BODY),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", CHUNKED_BODY),
        (b"POST / HTTP/1.1\r\n\r\n", NO_BODY),
        (b"GET / HTTP/1.0\r\n\r\n", NO_BODY),
        (b"HEAD / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", NO_BODY),
    ],
)
def test_request_framing(octets: bytes, framing: Framing) -> None:
    assert read(octets)[1].framing == framing


@pytest.mark.parametrize(
    "octets",
    [
        b"POST / HTTP/1.0\r\n\r\n",
        b"PUT / HTTP/1.0\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_request_framing_that_makes_no_sense(octets: bytes) -> None:
    assert refused(octets).text


@pytest.mark.parametrize(
    ("first", "url", "host"),
    [
        (b"GET http://a.b/c?d HTTP/1.1", "/c?d", "a.b"),
        (b"GET HTTP://a.b:80?d HTTP/1.1", "/?d", "a.b:80"),
        (b"GET http://a.b HTTP/1.1", "/", "a.b"),
        (b"OPTIONS http://a.b HTTP/1.1", "*", "a.b"),
        (b"GET http://[::1]:80/ HTTP/1.1", "/", "[::1]:80"),
        (b"GET https://a.b/c HTTP/1.1", "https://a.b/c", "old"),
        (b"CONNECT a.b:443 HTTP/1.1", "a.b:443", "old"),
    ],
)
def test_absolute_form(first: bytes, url: str, host: str) -> None:
    msg, head = read(first + b"\r\nHost: old\r\n\r\n")
    assert msg.url == url
    assert msg.values("host") == [host]
    assert head.absolute_form == (host != "old")
    assert head.target == first.split()[1].decode()


def test_https_form_if_told_so() -> None:
    msg, head = read(b"GET https://a.b/c HTTP/1.1\r\n\r\n", https_scheme=True)
    assert (msg.url, msg.get("host"), head.absolute_form) == ("/c", "a.b", True)


@pytest.mark.parametrize("target", [b"http://", b"http:///x", b"http://u@a/", b"http://a#b/", b"http://?x"])
def test_absolute_form_without_a_sane_host(target: bytes) -> None:
    refused(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET  /   HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n x\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\n\tc\r\nHost: x\n\r\n",
        b"G:T / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_lenient_only_if_told_so(octets: bytes) -> None:
    refused(octets)
    assert read(octets, lenient=True)[0].get("host") == "x"


@pytest.mark.parametrize("block", [b"Host: x\ry\n", b" Host: x\n", b"Host : x\r\n", b"Host: x\r\r\n"])
def test_lenient_has_limits(block: bytes) -> None:
    refused(b"GET / HTTP/1.1\n" + block + b"\n", lenient=True)


# -- finding the end ---------------------------------------------------------------------------------------------------


def test_head_end() -> None:
    buf = bytearray(b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest")
    assert head_end(buf) == 24
    assert head_end(buf, 23) == 24
    assert head_end(bytearray(b"GET / HTTP/1.1\r\nA: b\r\n\r")) == 0
    assert head_end(bytearray(b"HTTP/1.1 200\nA: b\n\nx"), 0, True) == 19
    assert head_end(bytearray(b"HTTP/1.1 200\r\nA: b\n\r\nx"), 0, True) == 21


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\nA", b"\n", b"GET / HTTP/1.1\r\nA: b\n", b"GET /\r\n", b"\x16\r\n"]
)
def test_what_will_never_be_a_head(octets: bytes) -> None:
    with pytest.raises(WireError):
        head_end(bytearray(octets))


def test_blank_lines_and_preface() -> None:
    buf = bytearray(b"\r\n\r\n\rGET")
    assert skip_blank_lines(buf) == 4
    assert buf == b"\rGET"
    assert preface_match(PREFACE + b"x") is Prefix.WHOLE
    assert preface_match(PREFACE[:10]) is Prefix.PARTLY
    assert preface_match(b"PRINT /") is Prefix.NO
    assert preface_match(PREFACE[:-1] + b"x") is Prefix.NO


# -- responses ---------------------------------------------------------------------------------------------------------


def answer(octets: bytes, method: str = "GET", **limits: Any) -> tuple[Message, Framing]:
    msg = Message()
    return msg, parse_response(octets, msg, method, **limits)


@pytest.mark.parametrize(
    ("octets", "method", "framing"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", Framing(BodyKind.LENGTH, 5)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "GET", Framing(BodyKind.LENGTH, 5)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", CHUNKED_BODY),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", "GET", EOF_BODY),
        (b"HTTP/1.0 200 OK\r\n\r\n", "GET", EOF_BODY),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", NO_BODY),
        (b"HTTP/1.1 204 OK\r\nContent-Length: 5\r\n\r\n", "GET", NO_BODY),
        (b"HTTP/1.1 304 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", NO_BODY),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "GET", NO_BODY),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\n", "GET", Framing(BodyKind.LENGTH, 5)),
    ],
)
def test_response_framing(octets: bytes, method: str, framing: Framing) -> None:
    assert answer(octets, method)[1] == framing


def test_status_lines() -> None:
    msg, _ = answer(b"HTTP/1.1 404 Not  here\r\n\r\n")
    assert (msg.proto, msg.status, msg.reason) == ("HTTP/1.1", 404, "Not  here")
    assert answer(b"HTTP/1.1 404\r\n\r\n")[0].reason == "Not Found"
    assert answer(b"HTTP/1.1 404 \r\n\r\n")[0].reason == "Not Found"
    assert answer(b"HTTP/1.7 200 OK\r\n\r\n")[0].proto == "HTTP/1.1"
    assert answer(b"HTTP/1.1 666 foo\tbar\n\n")[0].reason == "foo\tbar"


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_a_host_that_no_uri_has(host: str) -> None:
    """RFC 9112 section 3.2: a server MUST respond with 400 to a Host with an invalid field value."""
    octets = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
    refused(octets)
    assert read(octets, lenient=True)[0].get("host") == host.strip()
    if "/" not in host and "?" not in host:  # which end an authority
        refused(f"GET http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1"))


def test_an_empty_host_is_one() -> None:
    """RFC 9112 section 3.2: what a client sends whose target has no authority."""
    assert read(b"OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n")[0].get("host") == ""


def test_a_tab_separates_no_words() -> None:
    refused(b"GET\t/x\tHTTP/1.1\r\nHost: x\r\n\r\n", lenient=True)


@pytest.mark.parametrize("coding", ["x-new", "chunked", "gzip", "identity", "x-new, chunked", "gzip, x-new"])
def test_a_coding_that_nobody_knows(coding: str) -> None:
    """RFC 9112 section 6.3: without chunked at the end, a response's body ends with its connection."""
    octets = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: {coding}\r\n\r\n".encode()
    if coding == "x-new":
        assert answer(octets, unknown_coding=True)[1] == EOF_BODY
    elif coding == "chunked":
        assert answer(octets, unknown_coding=True)[1] == CHUNKED_BODY
    else:
        with pytest.raises(WireError):
            answer(octets, unknown_coding=True)
    if coding != "chunked":
        with pytest.raises(WireError):
            answer(octets)


def test_a_length_said_twice_is_sent_on_once() -> None:
    """RFC 9110 section 8.6: the same value repeated may be accepted, if one value takes its place."""
    msg = Message()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\nContent-Length: 5\r\n\r\n"
    assert parse_response(head, msg, "GET") == Framing(BodyKind.LENGTH, 5)
    assert msg.headers == [("content-length", "Content-Length", "5"), ("a", "A", "b")]


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 1000\r\n\r\n",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 \xb200 x\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 a\x01b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n folded: first\r\n\r\n",
    ],
)
def test_responses_refused(octets: bytes) -> None:
    with pytest.raises(WireError):
        answer(octets)


def test_folded_response_fields_are_joined() -> None:
    msg, _ = answer(b"HTTP/1.1 200 OK\r\nA: b \r\n\t c\r\n d\r\nE: f\r\n\r\n")
    assert msg.headers == [("a", "A", "b     c   d"), ("e", "E", "f")]  # as long as on the wire


# -- writing -----------------------------------------------------------------------------------------------------------


def test_writing() -> None:
    msg = Message()
    msg.status, msg.reason = 1404, "Not Found"
    msg.add("A", "b")
    assert response_head(msg) == b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"


@pytest.mark.parametrize("bad", ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\u20ac"])
def test_what_would_split_a_message_is_not_written(bad: str) -> None:
    msg = Message()
    msg.add("A", bad)
    for write in (request_head, response_head):
        with pytest.raises(WireError):
            write(msg)
    msg = Message()
    msg.url = msg.reason = bad
    for write in (request_head, response_head):
        with pytest.raises(WireError):
            write(msg)


def fields_of(text: str) -> FieldBlock:
    return parse_request(f"GET / HTTP/1.1\r\n{text}\r\n\r\n".encode(), Message(), hdr_len=100, max_hdr=3).fields


def test_the_same_field_lines_are_read_once() -> None:
    again = fields_of("Host: memo\r\nA: b")
    assert fields_of("Host: memo\r\nA: b") is again
    assert again.received.names == {"host", "a"} and again.times == 2
    assert fields_of("Host: memo\r\nA: c") is not again
    large = b"GET / HTTP/1.1\r\nHost: memo\r\nA: " + b"x" * 2000 + b"\r\n\r\n"
    assert read(large)[1].fields.times == read(large)[1].fields.times == 1


def test_what_is_done_to_a_request_is_not_remembered() -> None:
    text = "GET http://other/ HTTP/1.1\r\nHost: shared\r\n\r\n"
    msg, _ = read(text.encode())
    msg.set("X", "y")
    assert msg.get("host") == "other"
    msg, _ = read(text.replace("http://other", "").encode())
    assert msg.headers == [("host", "Host", "shared")]


def test_limits_hold_for_what_is_remembered() -> None:
    head = b"GET / HTTP/1.1\r\nHost: limited\r\nLong: " + b"x" * 50 + b"\r\n\r\n"
    for _ in range(2):
        parse_request(head, Message(), hdr_len=100, max_hdr=2)
        with pytest.raises(WireError, match="Header too long: Long: "):
            parse_request(head, Message(), hdr_len=20, max_hdr=2)
        with pytest.raises(WireError, match="Too many headers: Long: "):
            parse_request(head, Message(), hdr_len=100, max_hdr=1)


# -- properties --------------------------------------------------------------------------------------------------------

_ALPHABET = st.sampled_from(
    [b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\n", b"\r", b":", b"a", b"Host", b"\0", b"\xff"]
)
_SOUP = st.lists(_ALPHABET, max_size=30).map(b"".join)
_NAME = st.text("abcXYZ-_!~09", min_size=1, max_size=12)
_VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20)


@given(st.one_of(st.binary(max_size=200), _SOUP))
def test_nothing_but_wire_errors(octets: bytes) -> None:
    buf = bytearray(octets)
    skip_blank_lines(buf)
    preface_match(buf)
    for call in (
        lambda: head_end(buf),
        lambda: parse_request(octets, Message()),
        lambda: parse_request(octets, Message(), lenient=True),
        lambda: parse_request(b"GET / HTTP/1.1\r\n" + octets + b"\r\n\r\n", Message(), hdr_len=20, max_hdr=3),
        lambda: parse_request(b"GET http://" + octets + b" HTTP/1.1\r\n\r\n", Message()),
        lambda: parse_response(octets, Message(), "GET"),
        lambda: parse_response(b"HTTP/1.1 200 OK\r\n" + octets + b"\r\n\r\n", Message(), "GET"),
    ):
        try:
            call()
        except WireError:
            pass


@given(st.lists(st.tuples(_NAME, _VALUE), max_size=8), st.data())
def test_round_trip_however_split(fields: list[tuple[str, str]], data: st.DataObject) -> None:
    framing = {"host", "content-length", "transfer-encoding"}
    fields = [(name, value.strip(" ")) for name, value in fields if name.lower() not in framing]
    msg = Message()
    msg.method, msg.url = "GET", "/x"
    for name, value in fields:
        msg.add(name, value)
    octets = request_head(msg)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    buf = bytearray()
    scanned = end = 0
    for begin, stop in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        if end:
            assert begin == len(octets)
            break
        buf += octets[begin:stop]
        end = head_end(buf, scanned)
        scanned = len(buf)
    assert end == len(octets)
    again, _ = read(octets)
    assert [(name, value) for _, name, value in again.headers] == fields
    msg.status, msg.reason = 200, "OK"
    response = Message()
    parse_response(response_head(msg), response, "GET")
    assert response.headers == msg.headers


@given(_SOUP)
def test_what_is_accepted_is_written_back_unambiguously(octets: bytes) -> None:
    try:
        msg, _ = read(b"GET / HTTP/1.1\r\n" + octets + b"\r\n\r\n")
    except WireError:
        return
    written = request_head(msg)
    assert written.count(b"\n") == len(msg.headers) + 2
    assert read(written)[0].headers == msg.headers
