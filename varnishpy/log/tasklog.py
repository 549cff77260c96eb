"""Log records of one transaction, gathered in memory and handed to the ring as one batch.

The owner of a :class:`TaskLog` is the task that runs the transaction; nobody else touches it. A record is laid down in
its final binary form at once, as text of one character per octet, because joining text and encoding it once per batch
is cheaper in Python than encoding every record. Tags that ``vsl_mask`` hides have an empty head and cost one lookup.

What is logged over and over with the same text (the headers of a stored object, the request of a client that repeats
itself, the calls of VCL methods) is kept as `Records`: laid down once but for the transaction id, which one C call then
puts into all of its places.

A record is: length (16 bits), version and tag (16 bits), the transaction id with its kind (one word in layout 1, two in
layout 2), the payload, a NUL for text, and padding to four octets, all in the byte order of the machine.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from varnishpy.log.moments import absolute, stamp
from varnishpy.log.tag_numbers import BEGIN, END, LINK, TIMESTAMP
from varnishpy.log.tags import FILE_NUMBERS, TAGS
from varnishpy.log.vxid import set_limit

SESSION: Final = 0
CLIENT: Final = 1
BACKEND: Final = 2

# padding of a record by length modulo 4: _PAD after text (whose counted length includes one NUL), _PAD_BIN after octets
_PAD: Final = ["\0", "\0\0\0\0", "\0\0\0", "\0\0"]
_PAD_BIN: Final = ["", "\0\0\0", "\0\0", "\0"]


class Sink(Protocol):
    """Where finished records go: the ring in shared memory, or a list in a test."""

    def write_batch(self, data: bytes, records: int, overflow: bool, ahead: bytes = b"") -> None:
        """Store the records of one transaction.

        :param overflow: the buffer was full
        :param ahead: one record that belongs to no batch, to stand in front of this one
        """

    def write_record(self, data: bytes) -> None:
        """Store one record that belongs to no batch."""


class _Null:
    """Before shared memory exists, records go nowhere."""

    def write_batch(self, data: bytes, records: int, overflow: bool, ahead: bytes = b"") -> None:
        """Forget the batch."""

    def write_record(self, data: bytes) -> None:
        """Forget the record."""


class _Settings:
    """How records are laid down, and where they go; readers bind what they find when they write."""

    __slots__ = ("heads", "layout", "lengths", "limit", "reclen", "sink")

    def __init__(self) -> None:
        self.sink: Sink = _Null()
        self.layout = 2
        self.reclen = 255
        self.limit = 16 * 1024  # octets in a buffer; 0: every record is written by itself
        self.heads: list[str] = [""] * 256  # by tag: version and tag word, empty where records are dropped
        self.lengths: list[str] = []


_now: Final = _Settings()
_config_lock = threading.Lock()
_config: tuple[int, int, int, bool, bytes] | None = None


def _u16(value: int) -> str:
    return value.to_bytes(2, sys.byteorder).decode("latin-1")


def configure(
    layout: int = 2,
    reclen: int = 255,
    buffer: int = 16 * 1024,
    masked: bytes | bytearray | None = None,
    sync: bool = False,
) -> None:
    """Apply ``vsl_layout``, ``vsl_reclen``, ``vsl_buffer``, ``vsl_mask`` and ``debug=+syncvsl``.

    :param reclen: most octets of payload in one record, the closing NUL included
    :param buffer: octets gathered before a batch is flushed early
    :param masked: 256 flags by tag number, true: drop; None: the default mask
    :param sync: flush after every record
    """
    global _config
    if sys.byteorder != "little":
        raise RuntimeError("the shared-memory log is only implemented for little-endian machines")
    if layout not in FILE_NUMBERS:
        raise ValueError(f"vsl_layout must be 1 or 2, not {layout}")
    if masked is None:
        masked = bytes(number in TAGS and TAGS[number].masked for number in range(256))
    wanted = (layout, reclen, buffer, sync, bytes(masked))
    with _config_lock:
        if wanted == _config:
            return
        numbers = FILE_NUMBERS[layout]
        version = 0 if layout == 1 else 1
        if len(_now.lengths) <= reclen:
            _now.lengths = [_u16(n) for n in range(reclen + 1)]
        _now.layout = layout
        _now.reclen = reclen
        _now.limit = 0 if sync else buffer
        set_limit(layout)
        # last: prepared records are up to date if they were made with this very list
        _now.heads = [
            _u16(numbers[tag] << 8 | version) if tag in TAGS and not masked[tag] else "" for tag in range(256)
        ]
        _config = wanted


def set_sink(sink: Sink | None) -> Sink:
    """Send records to ``sink`` from now on (None: nowhere); returns the one used before."""
    old = _now.sink
    _now.sink = sink if sink is not None else _Null()
    return old


def layout_in_use() -> int:
    """The layout that records are laid down in."""
    return _now.layout


def is_masked(tag: int) -> bool:
    """True if records of this tag are dropped: spare yourself the making of their text."""
    return not _now.heads[tag]


_MARK_1: Final = (1 << 30, 1 << 30, 2 << 30)  # by kind; sessions carry the client mark too
_MARK_2: Final = (1 << 62, 1 << 62, 2 << 62)
_ID_1: Final = (1 << 30) - 1
_ID_2: Final = (1 << 51) - 1


def _ident(vxid: int, kind: int) -> str:
    """The id words of a record. Id 0 belongs to the process and carries no mark."""
    if _now.layout == 2:
        return ((vxid & _ID_2 | _MARK_2[kind]) if vxid else 0).to_bytes(8, "little").decode("latin-1")
    return ((vxid & _ID_1 | _MARK_1[kind]) if vxid else 0).to_bytes(4, "little").decode("latin-1")


Row = tuple[int, str]


class Records:
    """A run of records with fixed texts, for `TaskLog.put_records`. Immutable to its users; shared between threads.

    :param rows: tag numbers and texts, in order; or what makes them, if they are too many to be kept
    """

    __slots__ = ("_form", "_rows")

    def __init__(self, rows: Iterable[Row] | Callable[[], list[Row]]) -> None:
        self._rows: tuple[Row, ...] | Callable[[], list[Row]] = rows if callable(rows) else tuple(rows)
        self._form: tuple[list[str], tuple[str, ...], int, int] = ([], (), 0, 0)

    def form(self) -> tuple[list[str], tuple[str, ...], int, int]:
        """Heads it was made with, what stands around the ids, number of records, octets; made anew when out of date."""
        form = self._form
        now = _now
        heads = now.heads
        if form[0] is heads:
            return form
        pieces = [""]
        size = 0
        for tag, text in self:
            head = heads[tag]
            if head:
                text = text[: now.reclen - 1]
                n = len(text) + 1
                pieces[-1] += now.lengths[n] + head
                pieces.append(text + _PAD[n & 3])
                size += n + 16
        form = self._form = heads, tuple(pieces), len(pieces) - 1, size
        return form

    def __iter__(self) -> Iterator[tuple[int, str]]:
        rows = self._rows
        return iter(rows() if callable(rows) else rows)


class TaskLog:
    """Records of one transaction. ``kind`` is :data:`CLIENT`, :data:`BACKEND`, or :data:`SESSION`."""

    __slots__ = ("_ahead", "_ident", "_more", "_parts", "_used", "kind", "t_first", "t_prev", "vxid")

    def __init__(self, vxid: int = 0, kind: int = SESSION) -> None:
        self._parts: list[str] = []
        self._more = 0  # records beyond one a part
        self._used = 0
        self._ahead = ""  # a record of another transaction that goes into the log with the next batch
        self.t_first = 0.0
        self.t_prev = 0.0
        self.vxid = vxid
        self.kind = kind
        self._ident = _ident(vxid, kind)

    def reset(self, vxid: int, kind: int) -> None:
        """Use the (flushed) buffer for another transaction."""
        self.flush()
        self.vxid = vxid
        self.kind = kind
        self._ident = _ident(vxid, kind)
        self.t_first = self.t_prev = 0.0

    def put(self, tag: int, text: str) -> None:
        """Add a record of text (one character per octet), cut to ``vsl_reclen``."""
        now = _now
        head = now.heads[tag]
        if not head:
            return
        n = len(text) + 1
        if n > now.reclen:
            n = now.reclen
            text = text[: n - 1]
        self._parts.append(f"{now.lengths[n]}{head}{self._ident}{text}{_PAD[n & 3]}")
        self._used = used = self._used + n + 16
        if used > now.limit:
            self._flush(True)

    def put_records(self, records: Records) -> None:
        """Add a prepared run of records."""
        now = _now
        heads, pieces, count, size = records._form
        if heads is not now.heads:
            heads, pieces, count, size = records.form()
        if count:
            if not now.limit:  # every record is to be flushed by itself
                for tag, text in records:
                    self.put(tag, text)
                return
            self._parts.append(self._ident.join(pieces))
            self._more += count - 1
            self._used = used = self._used + size
            if used > now.limit:
                self._flush(True)

    def put_bin(self, tag: int, data: bytes | bytearray | memoryview) -> None:
        """Add a record of octets, cut to ``vsl_reclen``."""
        now = _now
        head = now.heads[tag]
        if not head:
            return
        n = min(len(data), now.reclen)
        text = str(data[:n], "latin-1")
        self._parts.append(f"{now.lengths[n]}{head}{self._ident}{text}{_PAD_BIN[n & 3]}")
        self._used = used = self._used + n + 16
        if used > now.limit:
            self._flush(True)

    def put_ahead(self, tag: int, vxid: int, text: str) -> None:
        """Add a record of the session (its ``Link`` to this transaction): it will stand in front of the next batch.

        Both go into the log at once, which costs little more than the batch alone.
        """
        now = _now
        head = now.heads[tag]
        if not head:
            return
        if self._ahead:
            self.flush()
        if not now.limit:
            vsl(tag, vxid, text)
            return
        n = min(len(text) + 1, now.reclen)
        self._ahead = f"{now.lengths[n]}{head}{_ident(vxid, CLIENT)}{text[: n - 1]}{_PAD[n & 3]}"

    def begin(self, kind: str, parent: int, reason: str) -> None:
        """``Begin``: e.g. ``begin("req", 1000, "rxreq")``."""
        self.put(BEGIN, f"{kind} {parent} {reason}")

    def link(self, kind: str, child: int, reason: str) -> None:
        """``Link``: this transaction started ``child``."""
        self.put(LINK, f"{kind} {child} {reason}")

    def start_clock(self, t: float) -> None:
        """Set the start (seconds since the epoch) that :meth:`timestamp` counts from."""
        self.t_first = self.t_prev = t

    def received(self, first: float, done: float) -> None:
        """Start the clock at a first octet; log that moment (``Start``), and when the head was complete (``Req``).

        For most that is the same moment.
        """
        if first != done:
            self.t_first = self.t_prev = first
            self.timestamp("Start", first)
            self.timestamp("Req", done)
            return
        self.t_first = self.t_prev = first
        if _now.heads[TIMESTAMP]:
            moment = f"{absolute(first)} 0.000000 0.000000"
            self.put(TIMESTAMP, f"Start: {moment}")
            self.put(TIMESTAMP, f"Req: {moment}")

    def timestamp(self, label: str, now: float) -> None:
        """``Timestamp``: label, absolute time, seconds since the start, seconds since the previous timestamp."""
        if _now.heads[TIMESTAMP]:
            self.put(TIMESTAMP, stamp(label, now, self.t_first, self.t_prev))
        self.t_prev = now

    def change_id(self, kind: str, reason: str, vxid: int) -> None:
        """Link to transaction ``vxid``, end this one, and go on as that one (a restart, an upgrade)."""
        old = self.vxid
        self.put(LINK, f"{kind} {vxid} {reason}")
        self.put(END, "")
        self.flush()
        self.vxid = vxid
        self._ident = _ident(vxid, self.kind)
        self.put(BEGIN, f"{kind} {old} {reason}")

    def flush(self) -> None:
        """Hand what was gathered to the log; the transaction goes on."""
        if self._parts or self._ahead:
            self._flush(False)

    def end(self) -> None:
        """Write ``End`` and flush; the buffer may then be used again after :meth:`reset`."""
        now = _now
        if now.limit:
            head = now.heads[END]
            if head:
                self._parts.append(f"{now.lengths[1]}{head}{self._ident}{_PAD[1]}")
        else:
            self.put(END, "")
        self.flush()

    def _flush(self, overflow: bool) -> None:
        parts = self._parts
        sink = _now.sink
        # "replace" keeps lengths right should a caller hand in text that is no wire string
        if not self._ahead:
            sink.write_batch("".join(parts).encode("latin-1", "replace"), len(parts) + self._more, overflow)
        else:
            ahead = self._ahead.encode("latin-1", "replace")
            self._ahead = ""
            if parts:
                sink.write_batch("".join(parts).encode("latin-1", "replace"), len(parts) + self._more, overflow, ahead)
            else:
                sink.write_record(ahead)
        parts.clear()
        self._more = self._used = 0


def vsl(tag: int, vxid: int, text: str, kind: int = CLIENT) -> None:
    """Write a record outside any transaction buffer; ``vxid`` 0: it belongs to the process."""
    now = _now
    head = now.heads[tag]
    if not head:
        return
    n = len(text) + 1
    if n > now.reclen:
        n = now.reclen
        text = text[: n - 1]
    now.sink.write_record(f"{now.lengths[n]}{head}{_ident(vxid, kind)}{text}{_PAD[n & 3]}".encode("latin-1", "replace"))


configure()
