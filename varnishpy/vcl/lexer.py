"""From source text to tokens, and from ``include`` to more source text (vcl(7), "Syntax")."""

from __future__ import annotations

import base64
import binascii
import glob
import os
import re
from typing import NoReturn, Protocol

from varnishpy.vcl.source import CBLOB, CNUM, CSRC, CSTR, EOI, FNUM, ID, CompileStop, Report, Source, Token

# longest first: the first that matches wins
_PUNCTUATION = (
    "++ -- && || <= == != >= >> << += -= *= /= !~",
    "{ } ( ) * + - / % > < = ; ! & . | ~ ,",
)
_FIXED = re.compile("|".join(re.escape(mark) for mark in " ".join(_PUNCTUATION).split()))
# what is most of any program: space, comments to the end of the line, and names (the group); not the C of C{
_PLAIN = re.compile(r"[ \t\r\n\f\v]+|(?:#|//)[^\n]*|((?!C\{)[A-Za-z][A-Za-z0-9_-]*)")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?")
_BLOB = re.compile(r"[A-Za-z0-9+/]*={0,2}")
# opening mark, closing mark, may span lines, token, name in messages
_DELIMITED = (
    ('"""', '"""', True, CSTR, "long-string"),
    ('{"', '"}', True, CSTR, "long-string"),
    ('"', '"', False, CSTR, "string"),
    ("C{", "}C", True, CSRC, "inline C source"),
)
# an integer has at most 15 digits, a decimal 12 before the point and 3 after it (RFC 8941 section 3.3)
_INT_DIGITS, _REAL_WHOLE, _REAL_FRACTION = 15, 12, 3


class LexerOptions(Protocol):
    """What reading of files depends on."""

    vcl_path: list[str]
    unsafe_path: bool


