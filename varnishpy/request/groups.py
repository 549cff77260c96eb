"""Groups of responses that are invalidated together (RFC 9875), with ``feature=+cache_groups``.

A response says in ``Cache-Groups`` which groups of its origin it belongs to, and the answer to an unsafe request in
``Cache-Group-Invalidation`` which groups are not right any more. The index of keys (``cache/keys.py``) holds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from varnishpy.cache.keys import KeyIndex, Source
    from varnishpy.http.message import Message

NAMESPACE: Final = "Cache-Groups"


def origin_of(request: Message, scheme: str) -> str:
    """The origin (RFC 6454) that a request is for, as far as one can tell here: scheme and authority.

    :param scheme: of the session; a proxy in front may know better
    """
    return f"{request.get('x-forwarded-proto') or scheme}://{(request.get('host') or '').lower()}"


class GroupIndex:
    """Has the groups indexed for as long as the feature is on; owned by the child's assembly."""

    __slots__ = ("_keys", "_source")

    def __init__(self, keys: KeyIndex) -> None:
        self._keys = keys
        self._source: Source | None = None

    def follow(self, wanted: bool) -> None:
        """The feature was turned on or off; called under the lock of the parameters."""
        if wanted and self._source is None:
            self._source = self._keys.want("cache-groups", NAMESPACE, "groups")
        elif not wanted and self._source is not None:
            source, self._source = self._source, None
            self._keys.unwant(source)


def invalidate_groups(keys: KeyIndex, request: Message, response: Message, scheme: str) -> int:
    """Take away what the answer to an unsafe request names; how many objects that were."""
    field = response.joined("cache-group-invalidation")
    return keys.purge_groups(origin_of(request, scheme), field, NAMESPACE) if field else 0
