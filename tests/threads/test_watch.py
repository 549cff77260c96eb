"""The watch: sessions that rest hold no worker, and are served when they stir, in order, once, and by one at a time."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.waiting import Until
from varnishpy import stats
from varnishpy.base import clock
from varnishpy.params import table
from varnishpy.threads import Pool, PoolSet, Priority, Watched, Worker

WAIT = 10.0


class Resting:
    """A session that answers each octet with the same, and rests in between."""

    def __init__(self, pool: Pool, due: float = clock.NEVER) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.settimeout(WAIT)
        self.pool = pool
        self.due = due
        self.served = 0
        self.turns = 0  # in which it was served
        self.late = 0  # turns that found nothing to read, with the moment past
        self.ended = False
        self.inside = threading.Lock()  # one at a time
        self.watched: Watched | None = None
        pool.schedule(self.begin, Priority.BO)

    def begin(self, wrk: Worker) -> None:
        self.watched = self.pool.watch.add(self.ours.fileno(), self.serve)
        self.serve(wrk)

    def serve(self, wrk: Worker) -> None:
        assert self.watched is not None
        assert self.inside.acquire(blocking=False), "served by two at once"
        self.turns += 1
        while True:
            with contextlib.suppress(BlockingIOError):
                while data := self.ours.recv(100):
                    self.served += len(data)
                    self.ours.send(data)
                self.watched.drop()
                self.ours.close()
                self.ended = True
                return
            if clock.mono() >= self.due:
                self.late += 1
                self.due = clock.NEVER
            self.inside.release()
            if self.watched.rest(self.due):
                return
            assert self.inside.acquire(blocking=False), "served by two at once"

    def ask(self, octets: bytes = b"x") -> None:
        self.theirs.sendall(octets)
        got = b""
        while len(got) < len(octets):
            got += self.theirs.recv(100)
        assert got == octets


@pytest.fixture
def rest(pool: Pool, until: Until) -> Iterator[Callable[..., list[Resting]]]:
    made: list[Resting] = []

    def make(count: int = 1, due: float = clock.NEVER) -> list[Resting]:
        added = [Resting(pool, due) for _ in range(count)]
        made.extend(added)
        until(lambda: pool.counts()["resting"] == len(made))
        return added

    yield make
    for session in made:
        session.theirs.close()
    until(lambda: all(session.ended for session in made))
    assert pool.counts()["watched"] == 0


def test_a_resting_session_holds_no_worker_and_answers(
    pool: Pool, rest: Callable[..., list[Resting]], until: Until
) -> None:
    sessions = rest(200)
    until(lambda: pool.counts()["active"] == 0)
    counts = pool.counts()
    assert counts["idle"] == counts["threads"] == 10
    for session in sessions * 3:
        session.ask()
    assert [session.served for session in sessions] == [3] * 200


def test_those_that_stirred_are_served_in_order(pool: Pool, rest: Callable[..., list[Resting]]) -> None:
    sessions = rest(50)
    order: list[int] = []
    for number, session in enumerate(sessions):
        assert session.watched is not None

        def noted(wrk: Worker, number: int = number, session: Resting = session) -> None:
            order.append(number)
            session.serve(wrk)

        session.watched.task = noted
    shuffled = list(range(50))
    random.Random(7).shuffle(shuffled)
    with pool.mutex:
        for number in shuffled:
            sessions[number].theirs.send(b"x")
    for number in shuffled:
        assert sessions[number].theirs.recv(1) == b"x"
    assert order == shuffled


def test_news_that_comes_while_it_is_served_is_not_lost(
    pool: Pool, rest: Callable[..., list[Resting]], until: Until
) -> None:
    (session,) = rest()
    watched = session.watched
    assert watched is not None
    entered, go = threading.Event(), threading.Event()

    def serve(wrk: Worker) -> None:
        watched.task = session.serve
        while session.ours.recv(1) != b"1":
            pass
        entered.set()
        with wrk.blocking():
            assert go.wait(WAIT)
        assert not watched.rest(clock.NEVER), "it may not rest: an octet has come"
        session.serve(wrk)

    watched.task = serve
    session.theirs.send(b"1")
    assert entered.wait(WAIT)
    session.theirs.send(b"2")
    until(lambda: watched._stirred)
    go.set()
    assert session.theirs.recv(1) == b"2"


def test_anybody_may_stir_a_session(pool: Pool, rest: Callable[..., list[Resting]], until: Until) -> None:
    (session,) = rest()
    assert session.watched is not None
    for number in range(2, 50):
        session.watched.stir()
        until(lambda number=number: session.turns == number)  # type: ignore[misc]


def test_the_moment_comes_and_is_not_put_off_by_others(
    pool: Pool, rest: Callable[..., list[Resting]], until: Until
) -> None:
    """Of many with moments far away, in whatever order they come to rest, those that are due are served."""
    rest(20, clock.mono() + 3600)
    soon = rest(20, clock.mono() + 0.3) + rest(20, clock.mono() + 0.1)
    until(lambda: all(session.late == 1 for session in soon))
    assert pool.watch.timeouts >= 40


def test_asking_often_does_not_fill_the_heap(pool: Pool, rest: Callable[..., list[Resting]]) -> None:
    (session,) = rest(1, clock.mono() + 3600)
    for _ in range(500):
        session.due += 1.0
        session.ask()
    assert len(pool.watch._heap) == 1
    for _ in range(500):
        session.due -= 1.0
        session.ask()
    assert len(pool.watch._heap) <= 66


def test_a_hangup_is_told(pool: Pool, rest: Callable[..., list[Resting]], until: Until) -> None:
    (session,) = rest()
    session.ask()
    until(lambda: pool.counts()["resting"] == 1)
    assert session.watched is not None and not session.watched.hangup
    until(lambda: pool.counts()["resting"] == 1)  # else the turn that answered may read the end as well
    session.theirs.shutdown(socket.SHUT_WR)
    until(lambda: session.ended)
    assert session.watched.hangup and pool.watch.hangups == 1


def test_room_to_write_is_told_on_demand(pool: Pool, rest: Callable[..., list[Resting]], until: Until) -> None:
    (session,) = rest()
    watched = session.watched
    assert watched is not None
    until(lambda: session.turns == 1)
    full, told = threading.Event(), threading.Event()

    def fill(wrk: Worker) -> None:
        session.ours.recv(1)
        with contextlib.suppress(BlockingIOError):
            while True:
                session.ours.send(bytes(65536))
        watched.expect_room()
        watched.task = room
        full.set()
        while not watched.rest(clock.NEVER):
            pass

    def room(wrk: Worker) -> None:
        watched.task = session.serve
        told.set()
        session.serve(wrk)

    watched.task = fill
    session.theirs.send(b"x")
    assert full.wait(WAIT)
    until(lambda: watched.resting)
    assert not told.is_set()
    session.theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while session.theirs.recv(1 << 20):
            pass
    assert told.wait(WAIT)


def test_a_task_that_computes_does_not_keep_the_others_unserved(pool: Pool, rest: Callable[..., list[Resting]]) -> None:
    sessions = rest(10)
    busy, done = threading.Event(), threading.Event()

    def compute(wrk: Worker) -> None:
        busy.set()
        while not done.is_set():
            pass

    assert pool.schedule(compute, Priority.REQ)
    assert busy.wait(WAIT)
    try:
        for session in sessions:
            session.ask()
    finally:
        done.set()


def test_busy_sessions_do_not_make_more_threads(pool: Pool, rest: Callable[..., list[Resting]], until: Until) -> None:
    """Many sessions always have something to do, and all of it is computing: more workers would not help."""
    table.load([("thread_pool_max", "1000")])
    sessions = rest(200)
    most = 0
    for session in sessions:
        watched = session.watched
        assert watched is not None

        def compute(wrk: Worker, session: Resting = session) -> None:
            nonlocal most
            most = max(most, pool.active)
            sum(range(20_000))
            session.serve(wrk)

        watched.task = compute
    for _ in range(10):
        for session in sessions:
            session.theirs.send(b"x")
        for session in sessions:
            assert session.theirs.recv(1) == b"x"
    assert pool.counts()["threads"] == 10
    assert most < 10


def test_all_who_wait_leave_somebody_at_the_watch(pool: Pool, rest: Callable[..., list[Resting]], until: Until) -> None:
    """Every worker there is waits for something: another is made, for the sessions' sake."""
    (session,) = rest()
    release, started = threading.Event(), threading.Semaphore(0)

    def wait(wrk: Worker) -> None:
        started.release()
        with wrk.blocking():
            assert release.wait(WAIT)

    try:
        for _ in range(10):
            assert pool.schedule(wait, Priority.BO)
        for _ in range(10):
            assert started.acquire(timeout=WAIT)
        session.ask()
        assert pool.counts()["threads"] > 10
    finally:
        release.set()


