"""What arrived of a request body: a ring of bytes per stream, filled by the session thread, read by a request thread.

The ring is as large as the stream's window, so a client that keeps to its window never overruns it, and many small DATA
frames cost no more memory than one large one. Whoever drives the connection says where it comes from. Indices and the
window are changed under the session's mutex; the octets between them belong to the reader, those outside to the session
thread, so copying needs no lock.
"""

from __future__ import annotations

from collections.abc import Callable


class ReceiveBuffer:
    """A ring of octets. ``head`` and ``tail`` only grow: what came in, and what was read."""

    __slots__ = ("_data", "_give_back", "head", "size", "tail")

    def __init__(self, data: bytearray | memoryview, size: int, give_back: Callable[[], None] | None = None) -> None:
        self.size = size
        self.head = 0
        self.tail = 0
        self._data = data
        self._give_back = give_back

    def put(self, data: bytes | memoryview) -> None:
        """Copy octets in behind ``head``, without moving it; the caller has seen to it that they fit."""
        size = self.size
        at = self.head % size
        first = min(len(data), size - at)
        self._data[at : at + first] = data[:first]
        if first < len(data):
            self._data[: len(data) - first] = data[first:]

    def get(self, count: int) -> bytes:
        """Copy octets out from ``tail`` on, without moving it."""
        size = self.size
        at = self.tail % size
        first = bytes(self._data[at : min(at + count, size)])
        if len(first) == count:
            return first
        return first + bytes(self._data[: count - len(first)])

    def free(self) -> None:
        """Give the memory back."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()
