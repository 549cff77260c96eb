"""``process``: a program on a pseudo-terminal, its screen and its exit status."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import threading
import time
from pathlib import Path

from . import compare, numbers
from .children import check_exit
from .context import Test
from .errors import TestAborted
from .party import ThreadedParty
from .terminal import Terminal
from .text import Text

LINES, COLUMNS = 24, 80
_SIGNALS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "KILL": signal.SIGKILL, "HUP": signal.SIGHUP}
_OUTRANKING = frozenset({"TERMCAP", "LINES", "COLUMNS"})
KEYS = {"NPAGE": b"\x1b[6~", "PPAGE": b"\x1b[5~", "HOME": b"\x1bOH", "END": b"\x1bOF"}


class Process(ThreadedParty):
    """One program; the lock guards the screen and the byte counts, which a reader thread updates."""

    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.spec = Text("")
        self.directory = Path(test.tmpdir, name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.out = self.directory / "term"
        self.err = self.directory / "stderr"
        self.out.touch()
        self.err.touch()
        self.log = ""
        self.pid = -1
        self.expect_exit = 0
        self.expect_signal = 0
        self.allow_core = False
        self.out_bytes = self.err_bytes = 0
        self.ansi_response = False
        self.lock = threading.Lock()
        self.terminal = Terminal(LINES, COLUMNS, self._respond)
        self._master = -1
        self._partial = b""

    # Running

    def start(self) -> None:
        if self.thread is not None:
            self.voice.fatal("Already running, -wait first")
        self.voice.say(4, f"CMD: {self.spec}")
        command = self.test.expand(self.voice, self.spec)
        read_err, write_err = os.pipe()
        read_ready, write_ready = os.pipe()
        master, slave = pty.openpty()
        _set_size(slave, self.terminal.lines, self.terminal.columns)
        _set_modes(slave)
        # TERMCAP would outrank TERM, and a shell's LINES and COLUMNS the size that the script gives
        environment = {name: value for name, value in os.environ.items() if name not in _OUTRANKING}
        environment["TERM"] = "xterm"
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
                os.dup2(slave, 0)
                os.dup2(slave, 1)
                os.dup2(write_err, 2)
                os.closerange(3, 4096)
                os.execve("/bin/sh", [b"/bin/sh", b"-c", command.encode("latin-1")], environment)
            finally:
                os._exit(127)
        for fd in (slave, write_err, write_ready):
            os.close(fd)
        os.read(read_ready, 1)  # its end: the process leads a group of its own now and can be signalled
        os.close(read_ready)
        self.pid = pid
        self._master = master
        self.voice.say(3, f"PID: {pid}")
        for what, value in (("pid", pid), ("dir", self.directory), ("out", self.out), ("err", self.err)):
            self.test.define(self.voice, f"{self.name}_{what}", str(value))
        self.run(lambda: self._read(master, read_err))

    def _read(self, master: int, stderr: int) -> None:
        open_ends = {master, stderr}
        poller = select.poll()
        for fd in open_ends:
            poller.register(fd, select.POLLIN)
        with self.out.open("ab", buffering=0) as out, self.err.open("ab", buffering=0) as err:
            while open_ends:
                with self.test.waiting("output of its program"):
                    ready = poller.poll()
                for fd, _ in ready:
                    try:
                        data = os.read(fd, 65536)
                    except OSError:
                        data = b""  # a pseudo-terminal whose other end is closed
                    if not data:
                        self.voice.say(4, f"{'stdout' if fd == master else 'stderr'} read 0")
                        poller.unregister(fd)
                        open_ends.discard(fd)
                    elif fd == master:
                        out.write(data)
                        self._output(data)
                    else:
                        err.write(data)
                        with self.lock:
                            self.err_bytes += len(data)
                        self.voice.dump(4, "stderr", data)
        os.close(stderr)
        _, status, usage = os.wait4(self.pid, 0)
        with self.lock:
            pid, self.pid = self.pid, -1
            self._master = -1
        os.close(master)
        self.test.undefine(self.voice, f"{self.name}_pid")
        check_exit(self.voice, pid, status, usage, self.expect_exit, self.expect_signal, self.allow_core)

    def _output(self, data: bytes) -> None:
        with self.lock:
            self.out_bytes += len(data)
            self.terminal.feed(data)
        match self.log:
            case "-log":
                *rows, self._partial = (self._partial + data).split(b"\n")
                for row in rows:
                    self.voice.dump(4, "output", row)
            case "-dump":
                self.voice.dump(4, "stdout", data)
            case "-hexdump":
                self.voice.hexdump(4, "stdout", data)

    def _respond(self, data: bytes) -> None:
        self.voice.dump(4, "term_response", data)
        if self.ansi_response and self._master >= 0:
            os.write(self._master, data)

    def wait(self) -> None:
        self.join()
        self.voice.say(4, f"stdout {self.out_bytes} bytes, stderr {self.err_bytes} bytes")

    def kill(self, name: str) -> None:
        with self.lock:
            pid = self.pid
        if pid <= 0:
            self.voice.fatal("Cannot signal a non-running process")
        if name in _SIGNALS:
            number = int(_SIGNALS[name])
        elif name.startswith("-") and numbers.whole_unsigned(name[1:]):
            number = numbers.unsigned(name[1:])
        else:
            self.voice.fatal(f"Could not grok signal ({name})")
        if self.expect_signal == 0:
            self.expect_signal = -number
        try:
            os.killpg(pid, number)
        except OSError as error:
            self.voice.fatal(f"Failed to send signal {number} ({error.strerror})")
        self.voice.say(4, f"Sent signal {number}")

    def write(self, data: bytes) -> None:
        if self.thread is None:
            self.voice.fatal("Cannot write to a non-running process")
        self.voice.say(4, f"Writing {len(data)} bytes")
        try:
            os.write(self._master, data)
        except OSError as error:
            self.voice.fatal(f"Failed to write: len={len(data)} {error.strerror} ({error.errno})")

    def need_bytes(self, wanted: int) -> None:
        while True:
            with self.lock:
                have = self.out_bytes
            self.voice.say(4, f"Have {have} bytes")
            if have >= wanted:
                return
            with self.test.waiting(f"{wanted} bytes from {self.name}"):
                self.test.sleep(0.1)

    def resize(self, lines: int, columns: int) -> None:
        with self.lock:
            self.terminal.resize(lines, columns)
            if self._master >= 0:
                _set_size(self._master, lines, columns)

    # The screen

    def dump(self) -> None:
        with self.lock:
            rows = [self.terminal.text(row) for row in range(self.terminal.lines)]
            row, column = self.terminal.row, self.terminal.column
        for text in rows:
            self.voice.dump(3, "screen", text)
        self.voice.say(3, f"Cursor at line {row + 1} column {column + 1}")

    def _place(self, line: Text, column: Text) -> tuple[int, int]:
        """A place on the screen, 0 for anywhere; waits a second for the screen to become wide enough."""
        row, col = numbers.unsigned(line), numbers.unsigned(column)
        if row > self.terminal.lines:
            self.voice.fatal(f"line {row} of a screen of {self.terminal.lines}")
        until = time.monotonic() + 1
        while col > self.terminal.columns and time.monotonic() < until:
            self.test.sleep(0.1)
        if col > self.terminal.columns:
            self.voice.fatal(f"column {col} of a screen of {self.terminal.columns}")
        return row, col

    def expect_text(self, line: Text, column: Text, wanted: str) -> None:
        row, col = self._place(line, column)
        if max(col, 1) + len(wanted) - 1 > self.terminal.columns:
            self.voice.fatal(f"the text ends at column {col + len(wanted) - 1} of a screen of {self.terminal.columns}")
        pause = 0.01
        shown = None
        while True:
            with self.lock:
                rows = range(self.terminal.lines) if row == 0 else range(row - 1, row)
                texts = [(number, self.terminal.text(number)) for number in rows]
            for number, text in texts:
                at = text.find(wanted) if col == 0 else col - 1 if text.startswith(wanted, col - 1) else -1
                if at >= 0:
                    self.voice.say(4, f"found expected text at {number + 1},{at + 1}: '{wanted}'")
                    return
            if row and col:
                there = texts[0][1][col - 1 : col - 1 + len(wanted)]
                if there != shown:
                    self.voice.say(4, f"text at {row},{col}: '{there}'")
                    shown = there
            with self.test.waiting(f"the text {wanted!r} on the screen of {self.name}"):
                self.test.sleep(pause)
            pause = min(pause * 2, 0.25)

    def expect_cursor(self, line: Text, column: Text) -> None:
        row, col = self._place(line, column)
        with self.lock:
            at_row, at_column = self.terminal.row + 1, self.terminal.column + 1
        if row and row != at_row:
            self.voice.fatal(f"Cursor on line {at_row} (expected {row})")
        if col and col != at_column:
            self.voice.fatal(f"Cursor in column {at_column} (expected {col})")

    def match_text(self, line: Text, column: Text, pattern: Text) -> None:
        row, col = self._place(line, column)
        with self.lock:
            below = range(max(row - 1, 0), self.terminal.lines)
            rows = [self.terminal.text(number)[max(col - 1, 0) :] for number in below]
        if not compare.matches(pattern, "\n".join(rows)):
            self.voice.fatal(f'match failed: ("{pattern}")')
        self.voice.say(4, "match succeeded")

    # The end

    def reset(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.lock:
                pid = self.pid
            if pid > 0:
                self.expect_signal = self.expect_signal or -int(number)
                with contextlib.suppress(OSError):
                    os.killpg(pid, number)
                if self.thread is not None and self.thread.join_anyway(1.0):
                    break
        if self.thread is not None and not self.thread.join_anyway(1.0):
            raise TestAborted(f"process {self.name} does not end")
        for what in ("dir", "out", "err"):
            self.test.undefine(self.voice, f"{self.name}_{what}")


def _set_size(fd: int, lines: int, columns: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def _set_modes(fd: int) -> None:
    """The line discipline programs find: canonical, echoing, control characters shown, CR LF line ends."""
    attributes = termios.tcgetattr(fd)
    attributes[0] = termios.BRKINT | termios.ICRNL | termios.IMAXBEL | termios.IXON | termios.IXANY
    attributes[1] = termios.OPOST | termios.ONLCR
    attributes[2] = termios.CREAD | termios.CS8 | termios.HUPCL
    attributes[3] = (
        termios.ICANON | termios.ISIG | termios.IEXTEN | termios.ECHO | termios.ECHOE | termios.ECHOKE | termios.ECHOCTL
    )
    attributes[4] = attributes[5] = termios.B9600
    characters = attributes[6]
    for index, value in (
        (termios.VEOF, b"\x04"),
        (termios.VERASE, b"\x08"),
        (termios.VKILL, b"\x15"),
        (termios.VINTR, b"\x03"),
        (termios.VQUIT, b"\x1c"),
    ):
        characters[index] = value
    termios.tcsetattr(fd, termios.TCSAFLUSH, attributes)
