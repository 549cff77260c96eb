"""What leaves: the control buffer, and the queue of responses.

**Control frames** (everything but HEADERS and DATA) are laid down in a fixed buffer that lives in workspace. They
leave in front of whatever is queued, never in the middle of a frame, and only the session thread writes them. When
the buffer is full the session thread must flush it before it goes on: a client that makes us answer without reading
the answers is held up here, and loses its connection when the session's deadline passes.

**Responses** are entries, one per stream, each a header block and a `Source` of body bytes. `gather` builds one
*batch*: the control buffer, then as many HEADERS and DATA frames as windows, `BATCH_BYTES` and `BATCH_PIECES`
allow, as a list of pieces for one ``sendmsg``. What the socket does not take stays at the head, to the byte, and
leaves before anything else; no new batch is built until then. A header block and its CONTINUATIONs are always in
one batch, so nothing comes between them.

**Order** (RFC 9218): streams of lower urgency number first; among equals one frame each in turn, unless the client
asked for an explicit priority without ``i``: such streams are sent one after the other. A stream that must wait
gives way to the next.

**Waiting.** An entry is in exactly one place (`Where`): in a ready queue; *stuck*, its stream's window being empty;
*held*, the connection's window being empty; *later*, its source having promised to call; *ending*, all of it in a
batch; *over*. Nothing is polled: WINDOW_UPDATE, SETTINGS and the source's call move it back to the ready queue.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from varnishpy.h2.frames import describe_frame, frame_header, header_pack
from varnishpy.h2.headers import parse_priority
from varnishpy.h2.hpack import TABLE_SIZE_ZERO, encode_block
from varnishpy.h2.stream import end_sent, kill
from varnishpy.h2.tables import END_HEADERS, END_STREAM, FRAME_HEADER, SE, F, H2Error, State
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import is_masked
from varnishpy.storage.source import END, LATER, Piece, Source, SourceError

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection
    from varnishpy.h2.stream import Stream

CONTROL_SIZE: Final = 1024  # octets; what the reference's session has
BATCH_BYTES: Final = 256 * 1024  # about what a socket takes at once; more would only delay control frames
BATCH_PIECES: Final = 500  # below any IOV_MAX (1024 on Linux), with room for one more entry
SMALL_FRAME: Final = 64  # octets of DATA under which a frame counts as the client's dribbling
CREDIT_SIZE: Final = (
    1024  # octets of DATA for which a client may well send a WINDOW_UPDATE or two (some do, every 4 KB)
)

_TX_HDR: Final = int(Tag.H2TxHdr)
_TX_BODY: Final = int(Tag.H2TxBody)
_DEBUG: Final = int(Tag.Debug)
_ERROR: Final = int(Tag.Error)

URGENCIES: Final = 8

_STATE_CLOSED: Final = State.CLOSED


class Where(IntEnum):
    """Where an entry is; see the module text."""

    READY = 0
    STUCK = 1
    HELD = 2
    LATER = 3
    ENDING = 4
    OVER = 5


class Entry:
    """A response on its way out.

    :param block: the encoded header block; ``None`` once it is sent
    :param source: the body; ``None`` for none
    :param request: whose log and accounting are finished with it; ``None``: a response of our own making
    """

    __slots__ = (
        "block",
        "interim",
        "interleave",
        "left",
        "priority",
        "request",
        "source",
        "stream",
        "t_queued",
        "urgency",
        "where",
    )

    def __init__(self, stream: Stream, block: bytes | None, source: Source | None, request: Any) -> None:
        self.stream = stream
        self.block = block
        self.interim = False  # a 1xx response: the stream goes on
        self.source = source
        self.left = source.length if source is not None else 0  # octets to come, -1 unknown
        self.request = request
        self.where = Where.LATER
        self.urgency = 3
        self.interleave = True
        self.priority: str | None = None  # what the response says of its own (RFC 9218 section 8)
        self.t_queued = 0.0


# members of an Enum cost a look-up in two tables each time
_READY: Final = Where.READY
_STUCK: Final = Where.STUCK
_HELD: Final = Where.HELD
_LATER: Final = Where.LATER
_ENDING: Final = Where.ENDING
_OVER: Final = Where.OVER
_F_DATA: Final = int(F.DATA)
_F_HEADERS: Final = int(F.HEADERS)


class Transmitter:
    """The outgoing side of one connection. Everything here runs on the session thread."""

    __slots__ = (
        "_control",
        "_control_used",
        "_ending",
        "_failed",
        "_held",
        "_log_frames",
        "_mask",
        "_ready",
        "_rest",
        "_rest_bytes",
        "h2",
        "shrink_table",
        "stopped",
        "stuck",
    )  # fmt: skip

    def __init__(self, h2: Connection) -> None:
        self.h2 = h2
        self._control: memoryview | bytearray | None = None
        self._control_used = 0
        self._rest: list[Piece] = []  # the batch, or what the socket left of it
        self._rest_bytes = 0
        self._ending: list[Entry] = []  # entries whose last byte is in the batch
        self._ready: tuple[deque[Entry], ...] | None = None
        self._mask = 0  # bit n: queue n is not empty
        self._held: deque[Entry] = deque()
        self.stuck = 0  # streams whose window is dry
        self._log_frames = False
        self._failed: list[Stream] = []  # streams whose source failed while the batch was built
        self.shrink_table = False  # the client shrank its table: say so in front of the next block
        self.stopped = False  # nothing is sent any more

    # -- the control buffer ----------------------------------------------------------------------------------------

    def lend_control(self, buffer: memoryview | bytearray | None) -> None:
        """Use this buffer for control frames; ``None`` takes it away again, when it is empty."""
        self._control = buffer

    def control(self, frame: bytes) -> None:
        """Queue a control frame, flushing first if there is no room."""
        h2 = self.h2
        h2.assert_session_thread()
        if self.stopped:
            return
        used = self._control_used
        end = used + len(frame)
        if end > CONTROL_SIZE:
            h2.stats.h2_control_full += 1
            if not h2.host.flush():
                return  # the host has failed the connection
            used = self._control_used
            end = used + len(frame)
        buffer = self._control
        if buffer is None:
            buffer = self._control = h2.host.control_buffer()
            if buffer is None:
                return
        buffer[used:end] = frame
        self._control_used = end
        h2.stats.h2_frames_tx += 1
        h2.overhead_tx(len(frame))
        if not (is_masked(_TX_HDR) and is_masked(_TX_BODY)):
            self._log(frame[:FRAME_HEADER], frame[FRAME_HEADER:])

    # -- the queue -------------------------------------------------------------------------------------------------

    def enqueue(self, entry: Entry) -> None:
        """Take over a response. The stream is alive and has none yet, or one with interim blocks only."""
        stream = entry.stream
        stream.entry = entry
        entry.t_queued = self.h2.now
        if entry.priority is not None:
            stream.priority = parse_priority(entry.priority, stream.urgency)
        priority = stream.priority
        if priority is not None:
            entry.urgency, incremental = priority
            entry.interleave = incremental
        self._push(entry)

    def enqueue_interim(self, stream: Stream, block: bytes) -> None:
        """Send a 1xx response. It travels at the highest urgency, so the final one cannot overtake it."""
        entry = Entry(stream, block, None, None)
        entry.interim = True
        entry.urgency = 0
        self._push(entry)

    def _push(self, entry: Entry) -> None:
        entry.where = _READY
        if self._ready is None:
            self._ready = tuple(deque() for _ in range(URGENCIES))
        self._ready[entry.urgency].append(entry)
        self._mask |= 1 << entry.urgency

    def compact(self) -> None:
        """Let go of queues that may not be needed for long."""
        if not self._mask:
            self._ready = None

    def reprioritize(self, stream: Stream) -> None:
        """The client changed a stream's priority."""
        entry = stream.entry
        if entry is None:
            return
        urgency, incremental = stream.urgency
        entry.interleave = incremental or stream.priority is None
        if urgency != entry.urgency:
            if entry.where is _READY and self._ready is not None:
                queue = self._ready[entry.urgency]
                queue.remove(entry)
                if not queue:
                    self._mask &= ~(1 << entry.urgency)
                entry.urgency = urgency
                self._push(entry)
            else:
                entry.urgency = urgency

    def wake(self, entry: Entry) -> None:
        """A source has something to give, or an entry got more to say."""
        if entry.where is _LATER:
            self._push(entry)

    def unstick(self, stream: Stream) -> None:
        """A stream's window is open again, or nobody cares any more."""
        if stream.t_window_dry:
            stream.t_window_dry = 0.0
            self.stuck -= 1
        entry = stream.entry
        if entry is not None and entry.where is _STUCK:
            self._push(entry)

    def unhold(self) -> None:
        """The connection's window is open again."""
        held = self._held
        while held:
            entry = held.popleft()
            if entry.where is _HELD:
                self._push(entry)

    def drop(self, stream: Stream) -> None:
        """The stream died: give its response back unsent. What is in the batch already leaves all the same."""
        entry = stream.entry
        if entry is None or entry.where >= _ENDING:
            return
        where = entry.where
        entry.where = _OVER
        if where is _READY and self._ready is not None:
            queue = self._ready[entry.urgency]
            if entry in queue:
                queue.remove(entry)
                if not queue:
                    self._mask &= ~(1 << entry.urgency)
        elif where is _HELD and entry in self._held:
            self._held.remove(entry)
            if not self._held:
                self.h2.t_window_dry = 0.0  # nobody waits for it any more
        self.give_back(entry, stream.error or self.h2.error)

    def give_back(self, entry: Entry, error: H2Error | None) -> None:
        """Return a response that was not sent, or not wholly."""
        entry.where = _OVER
        request = entry.request
        if request is not None:
            request.doclose = request.doclose or "TX_ERROR"
            if error is not None and error.code:
                request.log.put(_ERROR, f"H2: delivery error ({error.log_name})")
        self._over(entry)

    def _over(self, entry: Entry) -> None:
        """Done with an entry, well or not."""
        stream = entry.stream
        if stream.entry is entry:
            stream.entry = None
        if entry.source is not None:
            entry.source.on_ready = None
            entry.source.close()
            entry.source = None
        self.h2.response_over(stream, entry.request)

    # -- sending ---------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Is there anything that could be sent now?"""
        return bool(self._rest or self._control_used or self._mask) and not self.stopped

    @property
    def committed(self) -> bool:
        """Is there anything that must leave before anything new: a batch half way out, or control frames?"""
        return bool(self._rest or self._control_used) and not self.stopped

    @property
    def batch_size(self) -> int:
        """Octets of the batch that have not left."""
        return self._rest_bytes

    @property
    def queued(self) -> int:
        """Entries in the ready queues, for dumps."""
        return sum(len(queue) for queue in self._ready) if self._ready is not None else 0

    def gather(self, control_only: bool = False) -> list[Piece]:
        """The pieces to send next; report with `sent` how much of them went out. Empty: there is nothing to send."""
        rest = self._rest
        if rest:
            return rest
        if self.stopped:
            return []
        batch: list[Piece] = []
        if self._control_used:
            assert self._control is not None
            batch.append(bytes(self._control[: self._control_used]))
            self._rest_bytes = self._control_used
            self._control_used = 0
        else:
            self._rest_bytes = 0
        if self._mask and not control_only:
            self._log_frames = not (is_masked(_TX_HDR) and is_masked(_TX_BODY))
            ready = self._ready
            assert ready is not None
            while self._mask and len(batch) < BATCH_PIECES and self._rest_bytes < BATCH_BYTES:
                urgency = (self._mask & -self._mask).bit_length() - 1
                queue = ready[urgency]
                entry = queue.popleft()
                self._step(entry, batch)
                if entry.where is _READY:
                    if entry.interleave:
                        queue.append(entry)
                    else:
                        queue.appendleft(entry)
                if not queue:
                    self._mask &= ~(1 << urgency)
        self._rest = batch
        if self._failed:  # only now: killing may have to flush the control buffer
            failed, self._failed = self._failed, []
            for stream in failed:
                kill(stream, SE.INTERNAL_ERROR, charge=False)
            if not self._rest:
                return self.gather(control_only)
        return self._rest

    def sent(self, count: int) -> None:
        """The socket took so many octets of what `gather` gave."""
        self._rest_bytes -= count
        rest = self._rest
        if self._rest_bytes:
            index = 0
            while count >= len(rest[index]):
                count -= len(rest[index])
                index += 1
            left: list[Piece] = rest[index:]
            if count:
                left[0] = memoryview(left[0])[count:]
            self._rest = left
            return
        self._rest = []
        if self._ending:
            ending, self._ending = self._ending, []
            for entry in ending:
                entry.where = _OVER
                end_sent(entry.stream)
                self._over(entry)

    def stop(self) -> None:
        """Nothing more will be sent: give back what is still here."""
        self.stopped = True
        self._rest = []
        self._rest_bytes = 0
        self._control_used = 0
        ending, self._ending = self._ending, []
        for entry in ending:
            self.give_back(entry, self.h2.error)

    # -- frames ----------------------------------------------------------------------------------------------------

    def _step(self, entry: Entry, batch: list[Piece]) -> None:
        """Put the next frame of an entry into the batch (a header block together with the DATA behind it)."""
        if entry.interim:
            entry.where = _OVER
            if entry.block is not None and entry.stream.error is None and entry.stream.state is not _STATE_CLOSED:
                self._headers(entry, entry.block, 0, batch)
            return
        source = entry.source
        block = entry.block
        if block is not None:
            if source is not None and source.complete and self._whole(entry, block, source, batch):
                return
            entry.block = None
            if source is None:
                self._headers(entry, block, END_STREAM, batch)
                self._end(entry)
                return
            self._headers(entry, block, 0, batch)
        assert source is not None
        self._data(entry, source, batch)

    def _whole(self, entry: Entry, block: bytes, source: Source, batch: list[Piece]) -> bool:
        """A whole response in two frames, as most are: done at once. False, and nothing done: it takes more than that.

        What is done is what `_headers`, `_data` and `_frame` do between them.
        """
        h2 = self.h2
        stream = entry.stream
        left = entry.left
        size = len(block)
        if not (
            0 < left <= stream.tx_window
            and left <= h2.tx_window
            and left <= h2.max_frame >= size
            and not self.shrink_table
            and not self._log_frames
        ):
            return False
        piece = source.pull_whole()
        if piece is None:
            return False
        left = len(piece)
        entry.block = None
        entry.left = 0
        stream.tx_window -= left
        h2.tx_window -= left
        request = entry.request
        if request is not None:
            acct = request.acct
            acct.resp_hdrbytes += size
            acct.resp_bodybytes += left
            acct.resp_pieces += 1
        h2.earn(2 + left // CREDIT_SIZE)
        number = stream.number
        front = header_pack(size >> 8, size & 0xFF, _F_HEADERS, END_HEADERS, number)
        middle = header_pack(left >> 8, left & 0xFF, _F_DATA, END_STREAM, number)
        batch.append(front + block + middle)
        batch.append(piece)
        self._rest_bytes += size + left + 2 * FRAME_HEADER
        h2.stats.h2_frames_tx += 2
        h2.tx_overhead += 2 * FRAME_HEADER
        entry.where = _ENDING
        self._ending.append(entry)
        return True

    def _end(self, entry: Entry) -> None:
        entry.where = _ENDING
        self._ending.append(entry)

    def _data(self, entry: Entry, source: Source, batch: list[Piece]) -> None:
        h2 = self.h2
        stream = entry.stream
        limit = stream.tx_window if stream.tx_window < h2.tx_window else h2.tx_window
        if limit > h2.max_frame:
            limit = h2.max_frame
        left = entry.left
        if limit <= 0:
            if left > 0:
                self._wait_window(entry)
                return
            limit = 0
        try:
            piece = source.pull(limit)
        except SourceError as exc:
            self._source_failed(entry, str(exc))
            return
        if piece is LATER:
            entry.where = _LATER
            return
        if piece is END:
            if left > 0:
                self._source_failed(entry, f"body ended {left} octets early")
            elif source.trailers:
                self._headers(entry, encode_block(source.trailers), END_STREAM, batch)
                self._end(entry)
            else:
                self._frame(_F_DATA, END_STREAM, stream.number, b"", batch)
                self._end(entry)
            return
        assert isinstance(piece, (bytes, bytearray, memoryview))
        size = len(piece)
        if not size:
            if limit == 0:
                self._wait_window(entry)
            return  # a source may give nothing now and more at the next call
        flags = 0
        if left >= 0:
            left -= size
            entry.left = left
            if left < 0:
                self._source_failed(entry, "body longer than announced")
                return
            if left == 0:
                flags = END_STREAM
        stream.tx_window -= size
        h2.tx_window -= size
        if entry.request is not None:
            acct = entry.request.acct
            acct.resp_bodybytes += size
            acct.resp_pieces += 1
        if size >= SMALL_FRAME or flags:
            h2.earn(1 + size // CREDIT_SIZE)
        self._frame(_F_DATA, flags, stream.number, piece, batch)
        if flags:
            self._end(entry)

    def _source_failed(self, entry: Entry, text: str) -> None:
        entry.where = _LATER  # in no queue; kill gives it back
        if entry.request is not None:
            entry.request.log.put(_ERROR, f"H2: {text}")
        self._failed.append(entry.stream)

    def _wait_window(self, entry: Entry) -> None:
        """The body must wait for WINDOW_UPDATE."""
        h2 = self.h2
        stream = entry.stream
        if stream.tx_window <= 0:
            entry.where = _STUCK
            if not stream.t_window_dry:
                stream.t_window_dry = h2.now
                self.stuck += 1
                h2.stats.h2_window_stuck += 1
                h2.due(h2.now + h2.window_timeout())
        else:
            entry.where = _HELD
            self._held.append(entry)
            if not h2.t_window_dry:
                h2.t_window_dry = h2.now
                h2.stats.h2_window_stuck += 1
                h2.due(h2.now + h2.window_timeout())

    def _headers(self, entry: Entry, block: bytes, flags: int, batch: list[Piece]) -> None:
        """A header block: HEADERS, and CONTINUATION as long as the client's frames are too small for the rest."""
        stream = entry.stream
        if self.shrink_table:
            self.shrink_table = False
            block = TABLE_SIZE_ZERO + block
        if entry.request is not None:
            entry.request.acct.resp_hdrbytes += len(block)
        self.h2.earn()
        most = self.h2.max_frame
        if len(block) <= most:
            self._frame(_F_HEADERS, flags | END_HEADERS, stream.number, block, batch)
            return
        self._frame(_F_HEADERS, flags, stream.number, block[:most], batch)
        for at in range(most, len(block), most):
            last = END_HEADERS if at + most >= len(block) else 0
            self._frame(F.CONTINUATION, last, stream.number, block[at : at + most], batch)

    def _frame(self, kind: int, flags: int, number: int, payload: Piece, batch: list[Piece]) -> None:
        h2 = self.h2
        size = len(payload)
        header = frame_header(size, kind, flags, number)
        if kind == _F_DATA:
            batch.append(header)
            if size:
                batch.append(payload)
        else:
            batch.append(header + payload)  # one small piece is cheaper than two
        self._rest_bytes += size + FRAME_HEADER
        h2.stats.h2_frames_tx += 1
        h2.overhead_tx(FRAME_HEADER)
        if self._log_frames:
            self._log(header, payload)

    def _log(self, header: bytes, payload: Piece) -> None:
        log = self.h2.log
        if log is not None:
            log.put_bin(_TX_HDR, header)
            if len(payload):
                log.put_bin(_TX_BODY, payload)
            number = int.from_bytes(header[5:9], "big")
            log.put(_DEBUG, f"H2TXF {describe_frame(int.from_bytes(header[:3], 'big'), header[3], header[4], number)}")
