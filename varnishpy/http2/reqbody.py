"""Request bodies: what a request thread reads of a stream's `ReceiveBuffer`, and how it waits for more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Condition
from typing import TYPE_CHECKING, Final

from varnishpy.base.clock import mono
from varnishpy.h2.tables import SE, H2Error
from varnishpy.http.message import Header
from varnishpy.request.patience import Patience, too_slow
from varnishpy.request.transport import BodyError

if TYPE_CHECKING:
    from varnishpy.h2.stream import Stream


DISCARD_SIZE: Final = 65536  # octets dropped at once


class StreamBody:
    """The body of an HTTP/2 request, for `read` on any thread but the session's.

    :param timeout: seconds to wait for the next octets, asked for at each wait
    :param blocking: entered around each wait, so that the thread pool knows
    """

    filter_name = "H2_BODY"
    __slots__ = ("_blocking", "_patience", "_received", "_stream", "_timeout", "length")

    def __init__(
        self,
        stream: Stream,
        timeout: Callable[[], float],
        blocking: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._stream = stream
        self._timeout = timeout
        self._blocking = blocking
        self._patience = Patience()
        self._received = 0
        self.length = stream.rx_length

    def read(self, limit: int) -> bytes:
        """At most ``limit`` octets, ``b""`` at the end. Raises `BodyError`."""
        stream = self._stream
        h2 = stream.h2
        h2.assert_request_thread()
        with h2.mutex:
            count = self._available()
        if count < 0:
            with self._blocking():
                count = self._wait()
        if count == 0:
            return b""
        count = min(count, limit)
        buffer = stream.rx_buffer
        assert buffer is not None  # something is available
        data = buffer.get(count)
        self._received += count
        with h2.mutex:
            buffer.tail += count
            ask = not stream.rx_asked and not stream.rx_ended
            if ask:
                stream.rx_asked = True
        if ask:
            h2.acknowledge_data(stream)
        return data

    @property
    def trailers(self) -> list[Header]:
        """The fields behind the body, when that has been read to its end."""
        return self._stream.trailers or []

    def _available(self) -> int:
        """Octets to read now, 0 at the end, -1 wait; under the mutex."""
        stream = self._stream
        error = _error_of(stream)
        if error is not None:
            raise BodyError(f"H2: Request body error ({error.text})")
        buffer = stream.rx_buffer
        if buffer is not None and buffer.head > buffer.tail:
            return buffer.head - buffer.tail
        return 0 if stream.rx_ended else -1

    def _wait(self) -> int:
        stream = self._stream
        h2 = stream.h2
        deadline = mono() + self._timeout()
        with h2.mutex:
            condition = Condition(h2.mutex)
            stream.reader = condition
            try:
                while (count := self._available()) < 0:
                    now = mono()
                    if now >= deadline:
                        raise BodyError("H2: Request body timed out")
                    patience = self._patience.left(self._received)
                    if patience <= 0:
                        raise BodyError(f"H2: {too_slow()}")
                    condition.wait(min(patience, deadline - now))
                    self._patience.spend(now)
            finally:
                stream.reader = None
        return count

    def discard(self) -> bool:
        """Nothing needs reading: the stream is reset when its response is complete, the connection stays usable.

        Varnish reads what nobody wants before it answers, and so do we with ``feature=+h2_compat``.
        """
        if self._stream.h2.compat:
            request = self._stream.request
            assert request is not None
            try:
                while data := self.read(DISCARD_SIZE):
                    request.acct.req_bodybytes += len(data)
            except BodyError:
                return False
        return True

    def fail(self) -> None:
        """Give up on the body: the client is told to stop sending."""
        stream = self._stream
        if not stream.rx_ended and stream.error is None:
            stream.h2.reset_stream(stream, SE.REFUSED_STREAM)


def _error_of(stream: Stream) -> H2Error | None:
    """Why this stream, or its connection, is at its end; ``None`` if it is not."""
    return stream.error or stream.h2.error
