"""The query language of vsl-query(7): which groups of transactions to show.

A query is true if some record of the group satisfies it. Several queries, one a line, are joined by *or*; a backslash
at the end of a line continues it; ``#`` begins a comment. Parsed once into nested functions, then asked for each group.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from varnishpy.base.wiretext import from_wire, to_wire
from varnishpy.log.grouping import Transaction
from varnishpy.log.pattern import PatternError, compile_search
from varnishpy.log.record import Record
from varnishpy.log.selection import TagPatternError, match_tags, near_tag

Test = Callable[[list[Transaction]], bool]
RecordTest = Callable[[str], bool]

_WORD = re.compile(r"[A-Za-z0-9+\-_.*]+")
_KEYWORDS = frozenset({"and", "or", "not", "eq", "ne", "vxid"})
_SIGNS = ("!~", "!=", "<=", "==", ">=", "!", "(", ")", ",", ":", "<", "=", ">", "[", "]", "{", "|", "}", "~")
_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPERATORS = frozenset({*_NUMERIC, "eq", "ne", "~", "!~"})
_INTEGER = re.compile(r"\s*[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+)")
_FLOAT = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MOST_DEPTH = 100


class QueryError(Exception):
    """The query is wrong. The text has the message, the line and a line of markers, as varnishlog prints them."""


@dataclass(slots=True)
class _Token:
    kind: str  # "value", "end", a keyword or a sign
    begin: int
    end: int
    value: str = ""


def _integer(text: str) -> tuple[int, int] | None:
    """C's strtoll with base 0: the number and where it ended; None if there is none."""
    match = _INTEGER.match(text)
    if match is None:
        return None
    digits = match.group().strip()
    bare = digits.lstrip("+-")
    end = match.end()
    if bare[:2] in ("0x", "0X"):
        number = int(bare, 16)
    elif bare.startswith("0"):
        octal = re.match(r"[0-7]+", bare)
        assert octal is not None
        end -= len(bare) - octal.end()
        number = int(octal.group(), 8)
    else:
        number = int(bare)
    return (-number if digits.startswith("-") else number), end


