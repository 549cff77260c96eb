"""``--check``: finds every mistake in a script that can be found without running it.

Each line of each language is looked up in its table: unknown commands and options, missing and superfluous arguments,
words that are not what the table says, names that begin with the wrong letter, macros nothing defines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from . import compare, http1_commands
from .anywhere import EVERYWHERE
from .context import Settings
from .environment import FEATURES
from .errors import MacroError, Position, ScriptError
from .h2 import commands as h2_commands
from .interpreter import find_command, loop_arguments
from .languages import LANGUAGES
from .lexer import comma_arguments, lines
from .macros import FUNCTIONS, Macros
from .table import Command, Item, sort_out
from .text import Source, Text

OWN_MACROS = {"pkg_version", "pkg_branch", "pwd", "localhost", "bad_backend", "listen_addr", "bad_ip"}
SCRIPT_MACROS = {"testdir", "tmpdir", "vtcid"}
ENTITY_MACROS = {
    "s": r"(addr|port|sock)",
    "t": r"(addr|port|sock)",
    "S": r"(addr|port|sock)",
    "b": r"(addr|port|sock)",
    "v": r"(pid|name|addr|port|sock|\w+_(addr|port|sock))",
    "p": r"(pid|dir|out|err)",
    "h": r"(pid|name|\w+_(addr|port|sock))",
}
"""What macros a named party defines, by the first letter of its name."""
_FIELDS = {"http": http1_commands.is_field, "stream": h2_commands.is_field}
_LIKE_A_FIELD = re.compile(r"(?:req|resp|remote|h2|frame|stream|settings|ping|prio|winup|push|rst|goaway|tbl)\.[a-z]")
_DISPATCHED = re.compile(r"s[0-9]+_(addr|port|sock)")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong (or, with ``warning``, unwise) at a place."""

    position: Position
    text: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.position}: {'warning: ' if self.warning else ''}{self.text}"


