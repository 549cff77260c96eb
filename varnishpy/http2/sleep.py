"""What a session thread sleeps in: a selector over the client's socket and the wakeup descriptor.

The selector lives as long as the session: with poll(2) behind it, it costs no descriptor. The wakeup descriptor is
opened when the thread is first about to sleep, and closed when the session leaves its thread.
"""

from __future__ import annotations

import selectors

from varnishpy.base.wakeup import Wakeup

_READ = selectors.EVENT_READ
_READ_WRITE = selectors.EVENT_READ | selectors.EVENT_WRITE


class Sleep:
    """See the module text.

    :param fd: the client's socket
    """

    __slots__ = ("_fd", "_selector", "_wakeup", "_writes")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._selector = selectors.PollSelector()
        self._selector.register(fd, _READ)
        self._writes = False  # does it wait for room in the socket, too?
        self._wakeup: Wakeup | None = None

    def open(self) -> None:
        """Make it possible to `wake` who is going to sleep.

        :raises OSError: no descriptors left
        """
        if self._wakeup is None:
            self._wakeup = Wakeup()
            self._selector.register(self._wakeup, _READ)

    def wait(self, seconds: float | None, writes: bool) -> bool:
        """Sleep until something happens. True: the client has sent something, or has gone.

        :param seconds: at most; ``None``: no limit
        :param writes: room in the socket counts as well
        """
        if writes is not self._writes:
            self._writes = writes
            self._selector.modify(self._fd, _READ_WRITE if writes else _READ)
        readable = False
        for key, events in self._selector.select(seconds):
            if key.fd != self._fd:
                assert self._wakeup is not None
                self._wakeup.clear()
            elif events & _READ:
                readable = True
        return readable

    def wake(self) -> None:
        """End a `wait`, or the next one. On any thread."""
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.signal()

    def close(self) -> None:
        """Give the wakeup descriptor back; it will be opened again when there is need."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self._selector.unregister(wakeup)
            wakeup.close()


def wait_for(fd: int, event: int, seconds: float) -> bool:
    """Wait for one event of the client's socket; for the few waits besides the loop. False: it did not come."""
    with selectors.PollSelector() as selector:
        selector.register(fd, event)
        return bool(selector.select(seconds))
