"""Source texts, tokens, and the report in which the compiler tells what is wrong.

Source text is held as a *wire string*, one character per octet of the file, so that string literals come out the way
HTTP wants them and positions count octets, as the reference does.

The report has the reference's shape: a message, then ``('name' Line 3 Pos 9)``, the source line, and a line of dashes
in which the offending text is marked with ``#``. Tabs are expanded to multiples of eight in both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

ID, CNUM, FNUM, CSTR, CSRC, CBLOB, EOI = "ID", "CNUM", "FNUM", "CSTR", "CSRC", "CBLOB", "EOI"


class VclError(Exception):
    """The program was refused; ``str(e)`` is the compiler's report."""


class CompileStop(Exception):
    """Raised inside the compiler at the first error, after it was written to the report."""


@dataclass(slots=True, eq=False)
class Source:
    """One text: the program itself, an included file, or the builtin VCL."""

    name: str
    kind: str  # "vcl.inline", "file" or "builtin"
    text: str
    index: int = -1
    parent: Source | None = None
    tokens: list[Token] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Token:
    """A piece of source text; ``value`` is a string's content, ``blob`` a blob's, ``num`` a number's."""

    kind: str
    source: Source
    begin: int
    end: int
    value: str = ""
    num: float = 0.0
    blob: bytes = b""
    index: int = -1  # in the token list of the whole program

    @property
    def text(self) -> str:
        return self.source.text[self.begin : self.end]

    def is_id(self, word: str) -> bool:
        return self.kind == ID and self.text == word

    def describe(self) -> str:
        """The token as messages quote it."""
        if self.kind == EOI:
            return "end of input"
        if self.kind == CSRC:
            return "C{ ... }C"
        return f"'{self.text}'"


def _column(line: str) -> int:
    column = 0
    for char in line:
        column = (column & ~7) + 8 if char == "\t" else column + 1
    return column


def position(source: Source, offset: int) -> tuple[int, int]:
    """Line and column (both from 1) of an offset."""
    before = source.text[:offset]
    line = before.count("\n") + 1
    return line, _column(before[before.rfind("\n") + 1 :]) + 1


def coordinates(source: Source, offset: int, name: bool = True) -> str:
    """``('input' Line 3 Pos 9)``, or only ``(Pos 9)``."""
    line, column = position(source, offset)
    return f"('{source.name}' Line {line} Pos {column})" if name else f"(Pos {column})"


def _line_start(source: Source, offset: int) -> int:
    return source.text.rfind("\n", 0, max(offset, 0)) + 1


def _quoted(source: Source, start: int, begin: int, end: int) -> str:
    """The source line that starts at an offset, and its marker line."""
    stop = source.text.find("\n", start)
    if stop < 0:
        stop = len(source.text)
    shown: list[str] = []
    marks: list[str] = []
    column = 0
    for offset in range(start, stop):
        char = source.text[offset]
        width = 8 - column % 8 if char == "\t" else 1
        shown.append(" " * width if char == "\t" else char)
        marks.append(("#" if begin <= offset < end else "-") * width)
        column += width
    return "".join(shown) + "\n" + "".join(marks) + "\n"


class Report:
    """What the compiler has to say, in order."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[str] = []

    def add(self, text: str) -> None:
        self.parts.append(text)

    def where(self, token: Token) -> None:
        """Show one token in its line."""
        self.add(coordinates(token.source, token.begin) + "\n")
        start = _line_start(token.source, token.begin)
        self.add(_quoted(token.source, start, token.begin, token.end) + "\n")

    def span(self, first: Token, last: Token) -> None:
        """Show the text from one token through another."""
        source = first.source
        if last.source is not source or last.end <= first.begin:
            self.where(first)
            return
        start = _line_start(source, first.begin)
        last_start = _line_start(source, last.end - 1)
        head = coordinates(source, first.begin)
        if start == last_start:
            self.add(f"{head} -- {coordinates(source, last.end - 1, name=False)}\n")
            self.add(_quoted(source, start, first.begin, last.end) + "\n")
            return
        next_line = source.text.find("\n", start) + 1
        tail = coordinates(source, last.end - 1)
        self.add(f"{head} -- {tail}\n" if next_line == last_start else head + "\n")
        self.add(_quoted(source, start, first.begin, last.end))
        if next_line != last_start:
            self.add(f"[...]\n{tail}\n")
        self.add(_quoted(source, last_start, first.begin, last.end) + "\n")

    def warning(self) -> None:
        self.add("(That was just a warning)\n")

    def stop(self) -> NoReturn:
        raise CompileStop

    def error(self, text: str, token: Token | None = None) -> CompileStop:
        """Write a message and show a token; the exception to raise."""
        self.add(text)
        if token is not None:
            self.where(token)
        return CompileStop()

    def fail(self, text: str, token: Token | None = None) -> NoReturn:
        """Write a message, show a token, and stop compiling."""
        raise self.error(text, token)

    def text(self) -> str:
        """The report for people: source octets decoded as UTF-8 again."""
        return "".join(self.parts).encode("latin-1", "replace").decode("utf-8", "replace")


def compiler_message(compiler_report: str) -> str:
    """What the compiler had to say, as varnishd passes it on: nothing, or whole lines under a title."""
    text = f"Message from VCC-compiler:\n{compiler_report}" if compiler_report else ""
    return f"{text}\n" if text and not text.endswith("\n") else text


def varnishd_report(compiler_report: str) -> str:
    """All that varnishd prints about a program that did not compile."""
    return f"{compiler_message(compiler_report)}Running VCC-compiler failed, exited with 2\nVCL compilation failed"
