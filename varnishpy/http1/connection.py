"""The client's connection as the HTTP/1 transport uses it: a receive buffer, timed waits, and gathered sends.

The socket is non-blocking. Nobody waits for a request head: when there is nothing to read the session rests in its
pool's watch. The watch tells of a change once, so a session may rest only when the socket is known to be *dry*.
In the middle of a body or a response a call tries first and waits, in poll(2), only when it must; every wait has a
deadline and is announced to the worker's pool (`Worker.will_block`), so that another worker can run meanwhile. The same
code serves TLS, whose socket keeps to the same rules (``session/tls.py``).

**Answers to pipelined requests leave together.** A small answer is *held* while the head of the next request stands in
the buffer already, so that a burst costs one write. What is held leaves in front of whatever is sent next; before the
worker waits (it is told by `Worker.on_block`), before the request behind waits for another's fetch or leaves its thread
(`Asking.settle`), before the session rests, goes elsewhere or ends; and when it has grown too large, or older than
``http1_hold_time``.
"""

from __future__ import annotations

import errno
import os
import select
from enum import Enum
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.http.wire import PREFACE, Prefix, head_end, preface_match, skip_blank_lines
from varnishpy.http.wire_fields import WireError
from varnishpy.log.tag_numbers import DEBUG
from varnishpy.params import params
from varnishpy.threads import current_worker

if TYPE_CHECKING:
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.session.session import Session
    from varnishpy.storage.source import Piece
    from varnishpy.threads.worker import Worker

_IN: Final = select.POLLIN | select.POLLRDHUP
_OUT: Final = select.POLLOUT
_READ_SIZE: Final = 16 * 1024
_LONGEST_WAIT: Final = 3600.0  # seconds; "never" is asked again after that
_HELD_ANSWER: Final = 8 * 1024  # octets of an answer that may be held: copying one costs less than a write
_HELD: Final = 64 * 1024  # octets that are held at most


class Received(Enum):
    """How reading a request head went (the reference's ``HTC_S_*``)."""

    COMPLETE = "complete"
    PREFACE = "preface"  # the HTTP/2 connection preface stands at the front of the buffer
    JUNK = "junk"  # what stands in the buffer will be no head, however it goes on
    OVERFLOW = "overflow"
    EOF = "eof"
    QUIET = "quiet"  # there is no more to read for now: the session may rest


class Fill(Enum):
    """How one attempt to read ended."""

    DATA = 0
    AGAIN = 1
    EOF = 2


