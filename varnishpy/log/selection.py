"""Which records and transactions a reader shows: the options -i -I -x -X -b -c -E -C of the log tools."""

from __future__ import annotations

from collections.abc import Callable

from varnishpy.base.near import did_you_mean
from varnishpy.log.pattern import PatternError, compile_search
from varnishpy.log.record import Record
from varnishpy.log.tags import _LEGACY_ONLY, TAGS

# every name a reader can meet: ours by number, those of the old layout by negated number
_NAMES: list[tuple[str, int]] = [(info.name.lower(), number) for number, info in TAGS.items()]
_NAMES += [(name.lower(), -number) for number, name in _LEGACY_ONLY.items()]


class SelectionError(Exception):
    """A list of tags or a pattern is wrong; the message is for the user."""


class TagPatternError(Exception):
    """Why a tag name or glob does not do: ``kind`` is "zero", "ambiguous" or "syntax"."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def match_tags(pattern: str) -> frozenset[int]:
    """Tags named by a name, an unambiguous beginning of one, or a glob with one ``*``. Raises TagPatternError."""
    pattern = pattern.lower()
    if not pattern:
        raise TagPatternError("zero")
    if "*" not in pattern:
        exact = [number for name, number in _NAMES if name == pattern]
        found = exact or [number for name, number in _NAMES if name.startswith(pattern) and number >= 0]
        if not found:
            raise TagPatternError("zero")
        if len(found) > 1:
            raise TagPatternError("ambiguous")
        return frozenset(found)
    head, _, tail = pattern.partition("*")
    if "*" in tail:
        raise TagPatternError("syntax")
    least = len(head) + len(tail)
    matched = frozenset(
        number for name, number in _NAMES if len(name) >= least and name.startswith(head) and name.endswith(tail)
    )
    if not matched:
        raise TagPatternError("zero")
    return matched


def match_tag_list(text: str) -> frozenset[int]:
    """Tags of a comma-separated list. Raises TagPatternError."""
    tags: frozenset[int] = frozenset()
    for part in text.split(","):
        if part:
            tags |= match_tags(part)
    if not tags:
        raise TagPatternError("zero")
    return tags


def near_tag(text: str) -> str:
    """`` Did you mean X?`` for the first name of a list that is no tag's and near to one."""
    for part in text.split(","):
        if not any(name.startswith(part.lower()) for name, _ in _NAMES):
            return did_you_mean(part, [info.name for info in TAGS.values()]).replace(" Did", ". Did")
    return ""


class _Pattern:
    """``[taglist:]regex``."""

    __slots__ = ("_search", "_tags")

    def __init__(self, tags: frozenset[int] | None, search: Callable[[str], bool]) -> None:
        self._tags = tags
        self._search = search

    def matches(self, record: Record) -> bool:
        return (self._tags is None or record.tag in self._tags) and self._search(record.text)


class Selection:
    """Options that choose records; add them in the order of the command line."""

    def __init__(self) -> None:
        self.client = False
        self.backend = False
        self.esi = False
        self.caseless = False
        self.verbose = False
        self._hidden: set[int] = set()
        self._show: list[_Pattern] = []
        self._hide: list[_Pattern] = []
        self._seen = False

    @property
    def filters(self) -> bool:
        """True if any of -i -I -x -X was given."""
        return self._seen

    def option(self, letter: str, text: str) -> None:
        """Take ``-i``, ``-x``, ``-I`` or ``-X``. Raises SelectionError."""
        if letter in "iI" and not self._seen:
            self._hidden.update(number for _, number in _NAMES)
        self._seen = True
        if letter in "ix":
            tags = self._tags(letter, text, text)
            if letter == "x":
                self._hidden |= tags
            else:
                self._hidden -= tags
            return
        head, colon, pattern = text.partition(":")
        tag_list = self._tags(letter, head, head) if colon else None
        try:
            search = compile_search(pattern if colon else text, self.caseless)
        except PatternError as error:
            raise SelectionError(f"-{letter}: Regex error at position {error.position} ({error})") from error
        (self._show if letter == "I" else self._hide).append(_Pattern(tag_list, search))

    @staticmethod
    def _tags(letter: str, text: str, shown: str) -> frozenset[int]:
        try:
            return match_tag_list(text)
        except TagPatternError as error:
            why = {
                "zero": f'"{shown}" matches zero tags' + near_tag(text),
                "ambiguous": f'"{shown}" is ambiguous',
                "syntax": f'Syntax error in "{shown}"',
            }[error.kind]
            raise SelectionError(f"-{letter}: {why}") from None

    def matches(self, record: Record) -> bool:
        """True if the record is to be shown."""
        if self.client != self.backend:
            if self.client and not record.client:
                return False
            if self.backend and not record.backend:
                return False
        if self._show and any(p.matches(record) for p in self._show):
            return True
        if self._hide and any(p.matches(record) for p in self._hide):
            return False
        return record.tag not in self._hidden
