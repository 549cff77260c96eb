"""Lines and tokens of the test language.

A line is a command and its arguments; it ends at a newline that is neither escaped (``\\`` last on the line) nor inside
braces.  A token is a word, a ``"quoted string"`` with C-like escapes, or ``{anything, braces balanced}``, verbatim.
A ``#`` as the first character of a line starts a comment, elsewhere it is an ordinary character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .errors import ScriptError
from .text import Text, TextBuilder

SPACE = " \t\n\r\v\f"
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}
_OCTAL = "01234567"
_HEX = "0123456789abcdefABCDEF"
_BLANK = re.compile(r"[ \t\n\r\v\f]")
_BRACE = re.compile(r"[{}]")


@dataclass(slots=True)
class Line:
    """The tokens of one command; ``start`` is the offset of the first in the text that was read."""

    tokens: list[Text]
    start: int
    shown: str


def escape(text: str, at: int) -> tuple[str, int]:
    """Decode the escape whose backslash is at ``text[at]``; ("", 0) if it is none that exists."""
    following = text[at + 1 : at + 2]
    if following in _SIMPLE and following:
        return _SIMPLE[following], 2
    if following and following in _OCTAL:
        end = at + 2
        while end < at + 4 and text[end : end + 1] and text[end] in _OCTAL:
            end += 1
        return chr(int(text[at + 1 : end], 8) & 0xFF), end - at
    if following == "x":
        digits = text[at + 2 : at + 4]
        if len(digits) == 2 and digits[0] in _HEX and digits[1] in _HEX:
            return chr(int(digits, 16)), 4
    return "", 0


def lines(text: Text) -> Iterator[Line]:
    """The commands of ``text`` in order.  Raises ScriptError at the place of the first thing that cannot be read."""
    at, end = 0, len(text)
    while at < end:
        if text[at] in SPACE:
            at += 1
            continue
        if text[at] == "#":
            newline = text.find("\n", at)
            if newline < 0:
                return
            at = newline + 1
            continue
        start = at
        newline = text.find("\n", at)
        shown = text[at : newline if newline >= 0 else end]
        tokens: list[Text] = []
        while at < end and text[at] != "\n":
            if text[at] in SPACE:
                at += 1
            elif text.startswith("\\\n", at):
                at += 2
            else:
                token, at = _token(text, at)
                tokens.append(token)
        if tokens:  # else there were but line ends that were escaped
            yield Line(tokens, start, shown)


def _token(text: Text, at: int) -> tuple[Text, int]:
    if text[at] == '"':
        return _quoted(text, at)
    if text[at] == "{":
        return _braced(text, at)
    blank = _BLANK.search(text, at)
    end = blank.start() if blank else len(text)
    return text.cut(at, end), end


def _quoted(text: Text, opening: int) -> tuple[Text, int]:
    at = opening + 1
    simple = text.find('"', at)
    if simple >= 0 and "\\" not in text[at:simple] and "\n" not in text[at:simple]:
        return text.cut(at, simple), simple + 1
    built = TextBuilder(text.source)
    run = at
    while at < len(text):
        char = text[at]
        if char == '"':
            built.piece(text, run, at)
            return built.build(), at + 1
        if char == "\n":
            break
        if char != "\\":
            at += 1
            continue
        value, length = escape(text, at)
        if not length:
            raise ScriptError(f"unknown escape {text[at : at + 2]!r} in a quoted string", text.locate(at))
        built.piece(text, run, at)
        built.stand_in(value, text, at)
        at += length
        run = at
    raise ScriptError("unterminated quoted string: a closing '\"' was expected on this line", text.locate(opening))


def _braced(text: Text, opening: int) -> tuple[Text, int]:
    depth = 0
    for brace in _BRACE.finditer(text, opening):
        if brace.group() == "{":
            depth += 1
            continue
        depth -= 1
        if depth == 0:
            return text.cut(opening + 1, brace.start()), brace.end()
    raise ScriptError("unbalanced braces: the '}' for this '{' is missing", text.locate(opening))


def comma_arguments(text: str) -> list[str]:
    """Split the inside of ``${...}``: words separated by commas or blanks, quoted where need be.

    Raises ValueError with what is wrong.
    """
    found: list[str] = []
    at, end = 0, len(text)
    separated_by = ""
    separated_at = -2
    while at < end:
        char = text[at]
        if char in SPACE:
            at += 1
            continue
        if char == "," and separated_by and (separated_by in SPACE or separated_by == '"'):
            separated_by = ""
            at += 1
            continue
        if char == '"' and separated_by == '"' and at - separated_at < 2:
            raise ValueError("Missing separator between arguments")
        separated_by = ""
        quoted = char == '"'
        if quoted:
            at += 1
        word: list[str] = []
        closed = False
        while at < end:
            char = text[at]
            if char == "\\":
                value, length = escape(text, at)
                if not length:
                    raise ValueError("Invalid backslash sequence")
                word.append(value)
                at += length
                continue
            if quoted:
                if char == '"':
                    closed, separated_by, separated_at = True, '"', at
                    break
            elif char in SPACE or char == ",":
                separated_by, separated_at = char, at
                break
            elif char == '"':
                raise ValueError("Invalid '\"'")
            word.append(char)
            at += 1
        if quoted and not closed:
            raise ValueError("Missing '\"'")
        if at < end:
            at += 1
        found.append("".join(word))
    if separated_by == ",":
        found.append("")
    return found
