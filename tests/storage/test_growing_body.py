from __future__ import annotations

import threading

import pytest

from varnishpy.base import clock
from varnishpy.base.panic import Panic
from varnishpy.params import table
from varnishpy.storage.boc import READ_AHEAD, Abandoned, BocState, BusyObjectControl
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.object import StoredObject
from varnishpy.storage.objectsource import open_body
from varnishpy.storage.source import END, LATER, Source, SourceError


class Worker:
    def __init__(self) -> None:
        self.blocks = 0

    def will_block(self) -> None:
        self.blocks += 1

    def unblocked(self) -> None:
        self.blocks += 100


def growing(transit: int = 0, kind: type[StoredObject] = StoredObject) -> tuple[StoredObject, BusyObjectControl]:
    stobj = kind(MallocStevedore("t0"))
    boc = BusyObjectControl()
    boc.adopt(stobj)
    boc.transit_buffer = transit
    boc.set_state(BocState.STREAM)
    return stobj, boc


def drain(source: Source, limit: int = 1 << 20) -> bytes:
    found: list[bytes | memoryview] = []
    while True:
        piece = source.pull(limit)
        if piece is END or piece is LATER:
            return b"".join(found)
        found.append(bytes(piece))  # type: ignore[arg-type]


def test_a_reader_follows_a_growing_body() -> None:
    stobj, boc = growing()
    source = open_body(stobj, boc)
    calls: list[int] = []
    source.on_ready = lambda: calls.append(1)
    assert source.pull(100) is LATER
    assert source.pull(100) is LATER
    boc.extend(b"hello ")
    assert calls == [1]  # once, however often LATER was answered
    assert bytes(source.pull(3)) == b"hel"  # type: ignore[arg-type]
    assert drain(source) == b"lo "
    for word in (b"wor", b"ld", b"!" * 5000, b"?"):
        boc.extend(word)
    assert drain(source) == b"world" + b"!" * 5000 + b"?"
    boc.set_state(BocState.FINISHED)
    assert source.pull(10) is END
    assert b"".join(bytes(chunk) for chunk in stobj.chunks) == b"hello world" + b"!" * 5000 + b"?"


def test_every_split_gives_the_same_body() -> None:
    pieces = [b"a", b"bc", b"d" * 5000, b"e", b"f", b"g" * 3, b"h" * 4096, b"i" * 4095, b"j", b"k" * 20000, b"l"]
    wanted = b"".join(pieces)
    for limit in (1, 7, 4096, 1 << 20):
        for transient in (False, True):
            stobj, boc = growing()
            source = open_body(stobj, boc, transient=transient)
            found = b""
            for piece in pieces:
                boc.extend(piece)
                found += drain(source, limit)
            boc.set_state(BocState.FINISHED)
            found += drain(source, limit)
            assert found == wanted


def test_ranges_of_a_growing_body() -> None:
    for transient in (False, True):
        stobj, boc = growing()
        source = open_body(stobj, boc, transient=transient, start=5, length=6)
        assert source.length == 6
        boc.extend(b"0123")
        assert source.pull(10) is LATER
        boc.extend(b"45678")
        assert drain(source) == b"5678"
        boc.extend(b"9abcdef")
        assert drain(source) == b"9a"
        assert source.pull(10) is END


def test_a_body_shorter_than_its_range_is_an_error() -> None:
    stobj, boc = growing()
    source = open_body(stobj, boc, start=0, length=10)
    boc.extend(b"0123")
    boc.set_state(BocState.FINISHED)
    assert drain_until_error(source) == b"0123"


def drain_until_error(source: Source) -> bytes:
    found = b""
    with pytest.raises(SourceError):
        while True:
            piece = source.pull(100)
            assert piece is not END
            found += bytes(piece)  # type: ignore[arg-type]
    return found


def test_a_failed_fetch_delivers_what_arrived_and_then_fails() -> None:
    stobj, boc = growing()
    source = open_body(stobj, boc)
    boc.extend(b"ha")
    boc.extend(b"lf")
    boc.set_state(BocState.FAILED)
    assert drain_until_error(source) == b"half"
    for late in (open_body(stobj, boc), open_body(stobj, None), open_body(stobj, None, start=1, length=100)):
        assert not late.complete
        assert drain_until_error(late).endswith(b"alf")
    assert drain_until_error(open_body(stobj, None, start=100, length=5)) == b""


def test_a_complete_body_is_served_without_copies() -> None:
    stobj, boc = growing()
    piece = b"z" * 10000
    boc.extend(piece)
    boc.set_state(BocState.FINISHED)
    source = open_body(stobj, None)
    assert source.complete
    assert source.pull(1 << 20) is piece
    ranged = open_body(stobj, boc, start=9990, length=5)
    assert drain(ranged) == b"z" * 5


def test_what_a_transient_reader_took_is_given_back() -> None:
    stobj, boc = growing()
    source = open_body(stobj, boc, transient=True)
    peak = 0
    for _ in range(200):
        boc.extend(b"p" * 65536)
        assert len(drain(source)) == 65536
        peak = max(peak, stobj.stevedore.used_space)
    assert peak < 200_000
    assert boc.delivered_so_far == boc.fetched_so_far == 200 * 65536


