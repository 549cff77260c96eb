"""Copies of the counters in shared memory, for the programs that read them there.

The live numbers are in this process (``segments.py``); a thread copies what changed every tenth of a second, and
:func:`Publisher.flush` does so at once. Nothing in the way of traffic waits for it.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import Protocol

from varnishpy.base.locks import lock_classes
from varnishpy.stats.columns import CounterClass
from varnishpy.stats.segments import Registry, Segment
from varnishpy.stats.statdoc import HEAD, HEAD_SIZE, READY, doc_id, document
from varnishpy.stats.tables import LCK

INTERVAL = 0.1
TEST_INTERVAL = 0.01  # with debug=+vtc_mode
_MASK = 2**64 - 1


class Memory(Protocol):
    """A piece of shared memory with a name in the index."""

    view: memoryview

    def free(self) -> None:
        """Take it out of the index."""


class Store(Protocol):
    """What gives out shared memory: ``shm/writer.py``."""

    def allocate(self, category: str, size: int, ident: str) -> Memory:
        """A zeroed piece of that size, listed in the index when this returns."""

    def sweep(self) -> None:
        """Remove what was freed long enough ago."""


class _Published:
    """A segment and its copy."""

    __slots__ = ("memory", "pack", "version")

    def __init__(self, memory: Memory, count: int) -> None:
        self.memory = memory
        self.pack = struct.Struct(f"={count}Q")
        self.version = -1


class Publisher:
    """Keeps the copies of one registry's segments. ``tick`` is called with every round.

    Where no memory is to be had for a segment (the disk is full) it counts all the same, and is published later. Only
    those that there are at the start must have some.
    """

    def __init__(
        self, registry: Registry, store: Store, tick: Callable[[], None] | None = None, interval: float = INTERVAL
    ) -> None:
        self._registry = registry
        self._store = store
        self._tick = tick
        self._interval = interval
        self._lock = threading.RLock()
        self._published: dict[Segment, _Published] = {}
        self._waiting: dict[Segment, None] = {}  # those that there was no memory for
        self._docs: dict[int, tuple[Memory, int]] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._started = time.time()
        self._locks: dict[str, Segment] = {}
        self.with_locks = False
        self.rounds = 0
        self.failures: list[BaseException] = []

    def start(self, thread: bool = True) -> None:
        """Publish all segments, present and to come, and start the thread (if not, somebody must call `flush`).

        :raises OSError: there is no memory for those at hand
        """
        self._registry.on_add = self._add
        self._registry.on_remove = self._remove
        with self._lock:
            for segment in self._registry.all():
                self._publish(segment)
        self.flush()
        if not thread:
            return
        self._thread = threading.Thread(target=self._run, name="vsc-publisher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish a last time and end the thread; the segments stay in the index. Later calls do nothing."""
        if self._stopping:
            return
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)
            self._thread = None
        self._registry.on_add = self._registry.on_remove = None
        self.flush()

    def flush(self) -> None:
        """Run the collectors and copy whatever changed, now."""
        self._registry.collect()
        with self._lock:
            self._publish_late()
            self._age()
            if self.with_locks:
                self._collect_locks()
            for segment, published in self._published.items():
                version = segment.version
                if version != published.version:
                    published.version = version
                    values = segment.values()
                    published.pack.pack_into(published.memory.view, HEAD_SIZE, *[v & _MASK for v in values])
            self.rounds += 1

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._interval)
            self._wake.clear()
            try:
                self.flush()
                self._store.sweep()
                if self._tick is not None:
                    self._tick()
            except Exception as failure:  # a collector of another room failed: keep publishing, keep the evidence
                self._note(failure)

    def _note(self, failure: BaseException) -> None:
        if len(self.failures) < 10:
            self.failures.append(failure)

    def _age(self) -> None:
        for segment in self._published:
            if segment.table.name in ("MAIN", "MGT"):
                uptime = int(time.time() - self._started)
                if uptime != segment.value("uptime"):
                    segment.store("uptime", uptime)
                if segment.table.name == "MAIN" and segment.merges != segment.value("summs"):
                    segment.store("summs", segment.merges)

    def _collect_locks(self) -> None:
        for kind in lock_classes():
            segment = self._locks.get(kind.name)
            if segment is None:
                segment = self._locks[kind.name] = self._registry.new(LCK, kind.name)
            for name, value in (
                ("creat", kind.creat),
                ("destroy", kind.destroy),
                ("locks", kind.locks),
                ("dbg_busy", kind.busy),
                ("dbg_try_fail", kind.try_fail),
            ):
                if segment.value(name) != value:
                    segment.store(name, value)

    def _document(self, table: CounterClass[str]) -> None:
        known = self._docs.get(doc_id(table))
        if known is not None:
            self._docs[doc_id(table)] = (known[0], known[1] + 1)
            return
        text = document(table)
        memory = self._store.allocate("StatDoc", HEAD_SIZE + len(text), f"{doc_id(table):x}")
        memory.view[HEAD_SIZE : HEAD_SIZE + len(text)] = text
        HEAD.pack_into(memory.view, 0, READY, HEAD_SIZE, doc_id(table))
        self._docs[doc_id(table)] = (memory, 1)

    def _add(self, segment: Segment) -> None:
        with self._lock:
            try:
                self._publish(segment)
            except OSError as failure:  # traffic does not hang on being watched
                self._note(failure)
                self._waiting[segment] = None

    def _publish_late(self) -> None:
        """Publish what has waited for memory, if there is some now."""
        for segment in list(self._waiting):
            try:
                self._publish(segment)
            except OSError:
                return
            del self._waiting[segment]

    def _publish(self, segment: Segment) -> None:
        if segment in self._published:
            return
        self._document(segment.table)
        count = len(segment.table.columns)
        try:
            memory = self._store.allocate("Stat", HEAD_SIZE + 8 * count, segment.name)
        except OSError:
            self._drop_document(segment.table)
            raise
        HEAD.pack_into(memory.view, 0, 0, HEAD_SIZE, doc_id(segment.table))
        published = _Published(memory, count)
        published.version = segment.version
        published.pack.pack_into(memory.view, HEAD_SIZE, *[v & _MASK for v in segment.values()])
        memory.view[0:4].cast("i")[0] = READY
        self._published = {**self._published, segment: published}

    def _remove(self, segment: Segment) -> None:
        with self._lock:
            self._waiting.pop(segment, None)
            published = self._published.get(segment)
            if published is None:
                return
            self._published = {s: p for s, p in self._published.items() if s is not segment}
            published.memory.free()
            self._drop_document(segment.table)

    def _drop_document(self, table: CounterClass[str]) -> None:
        memory, references = self._docs[doc_id(table)]
        if references > 1:
            self._docs[doc_id(table)] = (memory, references - 1)
        else:
            del self._docs[doc_id(table)]
            memory.free()
