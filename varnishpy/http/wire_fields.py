"""Field lines of HTTP/1: names and values, what is wrong with them, and what they say about framing.

The lines of a whole head are read by one loop of C-speed operations; only when that says that something is wrong does
`complain` look for the reason, to name it in the log.

A client sends much the same fields with every request, only the target changes. So what a block of field lines means
is remembered by its octets (`field_block`), for the blocks that came last and are not large.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn

from varnishpy.http.message import Header
from varnishpy.http.received_head import ReceivedHead


class WireError(Exception):
    """Octets that are no valid HTTP/1.

    The text is what the log shows in its ``BogoHeader`` (or, for bodies, ``FetchError``) record; it may be empty.

    :ivar headers_known: the head itself was readable, so the log shows its headers before the complaint
    """

    def __init__(self, text: str = "", *, headers_known: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.headers_known = headers_known


# -- names and values --------------------------------------------------------------------------------------------------

TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2
_NOT_TOKEN: Final = re.compile(r"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # HTAB is allowed in values
CTL_OCTETS: Final = bytes([*range(9), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])  # all but HTAB, LF and CR

# Lower-case forms of field names that have been found valid. It is only ever a memo: entries are immutable, lookups and
# insertions are single dictionary operations, and it stops growing so that made-up names cannot fill memory.
_MEMO_LIMIT: Final = 2048
_MEMO_NAME: Final = 64
_known_names: dict[str, str] = {}
_WELL_KNOWN: Final = """
Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Age Allow Authorization Cache-Control
Connection Content-Encoding Content-Length Content-Range Content-Type Cookie Date ETag Expect Expires
Forwarded From Host HTTP2-Settings If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since
Keep-Alive Last-Modified Location Origin Pragma Priority Range Referer Retry-After Sec-Fetch-Dest
Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Server Set-Cookie Surrogate-Capability Surrogate-Control TE
Trailer Transfer-Encoding Upgrade Upgrade-Insecure-Requests User-Agent Vary Via X-Forwarded-For
X-Forwarded-Proto X-Varnish
"""
for _name in _WELL_KNOWN.split():
    _known_names[_name] = _known_names[_name.lower()] = _name.lower()

_FRAMING_NAMES: Final = frozenset(("content-length", "transfer-encoding", "host", "upgrade"))


def _learn_name(name: str) -> str | None:
    if TOKEN.fullmatch(name) is None:
        return None
    lname = name.lower()
    if len(name) <= _MEMO_NAME and len(_known_names) < _MEMO_LIMIT:
        _known_names[name] = lname
    return lname


def complain(lines: list[str], hdr_len: int, max_hdr: int) -> NoReturn:
    """Find out what is wrong with a header block and raise it in the reference's words."""
    for nr, line in enumerate(lines):
        control = CONTROL.search(line)
        if control is not None:
            raise WireError(f"Header has ctrl char 0x{ord(control[0]):02x}")
        shown = line[:20]
        if hdr_len and len(line) > hdr_len:
            raise WireError(f"Header too long: {shown}")
        if line[:1] in (" ", "\t"):
            raise WireError(f"1st header has white space: {shown}" if nr == 0 else f"Header line is folded: {shown}")
        if line[:1] == ":":
            raise WireError(f"Missing header name: {shown}")
        name, colon, _ = line.partition(":")
        illegal = _NOT_TOKEN.search(name)
        if illegal is not None:
            raise WireError(f"Illegal char 0x{ord(illegal[0]):02x} in header name")
        if not colon:
            raise WireError(f"Header without ':' {shown}")
        if max_hdr and nr >= max_hdr:
            raise WireError(f"Too many headers: {shown}")
    raise WireError


def parse_lines(lines: list[str], headers: list[Header], hdr_len: int, max_hdr: int) -> list[Header]:
    """Fill ``headers``; returns those of them that decide about framing."""
    known = _known_names
    special = _FRAMING_NAMES
    found: list[Header] = []
    if max_hdr and len(lines) > max_hdr:
        complain(lines, hdr_len, max_hdr)
    for line in lines:
        name, colon, value = line.partition(":")
        lname = known.get(name)
        if lname is None:
            lname = _learn_name(name)
        if lname is None or not colon or (hdr_len and len(line) > hdr_len):
            complain(lines, hdr_len, max_hdr)
        header = (lname, name, value.strip(" \t"))
        headers.append(header)
        if lname in special:
            found.append(header)
    return found


def parse_fields(lines: list[str], hdr_len: int = 0, max_hdr: int = 0) -> list[Header]:
    """Check and split field lines without their line ends; used for trailers.

    :raises WireError: with the text for a ``BogoHeader`` record
    """
    headers: list[Header] = []
    for line in lines:
        if CONTROL.search(line) is not None:
            complain(lines, hdr_len, max_hdr)
    parse_lines(lines, headers, hdr_len, max_hdr)
    return headers


@dataclass(slots=True)
class FieldBlock:
    """What the field lines of a request say. Shared: copy ``headers`` before changing them."""

    headers: list[Header]
    special: list[Header]  # those of them that decide about framing
    received: ReceivedHead  # with log records, once somebody has made them
    times: int = 0  # how often it was asked for


# octets of the blocks that are remembered, and how many of them: a megabyte or two at the most
_BLOCK_SIZE: Final = 1024
_BLOCKS: Final = 512


def field_block(octets: bytes, hdr_len: int, max_hdr: int) -> FieldBlock | None:
    """Field lines with their CRLFs and the blank line that ends them; ``None`` if anything is wrong with them.

    :param hdr_len: longest line in octets; 0 for no limit
    :param max_hdr: most lines; 0 for no limit
    """
    block = (_known_block if len(octets) <= _BLOCK_SIZE else _read_block)(octets, hdr_len, max_hdr)
    if block is not None:
        block.times += 1
    return block


def _read_block(octets: bytes, hdr_len: int, max_hdr: int) -> FieldBlock | None:
    lines = octets.decode("latin-1").split("\r\n")
    count = len(lines) - 1
    if octets.count(b"\n") != count or octets.count(b"\r") != count:
        return None
    if len(octets.translate(None, CTL_OCTETS)) != len(octets):
        return None
    try:
        return make_block(lines[:-2], hdr_len, max_hdr)
    except WireError:
        return None


_known_block = lru_cache(_BLOCKS)(_read_block)


def make_block(lines: list[str], hdr_len: int, max_hdr: int) -> FieldBlock:
    """Field lines without their line ends, and without control characters.

    :raises WireError: with the text for a ``BogoHeader`` record
    """
    headers: list[Header] = []
    special = parse_lines(lines, headers, hdr_len, max_hdr)
    return FieldBlock(headers, special, ReceivedHead(frozenset([header[0] for header in headers])))
