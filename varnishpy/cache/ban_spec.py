"""The language of bans (vcl(7), ban in varnish-cli(7)): ``field operator argument [&& ...]``.

Fields and operators are one table; reading, testing and showing a ban are derived from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from varnishpy.base.regex import Regex, RegexError, RegexMatchError, compile_pattern
from varnishpy.base.units import DURATION_UNITS, UnitError, parse_duration

if TYPE_CHECKING:
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.http.message import Message


class BanError(ValueError):
    """A ban that makes no sense; the text is for the user."""


_TEXT_OPERATORS: Final = ("==", "!=", "~", "!~")
_TIME_OPERATORS: Final = ("==", "!=", ">", ">=", "<", "<=")


@dataclass(slots=True, frozen=True)
class Field:
    """A row of the table.

    ``header``: the name of a header follows. ``duration``: the argument is a duration. ``relative``: it counts from
    the moment of the ban, so that two bans of the same text are not the same ban.
    """

    name: str
    on_request: bool = False
    header: bool = False
    duration: bool = False
    relative: bool = False

    @property
    def operators(self) -> tuple[str, ...]:
        return _TIME_OPERATORS if self.duration else _TEXT_OPERATORS


FIELDS: Final = (
    Field("req.url", on_request=True),
    Field("req.http.", on_request=True, header=True),
    Field("obj.status"),
    Field("obj.http.", header=True),
    Field("obj.ttl", duration=True, relative=True),
    Field("obj.age", duration=True, relative=True),
    Field("obj.grace", duration=True),
    Field("obj.keep", duration=True),
    Field("obj.last_hit", duration=True, relative=True),
)

_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


@dataclass(slots=True, frozen=True)
class Test:
    """One condition of a ban."""

    field: Field
    header: str  # lower case, "" where the field has none
    operator: str
    text: str
    header_as_written: str = ""
    seconds: float = 0.0
    regex: Regex | None = None

    def holds(self, oc: ObjectCore, request: Message | None, moment: float) -> bool:
        """Does the condition hold for an object?

        :param request: the request that found the object; ``None`` for the lurker, who only has bans on objects
        :param moment: when the ban was made
        """
        if self.field.duration:
            return self._time_holds(oc, moment)
        value = self._value(oc, request)
        operator = self.operator
        if value is None:  # an absent header is unequal to everything, and matches no pattern
            return operator == "!="
        if operator == "==":
            return value == self.text
        if operator == "!=":
            return value != self.text
        assert self.regex is not None
        try:
            found = bool(self.regex.search(value))
        except RegexMatchError:  # a limit stopped it: no match was found
            found = False
        return found == (operator == "~")

    def _value(self, oc: ObjectCore, request: Message | None) -> str | None:
        name = self.field.name
        if self.field.on_request:
            if request is None:
                return None
            return request.get(self.header) if self.header else request.url
        stobj = oc.stobj
        if stobj is None:
            return None
        return stobj.header(self.header) if name == "obj.http." else f"{stobj.status % 1000:03d}"

    def _time_holds(self, oc: ObjectCore, moment: float) -> bool:
        compare = _COMPARE[self.operator]
        name = self.field.name
        if name == "obj.ttl":
            return compare(oc.ttl + oc.t_origin, self.seconds + moment)
        if name == "obj.age":
            return compare(-oc.t_origin, self.seconds - moment)
        if name == "obj.grace":
            return compare(oc.grace, self.seconds)
        if name == "obj.keep":
            return compare(oc.keep, self.seconds)
        last = oc.last_lru  # obj.last_hit
        return bool(last) and compare(-last, self.seconds - moment)

    def show(self, quote: Callable[[str], str] | None = None) -> str:
        """The condition as ``ban.list`` prints it."""
        if self.field.duration:
            argument = format_duration(self.seconds)
        else:
            argument = quote(self.text) if quote is not None else self.text
        return f"{self.field.name}{self.header_as_written} {self.operator} {argument}"

    @property
    def words(self) -> list[str]:
        """What `parse_words` makes the same condition of."""
        return [self.field.name + self.header_as_written, self.operator, self.text]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What makes two conditions equal."""
        return (self.field.name, self.header_as_written, self.operator, self.text)


def format_duration(seconds: float) -> str:
    """A duration in the largest unit that leaves a whole number; at most milliseconds."""
    whole = int(seconds)
    millis = int(seconds * 1000) % 1000
    if not whole:
        return f"{millis}ms" if millis else "0s"
    if millis:
        return f"{whole}.{millis:03d}s"
    for unit in ("y", "w", "d", "h", "m"):
        size = int(DURATION_UNITS[unit])
        if whole >= size and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def parse_test(name: str, operator: str, argument: str) -> Test:
    """Read one condition.

    :raises BanError:
    """
    for field in FIELDS:
        if name.startswith(field.name) if field.header else name == field.name:
            break
    else:
        raise BanError(f'Unknown or unsupported field "{name}"')
    header = name[len(field.name) :] if field.header else ""
    if field.header and not header:
        raise BanError(f'Missing header name: "{field.name}"')
    if len(header) > 126:
        raise BanError(f'Header name too long: "{header[:40]}..."')
    if operator not in field.operators:
        allowed = ", ".join(field.operators[:-1]) + " or " + field.operators[-1]
        raise BanError(f'expected conditional ({allowed}) got "{operator}"')
    if field.duration:
        try:
            seconds = parse_duration(argument, need_unit=True)
        except UnitError:
            raise BanError(f'expected duration <n.nn>[ms|s|m|h|d|w|y] got "{argument}"') from None
        return Test(field, "", operator, argument, seconds=seconds)
    regex = None
    if operator in ("~", "!~"):
        try:
            regex = compile_pattern(argument)
        except RegexError as exc:
            raise BanError(f"Regex compile error: {exc}") from None
    return Test(field, header.lower(), operator, argument, header, regex=regex)


def parse_words(words: Sequence[str]) -> tuple[Test, ...]:
    """The arguments of the CLI command ``ban``.

    :raises BanError:
    """
    if len(words) % 4 != 3:
        raise BanError("Wrong number of arguments")
    for joint in words[3::4]:
        if joint != "&&":
            raise BanError(f'Found "{joint}" expected &&')
    return tuple(parse_test(words[at], words[at + 1], words[at + 2]) for at in range(0, len(words), 4))


def parse_string(text: str) -> tuple[Test, ...]:
    """The argument of VCL's ``ban()`` and ``std.ban()``: words separated by blanks, double quotes group.

    :raises BanError:
    """
    words = _split(text)
    tests: list[Test] = []
    at = 0
    while True:
        if at >= len(words):
            raise BanError("No ban conditions found.")
        if at + 1 >= len(words):
            raise BanError("Expected comparison operator.")
        if at + 2 >= len(words):
            raise BanError("Expected second operand.")
        tests.append(parse_test(words[at], words[at + 1], words[at + 2]))
        at += 3
        if at >= len(words):
            return tuple(tests)
        if words[at] != "&&":
            raise BanError(f'Expected && between conditions, found "{words[at]}"')
        at += 1


def _split(text: str) -> list[str]:
    """Words of a string; a word in double quotes may hold blanks. Backslashes are left alone.

    They belong to patterns.
    """
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n":
            at += 1
        elif text[at] == '"':
            end = text.find('"', at + 1)
            if end < 0:
                raise BanError("Missing '\"'")
            words.append(text[at + 1 : end])
            at = end + 1
        else:
            start = at
            while at < len(text) and text[at] not in " \t\r\n":
                at += 1
            words.append(text[start:at])
    return words
