"""``varnishpy ncsa``: one line per request, in the combined format of web servers or any other: varnishncsa(1)."""

from __future__ import annotations

from pathlib import Path

from varnishpy.log.grouping import Transaction
from varnishpy.log.query import nth_field
from varnishpy.log.record import Record
from varnishpy.log.tags import TAGS, Tag, TagFlag
from varnishpy.tools.follow import Follower, pick
from varnishpy.tools.ncsa_format import (
    DEFAULT_FORMAT,
    JSON_FORMAT,
    Format,
    FormatError,
    HeaderWatch,
    Line,
    after_prefix,
)
from varnishpy.tools.output import OUTPUT_OPTIONS, check_output, open_output
from varnishpy.tools.usage import Option, ToolError, parse, tool

PROGRAM = "varnishpy ncsa"
OPTIONS = pick(
    "CdDghLnPQqrRtV",
    *OUTPUT_OPTIONS,
    Option("b", "[-b]", "Backend mode"),
    Option("c", "[-c]", "Client mode"),
    Option("E", "[-E]", "Show ESI requests"),
    Option("F:", "[-F <format>]", "Set output format"),
    Option("f:", "[-f <formatfile>]", "Read output format from file"),
    Option("j", "[-j]", "Make output JSON-compatible"),
    Option("J", "[-J]", "A JSON object for each request, with the usual fields", "json"),
    Option("k:", "[-k <num>]", "Limit transactions"),
)

_BLANKS = " \t\n\v\f\r"  # what C takes for blank; Python takes more, the last octet of an "à" for instance
_METHODS = frozenset({Tag.ReqMethod, Tag.BereqMethod})
_URLS = frozenset({Tag.ReqURL, Tag.BereqURL})
_PROTOCOLS = frozenset({Tag.ReqProtocol, Tag.BereqProtocol})
_STATUSES = frozenset({Tag.RespStatus, Tag.BerespStatus})
_REQUEST_HEADERS = frozenset({Tag.ReqHeader, Tag.BereqHeader})
_REQUEST_UNSETS = frozenset({Tag.ReqUnset, Tag.BereqUnset})
_RESPONSE_HEADERS = frozenset({Tag.RespHeader, Tag.BerespHeader})
_RESPONSE_UNSETS = frozenset({Tag.RespUnset, Tag.BerespUnset})
_ACCOUNTS = frozenset({Tag.ReqAcct, Tag.BereqAcct})
_CALLS = {"recv": ("-", "-"), "hit": ("hit", "hit"), "synth": ("miss", "synth")}


