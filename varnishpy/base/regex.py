"""Regular expressions with the syntax and errors of PCRE2, on octets.

VCL, log queries and bans promise PCRE2. The binding costs some microseconds per match, though, and the standard
library's `re` a few tenths; so a pattern of which it can be shown that both read it the same way is executed by `re`
(with ASCII classes, on wire strings of one character per octet), and every other one by PCRE2 on octets.

What `re` may execute is deliberately little: literals, ``.``, ``^``, ``$``, simple classes, groups, alternation, greedy
and lazy quantifiers, a leading ``(?i)``. Both engines are backtracking, take the leftmost match and try alternatives
in order, and agree on these constructs (``$`` matches before a final newline in both). `re` has no limit on
backtracking, so nested or many open-ended quantifiers stay with PCRE2, whose match limit stops them.

Everything is checked by PCRE2 first, so that what it refuses is refused with its own words.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence

import pcre2

Searcher = Callable[[str], object]  # a wire string -> something true if it matches

# POSIX classes inside brackets that both engines can be told alike
_POSIX = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "xdigit": "0-9A-Fa-f",
    "word": "a-zA-Z0-9_",
}
_CLASS_ESCAPES = "dwsDWS"
_OPEN_ENDED_MOST = 2


class RegexError(Exception):
    """The pattern is wrong; ``position`` is where in it this was noticed."""

    def __init__(self, text: str, position: int = 0) -> None:
        super().__init__(text)
        self.position = position


class RegexMatchError(Exception):
    """Matching gave up, at a limit for instance; the text is PCRE2's."""


class _Limits:
    """What stops a runaway match: the parameters pcre2_match_limit and pcre2_depth_limit; and pcre2_jit_compilation."""

    __slots__ = ("depth", "generation", "jit", "match")

    def __init__(self) -> None:
        self.match = 10000
        self.depth = 20000
        self.jit = True
        self.generation = 0


_limits = _Limits()


def set_limits(match: int, depth: int, jit: bool = True) -> None:
    """Set the limits for every later match by PCRE2, and whether it compiles patterns to machine code."""
    if (match, depth, jit) != (_limits.match, _limits.depth, _limits.jit):
        _limits.match = match
        _limits.depth = depth
        _limits.jit = jit
        _limits.generation += 1


class _Unsuited(Exception):
    """The pattern is not one that `re` may execute."""


class _Translator:
    """Reads a pattern and writes it for `re`, or gives up."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.open_ended = 0

    def run(self) -> tuple[str, int]:
        flags = re.ASCII
        if self.pattern.startswith("(?i)"):
            flags |= re.IGNORECASE
            self.at = 4
        out, _repeats = self._alternatives()
        if self.at != len(self.pattern):
            raise _Unsuited
        return out, flags

    def _peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _alternatives(self) -> tuple[str, bool]:
        """Up to a closing parenthesis or the end; also, whether anything inside repeats or captures."""
        out: list[str] = []
        busy = False
        while (char := self._peek()) and char != ")":
            if char == "|":
                self.at += 1
                out.append(char)
                continue
            item, item_busy, repeatable = self._item(char)
            quantifier = self._quantifier()
            if quantifier:
                if not repeatable or (item_busy and quantifier[0] != "?"):
                    raise _Unsuited
                busy = True
            out.append(item + quantifier)
            busy = busy or item_busy
        return "".join(out), busy

    def _item(self, char: str) -> tuple[str, bool, bool]:
        if char == "(":
            return (*self._group(), True)
        if char == "[":
            return self._bracket(), False, True
        if char == "\\":
            return self._escape(), False, True
        self.at += 1
        if char in "^$":
            return char, False, False
        if char in "*+?{}" or not (" " <= char <= "~"):
            raise _Unsuited
        return ("]" if char == "]" else char), False, True

    def _group(self) -> tuple[str, bool]:
        text = self.pattern
        for opening in ("(?:", "(?i:"):
            if text.startswith(opening, self.at):
                self.at += len(opening)
                inner, busy = self._alternatives()
                break
        else:
            if text.startswith(("(?", "(*"), self.at):
                raise _Unsuited
            opening = "("
            self.at += 1
            inner, _ = self._alternatives()
            busy = True  # a capture inside a repetition: the engines may differ in what they remember
        if self._peek() != ")":
            raise _Unsuited
        self.at += 1
        return opening + inner + ")", busy

    def _escape(self) -> str:
        char = self.pattern[self.at + 1 : self.at + 2]
        if not char or not char.isascii() or (char.isalnum() and char not in _CLASS_ESCAPES) or char <= " ":
            raise _Unsuited
        self.at += 2
        return "\\" + char

    def _quantifier(self) -> str:
        found = re.compile(r"[*+?]|\{\d{1,3}(,\d{0,3})?\}").match(self.pattern, self.at)
        if found is None:
            return ""
        text = found.group()
        self.at = found.end()
        if text in "*+" or text.endswith(",}"):
            self.open_ended += 1
            if self.open_ended > _OPEN_ENDED_MOST:
                raise _Unsuited
        if self._peek() == "?":
            text += "?"
            self.at += 1
        if self._peek() in ("*", "+", "?", "{") and self._peek():
            raise _Unsuited
        return text

    def _bracket(self) -> str:
        text = self.pattern
        out = ["["]
        self.at += 1
        if self._peek() == "^":
            out.append("^")
            self.at += 1
        start = len(out)
        while (char := self._peek()) != "]" or len(out) == start:
            if not char or not (" " <= char <= "~"):
                raise _Unsuited
            if char == "[":
                found = re.compile(r"\[:([a-z]+):\]").match(text, self.at)
                if found is None or found.group(1) not in _POSIX:
                    raise _Unsuited
                out.append(_POSIX[found.group(1)])
                self.at = found.end()
                continue
            if char == "\\":
                out.append(self._escape())
                continue
            self.at += 1
            # a range whose ends are not plain would need thought; "&&", "--", "~~", "||" are reserved by re
            if char == "-" and not (len(out) == start or self._peek() == "]") and not self._plain_range(out):
                raise _Unsuited
            out.append("\\" + char if char in "]&|~" else char)
        self.at += 1
        return "".join([*out, "]"])

    def _plain_range(self, out: list[str]) -> bool:
        following = self._peek()
        return len(out[-1]) == 1 and out[-1].isalnum() and following.isalnum() and following.isascii()


def for_re(pattern: str) -> re.Pattern[str] | None:
    """The pattern for the standard library's engine; ``None``: only PCRE2 is sure to read it as users mean it."""
    try:
        text, flags = _Translator(pattern).run()
        return re.compile(text, flags)
    except (_Unsuited, re.error, RecursionError):
        return None


