"""The main loop of the log tools: find the log, follow it across restarts, group, query, limit, hand out.

The options are those of Varnish's own tools. Signals: SIGINT and SIGTERM end the loop, SIGHUP reopens output (or ends
the loop where there is none), SIGUSR1 reports transactions that are not complete yet.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from varnishpy.base.pidfile import PidFile, PidFileError
from varnishpy.base.units import UnitError, parse_duration
from varnishpy.base.wiretext import to_wire
from varnishpy.base.workdir import resolve_existing
from varnishpy.log.cursor import FileCursor, LogError, LogGone, RingCursor
from varnishpy.log.grouping import MODES, Grouper, Transaction
from varnishpy.log.query import QueryError, Test, parse_user_query
from varnishpy.log.selection import Selection, SelectionError
from varnishpy.shm.reader import SetReader, VsmError
from varnishpy.tools.daemonize import daemonize
from varnishpy.tools.usage import HELP, PATIENCE, VERSION, WORKDIR, Option, ToolError

OPTIONS: dict[str, Option] = {
    option.letter: option
    for option in (
        Option("b", "[-b]", "Only display backend records"),
        Option("c", "[-c]", "Only display client records"),
        Option("C", "[-C]", "Caseless regular expressions"),
        Option("d", "[-d]", "Process old log entries and exit"),
        Option("D", "[-D]", "Daemonize"),
        Option("E", "[-E]", "Display ESI transactions"),
        Option("g:", "[-g <session|request|vxid|raw>]", "Grouping mode (default: vxid)"),
        HELP,
        Option("i:", "[-i <taglist>]", "Include tags"),
        Option("I:", "[-I <[taglist:]regex>]", "Include by regex"),
        Option("k:", "[-k <num>]", "Limit transactions"),
        Option("L:", "[-L <limit>]", "Incomplete transaction limit"),
        WORKDIR,
        Option("P:", "[-P <file>]", "PID file"),
        Option("Q:", "[-Q <file>]", "VSL query file"),
        Option("q:", "[-q <query>]", "VSL query"),
        Option("r:", "[-r <filename>]", "Binary file input"),
        Option("R:", "[-R <limit[/duration]>]", "Output rate limit"),
        PATIENCE,
        Option("T:", "[-T <seconds>]", "Transaction end timeout"),
        Option("v", "[-v]", "Verbose record printing"),
        VERSION,
        Option("x:", "[-x <taglist>]", "Exclude tags"),
        Option("X:", "[-X <[taglist:]regex>]", "Exclude by regex"),
    )
}


def pick(letters: str, *own: Option) -> list[Option]:
    """The shared options of these letters together with a tool's own, sorted as usage texts are."""
    chosen = [option for letter, option in OPTIONS.items() if letter[0] in letters]
    return sorted([*chosen, *own], key=lambda option: (option.letter.lower(), option.letter.islower()))


def parse_patience(text: str) -> float | None:
    """``-t``: seconds, or ``off`` for None. Raises ToolError."""
    if text.lower() == "off":
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if seconds < 0 or not math.isfinite(seconds):
        raise ToolError(f"-t: Invalid argument: {text}")
    return seconds


_INTEGER = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_LONGEST_PERIOD = 30  # characters


def _leading_integer(text: str) -> tuple[int, str]:
    """The number that a text begins with, as strtol(3) reads it in C's notations, and the rest; 0 if there is none."""
    found = _INTEGER.match(text)
    if found is None:
        return 0, text
    sign, digits = found.groups()
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    return int(sign + digits, base), text[found.end() :]


class _RateLimit:
    """``-R limit/period``: a bucket of as many credits, refilled evenly."""

    def __init__(self, text: str) -> None:
        self._limit, rest = _leading_integer(text)
        if not 0 < self._limit < 2**31:
            raise ToolError("-R: Range error")
        self._period = 1.0
        if rest:
            period = rest[1:]
            if rest[0] != "/" or not 0 < len(period) <= _LONGEST_PERIOD:
                raise ToolError("-R: Syntax error")
            try:
                self._period = parse_duration(period if period[0].isdigit() else "1" + period)
            except UnitError:
                raise ToolError("-R: Syntax error: Invalid duration") from None
            if self._period <= 0:
                raise ToolError("-R: Syntax error: Invalid duration")
        self._credits = 1.0
        self._last = time.monotonic()

    def allows(self) -> bool:
        now = time.monotonic()
        self._credits = min(self._credits + (now - self._last) / self._period * self._limit, self._limit)
        self._last = now
        if self._credits < 1.0:
            return False
        self._credits -= 1.0
        return True


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr)