def test_a_queue_that_never_ends_does_not_hide_the_watch(pool: Pool, rest: Callable[..., list[Resting]]) -> None:
    (session,) = rest()
    over = threading.Event()

    def endless(wrk: Worker) -> None:
        if not over.is_set():
            pool.again(endless)

    for _ in range(10):
        pool.again(endless)
    try:
        session.ask()
    finally:
        over.set()


def test_what_waits_in_the_watch_is_counted(
    pools: PoolSet, pool: Pool, rest: Callable[..., list[Resting]], until: Until
) -> None:
    sessions = rest(3)
    for session in sessions:
        session.ask()
    until(lambda: pool.counts()["resting"] == 3)
    pools.refresh_stats()
    segment = next(each for each in stats.registry.all() if each.name == "WAITER.pool0")
    assert segment.value("conns") == 3
    assert segment.value("action") >= 3


def test_a_pool_that_is_dropped_hands_its_sessions_over(pools: PoolSet, until: Until) -> None:
    table.set("thread_pools", "2")
    first, second = pools.pools
    until(lambda: second.counts()["idle"] == 10)
    sessions = [Resting(second) for _ in range(20)]
    until(lambda: second.counts()["resting"] == 20)
    go, entered = threading.Event(), threading.Event()
    served = sessions[0]
    watched = served.watched
    assert watched is not None

    def slow(wrk: Worker) -> None:
        watched.task = served.serve
        entered.set()
        with wrk.blocking():
            assert go.wait(WAIT)
        served.serve(wrk)

    watched.task = slow
    try:
        served.theirs.send(b"s")
        assert entered.wait(WAIT)
        table.set("experimental", "+drop_pools")
        table.set("thread_pools", "1")
        assert first.counts()["watched"] == 19
        for session in sessions[1:]:
            session.ask()
        go.set()
        assert served.theirs.recv(1) == b"s"
        served.ask()
        until(lambda: first.counts()["watched"] == 20)
        until(lambda: not second.workers)
    finally:
        go.set()
        table.set("experimental", "-drop_pools")
        for session in sessions:
            session.theirs.close()
    until(lambda: all(session.ended for session in sessions))


