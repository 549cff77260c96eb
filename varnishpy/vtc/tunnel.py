"""``tunnel``: carries bytes between a client and a server, and can be made to hold them back or let some through.

One thread moves bytes, another runs the script; ``pause`` returns once everything read has been written, ``send`` and
``recv`` once their bytes have crossed.
"""

from __future__ import annotations

import select
import socket
from enum import Enum, auto

from . import net, numbers
from .context import Test, Waker
from .errors import TestAborted
from .party import PATIENCE, Party
from .table import Call, Command, Opt, table
from .text import Text
from .threads import PartyThread

CHUNK = 1024
POLL = 0.1


class State(Enum):
    STOPPED = auto()
    ACCEPT = auto()
    RUNNING = auto()
    PAUSED = auto()
    SPEC_DONE = auto()


class Lane:
    """One direction: from where, to where, and how many bytes the script has asked for while paused."""

    __slots__ = ("action", "read", "wanted", "write")

    def __init__(self, action: str) -> None:
        self.action = action
        self.read: socket.socket | None = None
        self.write: socket.socket | None = None
        self.wanted = 0


class Tunnel(Party):
    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.state = State.STOPPED
        self.start_paused = False
        self.spec = Text("")
        self.connect_to = "${v1_sock}"
        self.listen_on = test.settings.listen_address
        self.sock: socket.socket | None = None
        self.lanes = {"send": Lane("Sending"), "recv": Lane("Receiving")}
        self.closed = False
        self.quiet = True
        self.cond = test.changed
        self.waker = Waker()
        self.threads: list[PartyThread] = []

    def start(self, paused: bool) -> None:
        self.voice.say(2, "Starting tunnel")
        if self.sock is not None:
            self.sock.close()
        try:
            self.sock = net.listen(self.listen_on, 1)
        except net.NetError as error:
            self.voice.fatal(f"Tunnel listen address ({self.listen_on}) cannot be resolved: {error}")
        self.sock.setblocking(False)
        where = net.bound(self.sock)
        self.listen_on = where.together
        test = self.test
        test.define(self.voice, f"{self.name}_addr", where.address)
        test.define(self.voice, f"{self.name}_port", where.port)
        test.define(self.voice, f"{self.name}_sock", f"{where.address} {where.port}")
        self.voice.say(1, f"Listen on {self.listen_on}")
        self.state = State.ACCEPT
        self.start_paused = paused
        self.closed = False
        for lane in self.lanes.values():
            lane.wanted = 0
        self.threads = [
            PartyThread(test, self.voice, self._move, self.name).start(),
            PartyThread(test, self.voice, self._script, f"{self.name} script").start(),
        ]

    # The script's side

    def _script(self) -> None:
        try:
            self._accept()
            self.test.interpreter(self.voice, "tunnel", self).run(self.spec)
        finally:
            with self.cond:
                self.state = State.SPEC_DONE
                self.cond.notify_all()
        self.voice.say(2, "Ending")

    def _accept(self) -> None:
        assert self.sock is not None
        self.voice.say(4, "Accepting")
        accepted = net.accept(self.test, self.sock, self.waker)
        self.voice.say(3, f"Accepted socket fd is {accepted.fileno()}")
        address = self.test.expand(self.voice, self.connect_to)
        try:
            connected = net.connect(self.test, address, 10.0)
        except net.NetError as error:
            accepted.close()
            self.voice.fatal(f"Failed to open {address}: {error}")
        self.voice.say(3, f"Connected socket fd is {connected.fileno()}")
        with self.cond:
            send, recv = self.lanes["send"], self.lanes["recv"]
            send.read = recv.write = accepted
            send.write = recv.read = connected
            self.state = State.PAUSED if self.start_paused else State.RUNNING
            self.cond.notify_all()

    def need_open(self, call: Call) -> None:
        with self.cond:
            closed = self.closed
        if closed:
            call.voice.fatal("Tunnel already closed")

    def settle(self) -> None:
        """Wait until the mover has done what was asked.  The caller holds ``cond``."""
        while not self.quiet and not self.closed:
            if self.test.over:
                raise TestAborted("the test is over")
            self.cond.wait(POLL)

    # The mover's side

    def _move(self) -> None:
        with self.cond:
            while self.state is State.ACCEPT and not self.test.over and not self.waker.woken:
                self.cond.wait(POLL)
        try:
            while not self.closed and not self.test.over and not self.waker.woken:
                self._turn()
        finally:
            with self.cond:
                self.closed = True
                self.quiet = True
                self.cond.notify_all()

    def _readable(self) -> list[Lane]:
        poller = select.poll()
        by_fd: dict[int, Lane] = {}
        for lane in self.lanes.values():
            if lane.read is not None:
                by_fd[lane.read.fileno()] = lane
                poller.register(lane.read, select.POLLIN)
        return [by_fd[fd] for fd, _ in poller.poll(POLL * 1000)]

    def _turn(self) -> None:
        with self.cond:
            paused = self.state is State.PAUSED
            idle = paused and not any(lane.wanted for lane in self.lanes.values())
            if idle:
                self.quiet = True
                self.cond.notify_all()
                self.cond.wait(POLL)
                return
        for lane in self._readable():
            with self.cond:
                limit = lane.wanted if self.state is State.PAUSED or lane.wanted else CHUNK
            if limit:
                self._carry(lane, min(limit, CHUNK))

    def _carry(self, lane: Lane, limit: int) -> None:
        assert lane.read is not None and lane.write is not None
        try:
            data = lane.read.recv(limit)
        except BlockingIOError:
            return
        except OSError as error:
            self.voice.fatal(f"Read failed: {error.strerror}")
        if data:
            self.voice.say(3, f"{lane.action} {len(data)} bytes")
            try:
                net.send_all(self.test, lane.write, data, self.waker)
            except OSError as error:
                self.voice.fatal(f"Write failed: {error.strerror}")
        with self.cond:
            if not data:
                self.closed = True
            elif lane.wanted:
                lane.wanted -= len(data)
            self.cond.notify_all()

    # The end

    def wait(self) -> None:
        self.voice.say(2, "Waiting for tunnel")
        mover, script = self.threads
        script.join()
        mover.join()
        self._close()

    def _close(self) -> None:
        lane = self.lanes["send"]
        for sock in (lane.read, lane.write):
            if sock is not None:
                sock.close()
        for lane in self.lanes.values():
            lane.read = lane.write = None
        self.threads = []
        self.state = State.STOPPED

    def reset(self) -> None:
        if self.state is not State.STOPPED:
            self.waker.wake()
            for thread in self.threads:
                thread.join_anyway(PATIENCE)
            self._close()
        self.waker.close()
        if self.sock is not None:
            self.sock.close()


