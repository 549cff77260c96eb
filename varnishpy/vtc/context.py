"""The state of one running test, shared by all its parties."""

from __future__ import annotations

import contextlib
import os
import random
import select
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .dialect import CURRENT, Dialect
from .errors import MacroError, Place, Position, ScriptError, TestAborted, TestFailed
from .interpreter import Interpreter
from .log import LogBuffer, TestLog, Voice
from .macros import Macros
from .table import Table
from .text import Text
from .warm import Nursery

if TYPE_CHECKING:
    from .party import Party
    from .tls import KeptSession

P = TypeVar("P", bound="Party")


@dataclass(slots=True)
class Settings:
    """What the command line decides for every test."""

    macros: dict[str, str] = field(default_factory=dict)
    max_duration: float = 60.0
    listen_address: str = "127.0.0.1:0"
    leave_temp: bool = False
    parameters: list[str] = field(default_factory=list)
    program: str = ""
    in_build_tree: bool = False
    vmod_path: str = ""
    language: Dialect | None = None
    """None: that of the daemon under test."""
    nursery: Nursery | None = None

    @property
    def named_program(self) -> str:
        """The daemon that the command line names; empty: it is ours that scripts start."""
        return self.named_in(self.macros)

    def named_in(self, macros: Mapping[str, str] | Macros) -> str:
        """`named_program`, where a test may have macros of its own."""
        return self.program or macros.get("varnishd") or macros.get("vinyld") or ""


class Waker:
    """A descriptor that becomes, and stays, readable once ``wake`` was called."""

    __slots__ = ("_read", "_write", "woken")

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.woken = False

    def fileno(self) -> int:
        return self._read

    def wake(self) -> None:
        if not self.woken:
            self.woken = True
            os.write(self._write, b"x")

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


