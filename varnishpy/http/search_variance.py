"""``No-Vary-Search``: which parts of a URL's query make no difference (draft-ietf-httpbis-no-vary-search)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote_plus, unquote_plus

from varnishpy.http.message import Message
from varnishpy.http.structured import Boolean, StructuredError, Value, parse_dictionary

FIELD: Final = "no-vary-search"


@dataclass(frozen=True, slots=True)
class SearchVariance:
    """What a response says of its query.

    :ivar ignored: parameters that make no difference; with `all_but`, those that do
    :ivar all_but: no parameter makes a difference, but for those named
    :ivar any_order: nor does the order of parameters of different names
    """

    ignored: frozenset[str]
    all_but: bool
    any_order: bool

    def key(self, url: str) -> str:
        """The same text for all URLs that the response may be used for, and for no other. It is no URL."""
        path, _, query = url.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        pairs = [(name, value) for name, value in pairs if (name in self.ignored) == self.all_but]
        if self.any_order:
            pairs.sort(key=_name)
        search = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
        names = ",".join(sorted(map(quote_plus, self.ignored)))
        # a NUL is in no URL and in no text of VCL's: what this rule joins is apart from what other rules join
        return f"{path}?{search}\0{'-' if self.all_but else '+'}{names}{'~' if self.any_order else ''}"


def _name(pair: tuple[str, str]) -> str:
    return pair[0]


def search_variance(response: Message) -> SearchVariance | None:
    """What a response says; None if every difference counts, which is also what malformed text means."""
    text = response.joined(FIELD)
    if text is None:
        return None
    try:
        found = parse_dictionary(text)
    except StructuredError:
        return None
    any_order = found.get("key-order", Boolean.FALSE)
    named = found.get("params", Boolean.FALSE)
    none_counts = named is Boolean.TRUE
    but = found.get("except")
    if not isinstance(any_order, Boolean):
        return None
    if but is not None:
        names = _names(but) if none_counts else None
    elif isinstance(named, Boolean):
        names = frozenset()
    else:
        names = _names(named)
    if names is None or not (names or none_counts or any_order is Boolean.TRUE):
        return None
    return SearchVariance(names, none_counts, any_order is Boolean.TRUE)


def _names(value: Value) -> frozenset[str] | None:
    """Names of an inner list of strings, as they are in a query's text."""
    if type(value) is not list or not all(type(item) is str for item in value):
        return None
    return frozenset(unquote_plus(str(item)) for item in value)
