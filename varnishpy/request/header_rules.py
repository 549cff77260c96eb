"""Which header fields go where: one table, and the few rules built on it.

A proxy must not forward everything it hears. Per field this table says in which of four passages it is dropped:

* ``P`` a request passed to the backend, ``F`` a request fetched on the cache's own behalf (which must be about the
  whole object, hence no conditionals and no ranges),
* ``I`` a response inserted into the cache, ``S`` a response passed through.

Fields that are not in the table travel freely, unless the message's own ``Connection`` names them (RFC 9110 section
7.6.1). A client must not use ``Connection`` to make us drop a field that we know and would have passed: that is
refused.
"""

from __future__ import annotations

from typing import Final

from varnishpy.http.message import Field, Header, Message
from varnishpy.params import params

CLOSE: Final = Field("Connection", "close", constant=True)

PASS: Final = 1
FETCH: Final = 2
INSERT: Final = 4
STORE_PASS: Final = 8

_NONE: Final[frozenset[str]] = frozenset()
_FOR_TRAILERS: Final = frozenset(("te", "trailer"))

COUNTED_METHODS: Final = frozenset(("OPTIONS", "TRACE"))
_MOST_DIGITS: Final = 9  # a number of hops may be of any length
_ALL: Final = PASS | FETCH | INSERT | STORE_PASS

#: lower-case name -> passages in which the field is dropped (0: known, never dropped)
RULES: Final[dict[str, int]] = {
    "accept": 0,
    "accept-charset": 0,
    "accept-encoding": 0,
    "accept-language": 0,
    "accept-ranges": PASS | FETCH | INSERT,
    "age": INSERT | STORE_PASS,
    "allow": 0,
    "authorization": 0,
    "cache-control": FETCH,
    "connection": _ALL,
    "content-encoding": 0,
    "content-language": 0,
    "content-length": 0,
    "content-location": 0,
    "content-md5": 0,
    "content-range": FETCH | INSERT,
    "content-type": 0,
    "cookie": 0,
    "date": 0,
    "etag": 0,
    "expect": 0,
    "expires": 0,
    "from": 0,
    "host": 0,
    "http2-settings": _ALL,
    "if-match": FETCH,
    "if-modified-since": FETCH,
    "if-none-match": FETCH,
    "if-range": FETCH,
    "if-unmodified-since": FETCH,
    "keep-alive": _ALL,
    "last-modified": 0,
    "location": 0,
    "max-forwards": 0,
    "pragma": 0,
    "proxy-authenticate": FETCH | INSERT,
    "proxy-authorization": FETCH | INSERT,
    "proxy-connection": _ALL,
    "range": FETCH | INSERT,
    "referer": 0,
    "retry-after": 0,
    "server": 0,
    "set-cookie": 0,
    "te": _ALL,
    "trailer": _ALL,
    "transfer-encoding": _ALL,
    "upgrade": _ALL,
    "user-agent": 0,
    "vary": 0,
    "via": 0,
    "warning": 0,
    "www-authenticate": 0,
    "x-forwarded-for": 0,
}


def filter_headers(
    headers: list[Header], passage: int, named: frozenset[Header] = frozenset(), keep: frozenset[str] = frozenset()
) -> list[Header]:
    """The headers that survive a passage.

    :param passage: one of `PASS`, `FETCH`, `INSERT`, `STORE_PASS`; 0 drops only what Connection named (pipe)
    :param named: headers that the message's Connection field marked, see `connection_options`
    :param keep: lower-case names that survive this time (``TE`` and ``Trailer`` with ``pass_trailers``)
    """
    rules = RULES
    return [
        header
        for header in headers
        if (not (rules.get(header[0], 0) & passage) or header[0] in keep) and (not named or header not in named)
    ]


def kept_for_trailers() -> frozenset[str]:
    """Headers of a pass that survive so that trailers can be passed on."""
    return _FOR_TRAILERS if params.experimental.pass_trailers else _NONE


def connection_options(message: Message, close_reason: str) -> tuple[str | None, frozenset[Header]]:
    """Read ``Connection``: must this connection close, and which headers belong to this hop only?

    Several Connection fields are folded into one.

    :returns: a SessClose reason or ``None``, and the headers named. ``"RX_BAD"`` means the message tries to have a
        well-known end-to-end field dropped and must be refused.
    """
    reason = "REQ_HTTP10" if message.proto == "HTTP/1.0" else None
    value = message.get("connection")
    if value is None:
        return reason, frozenset()
    if message.count("connection") > 1:
        message.collect("Connection")
        value = message.get("connection") or ""
    names: set[str] = set()
    for part in value.split(","):
        token = part.strip(" \t").lower()
        if token == "close":
            reason = close_reason
        elif token == "keep-alive":
            reason = None
        if not token:
            continue
        rule = RULES.get(token)
        if rule is not None and not rule & PASS:
            return "RX_BAD", frozenset()
        names.add(token)
    return reason, frozenset(header for header in message.headers if header[0] in names)


def last_hop(message: Message) -> bool:
    """Does ``Max-Forwards`` of an OPTIONS or TRACE say that this is as far as it goes? (RFC 9110 section 7.6.2)"""
    return _hops_left(message) == 0


def count_hop(message: Message) -> None:
    """One hop less is left to an OPTIONS or TRACE that counts them."""
    left = _hops_left(message) if message.method in COUNTED_METHODS else -1
    if left > 0:
        message.set("Max-Forwards", str(left - 1))


def _hops_left(message: Message) -> int:
    value = message.get("max-forwards")
    if value is None or not (value.isascii() and value.isdecimal()):
        return -1
    return int(value[-_MOST_DIGITS:]) if not value[:-_MOST_DIGITS].strip("0") else 10**_MOST_DIGITS


def append(message: Message, name: str, value: str) -> None:
    """Append to a list header that must stay one line: ``X-Forwarded-For``, ``Via``."""
    if not message.has(name.lower()):
        message.add(name, value)
        return
    message.set(name, f"{message.joined(name.lower())}, {value}")
