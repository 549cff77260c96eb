"""``barrier``: where threads of the test (``cond``), or anybody who can connect (``sock``), wait for each other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

from . import net, numbers
from .context import Test
from .errors import ScriptError, TestAborted
from .log import Voice
from .party import PATIENCE, ThreadedParty
from .table import Call, Command, Item, Opt
from .text import Text

POLL = 0.1


class Barrier(ThreadedParty):
    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.kind = ""
        self.expected = 0
        self.waiters = 0
        self.cyclic = False
        self._cycle = 0
        self._cond = test.changed
        self._sock: socket.socket | None = None

    def set_up(self, kind: str, count: Text, voice: Voice) -> None:
        if self.kind:
            voice.fatal(f"Barrier({self.name}) use error: already initialized")
        expected = numbers.unsigned(count)
        if expected < 2:
            voice.fatal(f"Barrier({self.name}) use error: wrong expectation ({expected})")
        self.kind, self.expected = kind, expected
        if kind == "sock":
            self._listen()

    def set_cyclic(self, voice: Voice) -> None:
        if not self.kind:
            voice.fatal(f"Barrier({self.name}) use error: not initialized")
        if self.waiters:
            voice.fatal(f"Barrier({self.name}) use error: already in use")
        self.cyclic = True

    def sync(self, voice: Voice) -> None:
        if not self.kind:
            voice.fatal(f"Barrier({self.name}) use error: not initialized")
        if self.kind == "cond":
            self._sync_cond(voice)
        else:
            self._sync_sock(voice)

    def _sync_cond(self, voice: Voice) -> None:
        with self._cond:
            too_many = self.waiters == self.expected
            if not too_many:
                self.waiters += 1
            cycle = self._cycle
            last = self.waiters == self.expected
            count = self.waiters
        if too_many:
            voice.fatal(f"Barrier({self.name}) use error: more waiters than the {self.expected} expected")
        if last:
            voice.say(4, f"Barrier({self.name}) wake {self.expected}")
            with self._cond:
                self._cycle += 1
                if self.cyclic:
                    self.waiters = 0
                self._cond.notify_all()
            return
        voice.say(4, f"Barrier({self.name}) wait {count} of {self.expected}")
        with self.test.waiting(f"barrier {self.name} ({self.waiters} of {self.expected})"):
            self.test.wait_for(lambda: cycle != self._cycle)
        if self.test.failed:
            raise TestAborted("the test has failed")

    # Over a socket

    def _listen(self) -> None:
        test, voice = self.test, self.voice
        try:
            self._sock = net.listen(test.settings.listen_address, self.expected)
        except net.NetError as error:
            voice.fatal(f"Barrier({self.name}) fails: {error}")
        self._sock.setblocking(False)
        where = net.bound(self._sock)
        test.define(voice, f"{self.name}_addr", where.address)
        test.define(voice, f"{self.name}_port", where.port)
        test.define(voice, f"{self.name}_sock", where.together)
        self.run(self._serve)

    def _serve(self) -> None:
        sock, voice = self._sock, self.voice
        assert sock is not None
        held: list[socket.socket] = []
        try:
            while not self.test.over:
                if not self.test.poll(sock.fileno(), net.READABLE, POLL):
                    continue
                if self.waiters == self.expected:
                    voice.fatal(f"Barrier({self.name}) use error: more waiters than the {self.expected} expected")
                try:
                    held.append(sock.accept()[0])
                except BlockingIOError:
                    continue
                self.waiters += 1
                if self.waiters < self.expected:
                    voice.say(4, f"Barrier({self.name}) wait {self.waiters} of {self.expected}")
                    continue
                voice.say(4, f"Barrier({self.name}) wake {self.expected}")
                _close(held)
                if not self.cyclic:
                    break
                self.waiters = 0
            if self.waiters % self.expected and not self.test.failed:
                voice.fatal(f"Barrier({self.name}) has {self.waiters} outstanding waiters")
        finally:
            _close(held)
            for what in ("addr", "port", "sock"):
                self.test.undefine(voice, f"{self.name}_{what}")
            sock.close()

    def _sync_sock(self, voice: Voice) -> None:
        address = self.test.expand(voice, f"${{{self.name}_sock}}")
        voice.say(4, f"Barrier({self.name}) sync with socket")
        try:
            sock = net.connect(self.test, address, self.test.settings.max_duration)
        except net.NetError as error:
            voice.fatal(f"Barrier({self.name}) connection failed: {error}")
        with sock:
            with self.test.waiting(f"barrier {self.name} ({self.waiters} of {self.expected})"):
                self.test.poll(sock.fileno(), net.READABLE, None)
            try:
                data = sock.recv(32)
            except OSError as error:
                voice.fatal(f"Barrier({self.name}) read failed: {error.strerror} (errno={error.errno})")
        if data:
            voice.fatal(f"Barrier({self.name}) unexpected data ({len(data)}B)")

    def reset(self) -> None:
        if self.thread is not None:
            self.thread.join_anyway(PATIENCE)


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
    sockets.clear()


def _barrier(_target: object, call: Call) -> None:
    test = call.test
    name = str(call.plain[0])
    barrier = test.find(Barrier, name)
    if barrier is None:
        if threading.current_thread() is not test.main_thread:
            call.voice.fatal(f"Barrier {name} can only be created on the top thread")
        barrier = test.add(Barrier(test, name))
    for item in call.items[1:]:
        match item.option:
            case "cond" | "sock":
                barrier.set_up(item.option, item.args[0], call.voice)
            case "sync":
                barrier.sync(call.voice)
            case "-cyclic":
                barrier.set_cyclic(call.voice)


def _check(items: Sequence[Item]) -> None:
    if len(items) < 2:
        raise ScriptError("barrier: expected cond, sock, sync or -cyclic", items[0].at)


BARRIER = Command(
    "barrier",
    _barrier,
    "NAME",
    {
        "cond": Opt("NUMBER", "for {0} threads of the test"),
        "sock": Opt("NUMBER", "for {0} connections"),
        "sync": Opt("", "wait for the others"),
        "-cyclic": Opt("", "again and again"),
    },
    "barrier {0}",
    named="b",
    check=_check,
)
