"""Counter segments: the live numbers, each segment with a lock of its own, and the registry of all of them.

A segment is a dictionary of integers; tasks count in slots of their own and merge them (one short lock per task), the
rest of the process uses :meth:`Counters.inc` and its like. Copies reach shared memory by ``publisher.py``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from varnishpy.stats.columns import CounterClass
from varnishpy.stats.task_counters import TaskCounters

MOST_PAST: Final = 1000  # names of which the counts of destroyed segments are kept


class StatsError(LookupError):
    """A counter or a class that no table has."""


class Segment:
    """The counters of one thing, e.g. of one backend, as those see them who know their names as data. Thread safe."""

    __slots__ = ("_lock", "_registry", "_values", "ident", "merges", "table", "version")

    def __init__(self, table: CounterClass[str], ident: str = "", registry: Registry | None = None) -> None:
        self.table = table
        self.ident = ident
        self._registry = registry
        self._lock = threading.Lock()
        self._values: dict[str, int] = dict.fromkeys(table.names, 0)
        self.version = 0  # grows with every change: the publisher copies only what changed
        self.merges = 0

    @property
    def name(self) -> str:
        """The segment's name as displays show it, e.g. ``VBE.boot.default``."""
        return f"{self.table.name}.{self.ident}" if self.ident else self.table.name

    def add(self, name: str, n: int) -> None:
        """Add ``n``, which may be negative. Raises StatsError for an unknown counter (as do the others)."""
        values = self._values
        if name not in values:
            raise StatsError(f"{self.table.name} has no counter {name!r}")
        with self._lock:
            values[name] += n
            self.version += 1

    def add_all(self, changes: Sequence[tuple[str, int]]) -> None:
        """`add` several at once."""
        values = self._values
        with self._lock:
            for name, n in changes:
                if name not in values:
                    raise StatsError(f"{self.table.name} has no counter {name!r}")
                values[name] += n
            self.version += 1

    def store(self, name: str, value: int) -> None:
        """Set a gauge, a bitmap, or a counter kept elsewhere."""
        values = self._values
        if name not in values:
            raise StatsError(f"{self.table.name} has no counter {name!r}")
        with self._lock:
            values[name] = value
            self.version += 1

    def value(self, name: str) -> int:
        """The present value."""
        try:
            return self._values[name]
        except KeyError:
            raise StatsError(f"{self.table.name} has no counter {name!r}") from None

    def merge(self, counters: TaskCounters, wait: bool = True) -> bool:
        """Add what a task has counted, and begin again from zero; for MAIN.

        :param wait: else nothing is done, and False returned, if the counters are in somebody else's hands just now
        """
        if not self._lock.acquire(wait):
            return False
        try:
            if counters.move(self._values):
                self.version += 1
                self.merges += 1
        finally:
            self._lock.release()
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
            self._registry.hide(self)

    def show(self) -> None:
        """Show it again."""
        if self._registry is not None:
            self._registry.add(self)

    def destroy(self) -> None:
        """Take the segment out of the registry and of shared memory."""
        if self._registry is not None:
            self._registry.destroy(self)


Name = TypeVar("Name", bound=str, contravariant=True)
NewName = TypeVar("NewName", bound=str)


class Counters(Segment, Generic[Name]):
    """A segment whose counters' names the type checker knows: ``Counters[VbeName]``."""

    __slots__ = ()

    def __init__(self, table: CounterClass[Name], ident: str = "", registry: Registry | None = None) -> None:
        super().__init__(table, ident, registry)

    def inc(self, name: Name, n: int = 1) -> None:
        """Add ``n``."""
        self.add(name, n)

    def inc_all(self, changes: Sequence[tuple[Name, int]]) -> None:
        """`inc` several at once."""
        self.add_all(changes)

    def dec(self, name: Name, n: int = 1) -> None:
        """Subtract ``n``."""
        self.add(name, -n)

    def set(self, name: Name, value: int) -> None:
        """Set a gauge, a bitmap, or a counter kept elsewhere."""
        self.store(name, value)

    def get(self, name: Name) -> int:
        """The present value."""
        return self.value(name)


