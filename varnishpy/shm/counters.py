"""Counters as a reader sees them: the segments of class Stat with the documents (StatDoc) that explain them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from varnishpy.shm.reader import Entry, SetReader
from varnishpy.stats.statdoc import HEAD, HEAD_SIZE, READY

_HALF = 1 << 63


@dataclass(slots=True)
class Point:
    """One counter. ``name`` is complete, e.g. ``VBE.boot.default.req``."""

    name: str
    kind: str
    level: str
    format: str
    oneliner: str
    doc: str
    order: int
    _words: memoryview
    _place: int

    @property
    def raw(self) -> int:
        """The number as it stands."""
        value: int = self._words[self._place]
        return value

    @property
    def value(self) -> int:
        """The number; gauges that momentarily show less than nothing count as 0."""
        value = self.raw
        return 0 if self.kind == "gauge" and value >= _HALF else value


@dataclass(slots=True)
class _Mapped:
    memory: memoryview
    doc: int
    body: int


@dataclass(slots=True)
class _Segment:
    memory: memoryview
    points: list[Point]

    @property
    def shown(self) -> bool:
        """False while its writer hides it: a backend of a VCL that has gone cold stays in the index."""
        ready: int = HEAD.unpack_from(self.memory)[0]
        return ready == READY


class CounterReader:
    """All counters of an instance; ``refresh`` follows segments that come and go or are hidden, and restarts."""

    def __init__(self, reader: SetReader) -> None:
        self.reader = reader
        self._docs: dict[tuple[str, int], dict[str, Any]] = {}
        self._segments: dict[Entry, _Segment] = {}
        self._shown: list[Entry] = []

    def refresh(self) -> bool:
        """Look for segments again; True if the set of counters changed."""
        self.reader.refresh()
        wanted = self.reader.find("Stat")
        if list(self._segments) != wanted:
            for entry in self.reader.find("StatDoc"):
                self._load_doc(entry)
            self._segments = {e: s for e in wanted if (s := self._segments.get(e) or self._load(e)) is not None}
        before = self._shown
        self._shown = [entry for entry, segment in self._segments.items() if segment.shown]
        return self._shown != before

    def points(self) -> list[Point]:
        """All counters shown at the last refresh, in the order of the indexes."""
        return [point for entry in self._shown for point in self._segments[entry].points]

    def _map(self, entry: Entry) -> _Mapped | None:
        try:
            memory = self.reader.map(entry)
        except OSError:
            return None  # gone between the index and now
        if len(memory) < HEAD_SIZE:
            return None
        ready, body, doc = HEAD.unpack_from(memory)
        return _Mapped(memory, doc, body) if ready and body <= len(memory) else None

    def _load_doc(self, entry: Entry) -> None:
        mapped = self._map(entry)
        if mapped is None or (entry.directory.name, mapped.doc) in self._docs:
            return
        text = bytes(mapped.memory[mapped.body :]).split(b"\0", 1)[0]
        try:
            self._docs[entry.directory.name, mapped.doc] = json.loads(text)
        except ValueError:
            return  # not written by a daemon we know

    def _load(self, entry: Entry) -> _Segment | None:
        mapped = self._map(entry)
        doc = self._docs.get((entry.directory.name, mapped.doc)) if mapped is not None else None
        if mapped is None or doc is None:
            return None
        words = mapped.memory[mapped.body : mapped.body + (len(mapped.memory) - mapped.body) // 8 * 8].cast("Q")
        points = [
            Point(
                f"{entry.ident}.{element['name']}", element["type"], element["level"], element["format"],
                element["oneliner"], element["docs"], int(doc["order"]), words, int(element["index"]) // 8,
            )
            for element in doc["elem"].values()
            if int(element["index"]) // 8 < len(words)
        ]  # fmt: skip
        return _Segment(mapped.memory, points)