class Connection:
    """See the module text. Owned by the worker that serves the session.

    :ivar buf: received and not yet consumed; pipelined requests wait here
    :ivar head_len: octets of the head at the front of ``buf``, after `receive_head`
    :ivar dry: the socket has nothing to read, and its place in the watch, if it has one, will tell when that changes
    :ivar held: answers that have not left yet; see the module text
    :ivar failure: why they could not leave (as `send` tells it), or ``None``: nothing can be sent any more
    :ivar lenient: requests are read as Varnish reads them (``feature=+http1_compat``)
    :ivar skipped: octets of blank lines dropped in front of it
    :ivar t_first: when the first octet of the head was seen
    :ivar t_done: when the head was complete
    :ivar t_quiet: monotonic time since which the next head has been waited for
    """

    __slots__ = (
        "_held_since",
        "_scanned",
        "_wrk",
        "buf",
        "complaint",
        "dry",
        "failure",
        "head_len",
        "held",
        "lenient",
        "requests",
        "sess",
        "skipped",
        "t_done",
        "t_first",
        "t_quiet",
    )

    def __init__(self, sess: Session, leftover: bytes = b"") -> None:
        self.sess = sess
        self.buf = bytearray(leftover)
        self.lenient: bool = params.feature.http1_compat
        self.head_len = 0
        self.skipped = 0
        self.requests = 0
        self.t_first = 0.0
        self.t_done = 0.0
        self.t_quiet = clock.mono()
        self.complaint: WireError | None = None
        self.dry = False
        self.held = bytearray()
        self.failure: str | None = None
        self._held_since = 0.0
        self._wrk: Worker | None = None  # who holds the answers
        self._scanned = 0

    # -- waiting ---------------------------------------------------------------------------------------------------

    def _wait(self, events: int, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.sess.fd, events)
        if poll.poll(0):
            return True
        wrk = current_worker()  # of this thread: a fetch reads the body of another worker's request
        if wrk is None:
            return bool(poll.poll(clock.milliseconds(min(seconds, _LONGEST_WAIT))))
        wrk.will_block()
        try:
            return bool(poll.poll(clock.milliseconds(min(seconds, _LONGEST_WAIT))))
        finally:
            wrk.unblocked()

    def wait_readable(self, seconds: float) -> bool:
        """Wait until the socket has something to read, be it an end or an error; False after so many seconds."""
        if self.sess.tls is not None and self.sess.sock.pending():  # type: ignore[attr-defined]
            return True
        return self._wait(_IN, seconds)

    def wait_writable(self, seconds: float) -> bool:
        """Wait until the socket takes more, or fails; False after so many seconds."""
        return self._wait(_OUT, seconds)

    # -- receiving -------------------------------------------------------------------------------------------------

    def fill(self, limit: int = _READ_SIZE) -> Fill:
        """Read what is there into the buffer, without waiting."""
        sess = self.sess
        try:
            data = sess.sock.recv(limit)
        except (BlockingIOError, InterruptedError):
            self.dry = True
            return Fill.AGAIN
        except OSError:  # reset, timed out by the kernel's keepalive, TLS failure: no more will come
            return Fill.EOF
        if not data:
            return Fill.EOF
        self.buf += data
        # TLS gives a record at a time. And behind the last octets may be the end, which has been told of already
        if len(data) < limit and sess.tls is None:
            watched = sess.watched
            self.dry = watched is None or not watched.hangup
        return Fill.DATA

    def receive_head(self, req_size: int) -> Received:
        """Read until a whole request head stands in the buffer, or there is no more to read for now.

        :param req_size: most octets of a head (``http_req_size``)
        """
        buf = self.buf
        while True:
            if buf:
                scanned = self._scanned
                if not scanned and buf[0] <= 0x20:
                    self.skipped += skip_blank_lines(buf, self.lenient)
                if buf:
                    found = self._look(req_size)
                    if found is not Received.QUIET:
                        self._scanned = 0
                        return found
            if self.dry:
                return Received.QUIET
            result = self.fill(max(1, min(_READ_SIZE, req_size - len(buf))))
            if result is Fill.EOF:
                return Received.EOF
            if result is Fill.AGAIN:
                return Received.QUIET

    def _look(self, req_size: int) -> Received:
        """What stands in the buffer, which is not empty; ``QUIET`` if it is the beginning of something."""
        buf = self.buf
        now = clock.now()
        if not self.t_first:
            self.t_first = now
        if buf[0] == PREFACE[0]:
            match = preface_match(buf)
            if match is Prefix.WHOLE:
                self.t_done = now
                return Received.PREFACE
            if match is Prefix.PARTLY:
                return Received.QUIET
        try:
            end = head_end(buf, self._scanned, self.lenient)
        except WireError as error:
            self.complaint = error
            end = -1
        if end > req_size or (not end and len(buf) >= req_size):
            return Received.OVERFLOW
        if end:
            self.t_done = now
            self.head_len = end if end > 0 else len(buf)
            return Received.COMPLETE if end > 0 else Received.JUNK
        self._scanned = len(buf)
        return Received.QUIET

    def next_head(self) -> None:
        """A request has been dealt with: wait for the next."""
        self.t_quiet = clock.mono()
        self.t_first = 0.0
        self.skipped = 0
        self.complaint = None

    # -- sending ---------------------------------------------------------------------------------------------------

    def finish(self, wrk: Worker, log: TaskLog, bufs: list[Piece], size: int, deadline: float) -> str | None:
        """`send` the last octets of an answer, or hold them back for the answer to the next request.

        :param wrk: the worker whose thread this is
        """
        if not self.buf or size > _HELD_ANSWER or not params.http1_hold_time or self.buf.find(b"\r\n\r\n") < 0:
            return self.send(log, bufs, size, deadline)
        held = self.held
        now = clock.mono()
        if not held:
            self._held_since = now
            self._wrk = wrk
            wrk.on_block = self.flush
        elif len(held) + size > _HELD or now - self._held_since > params.http1_hold_time:
            return self.send(log, bufs, size, deadline)
        for piece in bufs:
            held += piece
        wrk.stats.http1_held += 1
        return self.failure

    def _take_held(self) -> bytearray:
        """What is held, which is the caller's to send."""
        held, self.held = self.held, bytearray()
        wrk, self._wrk = self._wrk, None
        if wrk is not None:
            wrk.on_block = None
        return held

    def flush(self) -> None:
        """Send what is held; if that fails, ``failure`` says so. For the session's worker only."""
        if not self.held:
            return
        sess = self.sess
        held = self._take_held()
        if sess.closed is None:
            timeout = sess.send_timeout
            deadline = clock.mono() + (params.send_timeout if timeout is None else timeout)
            self.send(None, [held], len(held), deadline)

    def send(self, log: TaskLog | None, bufs: list[Piece], size: int, deadline: float) -> str | None:
        """Send all of ``bufs``, and before them what is held, with as few system calls as the socket allows.

        :param log: of the request, or ``None`` for the session's own
        :param size: octets of ``bufs`` together
        :param deadline: monotonic time at which to give up
        :returns: ``None``, or the reason why the connection must close: ``REM_CLOSE`` or ``TX_ERROR``
        """
        if self.held:
            held = self._take_held()
            bufs = [held, *bufs]
            size += len(held)
        if self.failure is None:
            self.failure = self._send(log, bufs, size, deadline)
        return self.failure

    def _send(self, log: TaskLog | None, bufs: list[Piece], size: int, deadline: float) -> str | None:
        sock = self.sess.sock
        sent = 0
        while True:
            try:
                n = sock.sendmsg(bufs)
            except (BlockingIOError, InterruptedError):
                n = 0
            except OSError as error:
                return self._send_error(log, size - sent, error.errno or errno.EPIPE)
            sent += n
            if sent == size:
                return None
            if n:
                bufs = _prune(bufs, n)
            left = deadline - clock.mono()
            sess = self.sess
            idle = sess.idle_send_timeout
            if idle is None:
                idle = params.idle_send_timeout
            if left > 0 and not self.wait_writable(min(left, idle)):
                left = deadline - clock.mono()
                if left > 0:
                    self._tell(log, f"Hit idle send timeout, wrote = {sent}/{size}; retrying")
                    continue
            if left <= 0:
                self._tell(log, f"Hit total send timeout, wrote = {sent}/{size}; not retrying")
                return self._send_error(log, size - sent, errno.EAGAIN)

    def _send_error(self, log: TaskLog | None, left: int, number: int) -> str:
        self._tell(log, f"Write error, retval = -1, len = {left}, errno = {os.strerror(number)}")
        return "REM_CLOSE" if number == errno.EPIPE else "TX_ERROR"

    def _tell(self, log: TaskLog | None, text: str) -> None:
        if log is None:
            self.sess.debug(text)
        else:
            log.put(DEBUG, text)


def _prune(bufs: list[Piece], n: int) -> list[Piece]:
    """What is left of a vector of which ``n`` octets are gone."""
    for index, piece in enumerate(bufs):
        size = len(piece)
        if n < size:
            return [memoryview(piece)[n:], *bufs[index + 1 :]]
        n -= size
    return []