class Lexer:
    """Turns one source into tokens."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def run(self, source: Source) -> None:
        """Fill ``source.tokens``; the last one is EOI."""
        text = source.text
        at = 0
        end = len(text)
        while at < end:
            if found := _PLAIN.match(text, at):
                if found.lastindex:
                    source.tokens.append(Token(ID, source, at, found.end()))
                at = found.end()
            elif text.startswith("/*", at):
                at = self._comment(source, at)
            elif text[at] == ":":
                at = self._blob(source, at)
            elif text[at] in '"{C' and (after := self._delimited(source, at)) > at:
                at = after
            elif found := _FIXED.match(text, at):
                source.tokens.append(Token(found.group(), source, at, found.end()))
                at = found.end()
            elif text[at].isdigit() and text[at].isascii():
                at = self._number(source, at)
            else:
                self.report.fail("Syntax error at\n", Token(EOI, source, at, at + 1))
        source.tokens.append(Token(EOI, source, end, end))

    def _comment(self, source: Source, at: int) -> int:
        text = source.text
        close = text.find("*/", at + 2)
        nested = text.find("/*", at + 2)
        if nested >= 0 and (close < 0 or nested < close):
            self.report.add("/* ... */ comment contains /*\n")
            self.report.where(Token(EOI, source, at, at + 2))
            self.report.fail("", Token(EOI, source, nested, nested + 2))
        if close < 0:
            self.report.fail("Unterminated /* ... */ comment, starting at\n", Token(EOI, source, at, at + 2))
        return close + 2

    def _delimited(self, source: Source, at: int) -> int:
        text = source.text
        for opening, closing, lines, kind, name in _DELIMITED:
            if not text.startswith(opening, at):
                continue
            size = len(opening)
            close = text.find(closing, at + size)
            if close >= 0 and not lines and ("\n" in text[at:close] or "\r" in text[at:close]):
                close = -1
            if close < 0:
                self.report.fail(f"Unterminated {name}, starting at\n", Token(EOI, source, at, at + size))
            token = Token(kind, source, at, close + size)
            token.value = text[at + size : close]
            source.tokens.append(token)
            return token.end
        return at

    def _number(self, source: Source, at: int) -> int:
        found = _NUMBER.match(source.text, at)
        assert found is not None
        whole, point, fraction = found.group().partition(".")
        token = Token(FNUM if point else CNUM, source, at, found.end(), num=float(found.group()))
        if point and (len(whole) > _REAL_WHOLE or len(fraction) > _REAL_FRACTION):
            self.report.fail("Too many digits for real.\n", token)
        if not point and len(whole) > _INT_DIGITS:
            self.report.fail("Too many digits for integer.\n", token)
        following = source.text[found.end() : found.end() + 1]
        if following in ("e", "E"):
            token.end += 1
            self.report.fail(f"Unexpected character '{following}'.\n", token)
        source.tokens.append(token)
        return found.end()

    def _blob(self, source: Source, at: int) -> int:
        found = _BLOB.match(source.text, at + 1)
        assert found is not None
        end = found.end()
        token = Token(CBLOB, source, at, min(end + 1, len(source.text)))
        if not source.text[end:].strip():
            self.report.fail("Missing colon at end of BLOB:\n", token)
        if source.text[end] == "=" or ("=" in found.group() and source.text[end] != ":"):
            self.report.fail("Wrong padding ('=') in BLOB:\n", token)
        if source.text[end] != ":":
            self.report.fail("Illegal BLOB character:\n", token)
        if len(found.group()) % 4:
            self.report.fail("BLOB must have n*4 base64 characters\n", token)
        try:
            token.blob = base64.b64decode(found.group(), validate=True)
        except binascii.Error:
            self.report.fail("Wrong padding ('=') in BLOB:\n", token)
        if base64.b64encode(token.blob).decode("ascii") != found.group():
            self.report.fail("Illegal BLOB character:\n", token)  # bits beyond the last octet
        source.tokens.append(token)
        return end + 1


def find_file(path: list[str], name: str) -> str | None:
    """Look a file up along a search path; absolute names stand for themselves."""
    if name.startswith("/"):
        return name
    for folder in path:
        candidate = os.path.join(folder, name)
        if os.path.exists(candidate):
            return candidate
    return None


class SourceReader:
    """Lexes a program with everything it includes into one list of tokens."""

    def __init__(self, report: Report, options: LexerOptions) -> None:
        self.report = report
        self.options = options
        self.sources: list[Source] = []
        self.tokens: list[Token] = []

    def read(self, source: Source, last: bool) -> None:
        """Append a source's tokens; ``last`` keeps its end-of-input token."""
        above = source.parent
        while above is not None:
            if (above.name, above.kind) == (source.name, source.kind):
                self.report.fail(f'Recursive use of {source.kind} "{source.name}"\n\n')
            above = above.parent
        source.index = len(self.sources)
        self.sources.append(source)
        Lexer(self.report).run(source)
        at = 0
        while at < len(source.tokens):
            token = source.tokens[at]
            if token.kind == EOI and not last:
                break
            if token.is_id("include"):
                at = self._include(source, at)
            else:
                token.index = len(self.tokens)
                self.tokens.append(token)
            at += 1

    def open_file(self, name: str, parent: Source | None = None) -> Source:
        """Read a file of the search path; stops compiling when it cannot."""
        if not self.options.unsafe_path and "/" in name:
            self.report.fail(f"VCL filename '{name}' is unsafe.\n")
        found = find_file(self.options.vcl_path, name)
        try:
            if found is None:
                raise FileNotFoundError(2, os.strerror(2))
            with open(found, "rb") as stream:
                text = stream.read().decode("latin-1")
        except OSError as error:
            self.report.fail(f"Cannot read file '{found or name}' ({error.strerror})\n")
        return Source(found, "file", text, parent=parent)

    def _include(self, source: Source, at: int) -> int:
        tokens = source.tokens
        globbing = False
        at += 1
        while tokens[at].kind in "+-":
            if tokens[at + 1].begin != tokens[at].end:
                self.report.fail("Expected a flag at:\n", tokens[at])
            if not tokens[at + 1].is_id("glob"):
                self.report.fail("Unknown include flag:\n", tokens[at + 1])
            globbing = tokens[at].kind == "+"
            at += 2
        token = tokens[at]
        if token.kind != CSTR:
            self.report.fail("include not followed by string constant.\n", token)
        if tokens[at + 1].kind != ";":
            self.report.fail("include <string> not followed by semicolon.\n", token)
        name = token.value
        if name.startswith("./"):
            if not source.name.startswith("/"):
                self.report.fail('include "./xxxxx"; needs absolute filename of including file.\n', token)
            name = os.path.dirname(source.name) + name[1:]
        mark = len(self.report.parts)
        names = self._expand(token, name) if globbing else [name]
        for each in names:
            try:
                included = self.open_file(each, source)
            except CompileStop:
                if len(self.report.parts) > mark:
                    self.report.where(token)
                raise
            self.read(included, last=False)
        return at + 1

    def _expand(self, token: Token, pattern: str) -> list[str]:
        if not pattern.startswith(("/", "./")):
            self._glob_error("+glob can only be used with absolute paths or relative paths starting with './'\n", token)
        found = sorted(glob.glob(pattern))
        if not found:
            self._glob_error("glob pattern matched no files.\n", token)
        return found

    def _glob_error(self, text: str, token: Token) -> NoReturn:
        self.report.fail(text, token)
