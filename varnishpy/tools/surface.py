"""What can be typed: every subcommand and the daemon with their options, from the tables that parse them.

Completion scripts and man pages are made from this.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from varnishpy.manager.options import OPTION_TEXTS
from varnishpy.tools.usage import Option

# what a value is (the word in angle brackets of a synopsis) and what completes it
KINDS: Final = {
    "dir": "dir", "file": "file", "filename": "file", "formatfile": "file", "file | none": "file",
    "name=value": "parameter", "name[,name...]": "parameter", "taglist": "tag",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Flag:
    """One option as it is typed: ``short`` with its dash, ``long`` with two, ``value`` as the usage text has it."""

    short: str
    long: str
    value: str
    text: str

    @property
    def kind(self) -> str:
        """``dir``, ``file``, ``parameter``, ``tag``, ``choice``, or ``""`` for what nobody can guess."""
        if self.value in KINDS:
            return KINDS[self.value]
        return "choice" if self.choices else ""

    @property
    def choices(self) -> list[str]:
        """The words of a value such as ``session|request|raw``."""
        words = self.value.split("|")
        return words if len(words) > 1 and all(word.isalnum() for word in words) else []

    @property
    def names(self) -> list[str]:
        return [name for name in (self.short, self.long) if name]


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand, or the daemon (``name`` is empty)."""

    name: str
    text: str
    about: str
    words: str
    flags: tuple[Flag, ...]
    examples: str = ""

    @property
    def kind(self) -> str:
        """What completes the words behind the options."""
        if self.words.startswith("[command"):
            return "cli"
        return "file" if "file" in self.words else ""


def daemon() -> Command:
    """The daemon."""
    flags = []
    for _, rows in OPTION_TEXTS:
        for synopsis, text in rows:
            short, _, value = synopsis.partition(" ")
            flags.append(Flag(short, "", value, text))
    return Command("", "an HTTP cache with VCL", "", "", tuple(flags))


def subcommands() -> list[Command]:
    """All subcommands, in the order of ``--help``."""
    from varnishpy.__main__ import SUBCOMMANDS

    found = []
    for name, row in SUBCOMMANDS.items():
        module = importlib.import_module(row.module)
        options: Sequence[Option] = module.OPTIONS
        flags = tuple(
            Flag(
                f"-{option.letter[0]}" if option.letter.strip(":") else "",
                f"--{option.long}" if option.long else "",
                option.value,
                option.text,
            )
            for option in options
        )
        about = (module.__doc__ or "").partition("\n\n")[2].strip()
        words, examples = getattr(module, "WORDS", ""), getattr(module, "EXAMPLES", "")
        found.append(Command(name, row.text, about, words, flags, examples))
    return found
