"""Octets that come over the line."""

from __future__ import annotations

import gzip
import zlib
from itertools import chain
from math import isfinite

from hpack import Decoder as PlainDecoder
from hpack import HPACKError

from varnishpy.backends.errors import FetchError
from varnishpy.base.ipaddr import bare
from varnishpy.h2.hpack import Decoder, encode_block
from varnishpy.http import proxy_wire, wire
from varnishpy.http.dates import format_date, parse_date
from varnishpy.http.message import Message
from varnishpy.http.proxy_wire import ProxyError
from varnishpy.http.ranges import RangeError, parse_content_range, parse_range, parse_ranges
from varnishpy.http.structured import StructuredError, parse_dictionary
from varnishpy.http.wire import BodyKind, Framing
from varnishpy.http.wire_chunked import ChunkedDecoder, encode_chunk, last_chunk
from varnishpy.http.wire_fields import WireError
from varnishpy.log.tasklog import TaskLog
from varnishpy.request.vfp import FetchContext, FetchProcessor
from varnishpy.request.vfp_gzip import Gunzip, TestGunzip
from varnishpy.stats.task_counters import TaskCounters
from varnishpy.tier import record
from varnishpy.tier.errors import BadRecord


def _head(data: bytes, lone_lf: bool) -> bytes | None:
    """The head that stands at the front; what is found octet by octet is what is found at once."""
    try:
        end = wire.head_end(bytearray(data), 0, lone_lf)
    except WireError:
        return None
    grown = bytearray()
    scanned = 0
    for at in range(len(data)):
        grown.append(data[at])
        try:
            found = wire.head_end(grown, scanned, lone_lf)
        except WireError:
            return None  # as soon as it is known to be none
        if found:
            assert found == end, f"a head of {found} octets in pieces, of {end} at once"
            return bytes(data[:end])
        scanned = len(grown)
    assert end == 0, f"a head of {end} octets, none in pieces"
    return None


def _check_framing(framing: Framing) -> None:
    assert framing.length >= -1
    assert framing.kind is not BodyKind.LENGTH or framing.length >= 0


def http1_request(data: bytes) -> None:
    """A request head: refused, or one that means the same when it is sent on."""
    lenient = bool(data[:1] and data[0] & 1)
    head = _head(data[1:], lenient)
    if head is None:
        return
    msg = Message()
    try:
        result = wire.parse_request(head, msg, lenient=lenient, max_hdr=64, hdr_len=8192)
    except WireError:
        return
    _check_framing(result.framing)
    again = Message()
    sent = wire.request_head(msg)
    assert sent.count(b"\r\n") == len(msg.headers) + 2, "a line more than there are fields"
    second = wire.parse_request(sent, again, lenient=lenient)
    assert (again.method, again.url, again.proto) == (msg.method, msg.url, msg.proto)
    assert [row[::2] for row in again.headers] == [row[::2] for row in msg.headers]
    assert second.framing == result.framing, f"{result.framing} is sent on as {second.framing}"


def http1_response(data: bytes) -> None:
    """A response head, likewise."""
    head = _head(data[1:], True)
    if head is None:
        return
    method = "HEAD" if data[0] & 1 else "GET"
    msg = Message()
    try:
        framing = wire.parse_response(head, msg, method, max_hdr=64, hdr_len=8192, unknown_coding=bool(data[0] & 2))
    except WireError:
        return
    _check_framing(framing)
    again = Message()
    sent = wire.response_head(msg)
    assert sent.count(b"\r\n") == len(msg.headers) + 2, "a line more than there are fields"
    second = wire.parse_response(sent, again, method, unknown_coding=bool(data[0] & 2))
    assert again.status == msg.status and [row[::2] for row in again.headers] == [row[::2] for row in msg.headers]
    assert second == framing, f"{framing} is sent on as {second}"


def _unchunk(data: bytes, piece: int, lenient: bool) -> tuple[bytes, str]:
    decoder = ChunkedDecoder(lenient=lenient, max_trailer=200, max_trailers=4)
    buffer = bytearray()
    found = b""
    try:
        for at in range(0, len(data), piece):
            buffer += data[at : at + piece]
            while got := decoder.decode(buffer, 1000):
                found += got
            if decoder.done:
                return found, f"done {bytes(buffer) + data[at + piece :]!r} {decoder.trailers}"
    except WireError as error:
        return found, f"error {error.text}"
    return found, "more"


def chunked(data: bytes) -> None:
    """A chunked body: the same in any pieces, and again when it is made anew."""
    lenient = bool(data[:1] and data[0] & 1)
    body, end = _unchunk(data[1:], 1 << 20, lenient)
    for piece in (1, 2, 7):
        other, other_end = _unchunk(data[1:], piece, lenient)
        assert other_end.split()[0] == end.split()[0] and (end.startswith("error") or other == body), (
            f"in pieces of {piece}: {other!r} {other_end}, at once: {body!r} {end}"
        )
        assert not end.startswith("done") or other_end == end
    if end.startswith("done"):
        made = b"".join(encode_chunk(body[at : at + 10]) for at in range(0, len(body), 10)) + last_chunk()
        assert _unchunk(made, 3, False)[0] == body


