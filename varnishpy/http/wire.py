"""HTTP/1 syntax, without any I/O: heads of requests and responses, body framing, and writing heads.

Both ends of the proxy use it: ``http1/`` towards clients and ``backends/`` towards origins. Callers own the receive
buffer (a ``bytearray``), ask `head_end` whether a whole head stands in it, and hand the head to `parse_request` or
`parse_response`. The chunked coding is in ``wire_chunked.py``.

Two parsers in a row that disagree about where a message ends let one client speak in another's name ("request
smuggling"), so requests are read strictly: lines end in CRLF and nothing else, one space separates the words of the
first line, no control characters, no folded lines, no white space around a field name, one Content-Length of digits
only, never beside Transfer-Encoding. Responses come from an origin that the operator chose: a lone LF may end a line
and folded lines are joined, as RFC 9112 sections 2.2 and 5.2 permit; their framing is read just as strictly.

Names and values of fields are the subject of ``wire_fields.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

from varnishpy.http.authority import valid_authority
from varnishpy.http.message import Header, Message
from varnishpy.http.status import reason as reason_phrase
from varnishpy.http.wire_fields import (
    CONTROL,
    CTL_OCTETS,
    TOKEN,
    FieldBlock,
    WireError,
    complain,
    field_block,
    make_block,
    parse_lines,
)
from varnishpy.params import params

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4

_DIGITS: Final = re.compile(r"[0-9]+")
_BLANKS: Final = re.compile(r" +")  # a tab separates nothing, in Varnish neither
_STATUS_LINE: Final = re.compile(r"(HTTP/1\.[0-9]) +([1-9][0-9]{2})(?:[ \t]+(.*))?")
_AUTHORITY: Final = re.compile(r"[^\x00-\x20\x7f@#\\/?\"<>]+")
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PURGE"))

_CODINGS: Final = frozenset(("chunked", "compress", "deflate", "gzip", "x-compress", "x-gzip", "identity", "trailers"))

_LINE_CTL: Final = CTL_OCTETS + b"\r\n"  # what no line may hold

MAX_CONTENT_LENGTH: Final = 2**63 - 1  # what the reference's ssize_t holds


class BodyKind(Enum):
    """How the end of a body is found (RFC 9112 section 6)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    EOF = "eof"


@dataclass(slots=True, frozen=True)
class Framing:
    """Where a body ends; ``length`` is in octets, -1 when it is not known beforehand."""

    kind: BodyKind
    length: int


NO_BODY: Final = Framing(BodyKind.NONE, 0)
CHUNKED_BODY: Final = Framing(BodyKind.CHUNKED, -1)
EOF_BODY: Final = Framing(BodyKind.EOF, -1)


class RequestHead:
    """What `parse_request` found besides the message itself.

    ``target`` is the request target as received, before an absolute form was taken apart; ``hosts`` are the Host
    headers that gave way to its authority.
    """

    __slots__ = ("absolute_form", "fields", "framing", "has_upgrade", "hosts", "target")

    def __init__(self, target: str, fields: FieldBlock) -> None:
        self.framing = NO_BODY
        self.target = target
        self.absolute_form = False
        self.has_upgrade = False
        self.fields = fields
        self.hosts: Sequence[Header] = ()


# -- finding the end of a head -----------------------------------------------------------------------------------------


class Prefix(Enum):
    """Does a buffer begin with the HTTP/2 preface?"""

    NO = 0
    PARTLY = 1
    WHOLE = 2


def preface_match(buf: bytearray | bytes) -> Prefix:
    """Compare the start of a buffer with the HTTP/2 connection preface."""
    if len(buf) >= len(PREFACE):
        return Prefix.WHOLE if buf.startswith(PREFACE) else Prefix.NO
    return Prefix.PARTLY if PREFACE.startswith(bytes(buf)) else Prefix.NO


def skip_blank_lines(buf: bytearray, lenient: bool = False) -> int:
    """Drop empty lines in front of a head (RFC 9112 section 2.2); returns how many octets that were.

    :param lenient: drop white space of any kind (``feature=+http1_compat``)
    """
    n = 0
    if lenient:
        n = len(buf) - len(buf.lstrip(b" \t\r\n"))
    while buf.startswith(b"\r\n", n):
        n += 2
    if n:
        del buf[:n]
    return n


