"""How commands are declared, and how their arguments are read.

A language (the top level, the inside of a client, of a stream, of a tunnel, ...) is a table of ``Command`` rows.  The
interpreter runs from it, ``--check`` finds mistakes with it, ``--explain`` puts it into words.  A row lists its
options; an option says what follows it and, if that is itself a script, in which language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import kinds
from .errors import Position, ScriptError
from .kinds import Kind
from .text import Text

if TYPE_CHECKING:
    from .context import Test
    from .interpreter import Interpreter
    from .log import Voice


@dataclass(frozen=True, slots=True)
class Opt:
    """One option of a command.

    ``args`` names what follows it, blank separated; the names say what is expected (see ``kinds``, to which the row
    may add).  ``stage``: options of a later stage may not come before those of an earlier one.  ``language`` is that of
    its last argument.  ``count`` decides how many arguments follow where that depends on them; these are judged by
    ``check`` alone, which raises ScriptError.  ``text`` puts the option into words, ``{0}`` being its first argument.
    """

    args: str = ""
    text: str = ""
    stage: int = 0
    language: str = ""
    count: Callable[[Sequence[str]], int] | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    check: Callable[[Sequence[Text]], None] | None = None


@dataclass(slots=True)
class Item:
    """An option with its arguments, or (``option`` empty) a word that is none."""

    option: str
    args: list[Text]
    at: Position


@dataclass(slots=True)
class Call:
    """One command as written, its arguments sorted out."""

    command: Command
    words: list[Text]
    items: list[Item]
    voice: Voice
    test: Test
    interpreter: Interpreter

    @property
    def plain(self) -> list[Text]:
        """The words that are neither options nor their arguments."""
        return [item.args[0] for item in self.items if not item.option]

    def find(self, option: str) -> list[Text] | None:
        """The arguments of the last ``option`` given; None if it was not."""
        found = None
        for item in self.items:
            if item.option == option:
                found = item.args
        return found

    def has(self, option: str) -> bool:
        return any(item.option == option for item in self.items)


Handler = Callable[[Any, Call], None]


@dataclass(frozen=True, slots=True)
class Command:
    """One row of a language.

    ``args`` names the words that are not options; in brackets if they may be missing, with ``...`` if there may be
    more; as with options the names say what is expected.  ``named`` is the letter with which the first of them, the
    name of an entity, begins.  With ``mixed`` options may stand anywhere, otherwise the first plain word ends them.
    ``language`` is that of plain words.  ``check`` judges all of a command's items together, raising ScriptError.
    """

    name: str
    run: Handler
    args: str = ""
    options: Mapping[str, Opt] = field(default_factory=dict)
    text: str = ""
    mixed: bool = True
    named: str = ""
    language: str = ""
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    check: Callable[[Sequence[Item]], None] | None = None

    def specs(self, plain: Sequence[Text]) -> Sequence[Text]:
        """Those of the words that are scripts in ``language``."""
        names = [name.strip("[].") for name in self.args.split()]
        return plain[names.index("SPEC") :] if self.language else ()

    @property
    def bounds(self) -> tuple[int, int | None]:
        names = self.args.split()
        least = sum(1 for name in names if not name.startswith("["))
        return least, None if self.args.endswith("...") or self.args.endswith("...]") else len(names)


Table = Mapping[str, Command]


def table(*rows: Command) -> dict[str, Command]:
    return {row.name: row for row in rows}


def sort_out(command: Command, words: Sequence[Text], at: Position) -> list[Item]:
    """Tell options, their arguments and plain words apart.  Raises ScriptError naming what was expected where."""
    items: list[Item] = []
    plain = 0
    index = 0
    stage = 0
    reading_options = True
    first = 1 if command.named else 0
    while index < len(words):
        word = words[index]
        option = command.options.get(word) if reading_options and (plain >= first) else None
        if option is None:
            if reading_options and plain >= first and word.startswith("-") and (command.mixed or not command.args):
                raise ScriptError(_unknown(command, word), word.locate())
            items.append(Item("", [word], word.locate()))
            plain += 1
            index += 1
            reading_options = command.mixed
            continue
        if option.stage < stage:
            raise ScriptError(f"{command.name}: {word} must come before the options already given", word.locate())
        stage = option.stage
        wanted = len(option.args.split()) if option.count is None else option.count(words[index + 1 :])
        got = list(words[index + 1 : index + 1 + wanted])
        if len(got) < wanted:
            raise ScriptError(f"{command.name} {word}: expected {option.args}", word.locate())
        if option.count is None:
            for name, arg in zip(option.args.split(), got, strict=True):
                kinds.check(f"{command.name} {word}", name, arg, option.kinds)
        if option.check is not None:
            option.check(got)
        items.append(Item(str(word), got, word.locate()))
        index += 1 + wanted
    least, most = command.bounds
    if plain < least:
        raise ScriptError(f"{command.name}: expected {command.args}", at)
    if most is not None and plain > most:
        extra = [item for item in items if not item.option][most]
        raise ScriptError(_unknown(command, extra.args[0]), extra.at)
    if command.named:
        name = items[0].args[0]
        if not name.startswith(command.named):
            raise ScriptError(
                f"{command.name.capitalize()} name must start with '{command.named}' (got {name!r})", items[0].at
            )
    _check_plain(command, items)
    if command.check is not None:
        command.check(items)
    return items


def _check_plain(command: Command, items: Sequence[Item]) -> None:
    names = [name.strip("[].") for name in command.args.split()]
    words = [item.args[0] for item in items if not item.option]
    for number, word in enumerate(words):
        kinds.check(command.name, names[min(number, len(names) - 1)], word, command.kinds)


def _unknown(command: Command, word: str) -> str:
    shown = word if len(word) < 40 else word[:40] + "..."
    text = f"Unknown {command.name} argument: {shown}"
    expected = " ".join(command.options)
    if expected:
        text += f" (expected one of: {expected})"
    return text