def hpack(data: bytes) -> None:
    """Header blocks: what the package alone makes of them, and nothing else."""
    ours, plain = Decoder(4096, 1 << 16), PlainDecoder(max_header_list_size=1 << 16)
    for block in data.split(b"\xff\x00\xff"):
        results: list[object] = []
        for decode in (ours.decode, lambda octets: plain.decode(octets, raw=True)):
            try:
                results.append([tuple(field) for field in decode(block)])
            except HPACKError as error:
                results.append(type(error))
        assert results[0] == results[1]
        if isinstance(results[0], type):
            return
        fields = [
            (name.decode("latin-1").lower(), name.decode("latin-1"), value.decode("latin-1"))
            for name, value in ours.decode(b"")
        ]
        assert PlainDecoder().decode(encode_block(fields), raw=True) == [
            (n.encode("latin-1"), v.encode("latin-1")) for n, _, v in fields
        ]


def proxy(data: bytes) -> None:
    """PROXY headers: found alike in any pieces; what is said of addresses can be said again."""
    try:
        end = proxy_wire.find_end(data)
    except ProxyError:
        return
    for at in range(len(data)):
        try:
            found = proxy_wire.find_end(data[:at])
        except ProxyError:
            raise AssertionError(f"{at} octets are no PROXY header, {len(data)} are one") from None
        assert found in (0, end)
    if not end:
        return
    try:
        header = proxy_wire.parse(data[:end])
    except ProxyError:
        return
    if header.client is not None and header.server is not None:
        for again in (
            proxy_wire.parse(proxy_wire.format_v1(header.client, header.server)),
            proxy_wire.parse(proxy_wire.format_v2(header.client, header.server, "a.example", True)),
        ):
            for one, other in ((again.client, header.client), (again.server, header.server)):
                assert one is not None and (one[0], one[1]) == (bare(other[0]), other[1])  # scopes stay here


def ranges(data: bytes) -> None:
    """Range and Content-Range: within the body, or refused."""
    text = data[2:].decode("latin-1")
    length = int.from_bytes(data[:2], "big") - 1
    try:
        found = parse_range(text, length)
        if found is not None:
            assert 0 <= found.low <= found.high and (length < 0 or found.high < length)
        if length >= 0:
            for each in parse_ranges(text, length):
                assert 0 <= each.low <= each.high < length
    except RangeError:
        pass
    try:
        content = parse_content_range(text)
    except RangeError:
        return
    if content is not None and content.low >= 0:
        assert content.low <= content.high


def fields(data: bytes) -> None:
    """Dates and structured fields: a value or a refusal; a date that is written is read as itself."""
    text = data.decode("latin-1")
    for lenient in (False, True):
        moment = parse_date(text, lenient)
        assert not moment or abs(parse_date(format_date(moment)) - moment) < 1
    try:
        parse_dictionary(text)
    except StructuredError:
        pass


class _Octets:
    """A body that comes in pieces."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._data = data
        self._piece = piece

    def read(self, limit: int) -> bytes:
        """The next piece."""
        size = min(self._piece, limit)
        data, self._data = self._data[:size], self._data[size:]
        return data


def _processed(kind: type[FetchProcessor], data: bytes, piece: int) -> bytes | None:
    """What comes out of a processor; None if it fails."""
    response = Message()
    response.status = 200
    response.headers = [("content-encoding", "Content-Encoding", "gzip")]
    processor = kind()
    processor.context = FetchContext(TaskLog(), Message(), response, TaskCounters(), None)
    processor.source = _Octets(data, piece)
    assert processor.open()
    out = b""
    try:
        while got := processor.read(1000):
            assert len(got) <= max(1000, len(data))
            out += got
    except FetchError:
        return None
    finally:
        processor.close()
    return out


def unzip(data: bytes) -> None:
    """A gzipped body: unpacked and tested in pieces as by Python's own module, which takes several members as well."""
    try:
        expected: bytes | None = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        expected = None
    for piece in (1, 7, 1 << 20):
        unpacked, tested = _processed(Gunzip, data, piece), _processed(TestGunzip, data, piece)
        assert unpacked is None or unpacked == expected, f"{unpacked!r}, expected {expected!r}"
        assert tested is None or tested == data
        assert (unpacked is None) == (tested is None), f"unpacked: {unpacked!r}, tested: {tested!r}"


def _tier_record(kind: bytes, value: bytes) -> bytes:
    """What a value of the tier says, written again. :raises BadRecord:"""
    if kind == record.INDEX:
        nonce, variants = record.decode_index(value)
        for variant in variants:
            assert isfinite(variant.fresh_until) and isfinite(variant.until), variant
        return record.encode_index(nonce, variants)
    if kind == record.HEAD:
        ident = value[record.SEALED :][: record.IDENT]
        head = record.decode_head(ident, value)
        lines = (head.proto, head.reason, *chain.from_iterable(head.headers))
        assert not any(set(line) & set("\r\n\0") for line in lines), head
        return head.encode(ident)
    if kind == record.CHUNK:
        return record.encode_chunk(bytes(record.IDENT), 1, [record.decode_chunk(bytes(record.IDENT), 1, value)])
    return record.decode_invalidation(value).encode()


def tier(data: bytes) -> None:
    """Values of the tier, sealed and not: refused, or what they say is written the same and can be used."""
    for kind in (record.INDEX, record.HEAD, record.CHUNK, record.LOG):
        for value in (data, record.seal(kind, data)):
            try:
                again = _tier_record(kind, value)
            except BadRecord:
                continue
            assert again == value
