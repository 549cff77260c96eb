"""Counter segments: the live numbers, each segment with a lock of its own, and the registry of all of them.

A segment is a dictionary of integers; tasks gather their own increments and merge them (one short lock per task), the
rest of the process uses :meth:`Segment.inc` and its like. Copies reach shared memory by ``publisher.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping

from varnishpy.stats.columns import CounterClass
from varnishpy.stats.tables import CLASSES


class StatsError(KeyError):
    """A counter or a class that no table has."""


class Segment:
    """The counters of one thing, e.g. of one backend. Thread safe."""

    __slots__ = ("_lock", "_registry", "_values", "ident", "merges", "table", "unknown", "version")

    def __init__(self, table: CounterClass, ident: str = "", registry: Registry | None = None) -> None:
        self.table = table
        self.ident = ident
        self._registry = registry
        self._lock = threading.Lock()
        self._values: dict[str, int] = dict.fromkeys(table.names, 0)
        self.version = 0  # grows with every change: the publisher copies only what changed
        self.merges = 0
        self.unknown: dict[str, int] = {}  # increments merged for names the table lacks; a defect to be shown

    @property
    def name(self) -> str:
        """The segment's name as displays show it, e.g. ``VBE.boot.default``."""
        return f"{self.table.name}.{self.ident}" if self.ident else self.table.name

    def inc(self, name: str, n: int = 1) -> None:
        """Add ``n``. Raises StatsError for an unknown counter (as do the others)."""
        values = self._values
        if name not in values:
            raise StatsError(f"{self.table.name} has no counter {name!r}")
        with self._lock:
            values[name] += n
            self.version += 1

    def dec(self, name: str, n: int = 1) -> None:
        """Subtract ``n``."""
        self.inc(name, -n)

    def set(self, name: str, value: int) -> None:
        """Set a gauge, a bitmap, or a counter kept elsewhere."""
        values = self._values
        if name not in values:
            raise StatsError(f"{self.table.name} has no counter {name!r}")
        with self._lock:
            values[name] = value
            self.version += 1

    def get(self, name: str) -> int:
        """The present value."""
        try:
            return self._values[name]
        except KeyError:
            raise StatsError(f"{self.table.name} has no counter {name!r}") from None

    def merge(self, increments: MutableMapping[str, int], wait: bool = True) -> bool:
        """Add a task's own increments and clear them. Unknown names are kept in :attr:`unknown`.

        :param wait: else nothing is done, and False returned, if the counters are in somebody else's hands just now
        """
        if not increments:
            return True
        values = self._values
        if not self._lock.acquire(wait):
            return False
        try:
            for name, n in increments.items():
                if name in values:
                    values[name] += n
                else:
                    self.unknown[name] = self.unknown.get(name, 0) + n
            self.version += 1
            self.merges += 1
        finally:
            self._lock.release()
        increments.clear()
        return True

    def snapshot(self) -> dict[str, int]:
        """All values at one moment."""
        with self._lock:
            return dict(self._values)

    def values(self) -> list[int]:
        """All values at one moment, in the order of the table."""
        with self._lock:
            return list(self._values.values())

    def hide(self) -> None:
        """Show the segment to nobody for now; it goes on counting."""
        if self._registry is not None:
            self._registry.remove(self)

    def show(self) -> None:
        """Show it again."""
        if self._registry is not None:
            self._registry.add(self)

    def destroy(self) -> None:
        """Take the segment out of the registry and of shared memory."""
        if self._registry is not None:
            self._registry.remove(self)


class Registry:
    """All segments of this process. ``on_add`` and ``on_remove`` are called outside the registry's lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._segments: dict[int, Segment] = {}
        self.on_add: Callable[[Segment], None] | None = None
        self.on_remove: Callable[[Segment], None] | None = None
        self._collectors: list[Callable[[], None]] = []

    def new(self, klass: str, ident: str = "") -> Segment:
        """Make and register a segment of a class of ``tables.py``. Raises StatsError."""
        table = CLASSES.get(klass)
        if table is None:
            raise StatsError(f"no such class of counters: {klass}")
        if "\n" in ident:
            raise StatsError("a segment's name cannot hold a line break")
        segment = Segment(table, ident, self)
        self.add(segment)
        return segment

    def add(self, segment: Segment) -> None:
        """Register a segment; doing so twice is the same as once."""
        with self._lock:
            if id(segment) in self._segments:
                return
            self._segments[id(segment)] = segment
            added = self.on_add
        if added is not None:
            added(segment)

    def remove(self, segment: Segment) -> None:
        """Forget a segment; unknown ones are ignored."""
        with self._lock:
            known = self._segments.pop(id(segment), None)
            removed = self.on_remove
        if known is not None and removed is not None:
            removed(segment)

    def all(self) -> list[Segment]:
        """The registered segments: by class, then by name."""
        with self._lock:
            segments = list(self._segments.values())
        return sorted(segments, key=lambda s: (s.table.order, s.name))

    def add_collector(self, collect: Callable[[], None]) -> None:
        """``collect`` is called before counters are published or read; it sets gauges that are kept elsewhere."""
        with self._lock:
            if collect not in self._collectors:
                self._collectors.append(collect)

    def remove_collector(self, collect: Callable[[], None]) -> None:
        """Undo :meth:`add_collector`."""
        with self._lock:
            if collect in self._collectors:
                self._collectors.remove(collect)

    def collect(self) -> None:
        """Run the collectors."""
        with self._lock:
            collectors = list(self._collectors)
        for collect in collectors:
            collect()
