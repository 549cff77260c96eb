"""The ring: wrap, overrun, readers beside writers."""

import threading
from collections.abc import Callable

import pytest

from varnishpy import log
from varnishpy.log.cursor import LogError, LogGone, LogOverrun, RingCursor
from varnishpy.log.record import Record
from varnishpy.log.ring import HEAD_SIZE, LogRing
from varnishpy.log.tags import Tag

SPACE = 64 * 1024


def make(layout: int, size: int = SPACE) -> tuple[LogRing, memoryview]:
    memory = memoryview(bytearray(size))
    log.configure(layout=layout)
    return LogRing(memory, layout), memory


def records(cursor: RingCursor) -> list[Record]:
    found: list[Record] = []
    while (chunk := cursor.next()) is not None:
        found += chunk.records
    return found


def write(ring: LogRing, vxid: int, texts: list[str]) -> None:
    old = log.set_sink(ring)
    try:
        task = log.TaskLog(vxid, log.CLIENT)
        for text in texts:
            task.put(Tag.ReqURL, text)
        task.flush()
    finally:
        log.set_sink(old)


@pytest.mark.parametrize("layout", [1, 2])
def test_batches_are_read_back(layout: int) -> None:
    ring, memory = make(layout)
    cursor = RingCursor(memory, tail=False)
    assert cursor.layout == layout and cursor.next() is None
    write(ring, 5, ["/a", "/b"])
    chunk = cursor.next()
    assert chunk is not None and chunk.batch
    assert [(r.vxid, r.text) for r in chunk.records] == [(5, "/a"), (5, "/b")]
    assert cursor.next() is None


def test_tail_begins_with_what_comes_next() -> None:
    ring, memory = make(2)
    write(ring, 1, ["old"])
    cursor = RingCursor(memory, tail=True)
    write(ring, 2, ["new"])
    assert [r.text for r in records(cursor)] == ["new"]


@pytest.mark.parametrize("layout", [1, 2])
def test_a_reader_that_keeps_up_sees_everything_across_wraps(layout: int) -> None:
    ring, memory = make(layout)
    cursor = RingCursor(memory, tail=False)
    seen = []
    for number in range(3000):
        write(ring, number + 1, [f"/{number}", "x" * (number % 250)])
        seen += [r.text for r in records(cursor) if r.text.startswith("/")]
    assert seen == [f"/{number}" for number in range(3000)]
    assert ring.cycles > 3


def test_the_head_is_found_after_any_number_of_wraps() -> None:
    ring, memory = make(2)
    for number in range(2000):
        write(ring, number + 1, ["x" * (number % 200), f"/{number}"])
        if number % 37 == 0:
            last = [r.text for r in records(RingCursor(memory, tail=False))][-1]
            assert last == f"/{number}"


def test_a_slow_reader_is_told() -> None:
    ring, memory = make(2)
    cursor = RingCursor(memory, tail=False)
    gone = RingCursor(memory, tail=False, valid=lambda: False)
    for number in range(400):
        write(ring, number + 1, ["x" * 200])
    with pytest.raises(LogOverrun):
        records(cursor)
    with pytest.raises(LogGone):
        records(gone)


def test_the_end_of_a_ring_that_went_away_is_told() -> None:
    ring, memory = make(2)
    valid = True
    cursor = RingCursor(memory, tail=False, valid=lambda: valid)
    write(ring, 1, ["/last"])
    assert [r.text for r in records(cursor)] == ["/last"]
    valid = False
    with pytest.raises(LogGone):
        cursor.next()


def test_a_batch_larger_than_a_segment_goes_in_pieces() -> None:
    ring, memory = make(2)
    log.configure(layout=2, buffer=1 << 20)
    cursor = RingCursor(memory, tail=False)
    write(ring, 1, [f"{n:04d}" + "x" * 100 for n in range(200)])
    log.configure()
    assert [r.text[:4] for r in records(cursor)] == [f"{n:04d}" for n in range(200)]


def test_counters() -> None:
    ring, _ = make(2)
    write(ring, 1, ["/a", "/b"])
    counters = ring.counters()
    assert (counters["shm_records"], counters["shm_writes"], counters["shm_flushes"]) == (2, 1, 0)
    assert counters["shm_bytes"] == 12 + 2 * 16


@pytest.mark.parametrize("make_it", [lambda: LogRing(memoryview(bytearray(100)), 2), lambda: make(2) and LogRing(
    memoryview(bytearray(SPACE)), 3)])  # fmt: skip
def test_what_cannot_be_a_ring(make_it: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make_it()


def test_what_is_not_a_log_is_refused() -> None:
    with pytest.raises(LogError):
        RingCursor(memoryview(bytearray(HEAD_SIZE + 4096)))


def test_a_reader_beside_four_writers_loses_and_corrupts_nothing() -> None:
    ring, memory = make(2, 8 << 20)
    old = log.set_sink(ring)
    cursor = RingCursor(memory, tail=False)
    each = 500

    def writer(which: int) -> None:
        for number in range(each):
            task = log.TaskLog(which * each + number + 1, log.CLIENT)
            for part in range(5):
                task.put(Tag.ReqURL, f"{which}/{number}/{part}")
            task.end()

    threads = [threading.Thread(target=writer, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    seen: dict[int, list[str]] = {}

    def take() -> None:
        while (chunk := cursor.next()) is not None:
            assert chunk.batch and len({r.vxid for r in chunk.records}) == 1
            seen.setdefault(chunk.records[0].vxid, []).extend(r.text for r in chunk.records)

    while any(thread.is_alive() for thread in threads):
        take()
    for thread in threads:
        thread.join()
    log.set_sink(old)
    take()
    assert len(seen) == 4 * each
    for which in range(4):
        for number in range(each):
            expected = [f"{which}/{number}/{part}" for part in range(5)] + [""]
            assert seen[which * each + number + 1] == expected


@pytest.mark.parametrize("layout", [1, 2])
def test_a_record_ahead_and_its_batch_are_one_write(layout: int) -> None:
    ring, memory = make(layout)
    cursor = RingCursor(memory, tail=False)
    old = log.set_sink(ring)
    try:
        for number in range(2000):
            task = log.TaskLog(1001, log.CLIENT)
            task.put(Tag.ReqURL, "x" * (number % 250))
            task.put_ahead(Tag.Link, 1000, "req 1001 rxreq")
            task.end()
            assert [(r.name, r.vxid) for r in records(cursor)] == [("Link", 1000), ("ReqURL", 1001), ("End", 1001)]
    finally:
        log.set_sink(old)
    assert (ring.writes, ring.records) == (2000, 6000)
    assert ring.cycles > 0