def head_end(buf: bytearray, scanned: int = 0, lone_lf: bool = False) -> int:
    """The offset just behind the blank line that ends a head, or 0 when more must be read.

    :param scanned: how much of the buffer an earlier call has seen already, so that a head that arrives in many small
        pieces costs no more than one that arrives whole
    :param lone_lf: lines may end in LF alone
    :raises WireError: whatever follows, this will be no head: a lone LF, or a first line of HTTP/0.9
    """
    begin = scanned - 3 if scanned > 3 else 0
    end = buf.find(b"\r\n\r\n", begin)
    if lone_lf:
        return _head_end_lf(buf, begin, end)
    if end >= 0:
        return end + 4
    lf = buf.find(b"\n", begin)
    while lf >= 0:
        if lf == 0 or buf[lf - 1] != 0x0D:
            raise WireError("Header has ctrl char 0x0a")
        lf = buf.find(b"\n", lf + 1)
    first = buf.find(b"\r\n", 0, 4096)
    if first > 0 and buf.find(b" HTTP/", 0, first) < 0:
        raise WireError
    return 0


def _head_end_lf(buf: bytearray, begin: int, crlf_end: int) -> int:
    ends = [crlf_end + 4] if crlf_end >= 0 else []
    for mark in (b"\n\n", b"\n\r\n"):
        at = buf.find(mark, begin)
        if at >= 0:
            ends.append(at + len(mark))
    return min(ends) if ends else 0


# -- requests ----------------------------------------------------------------------------------------------------------


def parse_request(
    head: bytes | bytearray,
    msg: Message,
    *,
    hdr_len: int = 0,
    max_hdr: int = 0,
    https_scheme: bool = False,
    lenient: bool = False,
) -> RequestHead:
    """Read a request head, from its first octet to the blank line that ends it, into ``msg``; nothing is logged.

    An absolute-form target of an ``http`` URI (and ``https``, if so told) becomes Host and path (RFC 9112 section
    3.2.2).

    :param hdr_len: longest header line in octets (``http_req_hdr_len``); 0 for no limit
    :param max_hdr: most header lines (``http_max_hdr``); 0 for no limit
    :param lenient: as Varnish reads it (``feature=+http1_compat``): lines may end in a lone LF, headers may be folded,
        the words of the first line stand any number of blanks apart, and methods may hold what is in no token
    :raises WireError: with the text for a ``BogoHeader`` record, or an empty one where the first line is at fault
    """
    first, block = "", None
    lines: list[str] = []
    if not lenient:
        line, _, fields = bytes(head).partition(b"\r\n")
        if len(line.translate(None, _LINE_CTL)) == len(line):
            first = line.decode("latin-1")
            block = field_block(fields, hdr_len, max_hdr)
    if block is None:
        first, lines = _checked_lines(head, lenient, hdr_len, max_hdr)

    words = first.split(" ")
    if len(words) != 3:
        raise WireError
    method, target, proto = words
    if not method or not target or "\t" in target:
        raise WireError
    if method not in _METHODS and not lenient and TOKEN.fullmatch(method) is None:
        raise WireError
    if proto != "HTTP/1.1" and proto != "HTTP/1.0":
        raise WireError

    if block is None:
        block = make_block(lines, hdr_len, max_hdr)
    msg.method = method
    msg.url = target
    msg.proto = proto
    msg.headers = block.headers.copy()
    result = RequestHead(target, block)
    hosts = lengths = 0
    coding: str | None = None
    length: str | None = None
    host = ""
    for lname, _, value in block.special:
        if lname == "host":
            hosts += 1
            host = value
        elif lname == "content-length":
            lengths += 1
            length = value
        elif lname == "transfer-encoding":
            coding = value if coding is None else f"{coding}, {value}"
        else:
            result.has_upgrade = True
    if hosts > 1:
        raise WireError("Multiple Host: headers", headers_known=True)
    if lengths > 1:
        raise WireError("Multiple Content-Length: headers", headers_known=True)
    if not lenient and not valid_authority(host, True):  # RFC 9112 section 3.2
        raise WireError("Bad Host: header", headers_known=True)
    if target[0] not in "/*":
        _absolute_form(msg, target, https_scheme, result, lenient)
    if length is not None or coding is not None:
        result.framing = _explicit_framing(length, coding)
        if coding is not None and proto == "HTTP/1.0":
            raise WireError("Transfer-Encoding: in HTTP/1.0")  # RFC 9112 section 6.1: faulty framing
        if method == "HEAD" and result.framing is not NO_BODY:
            raise WireError("HEAD request with body")
    elif proto == "HTTP/1.0" and (method == "POST" or method == "PUT"):
        raise WireError("Missing Content-Length: header")  # RFC 1945 section 8.3
    return result