class Registry:
    """All segments of this process. ``on_add`` and ``on_remove`` are called outside the registry's lock.

    :ivar lineage: the name under which the counts of a class's segments go on when another takes a segment's place, by
        its ident; ``""`` for a segment that leaves nothing
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._segments: dict[int, Segment] = {}
        self._hidden: dict[int, Segment] = {}
        self._past: dict[tuple[CounterClass[str], str], dict[str, int]] = {}
        self.lineage: dict[CounterClass[str], Callable[[str], str]] = {}
        self.on_add: Callable[[Segment], None] | None = None
        self.on_remove: Callable[[Segment], None] | None = None
        self._collectors: list[Callable[[], None]] = []

    def new(self, table: CounterClass[NewName], ident: str = "") -> Counters[NewName]:
        """Make and register a segment of a class of ``tables.py``. Raises StatsError."""
        if "\n" in ident:
            raise StatsError("a segment's name cannot hold a line break")
        segment = Counters(table, ident, self)
        self.add(segment)
        return segment

    def add(self, segment: Segment) -> None:
        """Register a segment; doing so twice is the same as once."""
        with self._lock:
            if id(segment) in self._segments:
                return
            self._segments[id(segment)] = segment
            self._hidden.pop(id(segment), None)
            added = self.on_add
        if added is not None:
            added(segment)

    def hide(self, segment: Segment) -> None:
        """Show a segment to nobody; unknown ones are ignored."""
        self._leave(segment, hidden=True)

    def destroy(self, segment: Segment) -> None:
        """Forget a segment but for what it leaves to its lineage; unknown ones are ignored."""
        self._leave(segment, hidden=False)

    def _leave(self, segment: Segment, hidden: bool) -> None:
        with self._lock:
            shown = self._segments.pop(id(segment), None)
            known = self._hidden.pop(id(segment), None) or shown
            if known is not None and hidden:
                self._hidden[id(segment)] = segment
            elif known is not None:
                self._inherit(segment)
            removed = self.on_remove
        if shown is not None and removed is not None:
            removed(segment)

    def _inherit(self, segment: Segment) -> None:
        """Add what a segment has counted to the past of its lineage. The lock is held."""
        name = self._lineage_of(segment)
        key = (segment.table, name)
        if not name or (key not in self._past and len(self._past) >= MOST_PAST):
            return
        past = self._past.setdefault(key, dict.fromkeys(segment.table.names, 0))
        for counter, value in segment.snapshot().items():
            past[counter] += value

    def _lineage_of(self, segment: Segment) -> str:
        of = self.lineage.get(segment.table)
        return of(segment.ident) if of is not None else ""

    def lines(self, table: CounterClass[str]) -> list[tuple[str, dict[str, int]]]:
        """The segments of a class that are shown, by name, each lineage as one.

        Its counters have what hidden and destroyed segments of the lineage have counted too, so that they never go
        back; its gauges are sums of the segments that are shown, and its bitmaps those of the last shown.
        """
        with self._lock:
            shown = [segment for segment in self._segments.values() if segment.table is table]
            hidden = [segment for segment in self._hidden.values() if segment.table is table]
            past = {name: dict(values) for (of, name), values in self._past.items() if of is table}
        found: dict[str, dict[str, int]] = {}
        for segment in shown:
            name = self._lineage_of(segment) or segment.ident
            total = found.setdefault(name, dict.fromkeys(table.names, 0))
            values = segment.snapshot()
            for column in table.columns:
                if column.kind == "bitmap":
                    total[column.name] = values[column.name]
                else:
                    total[column.name] += values[column.name]
        left = [(self._lineage_of(segment), segment.snapshot()) for segment in hidden]
        for name, values in [*left, *past.items()]:
            if name and name in found:
                for column in table.columns:
                    if column.kind == "counter":
                        found[name][column.name] += values[column.name]
        return sorted(found.items())

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
