"""What the command-line tools share: options declared as data, usage texts, errors, version."""

from __future__ import annotations

import getopt
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from varnishpy import __version__
from varnishpy.base.near import did_you_mean


class ToolError(Exception):
    """Ends the tool: the message goes to stderr, ``status`` is the exit status."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Option:
    """One option: ``letter`` with a colon if it takes a value, its synopsis, one line of meaning, a long name.

    Without a letter (``""``, or ``":"`` with a value) the long name is all it has.
    """

    letter: str
    synopsis: str
    text: str
    long: str = ""

    @property
    def key(self) -> str:
        """What `parse` calls it: its letter, or its long name if it has no letter."""
        return self.letter.rstrip(":") or self.long

    @property
    def value(self) -> str:
        """What its value is, ``""`` if it takes none: the word in angle brackets of the synopsis."""
        return self.synopsis.partition("<")[2].rpartition(">")[0] if self.letter.endswith(":") else ""


# what most tools have
HELP: Final = Option("h", "[-h]", "Usage help", "help")
VERSION: Final = Option("V", "[-V]", "Version", "version")
WORKDIR: Final = Option("n:", "[-n <dir>]", "Working directory of the instance")
PATIENCE: Final = Option("t:", "[-t <seconds|off>]", "VSM connection timeout")

# names that scripts look for in the first line of a usage text
_MATCHED = {f"varnishpy {word}": f"varnish{word}" for word in ("adm", "hist", "log", "ncsa", "stat", "top")}
# of the program whose manual pages ours follow; scripts look for the first line
VARNISH_COPYRIGHT = ("Copyright (c) 2006 Verdens Gang AS", "Copyright (c) 2006-2026 Varnish Software")
# every tool has them: a letter shows in a table that has it, a long name works everywhere
_LONG = {"help": "h", "version": "V"}


def usage(program: str, options: Sequence[Option], words: str = "") -> str:
    """The usage text. ``words``: how what follows the options is shown."""
    rest = f"<options>{' ' if words else ''}{words}"
    known = _MATCHED.get(program)
    lines = [f"Usage: {known} {rest}", f"       {program} {rest}"] if known else [f"Usage: {program} {rest}"]
    lines += ["", "Options:"]
    for option in options:
        also = f" (--{option.long})" if option.long and option.key != option.long else ""
        lines.append(f" {option.synopsis:<25} {option.text}{also}")
    return "\n".join(lines)


def version(program: str) -> str:
    """What ``-V`` prints."""
    lines = [f"{program} (varnishpy-{__version__})"]
    if known := _MATCHED.get(program):
        lines += [f"Modelled on {known} of Varnish, which is", *VARNISH_COPYRIGHT]
    return "\n".join(lines)


def parse(program: str, options: Sequence[Option], argv: list[str], error_status: int = 1) -> list[tuple[str, str]]:
    """The options given, letters without dashes, in order; no words may follow.

    Prints and exits for -h, -V and ``--optstring``.

    :raises ToolError: for what is not understood
    """
    given, rest = parse_words(program, options, argv, error_status=error_status)
    if rest:
        raise ToolError(f"{program}: surplus argument {rest[0]}\n{usage(program, options)}", error_status)
    return given


def parse_words(
    program: str,
    options: Sequence[Option],
    argv: list[str],
    words: str = "",
    error_status: int = 1,
    anywhere: bool = False,
) -> tuple[list[tuple[str, str]], list[str]]:
    """Like `parse`, with the words that follow the options.

    :param words: how these are shown in the usage text; what follows the first of them is no option, whatever it looks
        like. If empty, options may stand anywhere.
    :param anywhere: options may stand between and behind the words, too
    """
    letters = "".join(option.letter for option in options if option.letter.strip(":"))
    if argv == ["--optstring"]:
        print(letters)
        raise SystemExit(0)
    long = _LONG | {option.long: option.key for option in options if option.long}
    valued = {option.long for option in options if option.letter.endswith(":")}
    names = [name + ("=" if name in valued else "") for name in long]
    try:
        given, rest = (getopt.getopt if words and not anywhere else getopt.gnu_getopt)(argv, letters, names)
    except getopt.GetoptError as error:
        near = did_you_mean(error.opt, long) if len(error.opt) > 1 else ""
        near = near.replace("mean ", "mean --")
        raise ToolError(f"{program}: {error.msg}.{near}\n{usage(program, options, words)}", error_status) from None
    result = [(long[name[2:]] if name.startswith("--") else name[1:], value) for name, value in given]
    for key, _ in result:
        if key == "h":
            print(usage(program, options, words))
            raise SystemExit(0)
        if key == "V":
            print(version(program))
            raise SystemExit(0)
    return result, rest


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
