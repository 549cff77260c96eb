"""Vary (RFC 9110 section 12.5.5): which requests a stored response answers.

The *spec* of a stored response is a string of entries, in the order of its Vary header: two octets length of the
request header's value (ffff: it was absent), one octet length of the header's name with its colon, the name, ``:``,
NUL, the value; closed by ff ff 00. It is matched against a request, and the request's own values along that order make
the *predicted* spec of the object the request will fetch: requests that ask for another variant need not wait for that
fetch.
"""

from __future__ import annotations

from typing import Final

from varnishpy.http.coding import beyond_gzip
from varnishpy.http.message import Message

END: Final = b"\xff\xff\x00"
_ABSENT: Final = 0xFFFF
_MAX_NAME: Final = 127
_BLANKS: Final = " \t\r\n"

Entries = tuple[tuple[str, str | None], ...]


class VaryError(ValueError):
    """The Vary header cannot be used; the text is for the log, and the response is not shared."""


class NeverMatches(VaryError):
    """``*`` is among the members: no other request may get this response (RFC 9111 section 4.1)."""


def _encode(name: str, value: str | None) -> bytes:
    raw = name.encode("latin-1")
    head = bytes((len(raw) + 1,)) + raw + b":\x00"
    if value is None:
        return b"\xff\xff" + head
    data = value.encode("latin-1")
    return len(data).to_bytes(2, "big") + head + data


def _value(request: Message, lname: str) -> str | None:
    """What is compared: all lines of that name together (RFC 9111 section 4.1)."""
    value: str | None = None
    for header in request.headers:
        if header[0] == lname:
            value = header[2] if value is None else f"{value}, {header[2]}"
    return value if value is None else value.rstrip(_BLANKS)


def build(beresp: Message, bereq: Message, star_matches: bool = False) -> bytes | None:
    """The spec of a response to be stored, ``None`` when it has no Vary header.

    :param star_matches: as in Varnish, ``*`` is the name of a header that no request has, so that it matches; only the
        built-in VCL keeps such responses from being shared then
    :raises NeverMatches: the response answers this request only
    :raises VaryError: the header makes no sense
    """
    vary = beresp.joined("vary")
    if not vary:
        return None
    spec = bytearray()
    for element in vary.split(","):
        name = element.strip(_BLANKS)
        if not name:  # empty list elements are legal and mean nothing (section 5.6.1.2)
            continue
        if name == "*" and not star_matches:
            raise NeverMatches("Vary: *")
        if len(name) > _MAX_NAME:
            raise VaryError("Vary header name length exceeded")
        if len(name.split()) > 1:
            raise VaryError("Malformed Vary header")
        value = _value(bereq, name.lower())
        if value is not None and len(value) >= _ABSENT:
            raise VaryError("Vary header maximum length exceeded")
        spec += _encode(name, value)
    return bytes(spec) + END if spec else None


def entries(spec: bytes) -> Entries:
    """A spec taken apart: lower-case name and value (``None``: absent) of each entry."""
    found: list[tuple[str, str | None]] = []
    at = 0
    while spec[at + 2]:
        length = int.from_bytes(spec[at : at + 2], "big")
        name_length = spec[at + 2] - 1
        at += 3
        name = spec[at : at + name_length].decode("latin-1").lower()
        at += name_length + 2
        if length == _ABSENT:
            found.append((name, None))
        else:
            found.append((name, spec[at : at + length].decode("latin-1")))
            at += length
    return tuple(found)


def match_entries(variant: Entries, request: Message, gzip_support: bool) -> bool:
    """Like `match`, for a spec already taken apart."""
    for name, wanted in variant:
        found = _value(request, name)
        if found != wanted and not (
            gzip_support and name == "accept-encoding" and beyond_gzip(found) == beyond_gzip(wanted)
        ):
            return False
    return True


def match(spec: bytes, request: Message, gzip_support: bool = True) -> bool:
    """Does a request ask for the variant of that spec?

    :param gzip_support: we convert between gzip and identity, so of ``Accept-Encoding`` only another coding counts
    """
    return match_entries(entries(spec), request, gzip_support)


def predict(variant: Entries, request: Message) -> Entries:
    """The variant this request's own fetch will most likely give, judging by a stored one that it did not match."""
    return tuple((name, _value(request, name)) for name, _ in variant)


def encode(variant: Entries) -> bytes:
    """A spec from its entries."""
    return b"".join(_encode(name, value) for name, value in variant) + END