class _Parser:
    def __init__(self, text: str, caseless: bool) -> None:
        self.text = text
        self.caseless = caseless
        self.tokens: list[_Token] = []
        self.position = 0
        self.depth = 0
        self._lex()

    # -- lexer

    def fail(self, message: str, token: _Token, offset: int = -1) -> QueryError:
        begin = self.text.rfind("\n", 0, token.begin) + 1
        end = self.text.find("\n", begin)
        line = self.text[begin : end if end >= 0 else len(self.text)]
        marks = []
        for index in range(begin, begin + len(line)):
            if not token.begin <= index < token.end:
                marks.append("-")
            else:
                marks.append("^" if index - token.begin == offset else "#")
        place = token.begin + 1 + max(offset, 0)
        return QueryError(f"{message} (Pos {place})\n{line}\n{''.join(marks)}\n\n")

    def _lex(self) -> None:
        text = self.text
        at = 0
        while at < len(text):
            char = text[at]
            if char in " \t":
                at += 1
            elif text.startswith("\\\n", at):
                at += 2
            elif char == "#":
                end = text.find("\n", at)
                at = end if end >= 0 else len(text)
            elif char in "\"'":
                at = self._quoted(at)
            elif char == "\n":
                self.tokens.append(_Token("end", at, at + 1))
                at += 1
            else:
                at = self._plain(at)
        self.tokens.append(_Token("end", len(text), len(text)))

    def _quoted(self, at: int) -> int:
        text, quote = self.text, self.text[at]
        value = []
        end = at + 1
        while end < len(text) and text[end] != quote:
            if text[end] == "\\":
                end += 1
            if end >= len(text) or text[end] == "\n":
                break
            value.append(text[end])
            end += 1
        if end >= len(text) or text[end] != quote:
            raise self.fail("Unterminated string", _Token("value", at, end), end - at)
        self.tokens.append(_Token("value", at, end + 1, "".join(value)))
        return end + 1

    def _plain(self, at: int) -> int:
        for sign in _SIGNS:
            if self.text.startswith(sign, at):
                self.tokens.append(_Token(sign, at, at + len(sign), sign))
                return at + len(sign)
        match = _WORD.match(self.text, at)
        if match is None:
            raise self.fail("Syntax error", _Token("end", at, at + 1))
        word = match.group()
        self.tokens.append(_Token(word if word in _KEYWORDS else "value", at, match.end(), word))
        return match.end()

    # -- parser

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def next(self) -> None:
        if self.position < len(self.tokens) - 1:
            self.position += 1

    def shown(self) -> str:
        token = self.token
        return self.text[token.begin : token.end].rstrip("\n")

    def expect(self, kind: str) -> None:
        if self.token.kind != kind:
            want = "EOI" if kind == "end" else f"'{kind}'"
            got = "end of input" if self.token.kind == "end" else f"'{self.shown()}'"
            raise self.fail(f"Expected {want} got {got}", self.token)
        self.next()

    def queries(self) -> Test:
        tests: list[Test] = []
        while self.position < len(self.tokens) - 1 or not tests:
            if self.token.kind == "end":
                if self.position == len(self.tokens) - 1:
                    break
                self.next()
                continue
            tests.append(self.any_of())
            if self.token.kind != "end":
                self.expect("end")
        if not tests:
            raise self.fail("No query", self.token)
        return tests[0] if len(tests) == 1 else _any(tests)

    def any_of(self) -> Test:
        tests = [self.all_of()]
        while self.token.kind == "or":
            self.next()
            tests.append(self.all_of())
        return tests[0] if len(tests) == 1 else _any(tests)

    def all_of(self) -> Test:
        tests = [self.negated()]
        while self.token.kind == "and":
            self.next()
            tests.append(self.negated())
        return tests[0] if len(tests) == 1 else _all(tests)

    def negated(self) -> Test:
        if self.token.kind == "not":
            self.next()
            inner = self.grouped()
            return lambda group: not inner(group)
        return self.grouped()

    def grouped(self) -> Test:
        if self.token.kind != "(":
            return self.comparison()
        self.depth += 1
        if self.depth > _MOST_DEPTH:
            raise self.fail("Too many nested parentheses", self.token)
        self.next()
        inner = self.any_of()
        self.expect(")")
        self.depth -= 1
        return inner

    def comparison(self) -> Test:
        first = self.token
        low, high = self.level()
        tags, vxid = self.tag_list()
        prefix = ""
        field = 0
        if self.token.kind == ":":
            self.next()
            prefix = self.value("string")
        if self.token.kind == "[":
            self.next()
            place = self.token
            number = _integer(self.value("integer"))
            if number is None or number[1] != len(place.value) or number[0] <= 0:
                raise self.fail("Expected positive integer", place)
            field = number[0]
            self.expect("]")
        token = self.token
        if vxid:
            if vxid > 1 or tags or prefix or field or first.kind == "{":
                raise self.fail("Unexpected taglist selection for vxid", token)
            if token.kind not in _NUMERIC:
                raise self.fail(f"Expected vxid operator got '{self.shown()}'", token)
            self.next()
            return self.vxid_test(token.kind)
        if token.kind in ("end", "and", "or", ")"):
            return _selector(tags, low, high, prefix, field, None)
        if token.kind not in _OPERATORS:
            raise self.fail(f"Expected operator got '{self.shown()}'", token)
        self.next()
        return _selector(tags, low, high, prefix, field, self.operand(token.kind))

    def value(self, what: str) -> str:
        token = self.token
        if token.kind != "value":
            raise self.fail(f"Expected {what} got '{self.shown()}'", token)
        self.next()
        return token.value

    def level(self) -> tuple[int, int]:
        if self.token.kind != "{":
            return 0, 2**31
        self.next()
        token = self.token
        text = self.value("integer")
        number = _integer(text)
        if number is not None and number[0] < 0:
            raise self.fail("Expected positive integer", token)
        if number is None or text[number[1] :] not in ("", "-", "+"):
            raise self.fail("Syntax error in level limit", token)
        self.expect("}")
        return {"": (number[0], number[0]), "-": (0, number[0]), "+": (number[0], 2**31)}[text[number[1] :]]

    def tag_list(self) -> tuple[frozenset[int], int]:
        tags: frozenset[int] = frozenset()
        vxid = 0
        while True:
            token = self.token
            if token.kind == "vxid":
                vxid += 1
            elif token.kind != "value":
                raise self.fail(f"Expected VSL tag name got '{self.shown()}'", token)
            else:
                try:
                    tags |= match_tags(token.value)
                except TagPatternError as error:
                    why = {
                        "zero": "Tag name matches zero tags" + near_tag(token.value),
                        "ambiguous": "Tag name is ambiguous",
                        "syntax": "Syntax error in tag name",
                    }[error.kind]
                    raise self.fail(why, token) from None
            self.next()
            if self.token.kind != ",":
                return tags, vxid
            self.next()

    def vxid_test(self, sign: str) -> Test:
        token = self.token
        number = _integer(self.value("number"))
        if "." in token.value:
            raise self.fail(f"Expected integer got '{token.value}'", token, 0)
        if number is None or number[1] != len(token.value):
            raise self.fail("Integer parse error", token)
        compare, wanted = _NUMERIC[sign], number[0]
        return lambda group: any(compare(t.vxid, wanted) for t in group)

    def operand(self, sign: str) -> RecordTest:
        token = self.token
        if sign in _NUMERIC:
            return _number_test(sign, self.value("number"), lambda why: self.fail(why, token))
        if sign in ("eq", "ne"):
            wanted = self.value("string")
            if self.caseless:
                wanted = wanted.lower()
                equal: RecordTest = lambda text: text.lower() == wanted  # noqa: E731
            else:
                equal = wanted.__eq__
            return equal if sign == "eq" else lambda text: not equal(text)
        pattern = self.value("regular expression")
        try:
            search = compile_search(pattern, self.caseless)
        except PatternError as error:
            raise self.fail(f"Regular expression error: {error}", token) from error
        return search if sign == "~" else lambda text: not search(text)