class Regex:
    """A compiled pattern; safe to share between threads.

    ``search`` takes a wire string and answers something true if it matches; raises `RegexMatchError`.
    """

    __slots__ = ("_code", "_fast", "_generation", "_lock", "pattern", "search")

    def __init__(self, pattern: str, caseless: bool = False) -> None:
        if caseless:
            pattern = "(?i)" + pattern
        self.pattern = pattern
        self._lock = threading.Lock()
        self._generation = _limits.generation
        self._code = self._compile()
        self._fast = for_re(pattern)
        self.search: Searcher = self._fast.search if self._fast is not None else self._search_pcre2

    def _compile(self) -> pcre2.Pattern:
        limits = f"(*LIMIT_MATCH={_limits.match})(*LIMIT_DEPTH={_limits.depth})".encode()
        try:
            return pcre2.compile(limits + self.pattern.encode("latin-1"), jit=_limits.jit)
        except pcre2.PatternError as error:
            raise RegexError(_message(error), error.pos - len(limits)) from None

    def _search_pcre2(self, subject: str, start: int = 0) -> pcre2.Match | None:
        if self._generation != _limits.generation:
            with self._lock:
                self._code = self._compile()
                self._generation = _limits.generation
        try:
            return self._code.search(subject.encode("latin-1"), start)
        except pcre2.LibraryError as error:
            raise RegexMatchError(str(error)) from None

    def groups(self, subject: str, start: int = 0) -> tuple[tuple[int, int], Sequence[str | None]] | None:
        """The first match: its span and its groups (the whole match first), or ``None``."""
        if self._fast is not None:
            found = self._fast.search(subject, start)
            return None if found is None else (found.span(), (found.group(), *found.groups()))
        match = self._search_pcre2(subject, start)
        if match is None:
            return None
        texts = [None if group is None else group.decode("latin-1") for group in (match.group(0), *match.groups())]
        return match.span(), texts

    def sub(self, subject: str, replacement: str, every: bool) -> str | None:
        """VCL's regsub and regsuball: ``\\0`` to ``\\9`` stand for groups; ``None`` when nothing matched."""
        found = self.groups(subject)
        if found is None:
            return None
        out: list[str] = []
        done = 0
        while found is not None:
            (begin, end), groups = found
            out.append(subject[done:begin])
            out.append(expand(replacement, groups))
            done = end
            found = self._next(subject, done) if every else None
        out.append(subject[done:])
        return "".join(out)

    def _next(self, subject: str, start: int) -> tuple[tuple[int, int], Sequence[str | None]] | None:
        """The next match that is not empty: only the first of regsuball may be."""
        while start <= len(subject):
            found = self.groups(subject, start)
            if found is None or found[0][0] < found[0][1]:
                return found
            start = found[0][1] + 1
        return None


_REFERENCE = re.compile(r"\\(.)", re.DOTALL)


def expand(replacement: str, groups: Sequence[str | None]) -> str:
    """Put groups where a replacement says ``\\N``; a backslash before anything else is dropped."""
    if "\\" not in replacement:
        return replacement

    def one(found: re.Match[str]) -> str:
        char = found.group(1)
        if not ("0" <= char <= "9"):
            return char
        number = int(char)
        return (groups[number] or "") if number < len(groups) else ""

    return _REFERENCE.sub(one, replacement)


def _message(error: Exception) -> str:
    """PCRE2's text without the position, which counts our limits too."""
    return str(error).partition("; ")[2] or str(error)


def compile_pattern(pattern: str, caseless: bool = False) -> Regex:
    """Compile a pattern given as a wire string; raises `RegexError` with PCRE2's text."""
    return Regex(pattern, caseless)
