"""Transactions as JSON objects, in the form of varnishlog-json(1).

An object has what a reader usually wants of a transaction: the request and the response as the peer saw them, when what
happened, and how it ended. A client's request is read up to the first subroutine of VCL, so that what VCL makes of it
does not show; a backend's is read until it is sent. A client's response is the one that was delivered; a backend's is
the one that arrived. Records that do not have the form they should have are passed over.

Values are octets from the wire. Those that are UTF-8 are read as such, any others as Latin-1, so that JSON comes out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Final

from varnishpy.log.grouping import Transaction
from varnishpy.log.printing import shown
from varnishpy.log.record import Record
from varnishpy.log.selection import Selection
from varnishpy.log.tags import Tag

Object = dict[str, object]

#: how ``-g`` is said to `--json`, and how the records are grouped for it
GROUPINGS: Final = {"probe": "raw", "request": "request", "vxid": "vxid"}

# tag -> part of the request
_REQUEST_PARTS: Final[dict[int, str]] = {
    Tag.ReqMethod: "method",
    Tag.BereqMethod: "method",
    Tag.ReqProtocol: "proto",
    Tag.BereqProtocol: "proto",
    Tag.ReqURL: "url",
    Tag.BereqURL: "url",
}
# tag -> part of the response
_RESPONSE_PARTS: Final[dict[int, str]] = {
    Tag.RespReason: "reason",
    Tag.BerespReason: "reason",
    Tag.RespProtocol: "proto",
    Tag.BerespProtocol: "proto",
    Tag.RespStatus: "status",
    Tag.BerespStatus: "status",
}
_REQUEST_HEADERS: Final = {Tag.ReqHeader, Tag.BereqHeader}
_REQUEST_UNSETS: Final = {Tag.ReqUnset, Tag.BereqUnset}
_RESPONSE_HEADERS: Final = {Tag.RespHeader, Tag.BerespHeader}
_RESPONSE_UNSETS: Final = {Tag.RespUnset, Tag.BerespUnset}
_ACCOUNTS: Final = {Tag.ReqAcct, Tag.BereqAcct}
# tag -> part of the transaction; the last one counts
_ONCE: Final[dict[int, str]] = {Tag.VCL_use: "vcl", Tag.Storage: "storage"}
# tag -> list in the transaction
_LISTS: Final[dict[int, str]] = {
    Tag.VCL_Log: "logs",
    Tag.Error: "errors",
    Tag.FetchError: "errors",
    Tag.VCL_Error: "errors",
}
# subroutine -> how the request was handled
_HANDLING: Final = {
    "MISS": "miss",
    "PASS": "pass",
    "PIPE": "pipe",
    "SYNTH": "synth",
    "BACKEND_RESPONSE": "fetch",
    "BACKEND_ERROR": "error",
}
# what VCL does after these does not change how the request was handled
_FINAL: Final = frozenset({"fail", "abandon"})
# fields of a Hit record while its object is still being fetched
_STREAMING_HIT_FIELDS: Final = 6
# backends of directors that make them as they go; they are told by their director's name
_DYNAMIC: Final = frozenset({"udo", "s3"})


def _text(octets: str) -> str:
    try:
        return octets.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return octets


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _real(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _backend_name(text: str) -> str:
    """The name without its VCL, and only the director's for those that a director makes."""
    name = text.partition(".")[2] or text
    first, _, rest = name.partition(".")
    if first in _DYNAMIC and rest:
        return rest.partition(".")[0]
    return "goto" if first == "goto" else name