class Follower:
    """Takes the shared options, then runs. Set the callbacks before :meth:`run`.

    ``on_group`` gets each group that the query lets through; ``on_idle`` is called when there is nothing new,
    ``on_hup`` for SIGHUP (None: end the loop), ``on_notice`` with a line for the user (by default it goes to stderr).
    """

    def __init__(self) -> None:
        self.selection = Selection()
        self.mode = "vxid"
        self.from_head = False
        self.daemon = False
        self.limit = -1
        self.open_limit = 1000
        self.timeout = 120.0
        self.instance: str | None = None
        self.file: str | None = None
        self.pid_file: str | None = None
        self.patience: float | None = 5.0
        self.queries: list[str] = []
        self.layout = 2
        self.reader: SetReader | None = None
        self.on_group: Callable[[list[Transaction]], None] = lambda group: None
        self.on_idle: Callable[[], None] = lambda: None
        self.on_hup: Callable[[], None] | None = None
        self.on_notice: Callable[[str], None] = _to_stderr
        self.stopping = False
        self._rate: _RateLimit | None = None
        self._cursor: RingCursor | None = None
        self._query: Test | None = None
        self._hup = self._usr1 = False
        self._grouper: Grouper | None = None
        self._pid: PidFile | None = None
        self._input: BinaryIO | None = None

    # -- options

    def option(self, letter: str, value: str) -> bool:
        """Take an option; False if it is none of the shared ones. Raises ToolError."""
        simple = {"d": "from_head", "D": "daemon"}
        chosen = {"b": "backend", "c": "client", "E": "esi", "C": "caseless", "v": "verbose"}
        texts = {"n": "instance", "r": "file", "P": "pid_file"}
        if letter in simple:
            setattr(self, simple[letter], True)
        elif letter in chosen:
            setattr(self.selection, chosen[letter], True)
            if letter == "E":
                self.selection.client = True
        elif letter in texts:
            setattr(self, texts[letter], value)
        elif letter in "iIxX":
            try:
                self.selection.option(letter, to_wire(value))
            except SelectionError as error:
                raise ToolError(str(error)) from None
        elif letter == "g":
            self.mode = self._grouping(value)
        elif letter in "kL":
            self._count(letter, value)
        elif letter == "T":
            self.timeout = self._seconds(value)
        elif letter == "t":
            self.patience = parse_patience(value)
        elif letter == "R":
            self._rate = _RateLimit(value)
        elif letter == "q":
            self.queries.append(value)
        elif letter == "Q":
            try:
                self.queries.append(Path(value).read_text(encoding="utf-8"))
            except OSError as error:
                raise ToolError(f"-Q {value}: {error.strerror}") from None
        else:
            return False
        return True

    @staticmethod
    def _grouping(value: str) -> str:
        found = [mode for mode in MODES if mode.startswith(value.lower())]
        if value.lower() in MODES:
            return value.lower()
        if len(found) != 1:
            raise ToolError(f"{'Ambiguous' if found else 'Unknown'} grouping type: {value}")
        return found[0]

    def _count(self, letter: str, value: str) -> None:
        if letter == "k":
            if not value.isdigit() or not int(value):
                raise ToolError(f"-k: Invalid number '{value}'")
            self.limit = int(value)
            return
        number, rest = _leading_integer(value)
        if rest:
            raise ToolError("-L: Syntax error")
        if not 0 < number < 2**31:
            raise ToolError("-L: Range error")
        self.open_limit = number

    @staticmethod
    def _seconds(value: str) -> float:
        try:
            seconds = float(value)
        except ValueError:
            raise ToolError("-T: Syntax error") from None
        if seconds < 0 or not math.isfinite(seconds):
            raise ToolError("-T: Range error")
        return seconds

    # -- running

    def setup(self) -> None:
        """Check the options and open the input. Raises ToolError."""
        if self.instance is not None and self.file is not None:
            raise ToolError("Only one of -n and -r options may be used")
        if self.file == "-" and self.daemon:
            raise ToolError("Daemon cannot read from stdin")
        if self.queries:
            try:
                self._query = parse_user_query("\n".join(self.queries), self.selection.caseless)
            except QueryError as error:
                raise ToolError(f"Query expression error:\n{error}") from None
        self._grouper = Grouper(
            self.mode, self.open_limit, self.timeout, self.selection.client, self.selection.backend, self.selection.esi
        )
        if self.file is not None:
            try:
                self._input = sys.stdin.buffer if self.file == "-" else open(self.file, "rb")  # noqa: SIM115
            except OSError as error:
                raise ToolError(f"Cannot open {self.file}: {error.strerror}") from None
        else:
            self._attach()
        if self.pid_file is not None:
            try:
                self._pid = PidFile(self.pid_file)
            except PidFileError as error:
                raise ToolError(f"{self.pid_file}: {error}") from None
        if self.daemon:
            if self._input is None:  # what is logged once our caller goes on is not to be missed
                self._cursor = self._open_ring()
            daemonize()
        if self._pid is not None:
            self._pid.write()

    def _attach(self) -> None:
        def progress(text: str) -> None:
            sys.stderr.write(text)
            sys.stderr.flush()

        try:
            self.reader = SetReader(resolve_existing(self.instance))
            with self._signals():
                self.reader.attach(self.patience, progress, lambda: self.stopping)
        except (VsmError, ValueError) as error:
            raise ToolError(f"VSM: {error}") from None

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Our signal handlers, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: object) -> None:
            if number == signal.SIGHUP:
                self._hup = True
            elif number == signal.SIGUSR1:
                self._usr1 = True
            else:
                self.stopping = True

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        old = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def run(self) -> None:
        """Read until the end, a limit or a signal. Call :meth:`setup` first. Raises ToolError."""
        assert self._grouper is not None
        try:
            with self._signals():
                if self._input is not None:
                    self._read_file()
                else:
                    self._follow()
                self.on_idle()
        except BrokenPipeError:
            # whoever read our output has gone; keep the interpreter from complaining at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            if self._pid is not None:
                self._pid.remove()

    def _done(self) -> bool:
        return self.limit == 0

    def _signalled(self) -> bool:
        """Act on signals; True: end."""
        assert self._grouper is not None
        if self._hup:
            self._hup = False
            if self.on_hup is None:
                return True
            self.on_hup()
        if self._usr1:
            self._usr1 = False
            self._hand_out(self._grouper.flush())
        return self.stopping

    def _read_file(self) -> None:
        assert self._input is not None and self._grouper is not None
        try:
            cursor = FileCursor(self._input)
        except LogError as error:
            raise ToolError(f"{error}: {self.file}") from None
        self.layout = cursor.layout
        while not self._signalled() and not self._done():
            chunk = cursor.next()
            if chunk is None:
                return
            self._hand_out(self._grouper.feed(chunk))

    def _follow(self) -> None:
        assert self.reader is not None and self._grouper is not None
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            self.layout = cursor.layout
        lost = False
        idle = 0
        while not self._signalled() and not self._done():
            if cursor is None:
                cursor = self._open_ring()
                if cursor is None:
                    continue
                if lost:
                    self.on_notice("Log reacquired")
                self.layout = cursor.layout
            try:
                chunk = cursor.next()
            except LogError as error:
                # what was gathered up to here is still worth showing
                self._hand_out(self._grouper.flush())
                self.on_notice(str(error))
                lost = True
                cursor = None
                if isinstance(error, LogGone) and self.from_head:
                    return
                continue
            if chunk is not None:
                idle = 0
                self._hand_out(self._grouper.feed(chunk))
                continue
            if self.from_head:
                return
            self.on_idle()
            idle += 1
            if idle % 10 == 1:
                self.reader.refresh()
            time.sleep(0.01)

    _complained = -1.0

    def _open_ring(self) -> RingCursor | None:
        assert self.reader is not None
        reader = self.reader
        reader.refresh()
        entries = reader.find("Log")
        try:
            if not entries:
                raise LogError("No VSL chunk found (child not started ?)")
            entry = entries[0]
            return RingCursor(reader.map(entry), not self.from_head, lambda: reader.valid(entry))
        except (LogError, OSError) as error:
            now = time.monotonic()
            if self._complained < 0 or now - self._complained > 1:
                self._complained = now
                self.on_notice(f"Failed to acquire log: {error}")
            time.sleep(0.1)
            return None

    def _hand_out(self, groups: Iterator[list[Transaction]]) -> None:
        for group in groups:
            if self._query is not None and not self._query(group):
                continue
            if self._rate is not None and not self._rate.allows():
                continue
            self.on_group(group)
            if self.limit > 0:
                self.limit -= 1
                if not self.limit:
                    return


