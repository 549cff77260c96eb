"""Objects by the keys that their headers name, so that all that belong together can be taken away at once.

While anybody has asked for headers (`KeyIndex.want`) the index hears from the expiry which objects come and go, reads
those headers once, as an object comes, and remembers which objects have which key. Otherwise it does not exist for
anybody. Keys are octets as they stand, in *namespaces* of the users' choice. A purge looks at the objects under its
keys and at no others.

Any thread may call. One lock guards the dictionaries; it is never held while headers are read or objects are changed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from varnishpy import stats
from varnishpy.base.locks import make_lock
from varnishpy.cache.objcore import EXP_REFD, OC_DYING, OC_FAILED

if TYPE_CHECKING:
    from varnishpy.cache.expire import Expiry
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.cache.spreading import Spreading
    from varnishpy.storage.object import StoredObject

Format = Literal["words", "commas", "strings", "groups"]

_WORDS: Final = re.compile(r"[^, \t]+")
_STRINGS: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
# octets that CPython 3.11 needs: an entry of a dictionary and a string; a tuple and an entry; an item of a set
_KEY_SIZE: Final = 160
_OBJECT_SIZE: Final = 144
_ENTRY_SIZE: Final = 40


def _commas(text: str) -> list[str]:
    return [part for part in (piece.strip(" \t") for piece in text.split(",")) if part]


def _strings(text: str) -> list[str]:
    return [_ESCAPE.sub(r"\1", part) for part in _STRINGS.findall(text) if part]


#: how keys stand in a header: parted by any run of commas and blanks; parted by commas alone; as a list of strings in
#: the sense of RFC 9651; or as such a list of keys that count within the object's origin only (attribute ORIGIN)
FORMATS: Final[dict[Format, Callable[[str], list[str]]]] = {
    "words": _WORDS.findall,
    "commas": _commas,
    "strings": _strings,
    "groups": _strings,
}

Source = tuple[str, str, Format]  # a header's name in lower case, the namespace of its keys, how they stand in it


def group_key(origin: str, name: str) -> str:
    """The key of a group: its name means something within its origin only (RFC 9875 section 2)."""
    return f"{origin} {name}"


class KeyIndex:
    """See the module text."""

    def __init__(self, expiry: Expiry, objects: Callable[[], Iterable[ObjectCore]]) -> None:
        self._expiry = expiry
        self._all_objects = objects
        self._lock = make_lock("xkey")
        self._wanted: Counter[Source] = Counter()
        self._sources: tuple[Source, ...] = ()
        self._spaces: dict[str, dict[str, ObjectCore | set[ObjectCore]]] = {}
        self._keys_of: dict[ObjectCore, tuple[tuple[str, str], ...]] = {}
        self._entries = 0
        self._segment: stats.Counters[stats.XkeyName] | None = None
        self.spreading: Spreading | None = None
        #: has objects indexed whose headers may have one of those keys, and which nobody has looked at yet
        self.before_purge: Callable[[list[str]], None] | None = None

    # -- what is indexed -------------------------------------------------------------------------------------------

    def want(self, header: str, namespace: str = "", format: Format = "words") -> Source:
        """Have the keys of a header indexed, those of objects that are there already too, until `unwant`."""
        source: Source = (header.lower(), namespace, format)
        with self._lock:
            first = not self._wanted
            self._wanted[source] += 1
            fresh = self._wanted[source] == 1
            self._sources = tuple(self._wanted)
            if first:
                self._segment = stats.new_segment(stats.XKEY)
        if first:
            self._expiry.subscribe(self._hear)
            stats.add_collector(self._count)
        if fresh:
            for oc in self._all_objects():
                self._add(oc)
        return source

    def unwant(self, source: Source) -> None:
        """Undo one `want`; with the last of them everything is forgotten."""
        with self._lock:
            self._wanted[source] -= 1
            self._wanted += Counter()  # drops what nobody wants
            self._sources = tuple(self._wanted)
            last = not self._wanted
            if last:
                self._spaces.clear()
                self._keys_of.clear()
                self._entries = 0
                segment, self._segment = self._segment, None
        if last:
            self._expiry.unsubscribe(self._hear)
            stats.remove_collector(self._count)
            if segment is not None:
                segment.destroy()

    def _hear(self, event: str, oc: ObjectCore) -> None:
        if event == "insert":
            self._add(oc)
        elif event == "expire":
            self._remove(oc)

    def _add(self, oc: ObjectCore) -> None:
        stobj = oc.stobj
        if stobj is None or not oc.exp_flags & EXP_REFD:
            return
        found = self.keys_of(stobj)
        if not found:
            return
        with self._lock:
            if not self._wanted:
                return
            self._forget(oc)
            self._keys_of[oc] = tuple(found)
            for namespace, key in found:
                space = self._spaces.setdefault(namespace, {})
                there = space.get(key)
                if there is None:
                    space[key] = oc  # most keys have one object: a set for each would cost more than all the rest
                elif isinstance(there, set):
                    there.add(oc)
                else:
                    space[key] = {there, oc}
            self._entries += len(found)
        if not oc.exp_flags & EXP_REFD:  # gone meanwhile, before it was there to be removed
            self._remove(oc)

    def keys_of(self, stobj: StoredObject) -> dict[tuple[str, str], None]:
        """Namespace and key of what the headers of an object name, each once, in order."""
        found: dict[tuple[str, str], None] = {}
        for lname, namespace, format in self._sources:
            front = group_key(stobj.attrs.get("ORIGIN", b"").decode("latin-1"), "") if format == "groups" else ""
            for value in stobj.headers.values(lname):
                for key in FORMATS[format](value):
                    found[namespace, front + key] = None
        return found

    def _remove(self, oc: ObjectCore) -> None:
        if oc in self._keys_of:
            with self._lock:
                self._forget(oc)

    def _forget(self, oc: ObjectCore) -> None:
        """The lock is held."""
        for namespace, key in self._keys_of.pop(oc, ()):
            self._entries -= 1
            space = self._spaces[namespace]
            there = space[key]
            if isinstance(there, set):
                there.discard(oc)
                if there:
                    continue
            del space[key]

    # -- taking objects away -------------------------------------------------------------------------------------------

    def _under(self, keys: Iterable[str], namespace: str) -> list[ObjectCore]:
        """The objects under any of the keys, once for each; those that no lookup finds any more are left out."""
        keys = list(keys)
        if self.before_purge is not None:
            self.before_purge(keys)
        found: list[ObjectCore] = []
        with self._lock:
            space = self._spaces.get(namespace, {})
            for key in keys:
                there = space.get(key)
                if isinstance(there, set):
                    found.extend(there)
                elif there is not None:
                    found.append(there)
        return [oc for oc in found if oc.ttl > 0.0 and not oc.flags & (OC_DYING | OC_FAILED)]

    def purge(self, keys: str, namespace: str = "", format: Format = "words") -> int:
        """Remove the objects under any of the keys.

        :return: how many objects there were, each counted for every key it was under
        """
        return self._purge(FORMATS[format](keys), namespace)

    def purge_groups(self, origin: str, field: str, namespace: str) -> int:
        """Remove the objects of an origin in any of the groups that a field names; as `purge`."""
        return self._purge([group_key(origin, name) for name in _strings(field)], namespace)

    def _purge(self, keys: Sequence[str], namespace: str) -> int:
        if self.spreading is not None:
            return self.spreading.purge_keys(namespace, keys)
        return self.purge_here(keys, namespace)

    def purge_here(self, keys: Iterable[str], namespace: str) -> int:
        """`purge` of keys that were read already, without telling others."""
        found = self._under(keys, namespace)
        for oc in found:
            self._expiry.rearm(oc, oc.t_origin, 0.0, 0.0, 0.0)
        return len(found)

    def soften(
        self,
        keys: str,
        now: float,
        ttl: float = 0.0,
        grace: float = math.nan,
        keep: float = math.nan,
        namespace: str = "",
        format: Format = "words",
    ) -> int:
        """Shorten the times of the objects under any of the keys; none is made longer, NaN leaves one as it is.

        :param ttl: from ``now`` on; 0: they are stale at once
        :return: as `purge`; objects that were stale already are left alone and not counted
        """
        listed = FORMATS[format](keys)
        if self.spreading is not None:
            return self.spreading.soften_keys(namespace, listed, now, ttl, grace, keep)
        return self.soften_here(listed, namespace, now, ttl, grace, keep)

    def soften_here(
        self, keys: Iterable[str], namespace: str, now: float, ttl: float, grace: float, keep: float
    ) -> int:
        """`soften` of keys that were read already, without telling others."""
        found = [oc for oc in self._under(keys, namespace) if oc.expires() > now]
        for oc in found:
            self._expiry.reduce(oc, now, ttl, grace, keep)
        return len(found)

    # -- showing -------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many keys there are."""
        with self._lock:
            return sum(map(len, self._spaces.values()))

    def _count(self) -> None:
        """The gauges, for whoever reads counters."""
        with self._lock:
            segment = self._segment
            keys = sum(map(len, self._spaces.values()))
            objects = len(self._keys_of)
            entries = self._entries
        if segment is None:
            return
        sizes = {"hashhead": keys * _KEY_SIZE, "ochead": objects * _OBJECT_SIZE, "oc": entries * _ENTRY_SIZE}
        segment.set("g_keys", keys)
        segment.set("g_bytes", sum(sizes.values()))
        for name, size in sizes.items():
            segment.store(f"g_{name}_bytes", size)
