"""Records as tasks write them: both layouts, masks, limits, batches."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varnishpy import log
from varnishpy.log import vxid
from varnishpy.log.memory import MemoryLog, captured
from varnishpy.log.record import HEADER_SIZE, encode, parse_records
from varnishpy.log.tags import FILE_NUMBERS, TAGS, Tag, TagFlag
from varnishpy.log.tasklog import CLIENT, Records, TaskLog, configure


class Batches:
    """A sink that keeps raw batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[bytes, int, bool]] = []
        self.singles: list[bytes] = []

    def write_batch(self, data: bytes, records: int, overflow: bool, ahead: bytes = b"") -> None:
        self.batches.append((data, records, overflow))

    def write_record(self, data: bytes) -> None:
        self.singles.append(data)


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    log.configure()
    yield
    log.configure()


@pytest.fixture
def memory() -> Iterator[MemoryLog]:
    with captured() as memory:
        yield memory


def test_a_transaction_is_one_batch(memory: MemoryLog) -> None:
    task = log.TaskLog(1001, log.CLIENT)
    task.begin("req", 1000, "rxreq")
    task.put(Tag.ReqURL, "/")
    assert memory.records == []
    task.end()
    assert memory.lines(1001) == ["Begin req 1000 rxreq", "ReqURL /", "End"]
    assert memory.batches == 1


def test_masked_tags_leave_no_trace(memory: MemoryLog) -> None:
    task = log.TaskLog(1001, log.CLIENT)
    for tag in Tag:
        assert log.is_masked(tag) is tag.masked
        if tag.masked:
            task.put(tag, "x")
            task.put_bin(tag, b"x")
            log.vsl(tag, 0, "x")
    task.flush()
    assert memory.records == [] and memory.batches == 0
    log.configure(masked=bytes(256))
    task.put(Tag.Debug, "now")
    task.flush()
    assert memory.texts(Tag.Debug) == ["now"]


def test_long_records_are_cut_to_vsl_reclen(memory: MemoryLog) -> None:
    log.configure(reclen=20, masked=bytes(256))
    task = log.TaskLog(1, log.CLIENT)
    task.put(Tag.ReqURL, "a" * 19)
    task.put(Tag.ReqURL, "b" * 20)
    task.put_bin(Tag.H2RxBody, b"c" * 30)
    log.vsl(Tag.CLI, 0, "d" * 30)
    task.flush()
    assert memory.texts(Tag.ReqURL) == ["a" * 19, "b" * 19]
    assert memory.texts(Tag.H2RxBody) == ["c" * 20]
    assert memory.texts(Tag.CLI) == ["d" * 19]


def test_a_full_buffer_is_flushed_early() -> None:
    log.configure(buffer=300)
    sink = Batches()
    old = log.set_sink(sink)
    try:
        task = log.TaskLog(1, log.CLIENT)
        for _ in range(11):
            task.put(Tag.ReqHeader, "x" * 50)
        task.flush()
    finally:
        log.set_sink(old)
    assert [overflow for _, _, overflow in sink.batches] == [True, True, False]
    assert sum(records for _, records, _ in sink.batches) == 11


def test_syncvsl_flushes_every_record(memory: MemoryLog) -> None:
    log.configure(sync=True)
    task = log.TaskLog(1, log.CLIENT)
    task.put(Tag.ReqURL, "/a")
    assert memory.texts(Tag.ReqURL) == ["/a"]


def test_change_id_links_both_ways(memory: MemoryLog) -> None:
    task = log.TaskLog(1001, log.CLIENT)
    task.change_id("req", "restart", 1003)
    task.end()
    assert memory.lines(1001) == ["Link req 1003 restart", "End"]
    assert memory.lines(1003) == ["Begin req 1001 restart", "End"]


def test_timestamps_count_from_start_and_from_the_one_before(memory: MemoryLog) -> None:
    task = log.TaskLog(1, log.CLIENT)
    task.start_clock(1000.0)
    task.timestamp("Start", 1000.0)
    task.timestamp("Process", 1000.5)
    task.timestamp("Resp", 1000.75)
    task.flush()
    assert memory.texts(Tag.Timestamp) == [
        "Start: 1000.000000 0.000000 0.000000",
        "Process: 1000.500000 0.500000 0.500000",
        "Resp: 1000.750000 0.750000 0.250000",
    ]


@pytest.mark.parametrize("layout", [1, 2])
def test_sides_and_ids(layout: int) -> None:
    log.configure(layout=layout)
    with captured() as memory:
        log.TaskLog(7, log.SESSION).end()
        log.TaskLog(8, log.CLIENT).end()
        log.TaskLog((1 << 30) - 1, log.BACKEND).end()
        log.vsl(Tag.CLI, 0, "Rd ping")
    assert [(r.vxid, r.type_letter) for r in memory.records] == [(7, "c"), (8, "c"), ((1 << 30) - 1, "b"), (0, "-")]


def test_wide_ids_need_layout_2() -> None:
    with captured() as memory:
        log.TaskLog(1 << 40, log.BACKEND).end()
    assert memory.records[0].vxid == 1 << 40 and memory.records[0].backend


def test_octets_of_layout_1() -> None:
    log.configure(layout=1)
    sink = Batches()
    old = log.set_sink(sink)
    try:
        task = log.TaskLog(1000, log.CLIENT)
        task.put(Tag.ReqURL, "/foo")
        task.put(Tag.VCL_use, "boot")
        task.flush()
    finally:
        log.set_sink(old)
    # length, zero, tag (VCL_use is 94 there), id with the client mark, text, NUL and padding
    assert sink.batches == [(b"\x05\0\0\x10\xe8\x03\0\x40/foo\0\0\0\0\x05\0\0\x5e\xe8\x03\0\x40boot\0\0\0\0", 2, False)]


