"""The log of a test, in the shape of the C program's.

Every line is ``LEAD ID TEXT``: the lead is ``****`` for the least important to ``*`` for the most, and ``----`` for
what made the test fail.  A line ``**** dT SECONDS`` precedes lines of a new millisecond.  The buffer has a fixed size
and is shared with the runner, so that nothing is lost when a test has to be killed.
"""

from __future__ import annotations

import mmap
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from .errors import Position, TestFailed

LEADS = ("----", "*   ", "**  ", "*** ", "****")
MAX_DUMP = 8192
_FULL = b"----       log buffer is full, the rest is missing (see -b)\n"
_HEAD = 8


class LogBuffer:
    """A bounded byte buffer in shared memory: eight bytes of length, then text."""

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, size + _HEAD)
        self._size = size
        self._used = 0

    def write(self, data: bytes) -> None:
        """Append; once the buffer is full a last line says so and the rest is dropped."""
        start = self._used
        if start + len(data) > self._size - len(_FULL):
            if start > self._size - len(_FULL):
                return
            data = _FULL
            self._used = self._size
        else:
            self._used = start + len(data)
        self._map[_HEAD + start : _HEAD + start + len(data)] = data
        self._map[:_HEAD] = (start + len(data)).to_bytes(_HEAD, "little")

    def read(self) -> bytes:
        used = int.from_bytes(self._map[:_HEAD], "little")
        return self._map[_HEAD : _HEAD + used]

    def clear(self) -> None:
        self._used = 0
        self._map[:_HEAD] = bytes(_HEAD)

    def close(self) -> None:
        self._map.close()


class TestLog:
    """All parties of a test write here.  ``on_failure`` is told the error once a fatal line has been written."""

    __test__ = False

    def __init__(self, buffer: LogBuffer) -> None:
        self.on_failure: Callable[[TestFailed], None] = lambda _error: None
        self._buffer = buffer
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._last = -1

    def emit(self, text: str) -> None:
        """Append whole lines (``text`` ends in a newline; characters are octets)."""
        data = text.encode("latin-1", "replace")
        with self._lock:
            now = round((time.monotonic() - self._start) * 1000)
            if now != self._last:
                self._last = now
                data = b"**** dT    %d.%03d\n" % divmod(now, 1000) + data
            self._buffer.write(data)


class Voice:
    """One party's (server, client, stream, ...) way into the log."""

    __slots__ = ("_heads", "_log", "name")

    def __init__(self, log: TestLog, name: str) -> None:
        self._log = log
        self.name = name
        self._heads = tuple(f"{lead} {name:<5} " for lead in LEADS)

    def say(self, level: int, text: str) -> None:
        self._log.emit(f"{self._heads[level]}{text}\n")

    def fatal(self, text: str, position: Position | None = None) -> NoReturn:
        """The test has failed: say why, stop all other parties, and unwind this thread.

        ``position`` is for failures of something else than the command this thread is at.
        """
        self.say(0, text)
        error = TestFailed(text, position)
        self._log.on_failure(error)
        raise error

    def dump(self, level: int, prefix: str, data: str | bytes | None) -> None:
        """Data as text, one log line per line of it; what cannot be printed is escaped, gzip is shown in hex."""
        if data is None:
            self.say(level, f"{prefix}(null)")
            return
        raw = data.encode("latin-1", "replace") if isinstance(data, str) else bytes(data)
        if not raw:
            return
        head = f"{self._heads[level]}{prefix}|"
        if raw[:2] == b"\x1f\x8b":
            text = head + raw[:MAX_DUMP].hex() + "\n"
        else:
            text = quote(head, raw[:MAX_DUMP])
        if len(raw) > MAX_DUMP:
            text += f"{head} [...] ({len(raw) - MAX_DUMP})\n"
        self._log.emit(text)

    def hexdump(self, level: int, prefix: str, data: bytes) -> None:
        """Data in hexadecimal, sixteen octets a line, at most 512 of them."""
        rows = [" ".join(f"{octet:02x}" for octet in data[at : at + 16]) for at in range(0, min(len(data), 512), 16)]
        if len(data) > 512:
            rows.append("...")
        if rows:
            self._log.emit("".join(f"{self._heads[level]}{prefix}|  {row}\n" for row in rows))


_NAMED = {0x0D: "\\r", 0x09: "\\t"}
_TABLE = {
    code: _NAMED.get(code, f"\\x{code:02x}") for code in [*range(10), *range(11, 32), *range(127, 256)] if code != 10
}


def quote(head: str, raw: bytes) -> str:
    """``raw`` line by line, each with ``head`` before it and unprintable octets escaped; ends in a newline."""
    text = raw.decode("latin-1").translate(_TABLE)
    if text.endswith("\n"):
        text = text[:-1]
    return head + text.replace("\n", "\n" + head) + "\n"