@pytest.mark.parametrize(("transit", "most"), [(100_000, 150_000), (0, READ_AHEAD + 50_000)])
def test_a_fetch_waits_for_a_slow_reader(transit: int, most: int) -> None:
    stobj, boc = growing(transit)
    source = open_body(stobj, boc, transient=True)
    blocked = threading.Event()
    back = threading.Event()

    class Telling(Worker):
        def will_block(self) -> None:
            blocked.set()

        def unblocked(self) -> None:
            back.set()

    def fetch() -> None:
        for _ in range(200):
            boc.extend(b"q" * 50_000, Telling())
        boc.set_state(BocState.FINISHED)

    thread = threading.Thread(target=fetch)
    thread.start()
    assert blocked.wait(10)
    got = 0
    peak = boc.fetched_so_far
    deadline = clock.mono() + 20
    while True:
        piece = source.pull_wait(10_000, lambda: deadline - clock.mono())
        if piece is END:
            break
        got += len(piece)  # type: ignore[arg-type]
        peak = max(peak, boc.fetched_so_far - got)
    thread.join()
    assert got == 10_000_000
    assert max(transit, READ_AHEAD if not transit else 0) <= peak <= most
    assert back.is_set()


def test_a_reader_that_leaves_ends_the_fetch() -> None:
    stobj, boc = growing(transit=10)
    source = open_body(stobj, boc, transient=True)
    boc.extend(b"r" * 100)
    waiting = threading.Event()
    caught: list[Exception] = []

    class Telling(Worker):
        def will_block(self) -> None:
            waiting.set()

    def fetch() -> None:
        try:
            boc.extend(b"r", Telling())
        except Abandoned as exc:
            caught.append(exc)

    thread = threading.Thread(target=fetch)
    thread.start()
    assert waiting.wait(10)
    source.close()
    thread.join(10)
    assert str(caught[0]) == "Pass delivery abandoned"
    with pytest.raises(Abandoned):
        boc.extend(b"more")


def test_a_reader_of_a_cached_body_that_leaves_ends_nothing() -> None:
    stobj, boc = growing()
    source = open_body(stobj, boc)
    assert source.pull(1) is LATER
    source.close()
    boc.extend(b"more")
    assert not boc.cancelled
    assert source.pull(1) is END


def test_a_reader_that_stands_still_ends_the_fetch() -> None:
    table.set("send_timeout", "0.05")
    try:
        stobj, boc = growing(transit=10)
        boc.extend(b"r" * 100)
        with pytest.raises(Abandoned, match="stalled"):
            boc.extend(b"r")
        assert stobj.length == 100
    finally:
        table.reset("send_timeout")


def test_waiting_for_a_state() -> None:
    boc = BusyObjectControl()
    worker = Worker()
    assert boc.wait_state(BocState.STREAM, clock.mono() + 0.01, worker) is BocState.INVALID
    assert worker.blocks == 101
    thread = threading.Thread(target=lambda: boc.set_state(BocState.STREAM))
    thread.start()
    assert boc.wait_state(BocState.STREAM, clock.mono() + 10) is BocState.STREAM
    thread.join()
    assert boc.wait_state(BocState.REQ_DONE, 0.0) is BocState.STREAM


def test_states_only_move_forward() -> None:
    _, boc = growing()
    with pytest.raises(Panic):
        boc.set_state(BocState.REQ_DONE)
    boc.set_state(BocState.FAILED)
    with pytest.raises(Panic):
        boc.set_state(BocState.FINISHED)


def test_subscribers_are_called_once_and_can_leave() -> None:
    _, boc = growing()
    calls: list[str] = []

    def one() -> None:
        calls.append("one")

    def two() -> None:
        calls.append("two")

    boc.subscribe(one)
    boc.subscribe(two)
    boc.unsubscribe(two)
    boc.extend(b"x")
    boc.extend(b"y")
    assert calls == ["one"]
    boc.set_state(BocState.FINISHED)
    boc.subscribe(two)
    assert calls == ["one", "two"]


@pytest.mark.parametrize("end", [BocState.FINISHED, BocState.FAILED])
def test_a_body_is_whole_before_its_state_says_so(end: BocState) -> None:
    """Readers look at the state without the lock."""
    seen: list[tuple[BocState, int]] = []

    class Watching(StoredObject):
        def trim(self) -> None:
            seen.append((boc.state, sum(len(chunk) for chunk in self.chunks)))
            super().trim()

    stobj, boc = growing(kind=Watching)
    for _ in range(3):
        boc.extend(b"tiny")
    boc.set_state(end)
    assert seen == [(BocState.STREAM, 4)]
    assert sum(len(chunk) for chunk in stobj.chunks) == stobj.length == 12


def test_a_fetch_too_far_ahead_pauses_and_is_called_back() -> None:
    stobj, boc = growing(transit=100)
    source = open_body(stobj, boc, transient=True)
    resumed: list[int] = []
    assert boc.wants_more(lambda: resumed.append(0))
    boc.extend(b"r" * 100)
    assert not boc.wants_more(lambda: resumed.append(1))
    source.pull(49)
    assert resumed == []  # not for every piece
    source.pull(1)
    assert resumed == [1]
    assert boc.wants_more(lambda: resumed.append(2))
    boc.extend(b"r" * 50)
    assert not boc.wants_more(lambda: resumed.append(3))
    source.close()
    assert resumed == [1, 3]
    with pytest.raises(Abandoned, match="abandoned"):
        boc.wants_more(lambda: resumed.append(4))


def test_pieces_are_given_back_in_place() -> None:
    """Who adds a piece may have the list in hand just then: a copy of it would lose that piece."""
    stobj, boc = growing()
    source = open_body(stobj, boc, transient=True)
    pieces = stobj.chunks
    boc.extend(b"x" * 5000)
    boc.extend(b"y" * 5000)
    assert len(drain(source)) == 10_000
    assert stobj.chunks is pieces
    assert not pieces