def _any(tests: list[Test]) -> Test:
    return lambda group: any(test(group) for test in tests)


def _all(tests: list[Test]) -> Test:
    return lambda group: all(test(group) for test in tests)


def _number_test(sign: str, text: str, fail: Callable[[str], QueryError]) -> RecordTest:
    compare = _NUMERIC[sign]
    if "." in text:
        match = _FLOAT.fullmatch(text.strip())
        if match is None:
            raise fail("Floating point parse error")
        wanted_float = float(text)

        def as_float(record: str) -> bool:
            number = _FLOAT.fullmatch(record)
            return number is not None and compare(float(record), wanted_float)

        return as_float
    parsed = _integer(text)
    if parsed is None or text[parsed[1] :].strip():
        raise fail("Integer parse error")
    wanted = parsed[0]

    def as_integer(record: str) -> bool:
        number = _integer(record)
        if number is not None and number[1] == len(record):
            return compare(number[0], wanted)
        # a fraction or an exponent: its integral part counts
        return _FLOAT.fullmatch(record) is not None and compare(int(float(record)), wanted)

    return as_integer


def nth_field(text: str, n: int) -> str | None:
    """The n-th white-space separated field, counting from 1; a field in double quotes may hold blanks."""
    at = 0
    field: str | None = None
    for _ in range(n):
        while at < len(text) and text[at].isspace():
            at += 1
        if at >= len(text):
            return None
        if text[at] == '"':
            end = text.find('"', at + 1)
            if end < 0:
                return None
            field = text[at + 1 : end]
            at = end + 1
            if at < len(text) and not text[at].isspace():
                return field if _ == n - 1 else None
        else:
            end = at
            while end < len(text) and not text[end].isspace():
                end += 1
            field = text[at:end]
            at = end
    return field


def part_of(record: Record, prefix: str, field: int) -> str | None:
    """What of a record's payload a prefix (in lower case) and a field select; None: nothing."""
    text = record.text
    if prefix:
        if len(text) <= len(prefix) or text[len(prefix)] != ":" or text[: len(prefix)].lower() != prefix:
            return None
        text = text[len(prefix) + 1 :].lstrip()
    return nth_field(text, field) if field else text


def _selector(tags: frozenset[int], low: int, high: int, prefix: str, field: int, test: RecordTest | None) -> Test:
    prefix = prefix.lower()

    def select(group: list[Transaction]) -> bool:
        for transaction in group:
            if not low <= transaction.level <= high:
                continue
            for record in transaction.records:
                if record.tag in tags:
                    part = part_of(record, prefix, field)
                    if part is not None and (test is None or test(part)):
                        return True
        return False

    return select


def parse_query(text: str, caseless: bool = False) -> Test:
    """Compile a query, a wire string as records are, to a function of a group. Raises QueryError."""
    return _Parser(text, caseless).queries()


def parse_user_query(text: str, caseless: bool = False) -> Test:
    """As `parse_query`, of text as users write it, which the log has in UTF-8. Raises QueryError, for users too."""
    try:
        return parse_query(to_wire(text), caseless)
    except QueryError as error:
        raise QueryError(from_wire(str(error))) from None
