"""Macros: ``${name}`` and the functions ``${date}`` and ``${string,repeat,N,TEXT}``."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from email.utils import formatdate

from .errors import MacroError
from .lexer import comma_arguments
from .text import Text, TextBuilder

Function = Callable[[Sequence[str]], str]


def _date(arguments: Sequence[str]) -> str:
    if arguments:
        raise MacroError("macro does not take arguments")
    return formatdate(usegmt=True)


def _string(arguments: Sequence[str]) -> str:
    if not arguments:
        raise MacroError("missing action")
    if arguments[0] != "repeat":
        raise MacroError("unknown action")
    if len(arguments) != 3:
        raise MacroError("repeat takes 2 arguments")
    if re.fullmatch("[0-9]{1,9}", arguments[1]) is None:
        raise MacroError("invalid number of repetitions")
    return arguments[2] * int(arguments[1])


FUNCTIONS: dict[str, Function] = {"date": _date, "string": _string}


class Macros:
    """The macros of one test.  Safe to use from all of its threads."""

    def __init__(self, values: dict[str, str] | None = None) -> None:
        self._lock = threading.Lock()
        self._values = dict(values or {})
        self.ignore_unknown = False

    def define(self, name: str, value: str) -> None:
        with self._lock:
            self._values[name] = value

    def undefine(self, name: str) -> bool:
        with self._lock:
            return self._values.pop(name, None) is not None

    def get(self, name: str) -> str | None:
        with self._lock:
            return self._values.get(name)

    def items(self) -> list[tuple[str, str]]:
        with self._lock:
            return list(self._values.items())

    def value(self, inside: str) -> str | None:
        """What ``${inside}`` stands for; None if there is no such macro and that is allowed.  Raises MacroError."""
        try:
            words = comma_arguments(inside)
        except ValueError as error:
            raise MacroError(f"Macro ${{{inside}}} parsing failed: {error}") from None
        name = words[0] if words else ""
        value = self.get(name)
        try:
            if value is not None:
                if len(words) > 1:
                    raise MacroError("macro does not take arguments")
                return value
            if name in FUNCTIONS:
                return FUNCTIONS[name](words[1:])
        except MacroError as error:
            raise MacroError(f"Macro ${{{inside}}} failed: {error}") from None
        if self.ignore_unknown:
            return None
        raise MacroError(f"Macro ${{{inside}}} not found")

    def expand(self, text: Text) -> Text:
        """Replace every macro once (what a macro yields is not looked at again).  Raises MacroError."""
        at = text.find("${")
        if at < 0:
            return text
        built = TextBuilder(text.source)
        done = 0
        while at >= 0:
            end = text.find("}", at)
            if end < 0:
                break
            value = self.value(text[at + 2 : end])
            if value is not None:
                built.piece(text, done, at)
                built.stand_in(value, text, at)
                done = end + 1
            at = text.find("${", end + 1)
        built.piece(text, done, len(text))
        return built.build()

    def expand_string(self, text: str) -> str:
        return str(self.expand(Text(text)))