def _checked_lines(head: bytes | bytearray, lenient: bool, hdr_len: int, max_hdr: int) -> tuple[str, list[str]]:
    """The first line of a request and its field lines, none of which holds a control character."""
    text = head.decode("latin-1")
    lines = _lenient_lines(text) if lenient else text.split("\r\n")
    count = len(lines) - 1
    if not lenient and (head.count(b"\n") != count or head.count(b"\r") != count):
        _complain_request(lines, hdr_len, max_hdr)
    first = lines[0]
    lines = lines[1:-2]
    if len(head.translate(None, CTL_OCTETS)) != len(head) or (lenient and "\r" in "".join((first, *lines))):
        _complain_request([first, *lines, "", ""], hdr_len, max_hdr)
    return first, lines


def _lenient_lines(text: str) -> list[str]:
    lines = text.replace("\r\n", "\n").split("\n")
    return [_BLANKS.sub(" ", lines[0]), *_unfold(lines[1:-2], 2), "", ""]


def _complain_request(lines: list[str], hdr_len: int, max_hdr: int) -> NoReturn:
    if CONTROL.search(lines[0]) is not None:
        raise WireError
    complain(lines[1:-2], hdr_len, max_hdr)


def _absolute_form(msg: Message, target: str, https_scheme: bool, result: RequestHead, lenient: bool) -> None:
    scheme = target[:8].lower()
    if scheme.startswith("http://"):
        rest = target[7:]
    elif https_scheme and scheme == "https://":
        rest = target[8:]
    else:
        return
    ends = [at for at in (rest.find("/"), rest.find("?")) if at >= 0]
    end = min(ends) if ends else len(rest)
    authority = rest[:end]
    # neither empty nor with user information (RFC 9110 sections 4.2.1 and 4.2.4)
    if (_AUTHORITY.fullmatch(authority) is None) if lenient else not valid_authority(authority):
        raise WireError
    path = rest[end:]
    if not path:
        path = "*" if msg.method == "OPTIONS" else "/"
    elif path[0] == "?":
        path = "/" + path
    msg.url = path
    result.hosts = [header for header in msg.headers if header[0] == "host"]
    msg.headers = [header for header in msg.headers if header[0] != "host"]
    msg.headers.append(("host", "Host", authority))
    result.absolute_form = True


def _explicit_framing(length: str | None, coding: str | None) -> Framing:
    if coding is not None:
        if length is not None:
            raise WireError("Both Transfer-Encoding: and Content-Length: headers")
        if coding.lower() != "chunked":
            raise WireError("Unsupported Transfer-Encoding: header")
        return CHUNKED_BODY
    assert length is not None
    if _DIGITS.fullmatch(length) is None or len(length) > 40:
        raise WireError("Bad Content-Length: header")
    octets = int(length)
    if octets > MAX_CONTENT_LENGTH:
        raise WireError("Bad Content-Length: header")
    return Framing(BodyKind.LENGTH, octets) if octets else NO_BODY


# -- responses ---------------------------------------------------------------------------------------------------------