class _Headers:
    """Header lines as VCL leaves them."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: list[str] = []

    def set(self, line: str) -> None:
        self._lines.append(line)

    def unset(self, line: str) -> None:
        lowered = line.lower()
        for position, held in enumerate(self._lines):
            if held.lower() == lowered:
                del self._lines[position]
                return

    def fields(self) -> Iterator[tuple[str, str]]:
        """Names and values."""
        for line in self._lines:
            name, _, value = line.removeprefix(":").partition(":")
            yield _text(name), _text(value.lstrip(" \t"))

    def combined(self) -> dict[str, object]:
        """Values by name in lower case; those of one name are joined."""
        joined: dict[str, object] = {}
        for written, value in self.fields():
            name = written.lower()
            separator = ";" if name == "cookie" else ","
            joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
        return joined


class Digest:
    """Reads the records of one transaction."""

    def __init__(self, transaction: Transaction) -> None:
        self._client = transaction.kind == "req"
        self._vxid = transaction.vxid
        self.request: Object = {"headers": {}}
        self.response: Object = {"headers": {}}
        self._timeline: list[tuple[str, float]] = []
        self._made: Object = {
            "side": "client" if self._client else "backend",
            "req": self.request,
            "resp": self.response,
            "timeline": [],
        }
        self._lists: dict[str, list[object]] = {}
        self._handling = "incomplete"
        self._request_done = self._response_done = False
        self._request_headers = _Headers()
        self._response_headers = _Headers()

    def read(self, record: Record) -> None:
        """Take one record."""
        tag, text = record.tag, record.text
        if tag in _REQUEST_PARTS or tag in _REQUEST_HEADERS or tag in _REQUEST_UNSETS:
            if not self._request_done:
                self._read_request(tag, text)
        elif tag in _RESPONSE_PARTS or tag in _RESPONSE_HEADERS or tag in _RESPONSE_UNSETS:
            if not self._response_done:
                self._read_response(tag, text)
        elif tag in _ONCE:
            self._made[_ONCE[tag]] = _text(text)
        elif tag in _LISTS:
            self._append(_LISTS[tag], _text(text))
        elif tag in _ACCOUNTS:
            self._account(text.split())
        elif tag in (Tag.VCL_call, Tag.VCL_return, Tag.Hit):
            self._step(tag, text)
        else:
            self._rest(tag, text)

    def _append(self, name: str, value: object) -> None:
        held = self._lists.setdefault(name, [])
        self._made[name] = held
        held.append(value)

    def _read_request(self, tag: int, text: str) -> None:
        if tag in _REQUEST_HEADERS:
            self._request_headers.set(text)
        elif tag in _REQUEST_UNSETS:
            self._request_headers.unset(text)
        else:
            self.request[_REQUEST_PARTS[tag]] = _text(text)

    def _read_response(self, tag: int, text: str) -> None:
        if tag in _RESPONSE_HEADERS:
            self._response_headers.set(text)
        elif tag in _RESPONSE_UNSETS:
            self._response_headers.unset(text)
        else:
            part = _RESPONSE_PARTS[tag]
            self.response[part] = _number(text) if part == "status" else _text(text)

    def _account(self, parts: list[str]) -> None:
        if len(parts) != 6:
            return
        for message, head, body in ((self.request, parts[0], parts[1]), (self.response, parts[3], parts[4])):
            message["hdrBytes"] = _number(head)
            message["bodyBytes"] = _number(body)

    def _step(self, tag: int, text: str) -> None:
        handling = self._handling
        if tag == Tag.VCL_call:
            if self._client:
                self._request_done = True
            elif text in ("BACKEND_RESPONSE", "BACKEND_ERROR"):
                self._response_done = True
            handling = _HANDLING.get(text, handling)
        elif tag == Tag.Hit:
            handling = "streaming-hit" if len(text.split()) >= _STREAMING_HIT_FIELDS else "hit"
        else:
            if not self._client and text in ("fetch", "error"):
                self._request_done = True
            if text in _FINAL:
                self._handling = text
            return
        if self._handling not in _FINAL:
            self._handling = handling

    def _rest(self, tag: int, text: str) -> None:
        parts = text.split()
        if tag == Tag.Begin:
            self._made["id"] = str(self._vxid)
        elif tag == Tag.Link and len(parts) >= 3:
            self._append("links", {"type": parts[0], "id": parts[1], "reason": parts[2]})
        elif tag == Tag.Timestamp and len(parts) >= 2 and (moment := _real(parts[1])) is not None:
            self._timeline.append((_text(parts[0].removesuffix(":")), moment))
        elif tag == Tag.BackendOpen and len(parts) >= 7:
            self._made["backend"] = {
                "name": _backend_name(parts[1]),
                "rAddr": parts[2],
                "rPort": _number(parts[3]),
                "connReused": parts[6] == "reuse",
            }
        elif tag == Tag.ReqStart and len(parts) >= 3:
            client: Object = {"rAddr": parts[0], "rPort": _number(parts[1]), "sock": parts[2]}
            if len(parts) > 3:
                client["proto"] = parts[3]
            self._made["client"] = client
        elif tag == Tag.End and text == "synth":
            self._made["error"] = "truncated log"

    def request_fields(self) -> list[tuple[str, str]]:
        """The header fields of the request, one by one, as `made` has them."""
        return list(self._request_headers.fields())

    def response_fields(self) -> list[tuple[str, str]]:
        """Those of the response."""
        return list(self._response_headers.fields())

    def times(self) -> dict[str, float]:
        """When what happened for the last time, in seconds of the wall clock."""
        return dict(self._timeline)

    def made(self) -> Object:
        """The object, after the last record."""
        self._made["handling"] = self._handling
        self._made["timeline"] = [{"name": name, "timestamp": moment} for name, moment in self._timeline]
        self.request["headers"] = self._request_headers.combined()
        headers = self._response_headers.combined()
        if headers.pop("set-cookie", None) is not None:
            self.response["set-cookie"] = [
                v for name, v in self._response_headers.fields() if name.lower() == "set-cookie"
            ]
        self.response["headers"] = headers
        return self._made


def transaction_object(transaction: Transaction, selection: Selection) -> Object:
    """The object of a client's or backend's transaction, from the records that the selection shows."""
    return digest_of(transaction, selection).made()


def digest_of(transaction: Transaction, selection: Selection) -> Digest:
    """What the records that the selection shows say of a transaction."""
    digest = Digest(transaction)
    for record in transaction.records:
        if selection.matches(record):
            digest.read(record)
    return digest


def probe_object(record: Record) -> Object | None:
    """The object of a ``Backend_health`` record; None for any other."""
    # name, change, state, report, good, threshold, window, time of this response, average, status line
    parts = record.text.split(maxsplit=9)
    if record.tag != Tag.Backend_health or len(parts) < 9 or (duration := _real(parts[7])) is None:
        return None
    message = parts[9].rstrip() if len(parts) > 9 else ""
    if message.startswith('"'):
        message = message[1:].partition('"')[0]
    return {
        "backend": _text(parts[0]),
        "healthy": parts[2] == "healthy",
        "happy": parts[3].endswith("H"),
        "report": parts[3],
        "duration": duration,
        "message": _text(message),
    }


class JsonForm:
    """How groups are written: one object a line, or an array of them for the groups of requests.

    :param grouping: one of `GROUPINGS`
    :param pretty: on several lines, indented
    """

    def __init__(self, grouping: str, pretty: bool) -> None:
        self._grouping = grouping
        self._pretty = pretty

    def head(self) -> bytes:
        """Nothing: each line stands for itself."""
        return b""

    def tail(self) -> bytes:
        """Nothing."""
        return b""

    def render(self, group: list[Transaction], selection: Selection) -> bytes:
        """The text of a group, in UTF-8; nothing if it has nothing to show."""
        if self._grouping == "probe":
            probes = [probe_object(record) for transaction in group for record in transaction.records]
            return b"".join(self._line(probe) for probe in probes if probe is not None)
        made = [transaction_object(t, selection) for t in shown(group, selection) if t.kind in ("req", "bereq")]
        if not made:
            return b""
        return self._line(made if self._grouping == "request" else made[0])

    def _line(self, value: object) -> bytes:
        if self._pretty:
            return json.dumps(value, ensure_ascii=False, indent="\t").encode() + b"\n"
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
