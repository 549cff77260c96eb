"""From the fields of a header block to a request: what RFC 9113 section 8 demands of them, and our limits.

`read_block` never raises. What it finds wrong stands in the result, with the text for the log, because the same
block may come again and its meaning is remembered (see ``hpack.py``). Lists in the result are shared: copy before
changing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from varnishpy.h2.tables import SE, H2Error
from varnishpy.http.authority import valid_authority
from varnishpy.http.message import HEADER, METHOD, PROTOCOL, URL, Header
from varnishpy.http.received_head import NO_FIELDS, ReceivedHead
from varnishpy.log.tag_numbers import BOGO_HEADER, DEBUG, LOST_HEADER, REQ_METHOD
from varnishpy.log.tasklog import Records

_TOKEN_CHARS: Final = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
_is_token: Final = re.compile(rf"[{_TOKEN_CHARS}]+").fullmatch
_is_name: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_bad_value: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]$").search
_bad_path: Final = re.compile(r"[\x00-\x20\x7f]").search
_upper: Final = re.compile(r"[A-Z]").search

# RFC 9113 section 8.2.2
_CONNECTION_SPECIFIC: Final = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
)

DEFAULT_PRIORITY: Final = (3, False)  # urgency, incremental (RFC 9218 section 4)


@dataclass(slots=True)
class Limits:
    """What a request may be; a session takes them from the parameters when it begins."""

    list_size: int  # octets, http_req_size
    header_size: int  # octets, http_req_hdr_len
    headers: int  # http_max_hdr
    compat: bool  # feature=+h2_compat


@dataclass(slots=True)
class HeaderBlock:
    """What a header block means."""

    method: str = ""
    path: str = ""
    headers: list[Header] | None = None
    content_length: int = -1  # octets, -1 if not said
    size: int = 0  # octets of the list in HTTP/1 form
    priority: tuple[int, bool] | None = None  # RFC 9218
    error: H2Error | None = None
    complaint: tuple[int, str] | None = None  # log tag and text for the error
    on_connection: bool = False  # the complaint belongs in the session's log
    received: ReceivedHead = NO_FIELDS  # its log records are made when the block comes again


def keep_records(block: HeaderBlock) -> None:
    """Keep what the log says of a request that this block brings, as it is received."""
    first = REQ_METHOD
    records = Records(
        [
            (first + METHOD, block.method),
            (first + URL, block.path),
            (first + PROTOCOL, "HTTP/2.0"),
            *((first + HEADER, f"{name}: {value}") for _, name, value in block.headers or ()),
        ]
    )
    block.received = ReceivedHead(block.received.names, records, whole=True)


def parse_priority(value: str, unsaid: tuple[int, bool] = DEFAULT_PRIORITY) -> tuple[int, bool]:
    """Urgency (0 to 7, lower is more urgent) and incremental (RFC 9218 section 4); what is wrong is ignored.

    :param unsaid: what holds where the value says nothing
    """
    urgency, incremental = unsaid
    for part in value.split(","):
        key, _, text = part.strip(" \t").partition("=")
        if key == "u":
            if len(text) == 1 and text in "01234567":
                urgency = int(text)
        elif key == "i":
            if text in ("", "?1"):
                incremental = True
            elif text == "?0":
                incremental = False
    return urgency, incremental


def _fail(block: HeaderBlock, error: H2Error, text: str, tag: int = BOGO_HEADER) -> HeaderBlock:
    if block.error is None:
        block.error = error
        block.complaint = (tag, text)
    return block


def _check_name(name: str, value: str) -> str | None:
    """Why a name is not one, or ``None``."""
    line = f"{name}: {value}"[:20]
    if not name:
        return "Empty name"
    if not _is_name(name):
        if _upper(name):
            return f"Illegal field header name (upper-case): {line}"
        return f"Illegal field header name (non-token): {line}"
    return None


def _describe_value(name: str, value: str) -> str:
    """What is wrong with a value."""
    line = f"{name}: {value}"[:20]
    if value[0] in " \t":
        return f"Illegal field value 0x{ord(value[0]):02x} start {line}"
    for char in value:
        if char != "\t" and (char < " " or char == "\x7f"):
            return f"Illegal field value 0x{ord(char):02x} {line}"
    return f"Illegal field value 0x{ord(value[-1]):02x} (end) at {line}"


def read_block(fields: list[tuple[bytes, bytes]], limits: Limits, trailers: bool = False) -> HeaderBlock:
    """Check a decoded header block.

    :param trailers: it is the second block of a request, which may hold no pseudo-headers
    """
    block = HeaderBlock()
    pseudo: dict[str, str] = {}
    headers: list[Header] = []
    cookies: list[str] = []
    size = 0
    strict = not limits.compat
    for raw_name, raw_value in fields:
        name = str(raw_name, "latin-1")
        value = str(raw_value, "latin-1")
        size += len(name) + len(value) + 3
        if name[:1] == ":":
            if trailers:
                return _fail(block, SE.PROTOCOL_ERROR, f"Pseudo-header in trailers: {name[:20]}")
            if headers and strict:
                return _fail(block, SE.PROTOCOL_ERROR, f"Pseudo-header after regular header: {name[:20]}")
            if name not in (":method", ":path", ":scheme", ":authority"):
                return _fail(block, SE.PROTOCOL_ERROR, f"Unknown pseudo-header: {f'{name}: {value}'[:20]}")
            if not value and name != ":authority":
                return _fail(block, SE.PROTOCOL_ERROR, f"Empty pseudo-header {name}")
            if _bad_value(value):
                return _fail(block, SE.PROTOCOL_ERROR, _describe_value(name, value))
            if name in pseudo:
                return _fail(block, SE.PROTOCOL_ERROR, f"Duplicate pseudo-header {name}")
            pseudo[name] = value
            if len(name) + len(value) + 2 > limits.header_size:
                _fail(block, SE.ENHANCE_YOUR_CALM, f"Header too large: {f'{name}: {value}'[:20]}")
            continue
        if not _is_name(name):
            return _fail(block, SE.PROTOCOL_ERROR, _check_name(name, value) or "Illegal field header name")
        if value and _bad_value(value):
            return _fail(block, SE.PROTOCOL_ERROR, _describe_value(name, value))
        if len(name) + len(value) + 2 > limits.header_size:
            _fail(block, SE.ENHANCE_YOUR_CALM, f"Header too large: {f'{name}: {value}'[:20]}")
        if strict:
            if name in _CONNECTION_SPECIFIC:
                return _fail(block, SE.PROTOCOL_ERROR, f"Connection-specific header: {name}")
            if name == "te" and value.lower() != "trailers":
                return _fail(block, SE.PROTOCOL_ERROR, f"Illegal TE: {value[:20]}")
        if name == "cookie":
            cookies.append(value)
            if len(cookies) > 1:
                continue  # all crumbs stand where the first one stood
        elif name == "content-length":
            if not value.isascii() or not value.isdigit() or len(value) > 18:
                return _fail(block, SE.PROTOCOL_ERROR, "Non-parseable Content-Length", DEBUG)
            length = int(value)
            if block.content_length >= 0:
                if block.content_length != length:
                    return _fail(block, SE.PROTOCOL_ERROR, "Conflicting Content-Length")
                continue
            block.content_length = length
        elif name == "priority":
            block.priority = parse_priority(value)
        headers.append((name, name, value))
        if len(headers) + 2 > limits.headers:  # Host and scheme come on top
            _fail(block, SE.ENHANCE_YOUR_CALM, f"Too many headers: {f'{name}: {value}'[:20]}", LOST_HEADER)
    block.size = size
    if size > limits.list_size:
        _fail(block, SE.REQ_SIZE, "Header list too large", LOST_HEADER)
    if len(cookies) > 1:
        joined = ("cookie", "cookie", "; ".join(cookies))
        headers = [joined if header[0] == "cookie" else header for header in headers]
    block.headers = headers
    if block.error is None and not trailers:
        _read_pseudo(block, pseudo, headers, strict)
    return block


def _authority_fits(block: HeaderBlock, scheme: str | None, authority: str | None, headers: list[Header]) -> bool:
    """http and https want an authority or a Host, of the form that RFC 3986 gives it (RFC 9113 section 8.3.1)."""
    if authority is not None:
        if not valid_authority(authority):
            _fail(block, SE.PROTOCOL_ERROR, f"Illegal :authority pseudo-header {authority[:20]!r}")
            return False
        return True
    hosts = [header[2] for header in headers if header[0] == "host"]
    if len(hosts) == 1 and not valid_authority(hosts[0]):
        _fail(block, SE.PROTOCOL_ERROR, f"Illegal host header {hosts[0][:20]!r}")
        return False
    if not hosts and scheme in ("http", "https"):
        _fail(block, SE.PROTOCOL_ERROR, "Neither :authority nor host")
        return False
    return True


def _read_pseudo(block: HeaderBlock, pseudo: dict[str, str], headers: list[Header], strict: bool) -> None:
    """Pseudo-headers become the request line, Host and (as the reference does) ``scheme``; RFC 9113 section 8.3.1."""
    method = pseudo.get(":method")
    path = pseudo.get(":path")
    scheme = pseudo.get(":scheme")
    authority = pseudo.get(":authority")
    if method is None:
        if scheme is None:
            _fail(block, SE.MISSING_SCHEME, "Missing :scheme", DEBUG)
        else:
            _fail(block, SE.PROTOCOL_ERROR, "Missing :method", DEBUG)
        block.on_connection = True
        return
    if not _is_token(method):
        _fail(block, SE.PROTOCOL_ERROR, f"Illegal :method pseudo-header {method[:20]!r}")
        return
    if method == "CONNECT" and strict:  # RFC 9113 section 8.5
        if path is not None or scheme is not None or not authority:
            _fail(block, SE.PROTOCOL_ERROR, "CONNECT takes :authority and neither :scheme nor :path")
            return
        path = authority
    else:
        if scheme is None:
            _fail(block, SE.MISSING_SCHEME, "Missing :scheme", DEBUG)
            block.on_connection = True
            return
        if not _is_token(scheme):
            _fail(block, SE.PROTOCOL_ERROR, f"Illegal :scheme pseudo-header {scheme[:20]!r}")
            return
        if path is None:
            _fail(block, SE.PROTOCOL_ERROR, "Missing :path", DEBUG)
            block.on_connection = True
            return
        if _bad_path(path) or (path[0] != "/" and (path != "*" or method != "OPTIONS")):
            _fail(block, SE.PROTOCOL_ERROR, f"Illegal :path pseudo-header {path[:200]}")
            return
    if strict and not _authority_fits(block, scheme, authority, headers):
        return
    front: list[Header] = []
    if scheme is not None:
        front.append(("scheme", "scheme", scheme))
    if authority:
        hosts = [header[2] for header in headers if header[0] == "host"]
        if hosts and strict:
            if any(host.lower() != authority.lower() for host in hosts):
                _fail(block, SE.PROTOCOL_ERROR, "Host differs from :authority")
                return
            headers[:] = [header for header in headers if header[0] != "host"]
        front.append(("host", "host", authority))
    if len(front) > 1 and next(name for name in pseudo if name in (":scheme", ":authority")) == ":authority":
        front.reverse()  # they are fields in the order in which they came
    headers[:0] = front
    block.method = method
    block.path = path
    block.received = ReceivedHead(frozenset([header[0] for header in headers]))