def parse_response(
    head: bytes | bytearray,
    msg: Message,
    request_method: str,
    *,
    hdr_len: int = 0,
    max_hdr: int = 0,
    unknown_coding: bool = False,
) -> Framing:
    """Read a response head, from its first octet to the blank line that ends it, into ``msg``; nothing is logged.

    :param request_method: of the request that is being answered: the answer to HEAD has no body
    :param hdr_len: longest header line in octets (``http_resp_hdr_len``); 0 for no limit
    :param max_hdr: most header lines (``http_max_hdr``); 0 for no limit
    :param unknown_coding: a body in a transfer coding that nobody knows ends with its connection (``feature``)
    :returns: how the body is framed (RFC 9112 section 6.3)
    :raises WireError: with the text for a ``BogoHeader`` record, or an empty one where the first line is at fault
    """
    text = head.decode("latin-1")
    lines = text.split("\r\n")
    line_end = 2
    if head.count(b"\n") != len(lines) - 1:
        lines = text.replace("\r\n", "\n").split("\n")
        line_end = 1
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None or CONTROL.search(lines[0]) is not None:
        raise WireError
    lines = lines[1:-2]
    if "\r" in "".join(lines) or len(head.translate(None, CTL_OCTETS)) != len(head):
        complain(lines, hdr_len, max_hdr)
    if "\n " in text or "\n\t" in text:
        lines = _unfold(lines, line_end)
    headers: list[Header] = []
    special = parse_lines(lines, headers, hdr_len, max_hdr)
    status = int(match[2])
    msg.proto = match[1] if match[1] <= "HTTP/1.1" else "HTTP/1.1"  # RFC 9110 section 2.5
    msg.status = status
    msg.reason = (match[3] or "").strip(" \t") or reason_phrase(status)
    msg.headers = headers

    coding: str | None = None
    length: str | None = None
    repeated = False
    for lname, _, value in special:
        if lname == "content-length":
            if length is not None:
                if length != value:
                    raise WireError("Multiple Content-Length: headers", headers_known=True)
                repeated = True
            length = value
        elif lname == "transfer-encoding":
            coding = value if coding is None else f"{coding}, {value}"
    if repeated:  # one value is sent on (RFC 9110 section 8.6)
        behind = next(at for at, header in enumerate(headers, 1) if header[0] == "content-length")
        msg.headers = headers[:behind] + [header for header in headers[behind:] if header[0] != "content-length"]
    if request_method == "HEAD" or status < 200 or status == 204 or status == 304:
        return NO_BODY
    if coding is not None and length is None and unknown_coding and _is_unknown(coding):
        return EOF_BODY
    if length is not None or coding is not None:
        return _explicit_framing(length, coding)
    return EOF_BODY


def _is_unknown(coding: str) -> bool:
    """One transfer coding, and none that anybody has defined: its name is all that there is of it."""
    return TOKEN.fullmatch(coding) is not None and coding.lower() not in _CODINGS


def _unfold(lines: list[str], line_end: int) -> list[str]:
    """Join continuation lines to their field, a space for every octet between them (RFC 9112 section 5.2).

    So a field is as long as it was on the wire, which is what its limit is about.
    """
    unfolded: list[str] = []
    for line in lines:
        if unfolded and line[:1] in (" ", "\t"):
            text = line.lstrip(" \t")
            unfolded[-1] += " " * (len(line) - len(text) + line_end) + text
        else:
            unfolded.append(line)
    return unfolded


# -- writing heads -----------------------------------------------------------------------------------------------------


def _octets(lines: list[str]) -> bytes:
    lines.append("\r\n")
    try:
        head = "\r\n".join(lines).encode("latin-1")
    except UnicodeEncodeError as error:
        raise WireError(f"Character beyond one octet at {error.start} of the head") from None
    count = len(lines)
    if head.count(b"\n") != count or head.count(b"\r") != count or b"\0" in head:
        # only VCL can have set such a header, and only where its author had the check of headers turned off
        refused = params.feature.validate_headers or CONTROL.search(lines[0]) is not None
        if refused:
            raise WireError("CR, LF or NUL in a header")
    return head


def request_head(msg: Message) -> bytes:
    """The head of a request as it goes on the wire.

    :raises WireError: a line break or NUL in it would let one message pass for two (in a header only as long as
        ``feature`` has ``validate_headers``)
    """
    lines = [f"{msg.method} {msg.url} {msg.proto}"]
    lines += [f"{header[1]}: {header[2]}" for header in msg.headers]
    return _octets(lines)


def response_head(msg: Message) -> bytes:
    """The head of a response as it goes on the wire; statuses above 999 show their last three digits.

    :raises WireError: as `request_head` does
    """
    lines = [f"{msg.proto} {msg.status % 1000:03d} {msg.reason}"]
    lines += [f"{header[1]}: {header[2]}" for header in msg.headers]
    return _octets(lines)
