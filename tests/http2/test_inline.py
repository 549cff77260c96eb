"""Requests run by the session thread itself, and how it gives its role away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from threading import get_ident

import pytest

from tests.conftest import Setting
from tests.h2.conversation import GET_BLOCK
from tests.http2.h2_room import Room
from tests.waiting import wait_for
from varnishpy.base.panic import present
from varnishpy.h2 import frames
from varnishpy.h2.tables import F
from varnishpy.http2.deliver import stream_of
from varnishpy.http2.session import INLINE_BATCH, INLINE_TURN
from varnishpy.request.request import Request, Step
from varnishpy.threads.worker import Worker

PATIENCE = 10.0


@pytest.fixture
def room(setting: Setting) -> Iterator[Room]:
    setting("h2_inline", "on")
    setting("h2_inline_time", "60")  # a slow machine is no reason
    room = Room(active=4)
    yield room
    room.stop()


def requests(*numbers: int) -> bytes:
    """So many requests in one write."""
    return b"".join(frames.frame(F.HEADERS, 5, number, GET_BLOCK) for number in numbers)


def test_short_requests_need_no_other_thread(room: Room) -> None:
    threads: set[int] = set()

    def run(wrk: Worker, req: Request) -> Step:
        threads.add(get_ident())
        return room.hello(wrk, req)

    room.run = run
    client = room.connect().hello()
    client.until(F.SETTINGS)
    wait_for(lambda: room.pool.counts()["resting"] == 1)
    numbers = range(1, 2 * INLINE_BATCH, 2)
    client.send(requests(*numbers))
    for number in numbers:
        assert client.until(F.DATA, number).payload == b"hello"
    inbox = present(room.sessions[0].h2, "h2").inbox
    assert len(threads) == 1
    assert (inbox.wakeups, inbox.wakeups_spared) == (0, len(numbers))


def test_a_request_that_waits_gives_the_role_away(room: Room) -> None:
    """Those behind it are answered, the session lives on, and what it answers in the end arrives."""
    threads: dict[int, int] = {}
    go_on = threading.Event()

    def run(wrk: Worker, req: Request) -> Step:
        number = stream_of(req).number
        threads[number] = get_ident()
        if number == 1:
            with wrk.blocking():
                assert go_on.wait(PATIENCE)
        return room.hello(wrk, req)

    room.run = run
    client = room.connect().hello()
    client.send(requests(1, 3, 5))
    for number in (3, 5):
        client.until(F.DATA, number)
    assert threads[3] == threads[5] != threads[1]
    client.send(requests(7))
    client.until(F.DATA, 7)
    go_on.set()
    client.until(F.DATA, 1)
    wait_for(lambda: room.pool.counts()["resting"] == 1)
    assert len(room.finished) == 4


def test_many_that_wait_at_once(room: Room) -> None:
    barrier = threading.Barrier(6)

    def run(wrk: Worker, req: Request) -> Step:
        with wrk.blocking():
            barrier.wait(PATIENCE)
        return room.hello(wrk, req)

    room.run = run
    client = room.connect().hello()
    client.send(requests(1, 3, 5, 7, 9, 11))
    answered = {client.until(F.DATA).stream for _ in range(6)}
    assert answered == {1, 3, 5, 7, 9, 11}


def test_control_frames_survive_the_change_of_thread(room: Room) -> None:
    """What was laid down in the workspace of the thread that gives the role away is sent by the next."""
    go_on = threading.Event()

    def run(wrk: Worker, req: Request) -> Step:
        with wrk.blocking():
            assert go_on.wait(PATIENCE)
        return room.hello(wrk, req)

    room.run = run
    client = room.connect().hello()
    client.until(F.SETTINGS)
    client.send(frames.frame(F.PING, 0, 0, b"12345678") + requests(1))
    assert client.until(F.PING).payload == b"12345678"
    go_on.set()
    client.until(F.DATA, 1)


def test_one_that_computes_for_long_gives_the_role_away(room: Room, setting: Setting) -> None:
    """It finds that at its next step (before each VCL method the client is asked for)."""
    setting("h2_inline_time", "0")
    third = threading.Event()

    def run(wrk: Worker, req: Request) -> Step:
        req.wrk = wrk
        assert not req.transport.client_gone(req)
        if stream_of(req).number == 1:
            assert third.wait(PATIENCE)  # without a word
        else:
            third.set()
        return room.hello(wrk, req)

    room.run = run
    client = room.connect().hello()
    client.send(requests(1, 3))
    client.until(F.DATA, 3)
    client.until(F.DATA, 1)


def test_a_defect_of_a_request_ends_its_stream_only(room: Room) -> None:
    def run(wrk: Worker, req: Request) -> Step:
        if stream_of(req).number == 1:
            raise RuntimeError("defect")
        return room.hello(wrk, req)

    room.run = run
    client = room.connect().hello()
    client.send(requests(1, 3))
    reset = client.until(F.RST_STREAM)
    assert (reset.stream, reset.code) == (1, 2)
    client.until(F.DATA, 3)
    wait_for(lambda: len(room.finished) == 2)


def test_others_have_their_turn(room: Room, setting: Setting) -> None:
    """A session that asks for much at once leaves its thread in between, and comes back."""
    setting("h2_max_concurrent_streams", "1000")
    order: list[Request] = []

    def run(wrk: Worker, req: Request) -> Step:
        order.append(req)
        return room.hello(wrk, req)

    room.run = run
    greedy, modest = room.connect().hello(), room.connect().hello()
    for client in (greedy, modest):
        client.until(F.SETTINGS)
    last = 2 * (INLINE_TURN + 2 * INLINE_BATCH) + 1
    greedy.send(requests(*range(1, last, 2)))
    modest.send(requests(1))
    modest.until(F.DATA, 1)
    greedy.until(F.DATA, last - 2)
    assert len(order) == (last - 1) // 2 + 1


def test_the_client_leaves_while_requests_wait_to_be_run(room: Room) -> None:
    """They end all the same, each once."""
    go_on = threading.Event()

    def run(wrk: Worker, req: Request) -> Step:
        if stream_of(req).number == 1:
            with wrk.blocking():
                assert go_on.wait(PATIENCE)
        return room.hello(wrk, req)

    room.run = run
    client = room.connect().hello()
    client.send(requests(1, 3, 5) + frames.frame(F.PING, 0, 0, b"short"))
    assert client.rest()[-1].kind == F.GOAWAY
    go_on.set()
    wait_for(lambda: len(room.finished) == 3)
    wait_for(lambda: room.sessions[0].ended)