class _Digest:
    """Boils one transaction down to a line. ``received``: the message as received is over, VCL's changes follow."""

    def __init__(self, form: Format, transaction: Transaction) -> None:
        self._form = form
        self._transaction = transaction
        self.line = Line("c" if transaction.kind == "req" else "b", transaction.vxid)
        self._client = self.line.side == "c"
        self._received = False

    def run(self) -> Line | None:
        """The line; None if the transaction is not to be logged (garbage, restarted)."""
        for record in self._transaction.records:
            info = TAGS.get(record.tag)
            if info is not None and info.flags and not self._form.json:
                continue
            if record.tag == Tag.HttpGarbage:
                return None
            if record.tag == Tag.VCL_return and record.text.lower() == "restart":
                return None
            self._record(record)
            self._watched(record)
        return self.line

    def _keep(self, key: object, text: str | None, policy: str) -> None:
        """Store a value: "once" the first ever, "request" and "response" as the side demands, "last" any."""
        if text is None:
            return
        values = self.line.values
        if policy in ("once", "first"):
            wanted = key not in values
        elif policy == "request":
            # the client's request as it came in; the backend's as it went out
            wanted = not self._received and (not self._client or key not in values)
        elif policy == "response":
            wanted = self._client or (not self._received and key not in values)
        else:
            wanted = True
        if wanted:
            values[key] = text.strip(_BLANKS)

    def _fields(self, text: str, *wanted: tuple[int, str]) -> None:
        parts = text.split()
        for number, key in wanted:
            if number <= len(parts):
                self._keep(key, parts[number - 1], "once")

    def _record(self, record: Record) -> None:
        tag, text = record.tag, record.text
        if tag in _REQUEST_HEADERS:
            self._headers(self._form.request_headers, True, text, "request", False)
            lowered = text[:21].lower()
            if lowered.startswith("host:"):
                self._keep("host", text[5:], "request")
            elif lowered.startswith("authorization:"):
                value = text[14:].lstrip(" ")
                if value[:6].lower() == "basic ":
                    self._keep("auth", value[6:], "request")
        elif tag in _RESPONSE_HEADERS:
            self._headers(self._form.response_headers, False, text, "response", False)
        elif tag in _REQUEST_UNSETS:
            self._headers(self._form.request_headers, True, text, "request", True)
        elif tag in _RESPONSE_UNSETS:
            self._headers(self._form.response_headers, False, text, "response", True)
        elif tag == Tag.Timestamp:
            self._timestamp(text)
        elif tag == Tag.VCL_call:
            self._call(text.lower())
        elif tag in _METHODS:
            self._keep("m", text, "request")
        elif tag in _URLS:
            path, mark, query = text.partition("?")
            self._keep("U", path, "request")
            self._keep("q", mark + query, "request")
        elif tag in _PROTOCOLS:
            self._keep("H", text, "request")
        elif tag in _STATUSES:
            self._keep("s", text, "response")
        elif tag in _ACCOUNTS:
            self._fields(text, (3, "I"), (5, "b"), (6, "O"))
        elif tag == Tag.PipeAcct:
            self._fields(text, (3, "I"), (4, "O"))
        elif tag == Tag.ReqStart:
            self._fields(text, (1, "h"), (4, "scheme"))
        elif tag == Tag.BackendOpen:
            self._fields(text, (3, "h"))
        else:
            self._handling(tag, text)

    def _handling(self, tag: int, text: str) -> None:
        if tag == Tag.HitMiss:
            self.line.hitmiss, self.line.handling = "miss", "hitmiss"
        elif tag == Tag.HitPass:
            self.line.hitmiss, self.line.handling = "miss", "hitpass"
        elif tag == Tag.VCL_return and text.lower() == "pipe":
            self.line.hitmiss, self.line.handling = "miss", "pipe"
        elif tag == Tag.VCL_Log:
            for key in self._form.log_keys:
                if text.startswith(key + ":"):
                    self._keep(("log", key), text[len(key) + 1 :], "once")

    def _call(self, name: str) -> None:
        line = self.line
        if name in ("recv", "backend_response"):
            self._received = True
        if name in _CALLS:
            line.hitmiss, line.handling = _CALLS[name]
        elif (name == "miss" and line.handling != "hitmiss") or (name == "pass" and line.handling != "hitpass"):
            line.hitmiss, line.handling = "miss", name

    def _timestamp(self, text: str) -> None:
        label, _, rest = text.partition(":")
        if label == "Start":
            self._fields(rest, (1, "start"))
        elif label in ("Resp", "PipeSess", "BerespBody"):
            self._fields(rest, (1, "end"))
        elif label in ("Process", "Pipe", "Beresp"):
            self._fields(rest, (2, "ttfb"))

    def _headers(self, watches: list[HeaderWatch], request: bool, text: str, policy: str, unset: bool) -> None:
        for watch in watches:
            size = len(watch.name)
            if text[size : size + 1] == ":" and text[:size].lower() == watch.name:
                # a header that VCL took away counts as missing
                value = self._form.missing if unset and not watch.policy else text[size + 1 :]
                self._keep((request, watch), value, watch.policy or policy)

    def _watched(self, record: Record) -> None:
        for watch in self._form.records:
            if watch.tag == record.tag:
                text = after_prefix(record, watch.prefix) if watch.prefix else _text(record)
                if text is not None:
                    self._keep(watch, nth_field(text, watch.field) if watch.field else text, "once")


def _text(record: Record) -> str:
    """A payload; a tag whose octets are not safe is shown with all of them, the NUL at the end of a text included."""
    info = TAGS.get(record.tag)
    return str(record.data, "latin-1") if info is not None and info.flags & TagFlag.UNSAFE else record.text


def _format_from(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            line = file.readline()
    except OSError as error:
        raise ToolError(f"Can't open format file ({error.strerror})") from None
    if not line:
        raise ToolError("Empty format file")
    return line.rstrip("\n")


def _run(argv: list[str]) -> None:
    follower = Follower()
    text: str | None = None
    as_json = sided = False
    given = parse(PROGRAM, OPTIONS, argv)
    for letter, value in given:
        if letter in "FfJ":
            if text is not None:
                raise ToolError("Format already set")
            text = JSON_FORMAT if letter == "J" else value if letter == "F" else _format_from(value)
            as_json = as_json or letter == "J"
        elif letter == "j":
            as_json = True
        elif letter not in "aSw":
            sided = sided or letter in "bcE"
            follower.option(letter, value)
    if not sided:
        follower.selection.client = True
    check_output(given, follower)
    if follower.mode not in ("vxid", "request"):
        raise ToolError(f"Invalid grouping mode: {follower.mode}")
    try:
        wire = None if text is None else text.encode("utf-8", "surrogateescape").decode("latin-1")
        form = Format(DEFAULT_FORMAT if wire is None else wire, as_json)
    except FormatError as error:
        raise ToolError(str(error)) from None
    output = open_output(given, follower, PROGRAM)
    follower.setup()

    def group(transactions: list[Transaction]) -> None:
        for transaction in transactions:
            # sides are told apart where transactions are gathered (-g vxid); a request's group is shown whole
            if transaction.kind not in ("req", "bereq"):
                continue
            line = _Digest(form, transaction).run()
            if line is not None:
                output.write(form.render(line).encode("latin-1", "replace") + b"\n")

    follower.on_group = group
    try:
        follower.run()
    finally:
        output.close()


main = tool(_run)
