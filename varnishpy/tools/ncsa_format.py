"""The format language of ``varnishpy ncsa``: what varnishncsa(1) calls the log format, compiled to functions.

A transaction is first boiled down to a :class:`Line` (which fields of which records are taken, first or last, depends
on the side that is logged), then each part of the format turns that line into text.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from varnishpy.log.record import Record
from varnishpy.log.selection import TagPatternError, match_tags
from varnishpy.log.tags import TAGS

DEFAULT_FORMAT = '%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i"'
#: of ``--json``: numbers are numbers, everything else is a string, empty if it is not known
JSON_FORMAT = (
    '{"time":"%{%Y-%m-%dT%T}t.%{usec_frac}t%{%z}t","side":"%{Varnish:side}x","vxid":%{Varnish:vxid}x,"client":"%h",'
    '"user":"%u","method":"%m","host":"%{Host}i","path":"%U","query":"%q","protocol":"%H","status":%s,'
    '"bytes":%b,"received":%I,"sent":%O,"microseconds":%D,"first_byte":%{Varnish:time_firstbyte}x,'
    '"handling":"%{Varnish:handling}x","referer":"%{Referer}i","user_agent":"%{User-agent}i"}'
)
CLF_TIME = "[%d/%b/%Y:%T %z]"


class FormatError(Exception):
    """The format is wrong; the message is for the user."""


@dataclass(slots=True)
class Line:
    """What a transaction amounts to. Fields that were not seen are missing from ``values``."""

    side: str = "-"
    vxid: int = 0
    hitmiss: str = "-"
    handling: str = "-"
    values: dict[object, str] = field(default_factory=dict)


Part = Callable[[Line], str]


@dataclass(frozen=True, slots=True)
class HeaderWatch:
    """A header that the format asks for. ``policy``: "first", "last" or "" (first as the client sent, last to it)."""

    name: str
    policy: str


@dataclass(frozen=True, slots=True)
class RecordWatch:
    """A record that the format asks for by ``%{VSL:tag:prefix[field]}x``."""

    tag: int
    prefix: str
    field: int


def quote_c(text: str) -> str:
    """C-style escapes, ``\\xNN`` for what is not printable ASCII."""
    names = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
    return "".join(names.get(c) or (c if " " <= c < "\x7f" else f"\\x{ord(c):02x}") for c in text)


def quote_json(text: str) -> str:
    """As inside a JSON string. Octets that are UTF-8 stay as they are; any others are written ``\\u00XX``."""
    try:
        text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return json.dumps(text)[1:-1]
    return json.dumps(text, ensure_ascii=False)[1:-1]


class Format:
    """A compiled format."""

    def __init__(self, text: str, as_json: bool = False) -> None:
        """Raises FormatError."""
        self.json = as_json
        self.quote = quote_json if as_json else quote_c
        self.missing = "" if as_json else "-"
        self.missing_number = "0" if as_json else "-"
        self.request_headers: list[HeaderWatch] = []
        self.response_headers: list[HeaderWatch] = []
        self.records: list[RecordWatch] = []
        self.log_keys: list[str] = []
        self._parts: list[Part] = []
        self._parse(text)

    def render(self, line: Line) -> str:
        """The line as text, without its end."""
        return "".join([part(line) for part in self._parts])

    # -- parts

    def _literal(self, text: str) -> None:
        self._parts.append(lambda line: text)

    def _value(self, key: object, missing: str) -> None:
        quote, shown = self.quote, self.quote(missing)

        def value(line: Line) -> str:
            found = line.values.get(key)
            return shown if found is None else quote(found)

        self._parts.append(value)

    def _request_line(self) -> None:
        def part(line: Line) -> str:
            get = line.values.get
            host = get("host")
            where = "://localhost" if host is None else host
            if host is None or not host.startswith(("http://", "https://")):
                scheme = get("scheme", "http")
                where = scheme + where if host is None else f"{scheme}://{host}"
            text = f"{get('m', '-')} {where}{get('U', '')}{get('q', '')} {get('H', 'HTTP/1.0')}"
            return self.quote(text)

        self._parts.append(part)

    def _auth(self) -> None:
        def part(line: Line) -> str:
            found = line.values.get("auth")
            if found is None:
                return "-"
            try:
                decoded = base64.b64decode(found + "=" * (-len(found) % 4), validate=True)
            except (binascii.Error, ValueError):
                return "-"
            return self.quote(decoded.decode("latin-1").partition(":")[0])

        self._parts.append(part)

    def _time(self, kind: str, spec: str) -> None:
        compute: Callable[[float, float], str]
        if kind == "T":
            factor = {"s": 1.0, "ms": 1e3, "us": 1e6}.get(spec)
            if factor is None:
                raise FormatError(f"Unknown specifier: %{{{spec}}}T")
            scale = factor
            compute = lambda start, end: str(int((end - start) * scale))  # noqa: E731
        else:
            special: dict[str, Callable[[float, float], str]] = {
                "sec": lambda start, end: str(int(start)),
                "msec": lambda start, end: str(int(start * 1e3)),
                "usec": lambda start, end: str(int(start * 1e6)),
                "msec_frac": lambda start, end: f"{int(math.modf(start)[0] * 1e3):03d}",
                "usec_frac": lambda start, end: f"{int(math.modf(start)[0] * 1e6):06d}",
            }
            compute = special.get(spec) or (lambda start, end: time.strftime(spec, time.localtime(math.floor(start))))
        missing = self.missing_number if kind == "T" else self.missing

        def part(line: Line) -> str:
            try:
                start = float(line.values["start"])
            except (KeyError, ValueError):
                return missing
            try:
                end = float(line.values["end"])
            except (KeyError, ValueError):
                end = start
            return compute(start, end)

        self._parts.append(part)

    # -- parser

    def _parse(self, text: str) -> None:
        literal: list[str] = []
        at = 0
        while at < len(text):
            char = text[at]
            if char == "\\" and at + 1 < len(text):
                literal.append({"t": "\t", "n": "\n"}.get(text[at + 1], text[at + 1]))
                at += 2
            elif char != "%":
                literal.append(char)
                at += 1
            else:
                if literal:
                    self._literal("".join(literal))
                    literal = []
                at = self._specifier(text, at)
        if literal:
            self._literal("".join(literal))

    def _specifier(self, text: str, at: int) -> int:
        letter = text[at + 1 : at + 2]
        if letter == "{":
            return self._bracket(text, at)
        numbers, strings = "bIOs", "hmU"
        if letter and letter in numbers:
            self._value(letter, self.missing_number)
        elif letter and letter in strings:
            self._value(letter, self.missing)
        elif letter == "H":
            self._value("H", "HTTP/1.0")
        elif letter == "q":
            self._value("q", "")
        elif letter == "l":
            self._literal("-")
        elif letter == "r":
            self._request_line()
        elif letter == "u":
            self._auth()
        elif letter == "D":
            self._time("T", "us")
        elif letter == "T":
            self._time("T", "s")
        elif letter == "t":
            self._time("t", CLF_TIME)
        else:
            raise FormatError(f"Unknown format specifier at: {text[at:]}")
        return at + 2

    def _bracket(self, text: str, at: int) -> int:
        depth = 1
        end = at + 2
        while end < len(text):
            if text[end] == "{":
                depth += 1
            elif text[end] == "}":
                depth -= 1
                if not depth:
                    break
            end += 1
        if depth:
            raise FormatError(f"Unmatched bracket at: {text[at:]}")
        inner = text[at + 2 : end]
        kind = text[end + 1 : end + 2]
        if kind == "i":
            self._header(self.request_headers, inner)
        elif kind == "o":
            self._header(self.response_headers, inner)
        elif kind in ("t", "T"):
            self._time(kind, inner)
        elif kind == "x":
            self._extended(inner)
        else:
            raise FormatError(f"Unknown format specifier at: {text[at:]}")
        return end + 2

    def _header(self, watches: list[HeaderWatch], inner: str) -> None:
        name, colon, rule = inner.partition(":")
        policy = ""
        if colon:
            policy = "first" if rule.startswith("first") else "last" if rule.startswith("last") else "?"
            if policy == "?":
                raise FormatError(f"Unknown match rule :{rule}")
        watch = HeaderWatch(name.lower(), policy)
        if watch not in watches:
            watches.append(watch)
        self._value((watches is self.request_headers, watch), self.missing)

    def _extended(self, inner: str) -> None:
        attributes: dict[str, Part] = {
            "Varnish:hitmiss": lambda line: line.hitmiss,
            "Varnish:handling": lambda line: line.handling,
            "Varnish:side": lambda line: line.side,
            "Varnish:vxid": lambda line: str(line.vxid),
        }
        if inner in attributes:
            self._parts.append(attributes[inner])
        elif inner == "Varnish:time_firstbyte":
            self._value("ttfb", self.missing_number)
        elif inner == "Varnish:default_format":
            self._parse(DEFAULT_FORMAT)
        elif inner.startswith("VCL_Log:"):
            key = inner[8:]
            self.log_keys.append(key)
            self._value(("log", key), "")
        elif inner.startswith("VSL:"):
            self._record(inner[4:])
        else:
            raise FormatError(f"Unknown formatting extension: {inner}")

    def _record(self, inner: str) -> None:
        if not inner:
            raise FormatError("Missing tag in VSL:")
        number = 0
        text = inner
        if inner.endswith("]"):
            text, bracket, digits = inner[:-1].rpartition("[")
            if not bracket or not text or not digits.lstrip("+-").isdigit():
                raise FormatError(f"Syntax error: VSL:{inner}")
            number = int(digits)
            if not 0 < number <= 255:
                raise FormatError(f"Syntax error. Field specifier must be between 1 and 255: {inner}")
        name, colon, prefix = text.partition(":")
        try:
            if "*" in name:
                raise TagPatternError("zero")
            (tag,) = match_tags(name)
        except TagPatternError as error:
            why = "Tag not unique" if error.kind == "ambiguous" else "Unknown log tag"
            raise FormatError(f"{why}: {text}") from None
        info = TAGS.get(tag)
        if info is not None and info.flags and not self.json:
            raise FormatError(f"Tag {info.name} can contain control characters")
        watch = RecordWatch(tag, f"{prefix.lower()}:" if colon else "", number)
        if watch not in self.records:
            self.records.append(watch)
        self._value(watch, self.missing)


def after_prefix(record: Record, prefix: str) -> str | None:
    """The payload behind ``prefix`` (lower case, its colon included); None if it begins otherwise."""
    text = record.text
    return text[len(prefix) :].lstrip(" ") if text[: len(prefix)].lower() == prefix else None
