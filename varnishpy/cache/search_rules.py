"""Which queries make no difference, by resource: what ``No-Vary-Search`` has said, with ``feature=+no_vary_search``.

The key of an object is what VCL hashes, and that is known before the response which says what of it matters. So what a
response has said of a resource (a URL without its query) holds for the keys of later requests to it, until a response
says something else. A response fetched by a rule that it does not confirm is not shared.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from varnishpy.http.search_variance import SearchVariance

#: resources remembered; those longest without a word of their origin go first
MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class SearchKey:
    """How the key of one request was made.

    :ivar resource: origin and path
    """

    resource: str
    rule: SearchVariance | None


class SearchRules:
    """See the module text. Any thread may call; the lock is held for a look at a table."""

    def __init__(self, most: int = MOST) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._rules: dict[str, SearchVariance] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def key_of(self, origin: str, url: str) -> SearchKey:
        """How a request is to be looked up."""
        resource = origin + url.partition("?")[0]
        with self._lock:
            return SearchKey(resource, self._rules.get(resource))

    def heard(self, resource: str, rule: SearchVariance | None) -> int:
        """A response has told what holds. By how many rules the table has grown: -1, 0 or 1."""
        with self._lock:
            before = len(self._rules)
            self._rules.pop(resource, None)
            if rule is not None:
                self._rules[resource] = rule
                if len(self._rules) > self._most:
                    del self._rules[next(iter(self._rules))]
            return len(self._rules) - before
