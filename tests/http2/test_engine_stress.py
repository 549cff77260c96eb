"""Everything at once, where a race shows: the workspace emulator, a thread switch every microsecond, and
stalls wherever a lock is taken or let go (`perturb`); clients that reset streams at every step and hang up at any time.

What must hold: nothing hangs, each request is finished exactly once, and in the end no session, stream, request,
workspace or descriptor is left.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.builders import make_worker
from tests.conftest import Setting
from tests.h2.conversation import GET_BLOCK
from tests.http2.h2_room import Client, Room
from tests.perturbing import perturbed
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.base import workspace
from varnishpy.cache import waitinglist
from varnishpy.cache.objcore import ObjectCore
from varnishpy.cache.objhead import ObjectHead
from varnishpy.h2 import frames
from varnishpy.h2.connection import Connection
from varnishpy.h2.stream import Stream
from varnishpy.h2.tables import END_STREAM, F
from varnishpy.http2.session import Http2Session
from varnishpy.request.growing import Pieces
from varnishpy.request.request import Request, Step
from varnishpy.request.transport import BodyError
from varnishpy.request.vdp import Chain, DeliveryProcessor, Pump
from varnishpy.storage.source import BytesSource, SourceError
from varnishpy.threads import Worker

SECONDS = 4.0  # at least; longer on a slow machine, until enough has happened
LONGEST = 30.0
CLIENTS = 4
PATIENCE = 15.0  # for everything to come to an end


class Stalls:
    """Threads stand still now and then, where it hurts."""

    def __init__(self) -> None:
        self.count = 0

    def maybe(self) -> None:
        dice = random.random()
        if dice < 0.05:
            self.count += 1
            time.sleep(dice / 50)
        elif dice < 0.2:
            time.sleep(0)


class WaitingList:
    """A waiting list with a thread that takes requests off it again."""

    def __init__(self, room: Room, stalls: Stalls, wrk: Worker) -> None:
        self.room = room
        self.stalls = stalls
        self.head = ObjectHead(b"")
        self.wrk = wrk
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._rush)

    def add(self, wrk: Any, req: Request) -> None:
        with self.head.lock:
            waitinglist.join(wrk, self.head, req)

    def _rush(self) -> None:
        while not self.over.wait(0.002):
            with self.head.lock:
                woken = waitinglist.rush(self.wrk, ObjectCore(self.head, 0)) or ()
            for req in woken:
                req.objcore = req.waiting_on = None  # as a lookup does
                self.stalls.maybe()
                self.room.transport.reembark(req)  # type: ignore[arg-type]


class Balky(DeliveryProcessor):
    """Computes with pauses, and fails now and then."""

    name = "balky"

    def __init__(self, stalls: Stalls) -> None:
        super().__init__()
        self.stalls = stalls
        self.closed = 0

    def run(self, pieces: Pieces) -> Pieces:
        for piece in pieces:
            self.stalls.maybe()
            if random.random() < 0.02:
                raise SourceError("broken")
            yield piece

    def close(self) -> None:
        self.closed += 1


class Handler:
    """What request threads do: one of everything."""

    def __init__(self, room: Room, stalls: Stalls, waiting: WaitingList) -> None:
        self.room = room
        self.stalls = stalls
        self.waiting = waiting
        self.done: Counter[str] = Counter()
        self.again: set[int] = set()
        self.balky: list[Balky] = []

    def __call__(self, wrk: Any, req: Request) -> Step:
        assert req.ws.alloc(100) is not None
        if req.pump is not None:  # left its thread behind a slow client
            self.done["pumped on"] += 1
            req.pump.run()
            return Step.DISEMBARK
        if req.vxid in self.again:
            self.again.discard(req.vxid)
            return self.room.respond(wrk, req, BytesSource([b"late"]))
        way = random.choice(
            (self.small, self.large, self.computed, self.body, self.wait, self.fail, self.minimal, self.interim)
        )
        self.done[way.__name__] += 1
        self.stalls.maybe()
        return way(wrk, req)

    def small(self, wrk: Any, req: Request) -> Step:
        return self.room.respond(wrk, req, BytesSource([b"hello"]))

    def large(self, wrk: Any, req: Request) -> Step:
        return self.room.respond(wrk, req, BytesSource([bytes(40_000)] * 3))

    def computed(self, wrk: Any, req: Request) -> Step:
        processor = Balky(self.stalls)
        self.balky.append(processor)
        chain = Chain([processor], BytesSource([bytes(4000)] * 10), req)
        req.pump = Pump(chain, -1, 10_000, partial(req.transport.reembark, req))
        if self.room.respond(wrk, req, req.pump.source) is Step.DISEMBARK:
            req.pump.run()
            return Step.DISEMBARK
        chain.close()
        return Step.DONE

    def body(self, wrk: Any, req: Request) -> Step:
        size = 0
        try:
            while req.body is not None and (piece := req.body.read(500)):
                size += len(piece)
                self.stalls.maybe()
        except BodyError:
            req.transport.fail(req, "RX_BODY")
            return Step.DONE
        return self.room.respond(wrk, req, BytesSource([str(size).encode()]))

    def wait(self, wrk: Any, req: Request) -> Step:
        self.again.add(req.vxid)
        self.waiting.add(wrk, req)
        return Step.DISEMBARK

    def fail(self, wrk: Any, req: Request) -> Step:
        req.transport.fail(req, "OVERLOAD")
        return Step.DONE

    def minimal(self, wrk: Any, req: Request) -> Step:
        req.transport.minimal_response(wrk, req, 400)
        return Step.DONE

    def interim(self, wrk: Any, req: Request) -> Step:
        req.transport.send_100(wrk, req)
        return self.room.respond(wrk, req, None, 204)


class Rowdy(threading.Thread):
    """A client that resets at every step, dribbles, stops reading and hangs up."""

    def __init__(self, room: Room, goes_on: Callable[[], bool]) -> None:
        super().__init__()
        self.room = room
        self.goes_on = goes_on
        self.streams = 0
        self.sessions = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while self.goes_on():
                client = self.room.connect()
                self.sessions += 1
                with contextlib.suppress(OSError), client.sock:
                    self.session(client)
        except BaseException as error:
            self.error = error

    def session(self, client: Client) -> None:
        client.sock.settimeout(0.05)
        client.hello((4, random.choice((0, 100, 65535, 1 << 20))))
        number = -1
        for _ in range(random.randint(1, 40)):
            if not self.goes_on():
                return
            number += 2
            self.streams += 1
            steps = self.steps(number)
            cut = random.randint(0, len(steps) + 2)  # beyond the end: no reset
            for step in steps[:cut]:
                client.send(step)
            if cut <= len(steps):
                client.send(frames.rst_stream_frame(number, 8))
            if random.random() < 0.7:
                client.send(frames.window_update_frame(0, 20_000))
            if random.random() < 0.5:
                with contextlib.suppress(TimeoutError):
                    if client.sock.recv(random.choice((1, 100, 100_000))) == b"":
                        return

    def steps(self, number: int) -> list[bytes]:
        if random.random() < 0.5:
            return [frames.frame(F.HEADERS, 5, number, GET_BLOCK), frames.window_update_frame(number, 10_000)]
        return [
            frames.frame(F.HEADERS, 0, number, GET_BLOCK[:2]),
            frames.frame(F.CONTINUATION, 4, number, GET_BLOCK[2:]),
            frames.frame(F.DATA, 0, number, bytes(700)),
            frames.window_update_frame(number, 1000),
            frames.frame(F.DATA, END_STREAM, number, bytes(50)),
        ]


@pytest.fixture
def hostile() -> Iterator[Stalls]:
    """The conditions of the module text."""
    with perturbed():
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        workspace.set_emulator(True)
        yield Stalls()
        workspace.set_emulator(False)
        sys.setswitchinterval(interval)


def left(*classes: type) -> list[Any]:
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) in classes]


@pytest.mark.timeout(100)
@pytest.mark.parametrize("inline", ["on", "off"], ids=["inline", "handed"])
def test_everything_at_once(hostile: Stalls, setting: Setting, inline: str) -> None:
    setting("h2_inline", inline)
    kinds = (Stream, Request, Connection, Http2Session, workspace.WorkspaceEmulator)
    rusher = make_worker()  # before things are counted: its pool's descriptors stay
    already = {id(thing) for thing in left(*kinds)}
    live = stats.main.get("h2_sessions_live")
    descriptors = len(os.listdir("/proc/self/fd"))
    failures: list[Any] = []
    hook, threading.excepthook = threading.excepthook, failures.append
    room = Room()
    waiting = WaitingList(room, hostile, rusher)
    handler = room.run = Handler(room, hostile, waiting)
    waiting.thread.start()
    begun = time.monotonic()

    def enough() -> bool:
        """Each way was gone, and some left their thread in the middle of one; much was begun, often delayed."""
        return len(handler.done) == 9 and sum(client.streams for client in clients) > 50 and hostile.count > 50

    def goes_on() -> bool:
        passed = time.monotonic() - begun
        return passed < SECONDS or (passed < LONGEST and not enough())

    clients = [Rowdy(room, goes_on) for _ in range(CLIENTS)]
    try:
        for client in clients:
            client.start()
        for client in clients:
            client.join(LONGEST + PATIENCE)
            assert not client.is_alive()
            assert client.error is None
        wait_for(lambda: all(session.ended for session in room.sessions), "the sessions to end", PATIENCE)
        wait_for(lambda: not room.pool.counts()["queued"], "the queue to be empty", PATIENCE)
        wait_for(lambda: stats.main.get("h2_sessions_live") == live, "the gauge of sessions to go back", PATIENCE)
        waiting.over.set()
        waiting.thread.join(PATIENCE)
        assert not waiting.head.waiting
    finally:
        waiting.over.set()
        room.stop()
        threading.excepthook = hook
    assert failures == []
    assert max(Counter(id(req) for req in room.finished).values()) == 1
    assert enough()
    assert {processor.closed for processor in handler.balky} == {1}

    room.finished.clear()
    room.sessions.clear()
    handler.again.clear()
    handler.balky.clear()
    clients.clear()
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, "descriptors to be closed", PATIENCE)
    wait_for(
        lambda: not [t for t in left(*kinds) if id(t) not in already and "aws" not in getattr(t, "name", "")],
        "what is left to be collected",
        PATIENCE,
    )