class Background:
    """The log being read on a thread of its own, while another draws what comes of it; for `reading`."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._notice = ""
        self._failure: ToolError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="log-reader", daemon=True)
        follower.on_notice = self._take_notice

    def _take_notice(self, text: str) -> None:
        self._notice = text

    def _read(self) -> None:
        try:
            self._follower.run()
        except ToolError as error:
            self._failure = error
            self._follower.stopping = True
        finally:
            self._ended.set()

    @property
    def ended(self) -> bool:
        """Is there no more to come?"""
        return self._ended.is_set()

    @property
    def note(self) -> str:
        """What to tell the user of how the reading goes, if anything."""
        return "EOF" if self.ended else self._notice

    def start(self) -> None:
        """Start reading."""
        self._thread.start()

    def stop(self) -> None:
        """End reading.

        :raises ToolError: what it failed with
        """
        self._follower.stopping = True
        self._thread.join(2)
        if self._failure is not None:
            raise self._failure


@contextlib.contextmanager
def reading(follower: Follower) -> Iterator[Background]:
    """Read the log in the background of what is done inside. Call `Follower.setup` first.

    If reading fails, ``follower.stopping`` turns true.

    :raises ToolError: at the end, what reading failed with
    """
    background = Background(follower)
    background.start()
    try:
        yield background
    finally:
        background.stop()
