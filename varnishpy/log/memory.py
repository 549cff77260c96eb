"""A log kept in a list: what tests and tools use in place of shared memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from varnishpy.log import tasklog
from varnishpy.log.record import Record, parse_records


class MemoryLog:
    """A sink that parses and keeps every record, in order of arrival. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self.records: list[Record] = []
        self.batches = 0

    def write_batch(self, data: bytes, records: int, overflow: bool, ahead: bytes = b"") -> None:
        """Keep the records of a batch."""
        parsed = list(parse_records(data, tasklog.layout_in_use()))
        if len(parsed) != records:
            raise AssertionError(f"{len(parsed)} records in a batch said to hold {records}")
        with self._lock:
            self.records += parse_records(ahead, tasklog.layout_in_use())
            self.records += parsed
            self.batches += 1
            self._lock.notify_all()

    def write_record(self, data: bytes) -> None:
        """Keep one record."""
        with self._lock:
            self.records += parse_records(data, tasklog.layout_in_use())
            self._lock.notify_all()

    def texts(self, tag: int, vxid: int | None = None) -> list[str]:
        """Payloads of all records of ``tag`` (and of one transaction)."""
        with self._lock:
            return [r.text for r in self.records if r.tag == tag and vxid in (None, r.vxid)]

    def lines(self, vxid: int | None = None) -> list[str]:
        """``"Tag payload"`` of all records (of one transaction)."""
        with self._lock:
            return [f"{r.name} {r.text}".rstrip() for r in self.records if vxid in (None, r.vxid)]

    def wait_for(self, tag: int, text: str | None = None, timeout: float = 5.0) -> Record:
        """Wait for a record of ``tag`` (whose payload contains ``text``); raises TimeoutError."""

        def find() -> Record | None:
            return next((r for r in self.records if r.tag == tag and (text is None or text in r.text)), None)

        with self._lock:
            found = self._lock.wait_for(find, timeout)
        if found is None:
            raise TimeoutError(f"no log record of tag {tag} with {text!r} within {timeout} s")
        return found


@contextmanager
def captured() -> Iterator[MemoryLog]:
    """Within the block, every record of this process goes to the :class:`MemoryLog` given."""
    memory = MemoryLog()
    old = tasklog.set_sink(memory)
    try:
        yield memory
    finally:
        tasklog.set_sink(old)