class Checker:
    """Looks at one script."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self.source = source
        self.findings: list[Finding] = []
        self._names: set[str] = set()
        self._functions = Macros()
        self._functions.ignore_unknown = True
        self._known = {*OWN_MACROS, *SCRIPT_MACROS, *settings.macros}
        self._any_macro = False

    def run(self) -> list[Finding]:
        text = Text.whole(self.source)
        self._collect(text)
        self._text(text, "top")
        return self.findings

    def _add(self, position: Position, text: str, warning: bool = False) -> None:
        self.findings.append(Finding(position, text, warning))

    def _collect(self, text: Text) -> None:
        """Names of all parties, wherever they are declared, and whether unknown macros are allowed."""
        try:
            for line in lines(text):
                words = line.tokens
                if words[0] == "loop" and len(words) == 3:
                    self._collect(words[2])
                elif words[0] == "include" or (words[0] == "feature" and "ignore_unknown_macro" in words):
                    self._any_macro = True  # what a script includes may only exist once it runs
                row = {**LANGUAGES["top"], **EVERYWHERE}.get(words[0])
                if row is not None and row.named and len(words) > 1:
                    self._names.add(str(words[1]))
        except ScriptError:
            return  # told by _text

    def _lines(self, text: Text) -> Iterator[list[Text]]:
        """The lines of a text; after one that cannot be read nothing more can be."""
        try:
            for line in lines(text):
                yield line.tokens
        except ScriptError as error:
            self._add(error.position, error.text)

    def _text(self, text: Text, language: str) -> None:
        for tokens in self._lines(text):
            for token in tokens:
                self._macros(token)
            tokens = [self._expand(token) for token in tokens]
            try:
                if tokens[0] == "loop":
                    _, body = loop_arguments(tokens)
                    self._text(body, language)
                    continue
                command = find_command(LANGUAGES[language], EVERYWHERE, tokens[0])
                items = sort_out(command, tokens[1:], tokens[0].locate())
            except ScriptError as error:
                self._add(error.position, error.text)
                continue
            self._command(command, items, language)

    def _command(self, command: Command, items: list[Item], language: str) -> None:
        plain = [item.args[0] for item in items if not item.option]
        for item in items:
            option = command.options.get(item.option) if item.option else None
            if option is not None and option.language:
                self._text(item.args[-1], option.language)
        for spec in command.specs(plain):
            self._text(spec, command.language)
        if command.name == "expect" and language in _FIELDS:
            self._expect(plain, language)
        if command.name == "feature":
            self._features(plain)

    def _expect(self, plain: list[Text], language: str) -> None:
        left, operator, right = plain
        for word in (left, right):
            if language == "http" and word.startswith("tls.") and not _FIELDS["http"](word):
                self._add(word.locate(), f"unknown operand '{word}'")
            if _LIKE_A_FIELD.match(word) and not _FIELDS[language](word):
                self._add(word.locate(), f"{word} is no field and compared as it stands", warning=True)
        if operator not in compare.OPERATORS:
            self._add(
                operator.locate(), f"unknown operator {operator} (expected one of: {' '.join(compare.OPERATORS)})"
            )
        elif operator in ("~", "!~") and "${" not in right:
            try:
                compare.compile_regex(right)
            except compare.RegexError as error:
                self._add(right.locate(), f"bad regular expression: {error}")
        elif left == right:
            self._add(left.locate(), f"{left} is compared with itself", warning=True)

    def _features(self, words: list[Text]) -> None:
        todo = iter(words)
        for word in todo:
            name = word.removeprefix("!")
            if name in ("cmd", "vtest_cmd"):
                if next(todo, None) is None:
                    self._add(word.locate(), f"feature {name}: an argument is missing")
            elif name not in FEATURES and name != "ignore_unknown_macro":
                self._add(word.locate(), f"unknown feature: {name}")

    def _expand(self, token: Text) -> Text:
        """A token with the macros expanded whose values are known: they may bring quotes of their own."""
        try:
            return self._functions.expand(token)
        except MacroError:
            return token  # told by _macros

    def _macros(self, token: Text) -> None:
        at = token.find("${")
        while at >= 0:
            end = token.find("}", at)
            if end < 0:
                return
            try:
                words = comma_arguments(token[at + 2 : end])
            except ValueError as error:
                self._add(token.locate(at), f"macro: {error}")
            else:
                self._macro(words, token.locate(at))
            at = token.find("${", end)

    def _macro(self, words: list[str], at: Position) -> None:
        name = words[0] if words else ""
        if not self._defined(name):
            self._add(at, f"macro ${{{name}}} is not defined by anything in this script")
        elif name in FUNCTIONS:
            try:
                FUNCTIONS[name](words[1:])
            except MacroError as error:
                self._add(at, f"macro ${{{name}}}: {error}")
        elif len(words) > 1 and not self._any_macro:
            self._add(at, f"macro ${{{name}}} does not take arguments")

    def _defined(self, name: str) -> bool:
        if self._any_macro or name in self._known or name in FUNCTIONS:
            return True
        if "s0" in self._names and _DISPATCHED.fullmatch(name):
            return True
        party, _, what = name.partition("_")
        if party not in self._names:
            return False
        pattern = ENTITY_MACROS.get(party[:1])
        return pattern is not None and re.fullmatch(pattern, what) is not None


def check(source: Source, settings: Settings) -> list[Finding]:
    """Everything wrong with a script, in the order of its text."""
    found = Checker(source, settings).run()
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda finding: finding.position)


def main(sources: list[Source], settings: Settings, warnings: bool) -> int:
    """Print what is wrong with each script; 2 if anything is, else 0."""
    bad = 0
    for source in sources:
        for finding in check(source, settings):
            if not finding.warning:
                bad += 1
            elif not warnings:
                continue
            print(finding)
    return 2 if bad else 0
