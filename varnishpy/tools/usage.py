"""What the command-line tools share: options declared as data, usage texts, errors, version."""

from __future__ import annotations

import getopt
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from varnishpy import __version__


class ToolError(Exception):
    """Ends the tool: the message goes to stderr, ``status`` is the exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Option:
    """One option: ``letter`` with a colon if it takes a value, its synopsis, one line of meaning."""

    letter: str
    synopsis: str
    text: str


def usage(program: str, options: Sequence[Option]) -> str:
    """The usage text."""
    lines = [f"Usage: {program} <options>", "", "Options:"]
    lines += [f" {option.synopsis:<25} {option.text}" for option in options]
    return "\n".join(lines)


def version(program: str) -> str:
    """What ``-V`` prints."""
    return f"{program} (varnishpy-{__version__})"


def parse(program: str, options: Sequence[Option], argv: list[str]) -> list[tuple[str, str]]:
    """The options given, letters without dashes, in order. Prints and exits for -h, -V and mistakes."""
    letters = "".join(option.letter for option in options)
    if argv == ["--optstring"]:
        print(letters)
        raise SystemExit(0)
    try:
        given, rest = getopt.gnu_getopt(argv, letters)
    except getopt.GetoptError as error:
        raise ToolError(f"{program}: {error.msg}\n{usage(program, options)}") from None
    if rest:
        raise ToolError(usage(program, options))
    result = [(name[1:], value) for name, value in given]
    for letter, _ in result:
        if letter == "h":
            print(usage(program, options))
            raise SystemExit(0)
        if letter == "V":
            print(version(program))
            raise SystemExit(0)
    return result


def tool(run: Callable[[list[str]], None]) -> Callable[[list[str]], int]:
    """The ``main`` of a tool: takes the arguments after its name, returns the exit status.

    :param run: the tool itself; a `ToolError` ends it with a message. A reader of its output that went away, and
        Ctrl-C, are good ends.
    """

    def main(argv: list[str]) -> int:
        try:
            run(argv)
        except ToolError as error:
            sys.stdout.flush()
            print(error, file=sys.stderr)
            return error.status
        except (BrokenPipeError, KeyboardInterrupt):
            return 0
        return 0

    return main