def test_octets_of_layout_2() -> None:
    sink = Batches()
    old = log.set_sink(sink)
    try:
        log.vsl(Tag.ReqURL, 1000, "/")
    finally:
        log.set_sink(old)
    assert sink.singles == [b"\x02\0\x01\x10\xe8\x03\0\0\0\0\0\x40/\0\0\0"]


def test_text_that_is_no_wire_string_keeps_the_batch_whole(memory: MemoryLog) -> None:
    task = log.TaskLog(1, log.CLIENT)
    task.put(Tag.ReqURL, "\u20ac\xe9")
    task.put(Tag.ReqMethod, "GET")
    task.flush()
    assert memory.lines() == ["ReqURL ?\xe9", "ReqMethod GET"]


_TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=300)


@given(layout=st.sampled_from([1, 2]), items=st.lists(st.tuples(st.sampled_from(sorted(TAGS)), _TEXT), max_size=20))
def test_what_is_written_is_read(layout: int, items: list[tuple[int, str]]) -> None:
    log.configure(layout=layout, masked=bytes(256))
    sink = Batches()
    old = log.set_sink(sink)
    try:
        task = log.TaskLog(4711, log.BACKEND)
        for tag, text in items:
            if TAGS[tag].flags & TagFlag.BINARY:
                task.put_bin(tag, text.encode("latin-1"))
            else:
                task.put(tag, text)
        task.flush()
    finally:
        log.set_sink(old)
    data = b"".join(batch for batch, _, _ in sink.batches)
    assert len(data) % 4 == 0
    records = list(parse_records(data, layout))
    assert b"".join(encode(record, layout) for record in records) == data
    expected = [
        (tag if FILE_NUMBERS[layout][tag] != 95 or layout == 2 else Tag.Notice,
         text[:255] if TAGS[tag].flags & TagFlag.BINARY else text[:254])
        for tag, text in items
    ]  # fmt: skip
    assert [(record.tag, record.text) for record in records] == expected


def test_a_cut_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond its batch"):
        list(parse_records(b"\xff\0\1\x10" + bytes(HEADER_SIZE[2]), 2))


def test_vxid_chunks_do_not_overlap_and_debug_xid_restarts() -> None:
    one, two = log.VxidChunk(), log.VxidChunk()
    taken = [chunk.next() for _ in range(5) for chunk in (one, two)] + [log.next_vxid()]
    assert len(set(taken)) == len(taken) and 0 not in taken
    assert log.debug_xid(1000) == (1000, 1)
    assert [one.next(), two.next(), one.next(), log.next_vxid()] == [1000, 1001, 1002, 1003]
    assert log.debug_xid() == (1004, 1)
    log.debug_xid(1, 32768)


def test_vxids_start_again_behind_the_last_one() -> None:
    limit = vxid._sequence.limit
    try:
        vxid.set_limit(2)
        log.debug_xid(999_999_999_999_998)
        assert [log.next_vxid(), log.next_vxid(), log.next_vxid()] == [999_999_999_999_998, 1, 2]
    finally:
        vxid._sequence.limit = limit
        log.debug_xid(1, 32768)


def test_prepared_records_are_the_same_as_single_ones() -> None:
    rows = [(Tag.ReqMethod, "GET"), (Tag.ReqHeader, "a: " + "b" * 300), (Tag.Debug, "masked"), (Tag.ReqURL, "/xyz")]
    prepared = Records(rows)
    configure()
    try:
        for settings in ({}, {"reclen": 40}, {"layout": 1}, {"masked": bytes(256)}, {"sync": True}, {}):
            configure(**settings)
            batches = []
            for together in (False, True):
                with captured() as memory:
                    log = TaskLog(1234, CLIENT)
                    log.begin("req", 1000, "rxreq")
                    if together:
                        log.put_records(prepared)
                    else:
                        for tag, text in rows:
                            log.put(tag, text)
                    log.end()
                batches.append([(r.tag, r.vxid, r.client, r.data) for r in memory.records])
            assert batches[0] == batches[1]
            assert len(batches[0]) > 4
    finally:
        configure()


def test_prepared_records_overflow_the_buffer_like_others() -> None:
    configure(buffer=100)
    try:
        with captured() as memory:
            log = TaskLog(7, CLIENT)
            log.put_records(Records([(Tag.ReqURL, "u" * 60), (Tag.ReqMethod, "m" * 60)]))
            assert len(memory.records) == 2
            log.end()
        assert [r.tag for r in memory.records] == [Tag.ReqURL, Tag.ReqMethod, Tag.End]
    finally:
        configure()


def test_a_record_of_the_session_goes_ahead_of_the_batch(memory: MemoryLog) -> None:
    task = log.TaskLog(1001, log.CLIENT)
    task.put(Tag.ReqURL, "/")
    task.put_ahead(Tag.Link, 1000, "req 1001 rxreq")
    assert memory.records == []
    task.end()
    assert [(record.name, record.vxid, record.text) for record in memory.records] == [
        ("Link", 1000, "req 1001 rxreq"),
        ("ReqURL", 1001, "/"),
        ("End", 1001, ""),
    ]
    assert memory.batches == 1
    task.put_ahead(Tag.Debug, 1000, "masked")
    task.put_ahead(Tag.Link, 1000, "alone")
    task.flush()
    assert memory.texts(Tag.Link, 1000) == ["req 1001 rxreq", "alone"]
    assert memory.batches == 1
