"""Transactions as a HAR 1.2 document, which browsers' developer tools and many programs open.

An entry is a client's request or a backend's. Times come from the log's timestamps; phases that a transaction does not
have are -1, as the format wants it. What is ours stands in fields that begin with an underscore: id, side, handling,
name of the backend, parent, what VCL logged.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from varnishpy import __version__
from varnishpy.log.grouping import Transaction, parse_link
from varnishpy.log.printing import shown
from varnishpy.log.selection import Selection
from varnishpy.log.tags import Tag
from varnishpy.tools.log_json import Object, digest_of

#: side -> phase -> from and to which timestamps; the first that there is of each
_PHASES: Final[dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]]] = {
    "client": {
        "send": (("Start",), ("Req",)),
        "blocked": (("Req",), ("Waitinglist",)),
        "wait": (("Waitinglist", "Req", "Start"), ("Process", "Resp")),
        "receive": (("Process",), ("Resp",)),
    },
    "backend": {
        "connect": (("Fetch", "Start"), ("Connected",)),
        "send": (("Connected",), ("Bereq",)),
        "wait": (("Bereq", "Connected"), ("Beresp", "Error")),
        "receive": (("Beresp",), ("BerespBody",)),
    },
}
_NEEDED: Final = ("send", "wait", "receive")  # -1 is not allowed for these
_OURS: Final = {"id": "_vxid", "side": "_side", "handling": "_handling", "logs": "_logs", "errors": "_errors"}


def _pairs(fields: list[tuple[str, str]]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in fields]


def _cookies(text: str) -> list[Object]:
    parts = [part.strip().partition("=") for part in text.split(";")]
    return _pairs([(name, value) for name, equals, value in parts if equals])


def _set_cookies(fields: list[tuple[str, str]]) -> list[Object]:
    """Of each Set-Cookie its name and value, not the attributes."""
    return [_cookies(value)[0] for name, value in fields if name.lower() == "set-cookie" and "=" in value]


def _value(fields: list[tuple[str, str]], name: str) -> str:
    return next((value for known, value in fields if known.lower() == name), "")


def _size(message: Object, name: str) -> int:
    size = message.get(name)
    return size if isinstance(size, int) else -1


def _parent(transaction: Transaction) -> str:
    """The id of what it belongs to: a client's session, a fetch's request."""
    begins = (parse_link(record.text) for record in transaction.records if record.tag == Tag.Begin)
    return next((str(begin.vxid) for begin in begins if begin is not None), "")


def _timings(side: str, times: dict[str, float]) -> tuple[dict[str, float], float]:
    """Phases and their sum, in milliseconds."""
    timings = {"blocked": -1.0, "dns": -1.0, "connect": -1.0, "send": -1.0, "wait": -1.0, "receive": -1.0, "ssl": -1.0}
    for phase, (starts, ends) in _PHASES[side].items():
        start = next((times[name] for name in starts if name in times), None)
        end = next((times[name] for name in ends if name in times), None)
        if start is not None and end is not None:
            timings[phase] = max(round((end - start) * 1000, 3), 0.0)
    for phase in _NEEDED:
        timings[phase] = max(timings[phase], 0.0)
    return timings, round(sum(spent for spent in timings.values() if spent > 0), 3)


def entry(transaction: Transaction, selection: Selection) -> Object | None:
    """The entry of a client's or backend's transaction, from the records that the selection shows.

    None if they do not tell of a request.
    """
    digest = digest_of(transaction, selection)
    made = digest.made()
    request, response = digest.request, digest.response
    if "method" not in request or "url" not in request:
        return None
    sent, received = digest.request_fields(), digest.response_fields()
    times = digest.times()
    side = str(made["side"])
    timings, total = _timings(side, times)
    client = made.get("client")
    scheme = client.get("proto", "http") if isinstance(client, dict) else "http"
    url = str(request["url"])
    if "://" not in url:
        url = f"{scheme}://{_value(sent, 'host') or 'localhost'}{url}"
    started = datetime.fromtimestamp(min(times.values(), default=0.0), UTC)
    found: Object = {
        "startedDateTime": started.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "time": total,
        "request": {
            "method": request["method"],
            "url": url,
            "httpVersion": request.get("proto", ""),
            "cookies": _cookies(_value(sent, "cookie")),
            "headers": _pairs(sent),
            "queryString": _pairs(parse_qsl(urlsplit(url).query, keep_blank_values=True)),
            "headersSize": _size(request, "hdrBytes"),
            "bodySize": _size(request, "bodyBytes"),
        },
        "response": {
            "status": response.get("status", 0),
            "statusText": response.get("reason", ""),
            "httpVersion": response.get("proto", ""),
            "cookies": _set_cookies(received),
            "headers": _pairs(received),
            "content": {
                "size": max(_size(response, "bodyBytes"), 0),
                "mimeType": _value(received, "content-type") or "x-unknown",
            },
            "redirectURL": _value(received, "location"),
            "headersSize": _size(response, "hdrBytes"),
            "bodySize": _size(response, "bodyBytes"),
        },
        "cache": {},
        "timings": timings,
        "connection": _parent(transaction),
        **{ours: made[name] for name, ours in _OURS.items() if name in made},
    }
    backend = made.get("backend")
    if isinstance(backend, dict):
        found["serverIPAddress"] = backend["rAddr"]
        found["_backend"] = backend["name"]
    return found


class HarForm:
    """A document, entry by entry: `head`, what groups come to, `tail`."""

    def __init__(self) -> None:
        self._first = True

    def head(self) -> bytes:
        """What stands before the first entry."""
        self._first = True
        creator = json.dumps({"name": "varnishpy", "version": __version__})
        return f'{{"log":{{"version":"1.2","creator":{creator},"entries":['.encode()

    def render(self, group: list[Transaction], selection: Selection) -> bytes:
        """The entries of a group."""
        octets = b""
        for transaction in shown(group, selection):
            made = entry(transaction, selection) if transaction.kind in ("req", "bereq") else None
            if made is not None:
                octets += (b"\n" if self._first else b",\n") + json.dumps(made, ensure_ascii=False).encode()
                self._first = False
        return octets

    def tail(self) -> bytes:
        """What stands behind the last entry."""
        return b"\n]}}\n"
