"""What leaves: the control buffer, and the queue of responses.

**Control frames** (everything but HEADERS and DATA) are laid down in a fixed buffer that lives in workspace. They
leave in front of whatever is queued, never in the middle of a frame, and only the session thread writes them. When
the buffer is full the session thread must flush it before it goes on: a client that makes us answer without reading
the answers is held up here, and loses its connection when the session's deadline passes.

**Messages** wait as `Outgoing`, one response per stream, each a header block and a `Source` of body bytes.
`data_to_send` builds one *batch*: the control buffer, then as many HEADERS and DATA frames as windows, `BATCH_BYTES`
and `BATCH_PIECES` allow, as a list of pieces for one ``sendmsg``. What the socket does not take stays at the head, to
the byte, and leaves before anything else; no new batch is built until then. A header block and its CONTINUATIONs are
always in one batch, so nothing comes between them.

**Order** (RFC 9218): streams of lower urgency number first; among equals one frame each in turn, unless the client
asked for an explicit priority without ``i``: such streams are sent one after the other. A stream that must wait
gives way to the next.

**Waiting.** A message is in exactly one place (`Where`): in a ready queue; *stuck*, its stream's window being empty;
*held*, the connection's window being empty; *later*, its source having promised to call; *ending*, all of it in a
batch; *over*. Nothing is polled: WINDOW_UPDATE, SETTINGS and the source's call move it back to the ready queue.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from varnishpy.h2.ending import reset, response_lost, response_sent
from varnishpy.h2.frames import describe_frame, frame_header, header_pack
from varnishpy.h2.headers import parse_priority
from varnishpy.h2.hpack import TABLE_SIZE_ZERO, encode_block
from varnishpy.h2.outgoing import ENDING, HELD, LATER, OVER, READY, STUCK, Outgoing
from varnishpy.h2.tables import (
    CLOSED,
    END_HEADERS,
    END_STREAM,
    F_CONTINUATION,
    F_DATA,
    F_HEADERS,
    FRAME_HEADER,
    SE,
)
from varnishpy.log.tag_numbers import DEBUG, ERROR, H2_TX_BODY, H2_TX_HDR
from varnishpy.log.tasklog import is_masked
from varnishpy.storage.source import END, Piece, Source, SourceError
from varnishpy.storage.source import LATER as BODY_LATER

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection
    from varnishpy.h2.stream import Stream

CONTROL_SIZE: Final = 1024  # octets; what the reference's session has
BATCH_BYTES: Final = 256 * 1024  # about what a socket takes at once; more would only delay control frames
BATCH_PIECES: Final = 500  # below any IOV_MAX (1024 on Linux), with room for one more message
FRAME_PIECES: Final = 32  # that one frame of DATA is put together from, at most
SMALL_FRAME: Final = 64  # octets of DATA under which a frame counts as the client's dribbling
CREDIT_SIZE: Final = 1024  # octets of DATA for which a client may well send a WINDOW_UPDATE or two


def _fill_up(source: Source, limit: int, left: int, size: int, more: list[Piece]) -> int:
    """Pull what is at hand behind a piece of ``size`` octets into the same frame; what they come to together.

    :param left: octets of the body that are still to come, the first piece among them
    :raises SourceError: what was pulled before is good
    """
    while size < limit and size < left and len(more) < FRAME_PIECES:
        piece = source.pull(limit - size)
        if piece is END:
            raise SourceError("body ended early")
        if not isinstance(piece, (bytes, bytearray, memoryview)) or not len(piece):
            break
        more.append(piece)
        size += len(piece)
    return size


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
        self._ending: list[Outgoing] = []  # messages whose last byte is in the batch
        self._ready: dict[int, deque[Outgoing]] = {}  # by urgency, made when first needed
        self._mask = 0  # bit n: queue n is not empty
        self._held: deque[Outgoing] = deque()
        self.stuck = 0  # streams whose window is dry
        self._log_frames = False
        self._failed: list[Stream] = []  # streams whose source failed while the batch was built
        self.shrink_table = False  # the client shrank its table: say so in front of the next block
        self.stopped = False  # nothing is sent any more

    # -- the control buffer ----------------------------------------------------------------------------------------

    def return_control(self) -> None:
        """Let go of the buffer, whose workspace is about to go. What is in it leaves with the batch, at its end."""
        if self._control_used:
            assert self._control is not None
            self._rest.append(bytes(self._control[: self._control_used]))
            self._rest_bytes += self._control_used
            self._control_used = 0
        self._control = None

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
            if not h2.host.line.flush():
                return  # the host has failed the connection
            used = self._control_used
            end = used + len(frame)
        buffer = self._control
        if buffer is None:
            buffer = self._control = h2.host.line.control_buffer()
            if buffer is None:
                return
        buffer[used:end] = frame
        self._control_used = end
        h2.stats.h2_frames_tx += 1
        h2.overhead.frames_tx += 1
        h2.overhead.sent_control(len(frame))
        if not (is_masked(H2_TX_HDR) and is_masked(H2_TX_BODY)):
            self._log(frame[:FRAME_HEADER], frame[FRAME_HEADER:])

    # -- the queue -------------------------------------------------------------------------------------------------

    def enqueue(self, out: Outgoing) -> None:
        """Take over a message. The stream is alive, and no final response of it was taken over yet."""
        if out.interim:
            out.urgency = 0  # the highest, so the final response cannot overtake it
            self._push(out)
            return
        stream = out.stream
        stream.response = out
        out.t_queued = self.h2.now
        if out.priority is not None:
            stream.priority = parse_priority(out.priority, stream.urgency)
        priority = stream.priority
        if priority is not None:
            out.urgency, incremental = priority
            out.interleave = incremental
        self._push(out)

    def _push(self, out: Outgoing) -> None:
        out.where = READY
        queue = self._ready.get(out.urgency)
        if queue is None:
            queue = self._ready[out.urgency] = deque()
        queue.append(out)
        self._mask |= 1 << out.urgency

    def compact(self) -> None:
        """Let go of queues that may not be needed for long."""
        if not self._mask:
            self._ready.clear()

    def reprioritize(self, stream: Stream) -> None:
        """The client changed a stream's priority."""
        out = stream.response
        if out is None:
            return
        urgency, incremental = stream.urgency
        out.interleave = incremental or stream.priority is None
        if urgency != out.urgency:
            if out.where is READY:
                queue = self._ready[out.urgency]
                queue.remove(out)
                if not queue:
                    self._mask &= ~(1 << out.urgency)
                out.urgency = urgency
                self._push(out)
            else:
                out.urgency = urgency

    def wake(self, out: Outgoing) -> None:
        """A source has something to give, or a message got more to say."""
        if out.where is LATER:
            self._push(out)

    def unstick(self, stream: Stream) -> None:
        """A stream's window is open again, or nobody cares any more."""
        if stream.t_window_dry:
            stream.t_window_dry = 0.0
            self.stuck -= 1
        out = stream.response
        if out is not None and out.where is STUCK:
            self._push(out)

    def unhold(self) -> None:
        """The connection's window is open again."""
        held = self._held
        while held:
            out = held.popleft()
            if out.where is HELD:
                self._push(out)

    def withdraw(self, stream: Stream) -> Outgoing | None:
        """Take a stream's response out of the queues unsent; ``None``: there is none, or all of it is in the batch."""
        out = stream.response
        if out is None or out.where >= ENDING:
            return None
        where = out.where
        out.where = OVER
        if where is READY:
            queue = self._ready[out.urgency]
            if out in queue:
                queue.remove(out)
                if not queue:
                    self._mask &= ~(1 << out.urgency)
        elif where is HELD and out in self._held:
            self._held.remove(out)
            if not self._held:
                self.h2.windows.t_dry = 0.0  # nobody waits for it any more
        return out

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
        return sum(len(queue) for queue in self._ready.values())

    def data_to_send(self, control_only: bool = False) -> list[Piece]:
        """The pieces to send next; report with `data_sent` how much of them went out. Empty: there is nothing."""
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
            self._log_frames = not (is_masked(H2_TX_HDR) and is_masked(H2_TX_BODY))
            ready = self._ready
            while self._mask and len(batch) < BATCH_PIECES and self._rest_bytes < BATCH_BYTES:
                urgency = (self._mask & -self._mask).bit_length() - 1
                queue = ready[urgency]
                out = queue.popleft()
                self._step(out, batch)
                if out.where is READY:
                    if out.interleave:
                        queue.append(out)
                    else:
                        queue.appendleft(out)
                if not queue:
                    self._mask &= ~(1 << urgency)
        self._rest = batch
        if self._failed:  # only now: killing may have to flush the control buffer
            failed, self._failed = self._failed, []
            for stream in failed:
                reset(stream, SE.INTERNAL_ERROR, charge=False)
            if not self._rest:
                return self.data_to_send(control_only)
        return self._rest

    def data_sent(self, count: int) -> None:
        """The socket took so many octets of what `data_to_send` gave."""
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
            for out in ending:
                response_sent(out)

    def stop(self) -> None:
        """Nothing more will be sent: give back what is still here."""
        self.stopped = True
        self._rest = []
        self._rest_bytes = 0
        self._control_used = 0
        ending, self._ending = self._ending, []
        for out in ending:
            response_lost(out, self.h2.error)

    # -- frames ----------------------------------------------------------------------------------------------------

    def _step(self, out: Outgoing, batch: list[Piece]) -> None:
        """Put the next frame of a message into the batch (a header block together with the DATA behind it)."""
        if out.interim:
            out.where = OVER
            if out.block is not None and out.stream.error is None and out.stream.state is not CLOSED:
                self._headers(out, out.block, 0, batch)
            return
        source = out.source
        block = out.block
        if block is not None:
            if source is not None and source.complete and self._whole(out, block, source, batch):
                return
            out.block = None
            if source is None:
                self._headers(out, block, END_STREAM, batch)
                self._end(out)
                return
            self._headers(out, block, 0, batch)
        assert source is not None
        self._data(out, source, batch)

    def _whole(self, out: Outgoing, block: bytes, source: Source, batch: list[Piece]) -> bool:
        """A whole response in two frames, as most are: done at once. False, and nothing done: it takes more than that.

        What is done is what `_headers`, `_data` and `_frame` do between them; tests/h2/test_fast_path.py holds it.
        """
        h2 = self.h2
        stream = out.stream
        left = out.left
        size = len(block)
        if not (
            0 < left <= stream.tx_window
            and left <= h2.windows.tx
            and left <= h2.max_frame >= size
            and not self.shrink_table
            and not self._log_frames
        ):
            return False
        piece = source.pull_whole()
        if piece is None:
            return False
        left = len(piece)
        out.block = None
        out.left = 0
        stream.tx_window -= left
        h2.windows.tx -= left
        request = out.request
        if request is not None:
            acct = request.acct
            acct.resp_hdrbytes += size
            acct.resp_bodybytes += left
            acct.resp_pieces += 1
        h2.purse.earn(2 + left // CREDIT_SIZE)
        number = stream.number
        front = header_pack(size >> 8, size & 0xFF, F_HEADERS, END_HEADERS, number)
        middle = header_pack(left >> 8, left & 0xFF, F_DATA, END_STREAM, number)
        batch.append(front + block + middle)
        batch.append(piece)
        self._rest_bytes += size + left + 2 * FRAME_HEADER
        h2.stats.h2_frames_tx += 2
        h2.overhead.frames_tx += 2
        h2.overhead.tx += 2 * FRAME_HEADER
        out.where = ENDING
        self._ending.append(out)
        return True

    def _end(self, out: Outgoing) -> None:
        out.where = ENDING
        self._ending.append(out)

    def _data(self, out: Outgoing, source: Source, batch: list[Piece]) -> None:
        h2 = self.h2
        stream = out.stream
        limit = stream.tx_window if stream.tx_window < h2.windows.tx else h2.windows.tx
        if limit > h2.max_frame:
            limit = h2.max_frame
        left = out.left
        if limit <= 0:
            if left > 0:
                self._wait_window(out)
                return
            limit = 0
        try:
            piece = source.pull(limit)
        except SourceError as exc:
            self._source_failed(out, str(exc))
            return
        if piece is BODY_LATER:
            out.where = LATER
            return
        if piece is END:
            if left > 0:
                self._source_failed(out, f"body ended {left} octets early")
            elif source.trailers:
                self._headers(out, encode_block(source.trailers), END_STREAM, batch)
                self._end(out)
            else:
                self._frame(F_DATA, END_STREAM, stream.number, b"", batch)
                self._end(out)
            return
        assert isinstance(piece, (bytes, bytearray, memoryview))
        size = len(piece)
        if not size:
            if limit == 0:
                self._wait_window(out)
            return  # a source may give nothing now and more at the next call
        more: list[Piece] = []
        failure = ""
        if size < limit and left > size and not source.may_wait:
            # fill the frame: how a body arrived is nothing to the client
            try:
                size = _fill_up(source, limit, left, size, more)
            except SourceError as exc:
                failure = str(exc)
                size += sum(map(len, more))
        flags = 0
        if left >= 0:
            left -= size
            out.left = left
            if left < 0:
                self._source_failed(out, "body longer than announced")
                return
            if left == 0:
                flags = END_STREAM
        stream.tx_window -= size
        h2.windows.tx -= size
        if out.request is not None:
            acct = out.request.acct
            acct.resp_bodybytes += size
            acct.resp_pieces += 1
        if size >= SMALL_FRAME or flags:
            h2.purse.earn(1 + size // CREDIT_SIZE)
        if more and self._log_frames:
            piece = b"".join([piece, *more])
            more = []
        self._frame(F_DATA, flags, stream.number, piece, batch, size, more)
        if failure:
            self._source_failed(out, failure)
        elif flags:
            self._end(out)

    def _source_failed(self, out: Outgoing, text: str) -> None:
        out.where = LATER  # in no queue; the reset gives it up
        if out.request is not None:
            out.request.log.put(ERROR, f"H2: {text}")
        self._failed.append(out.stream)

    def _wait_window(self, out: Outgoing) -> None:
        """The body must wait for WINDOW_UPDATE."""
        h2 = self.h2
        stream = out.stream
        if stream.tx_window <= 0:
            out.where = STUCK
            if not stream.t_window_dry:
                stream.t_window_dry = h2.now
                self.stuck += 1
                h2.stats.h2_window_stuck += 1
                h2.due(h2.now + h2.window_timeout())
        else:
            out.where = HELD
            self._held.append(out)
            if not h2.windows.t_dry:
                h2.windows.t_dry = h2.now
                h2.stats.h2_window_stuck += 1
                h2.due(h2.now + h2.window_timeout())

    def _headers(self, out: Outgoing, block: bytes, flags: int, batch: list[Piece]) -> None:
        """A header block: HEADERS, and CONTINUATION as long as the client's frames are too small for the rest."""
        stream = out.stream
        if self.shrink_table:
            self.shrink_table = False
            block = TABLE_SIZE_ZERO + block
        if out.request is not None:
            out.request.acct.resp_hdrbytes += len(block)
        self.h2.purse.earn(1)
        most = self.h2.max_frame
        if len(block) <= most:
            self._frame(F_HEADERS, flags | END_HEADERS, stream.number, block, batch)
            return
        self._frame(F_HEADERS, flags, stream.number, block[:most], batch)
        for at in range(most, len(block), most):
            last = END_HEADERS if at + most >= len(block) else 0
            self._frame(F_CONTINUATION, last, stream.number, block[at : at + most], batch)

    def _frame(
        self,
        kind: int,
        flags: int,
        number: int,
        payload: Piece,
        batch: list[Piece],
        size: int = -1,
        more: list[Piece] | None = None,
    ) -> None:
        """One frame. DATA may go on with ``more``; ``size`` is that of all then."""
        h2 = self.h2
        if size < 0:
            size = len(payload)
        header = frame_header(size, kind, flags, number)
        if kind == F_DATA:
            batch.append(header)
            if size:
                batch.append(payload)
            if more:
                batch.extend(more)
        else:
            batch.append(header + payload)  # one small piece is cheaper than two
        self._rest_bytes += size + FRAME_HEADER
        h2.stats.h2_frames_tx += 1
        h2.overhead.frames_tx += 1
        h2.overhead.tx += FRAME_HEADER
        if self._log_frames:
            self._log(header, payload)

    def _log(self, header: bytes, payload: Piece) -> None:
        log = self.h2.log
        log.put_bin(H2_TX_HDR, header)
        if len(payload):
            log.put_bin(H2_TX_BODY, payload)
        number = int.from_bytes(header[5:9], "big")
        log.put(DEBUG, f"H2TXF {describe_frame(int.from_bytes(header[:3], 'big'), header[3], header[4], number)}")