class Test:
    """One test: macros, log, verdict, and the parties that take part."""

    __test__ = False

    def __init__(
        self, settings: Settings, buffer: LogBuffer, languages: Mapping[str, Table], everywhere: Table, seed: int = 0
    ) -> None:
        self.settings = settings
        self.languages = languages
        self.everywhere = everywhere
        self.random = random.Random(seed)
        self.macros = Macros(settings.macros)
        self.log = TestLog(buffer)
        self.log.on_failure = self.set_failed
        self.top = Voice(self.log, "top")
        self.failed = False
        self.skipped = False
        self.skip_reason = ""
        self.ended = False
        self.first_error: Exception | None = None
        self.settled = False  # the thread that failed first has unwound: all about it is known
        self.changed = threading.Condition()
        self._parties: dict[tuple[type[Party], str], Party] = {}
        self.tls_sessions: dict[str, KeptSession] = {}  # that a script keeps for later, by the names it gives them
        self.main_thread = threading.current_thread()
        self.places: dict[threading.Thread, Place] = {}  # where each thread is in the script
        self.waits: dict[threading.Thread, str] = {}  # and what it is waiting for, if it is
        self.waker = Waker()
        self.tmpdir = ""
        self.deadline = time.monotonic() + settings.max_duration

    # Verdict

    def set_failed(self, error: Exception) -> None:
        """The test has failed: the first error is the verdict's, and everybody who waits for something stops waiting.

        Called before anybody can fail in consequence.
        """
        with self.changed:
            self.first_error = self.first_error or error
            self.failed = True
            self.changed.notify_all()
        self.waker.wake()

    def set_ended(self, skipped: bool = False) -> None:
        with self.changed:
            self.ended = True
            self.skipped = self.skipped or skipped
            self.changed.notify_all()

    def record(self, error: Exception, voice: Voice) -> None:
        """Note why a thread of the test unwound; the first reason is the verdict's."""
        if isinstance(error, TestAborted):
            return
        if isinstance(error, (ScriptError, MacroError)):
            voice.say(0, str(error))
        elif not isinstance(error, TestFailed):
            for line in traceback.format_exception(error):
                voice.dump(0, "internal error", line)
        self.set_failed(error)
        with self.changed:
            self.settled = self.settled or error is self.first_error
            self.changed.notify_all()

    @property
    def failure(self) -> tuple[Position | None, str]:
        """Where and why the test failed.  The place may be missing until ``settled``."""
        error = self.first_error
        if isinstance(error, (TestFailed, ScriptError)):
            return error.position, error.text
        return None, str(error) if isinstance(error, MacroError) else f"internal error: {error!r}"

    @property
    def over(self) -> bool:
        return self.failed or self.ended

    @property
    def language(self) -> Dialect:
        return self.settings.language or CURRENT

    # Parties

    def parties(self, kind: type[P]) -> list[P]:
        """All of a kind, in the order in which they came."""
        return [party for party in list(self._parties.values()) if isinstance(party, kind)]

    def find(self, kind: type[P], name: str) -> P | None:
        """The party of a kind and name."""
        found = self._parties.get((kind, name))
        return found if isinstance(found, kind) else None

    def add(self, party: P, name: str = "") -> P:
        """Take a party in, under its own name or another."""
        self._parties[type(party), name or party.name] = party
        return party

    def party(self, kind: type[P], name: str) -> P:
        """The party of that kind and name, made when it is first mentioned."""
        return self.find(kind, name) or self.add(kind(self, name))

    def reset(self, order: Sequence[type[Party]]) -> None:
        """The test is over: end all parties, those of the first kinds first."""
        for kind in order:
            for party in self.parties(kind):
                try:
                    party.reset()
                except Exception as error:
                    self.record(error, self.top)

    def voice(self, name: str) -> Voice:
        return Voice(self.log, name)

    def interpreter(self, voice: Voice, language: str, target: object) -> Interpreter:
        """What runs scripts of ``language`` for ``target``, logging as ``voice``."""
        return Interpreter(self, voice, self.languages[language], self.everywhere, target)

    # Macros

    def define(self, voice: Voice, name: str, value: str) -> None:
        self.macros.define(name, value)
        voice.say(4, f"macro def {name}={value}")

    def undefine(self, voice: Voice, name: str) -> None:
        if self.macros.undefine(name) and not self.over:
            voice.say(4, f"macro undef {name}")

    def expand(self, voice: Voice, text: str) -> str:
        try:
            return self.macros.expand_string(text)
        except MacroError as error:
            voice.fatal(str(error))

    def expand_text(self, text: Text) -> Text:
        try:
            return self.macros.expand(text)
        except MacroError as error:
            raise ScriptError(str(error), text.locate(max(text.find("${"), 0))) from None

    # Waiting

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """While this thread waits for ``what``: told if the test's time is up meanwhile."""
        thread = threading.current_thread()
        self.waits[thread] = what
        try:
            yield
        finally:
            self.waits.pop(thread, None)

    def poll(self, fd: int, events: int, timeout: float | None, waker: Waker | None = None) -> int:
        """Wait until ``fd`` has one of ``events``; 0 on timeout (seconds; None waits as long as the test may run).

        Raises TestAborted when the test fails, or ``waker`` is woken, before that.
        """
        poller = select.poll()
        poller.register(fd, events)
        if not self.failed:
            poller.register(self.waker, select.POLLIN)
        if waker is not None:
            poller.register(waker, select.POLLIN)
        for ready, what in poller.poll(None if timeout is None else max(timeout, 0.0) * 1000):
            if ready == fd:
                return what
            raise TestAborted("the test is over")
        return 0

    def wait_for(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait on ``self.changed`` until ``condition`` holds; False if the test ended or failed, or time ran out."""
        until = None if timeout is None else time.monotonic() + timeout
        with self.changed:
            while not condition():
                if self.over:
                    return False
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return False
                self.changed.wait(left)
            return True

    def sleep(self, seconds: float) -> None:
        """Sleep, but not beyond the failure of the test.  Raises TestAborted then."""
        until = time.monotonic() + seconds
        with self.changed:
            while not self.failed:
                left = until - time.monotonic()
                if left <= 0:
                    return
                self.changed.wait(left)
        raise TestAborted("the test has failed")