def _pause(tunnel: Tunnel, call: Call) -> None:
    tunnel.need_open(call)
    with tunnel.cond:
        if tunnel.state is State.PAUSED:
            call.voice.fatal("Tunnel already paused")
        tunnel.state = State.PAUSED
        tunnel.quiet = False
        tunnel.settle()


def _transfer(tunnel: Tunnel, call: Call) -> None:
    tunnel.need_open(call)
    with tunnel.cond:
        if tunnel.state is State.RUNNING:
            call.voice.fatal("Tunnel still running")
        tunnel.lanes[call.command.name].wanted = numbers.integer(call.plain[0])
        tunnel.quiet = False
        tunnel.cond.notify_all()
        tunnel.settle()


def _resume(tunnel: Tunnel, call: Call) -> None:
    tunnel.need_open(call)
    with tunnel.cond:
        if tunnel.state is State.RUNNING:
            call.voice.fatal("Tunnel already running")
        tunnel.state = State.RUNNING
        tunnel.cond.notify_all()


TUNNEL_SPEC = table(
    Command("pause", _pause, text="let what is on its way arrive, then hold everything back"),
    Command("send", _transfer, "NUMBER", text="let {0} bytes through to the server"),
    Command("recv", _transfer, "NUMBER", text="let {0} bytes through to the client"),
    Command("resume", _resume, text="let everything through again"),
)


def _tunnel(test: Test, call: Call) -> None:
    tunnel = test.party(Tunnel, str(call.plain[0]))
    for item in call.items[1:]:
        if item.option == "-wait":
            if tunnel.state is State.STOPPED:
                tunnel.voice.fatal("Tunnel not -started")
            tunnel.wait()
            continue
        if tunnel.state is not State.STOPPED:
            tunnel.wait()
        match item.option:
            case "-connect":
                tunnel.connect_to = str(item.args[0])
            case "-listen":
                tunnel.listen_on = str(item.args[0])
            case "-start":
                tunnel.start(paused=False)
            case "-start+pause":
                tunnel.start(paused=True)
            case _:
                tunnel.spec = item.args[0]


TUNNEL = Command(
    "tunnel",
    _tunnel,
    "NAME [SPEC...]",
    {
        "-wait": Opt("", "wait for its end"),
        "-connect": Opt("ADDRESS", "to {0}"),
        "-listen": Opt("ADDRESS", "on {0}"),
        "-start": Opt("", "start it"),
        "-start+pause": Opt("", "start it, paused"),
    },
    "tunnel {0}",
    named="t",
    language="tunnel",
)
