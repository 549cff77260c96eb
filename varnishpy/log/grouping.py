"""From records to transactions and groups of them: by vxid, by request, by session, or each record by itself.

``Begin`` opens a transaction and names its parent, ``Link`` names a child, ``End`` closes it. A group is ready when its
top transaction and everything below it have ended. Transactions that never end are closed by force: after a timeout,
when too many are open, or at the end of input; a ``VSL`` record then says why.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from varnishpy.log.cursor import Chunk
from varnishpy.log.record import Record
from varnishpy.log.tags import Tag

MODES = ("raw", "vxid", "request", "session")
KINDS = frozenset({"sess", "req", "bereq", "raw"})
REASONS = frozenset({"HTTP/1", "rxreq", "esi", "restart", "pass", "fetch", "bgfetch", "pipe"})


@dataclass(slots=True)
class Transaction:
    """The records of one transaction. ``level`` 1 is the top of its group; 0 a record by itself (raw)."""

    level: int
    vxid: int
    parent: int
    kind: str  # "sess", "req", "bereq", "raw", "unknown"
    reason: str
    records: list[Record]


@dataclass(slots=True)
class _Link:
    """A parsed ``Begin`` or ``Link`` payload."""

    kind: str
    vxid: int
    reason: str
    sub: int


def parse_link(text: str) -> _Link | None:
    """Parse ``kind vxid reason [level]``; None if a part is missing."""
    parts = text.split()
    if len(parts) < 3 or not parts[1].isdigit():
        return None
    kind = parts[0] if parts[0] in KINDS else "unknown"
    reason = parts[2] if parts[2] in REASONS else "unknown"
    sub = int(parts[3]) if len(parts) > 3 and parts[3].isdigit() else 0
    return _Link(kind, int(parts[1]), reason, sub)


class _Open:
    """A transaction being gathered."""

    __slots__ = (
        "begun", "children", "complete", "ended", "kind", "parent", "ready", "ready_children", "reason", "records",
        "scanned", "started", "vxid",
    )  # fmt: skip

    def __init__(self, vxid: int, now: float) -> None:
        self.vxid = vxid
        self.started = now
        self.kind = "unknown"
        self.reason = "unknown"
        self.records: list[Record] = []
        self.scanned = 0
        self.begun = self.ended = self.complete = self.ready = False
        self.parent: _Open | None = None
        self.children: list[_Open] = []
        self.ready_children = 0

    def note(self, tag: Tag, text: str) -> None:
        """Put a record of our own where the scan stands."""
        data = text.encode("latin-1", "replace")[:63] + b"\0"
        self.records.insert(self.scanned, Record(int(tag), self.vxid, self.kind == "req", self.kind == "bereq", data))

    def complain(self, record: Record, why: str) -> None:
        """Remark on a record that does not fit."""
        self.note(Tag.VSL, f'{why} ({record.vxid}:{record.name} "{record.text}")')


class Grouper:
    """Feed it chunks, take groups. Not thread safe.

    :param mode: one of :data:`MODES`
    :param limit: most transactions kept open (``-L``)
    :param timeout: seconds a transaction may stay open (``-T``)
    :param client, backend, esi: ``-c``, ``-b``, ``-E``, which spare work in vxid mode
    """

    def __init__(
        self,
        mode: str = "vxid",
        limit: int = 1000,
        timeout: float = 120.0,
        client: bool = False,
        backend: bool = False,
        esi: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"no such grouping: {mode}")
        self.mode = mode
        self._limit = limit
        self._timeout = timeout
        self._client = client
        self._backend = backend
        self._esi = esi
        self._clock = clock
        self._known: dict[int, _Open] = {}
        self._incomplete: OrderedDict[int, _Open] = OrderedDict()
        self._ready: deque[_Open] = deque()

    def feed(self, chunk: Chunk) -> Iterator[list[Transaction]]:
        """Take a chunk in and yield the groups that are ready now."""
        records = chunk.records
        if self.mode == "raw":
            for record in records:
                yield [Transaction(0, record.vxid, 0, "raw", "unknown", [record])]
            return
        if not records or not records[0].vxid:
            return
        self._take(records)
        now = self._clock()
        while self._incomplete:
            oldest = next(iter(self._incomplete.values()))
            if now - oldest.started < self._timeout:
                break
            self._force(oldest, "timeout")
        while len(self._known) > self._limit and self._incomplete:
            self._force(next(iter(self._incomplete.values())), "store overflow")
            yield from self._groups()
        yield from self._groups()

    def flush(self) -> Iterator[list[Transaction]]:
        """Close everything that is open and yield it."""
        while self._incomplete:
            self._force(next(iter(self._incomplete.values())), "flush")
        yield from self._groups()

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._incomplete.clear()
        self._ready.clear()

    def _take(self, records: list[Record]) -> None:
        first = records[0]
        known = self._known.get(first.vxid)
        if known is None:
            if first.tag != Tag.Begin or not self._wanted(first):
                return
            known = self._add(first.vxid)
        known.records += records
        self._scan(known)

    def _wanted(self, begin: Record) -> bool:
        if self.mode == "session":
            return True
        if self.mode == "vxid" and self._client != self._backend:
            if self._client and not begin.client:
                return False
            if self._backend and not begin.backend:
                return False
        link = parse_link(begin.text)
        if link is None or link.kind == "unknown":
            return False
        if self.mode == "request":
            return link.kind != "sess"
        # of an ESI request nobody wants to see, -c without -E, nothing need be kept
        return not (link.sub and self._client and not self._esi)

    def _add(self, vxid: int) -> _Open:
        new = _Open(vxid, self._clock())
        self._known[vxid] = new
        self._incomplete[vxid] = new
        return new

    def _scan(self, t: _Open) -> None:
        while not t.complete and t.scanned < len(t.records):
            record = t.records[t.scanned]
            t.scanned += 1
            if record.vxid != t.vxid:
                t.complain(record, "vxid mismatch")
            elif record.tag == Tag.Begin:
                if t.begun:
                    t.complain(record, "duplicate begin")
                else:
                    t.begun = True
                    self._begin(t, record)
            elif record.tag == Tag.Link:
                self._link(t, record)
            elif record.tag == Tag.End:
                t.ended = True
                self._complete(t)

    def _begin(self, t: _Open, record: Record) -> None:
        link = parse_link(record.text)
        if link is None:
            t.complain(record, "parse error")
            return
        if link.kind == "unknown":
            t.complain(record, "unknown vxid type")
        if t.kind not in ("unknown", link.kind):
            t.complain(record, "type mismatch")
        t.kind = link.kind
        t.reason = link.reason
        if not link.vxid:
            return
        if link.vxid == t.vxid:
            t.complain(record, "link to self")
            return
        if self.mode == "vxid" or (self.mode == "request" and t.kind == "req" and t.reason == "rxreq"):
            return
        if t.parent is not None:
            if t.parent.vxid != link.vxid:
                t.complain(record, "link mismatch")
            return
        parent = self._known.get(link.vxid) or self._add(link.vxid)
        if parent.complete:
            t.complain(record, "link too late")
            return
        t.parent = parent
        parent.children.append(t)

    def _link(self, t: _Open, record: Record) -> None:
        link = parse_link(record.text)
        if link is None:
            t.complain(record, "parse error")
            return
        if link.kind == "unknown":
            t.complain(record, "unknown vxid type")
        if self.mode == "vxid" or (self.mode == "request" and t.kind == "sess"):
            return
        if not link.vxid:
            t.complain(record, "illegal link vxid")
            return
        if link.vxid == t.vxid:
            t.complain(record, "link to self")
            return
        child = self._known.get(link.vxid)
        if child is None:
            child = self._add(link.vxid)
        elif child.parent is t:
            return
        elif child.parent is not None:
            t.complain(record, "duplicate link")
            return
        elif child.complete:
            t.complain(record, "link too late")
            return
        elif child.kind not in ("unknown", link.kind):
            t.complain(record, "type mismatch")
        child.kind = link.kind
        child.reason = link.reason
        child.parent = t
        t.children.append(child)

    def _complete(self, t: _Open) -> None:
        if t.kind == "unknown":
            t.note(Tag.VSL, "vtx of unknown type marked complete")
        t.complete = True
        self._incomplete.pop(t.vxid, None)
        above: _Open | None = t
        while above is not None:
            if not above.complete or above.ready_children != len(above.children):
                return
            above.ready = True
            if above.parent is None:
                self._ready.append(above)
                return
            above = above.parent
            above.ready_children += 1

    def _force(self, t: _Open, why: str) -> None:
        self._scan(t)
        if not t.begun:
            t.note(Tag.Begin, f"{t.kind} 0 synth")
            self._scan(t)
        t.note(Tag.VSL, why)
        self._scan(t)
        if not t.complete:
            t.note(Tag.End, "synth")
            self._scan(t)

    def _groups(self) -> Iterator[list[Transaction]]:
        while self._ready:
            top = self._ready.popleft()
            group = self._group(top)
            if (self.mode == "session" and top.kind != "sess") or (self.mode == "request" and top.kind != "req"):
                continue
            yield group

    def _group(self, top: _Open) -> list[Transaction]:
        """The transactions of a group, parents before children, level by level; they are forgotten here."""
        order = [(top, 1, 0)]
        for t, level, _ in order:
            for child in t.children:
                order.append((child, level if child.reason == "restart" else level + 1, t.vxid))
            self._known.pop(t.vxid, None)
        return [Transaction(level, t.vxid, parent, t.kind, t.reason, t.records) for t, level, parent in order]