def test_a_pool_that_has_ended_takes_nothing(until: Until) -> None:
    pool_set = PoolSet()
    pool_set.start()
    pool = pool_set.any()
    session = Resting(pool)
    until(lambda: pool.counts()["resting"] == 1)
    assert pool_set.stop(WAIT)
    with pytest.raises(OSError):
        pool.watch.add(session.theirs.fileno(), session.serve)
    assert session.watched is not None
    session.watched.stir()
    session.watched.drop()
    session.ours.close()
    session.theirs.close()


def test_a_bad_descriptor_is_refused(pool: Pool) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    with pytest.raises(OSError):
        pool.watch.add(reading, lambda wrk: None)
    assert pool.counts()["watched"] == 0


def test_nothing_is_lost_when_threads_switch_at_every_turn(
    pool: Pool, rest: Callable[..., list[Resting]], until: Until
) -> None:
    """Clients ask, others stir, some come and go, and the interpreter changes hands all the time."""
    sessions = rest(20)
    served: Counter[int] = Counter()
    stop = threading.Event()
    interval = sys.getswitchinterval()

    def client(number: int) -> None:
        for session in sessions[number::4]:
            for _ in range(60):
                session.ask(b"abc")
                served[number] += 3

    def stirrer() -> None:
        dice = random.Random(1)
        while not stop.is_set():
            watched = dice.choice(sessions).watched
            assert watched is not None
            watched.stir()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    stirring = threading.Thread(target=stirrer)
    sys.setswitchinterval(1e-5)
    try:
        stirring.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT * 3)
    finally:
        stop.set()
        stirring.join(WAIT)
        sys.setswitchinterval(interval)
    assert sum(served.values()) == 20 * 60 * 3
    until(lambda: pool.counts()["resting"] == 20)
    assert sum(session.served for session in sessions) == 20 * 60 * 3
