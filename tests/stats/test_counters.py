"""Counters, their tables and documents."""

import json
import threading

import pytest

from varnishpy.stats.publisher import Publisher
from varnishpy.stats.segments import Counters, Registry, StatsError
from varnishpy.stats.statdoc import HEAD, HEAD_SIZE, doc_id, document
from varnishpy.stats.tables import CLASSES, MAIN, MGT, SMA, VBE
from varnishpy.stats.task_counters import TaskCounters


class Piece:
    def __init__(self, store: "Heap", category: str, size: int, ident: str) -> None:
        self.view = memoryview(bytearray(size))
        self.key = (category, ident)
        self._store = store

    def free(self) -> None:
        del self._store.pieces[self.key]


class Heap:
    """Shared memory that is none."""

    def __init__(self) -> None:
        self.pieces: dict[tuple[str, str], Piece] = {}
        self.swept = 0

    def allocate(self, category: str, size: int, ident: str) -> Piece:
        piece = Piece(self, category, size, ident)
        assert piece.key not in self.pieces
        self.pieces[piece.key] = piece
        return piece

    def sweep(self) -> None:
        self.swept += 1

    def value(self, ident: str, name: str) -> int:
        memory = self.pieces["Stat", ident].view
        ready, body, _ = HEAD.unpack_from(memory)
        assert ready == 1
        index = CLASSES[ident.partition(".")[0]].names.index(name)
        value: int = memory[body : body + (index + 1) * 8].cast("Q")[index]
        return value


def test_tables_are_sound() -> None:
    for name, table in CLASSES.items():
        assert table.name == name
        assert len(set(table.names)) == len(table.names)
        for column in table.columns:
            assert column.oneliner and '"' not in column.oneliner and "\n" not in column.oneliner
            assert (column.kind == "bitmap") == (column.format == "bitmap")
            if column.name.startswith("g_"):
                assert column.kind == "gauge"


def test_a_document_says_where_each_counter_stands() -> None:
    table = CLASSES["VBE"]
    text = document(table)
    assert text.endswith(b"\0")
    parsed = json.loads(text[:-1])
    assert parsed["elements"] == len(table.columns)
    assert [e["index"] for e in parsed["elem"].values()] == [8 * n for n in range(len(table.columns))]
    assert parsed["elem"]["happy"]["type"] == "bitmap"
    assert all(e["ctype"] == "uint64_t" for e in parsed["elem"].values())
    assert len({doc_id(t) for t in CLASSES.values()}) == len(CLASSES)


def test_counting() -> None:
    segment = Counters(VBE, "boot.default")
    segment.inc("req")
    segment.inc("req", 2)
    segment.inc("conn")
    segment.dec("conn")
    segment.set("happy", 0xFF)
    assert (segment.get("req"), segment.get("conn"), segment.get("happy")) == (3, 0, 255)
    assert segment.name == "VBE.boot.default"
    for action in (lambda: segment.add("nope", 1), lambda: segment.store("nope", 1), lambda: segment.value("nope")):
        with pytest.raises(StatsError):
            action()


def test_merging_moves_what_a_task_has_counted() -> None:
    segment = Counters(MAIN)
    mine = TaskCounters()
    mine.cache_hit += 2
    mine.n_objecthead -= 1
    with segment._lock:
        assert not segment.merge(mine, wait=False), "the counters are in somebody else's hands"
    assert segment.merge(mine, wait=False)
    assert segment.merge(mine)
    assert (segment.get("cache_hit"), segment.get("n_objecthead")) == (2, -1)
    assert (segment.merges, segment.version) == (1, 1), "the second time there was nothing"


def test_every_counter_of_a_task_is_moved() -> None:
    names = [column.name for column in MAIN.columns if column.task]
    mine = TaskCounters()
    for number, name in enumerate(names, 1):
        assert getattr(mine, name) == 0
        setattr(mine, name, number)
    segment = Counters(MAIN)
    segment.merge(mine)
    moved = {name: value for name, value in segment.snapshot().items() if value}
    assert moved == {name: number for number, name in enumerate(names, 1)}
    assert not any(getattr(mine, name) for name in names)


def test_no_increment_is_lost_between_threads() -> None:
    segment = Counters(MAIN)

    def work() -> None:
        mine = TaskCounters()
        for _ in range(2000):
            segment.inc("cache_hit")
            mine.cache_hit += 1
            segment.merge(mine)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert segment.get("cache_hit") == 4 * 2000 * 2


def test_publishing_follows_segments() -> None:
    registry, heap = Registry(), Heap()
    first = registry.new(VBE, "a")
    first.inc("req", 7)
    publisher = Publisher(registry, heap)
    publisher.start(thread=False)
    assert heap.value("VBE.a", "req") == 7
    second = registry.new(VBE, "b")
    assert heap.value("VBE.b", "req") == 0
    second.dec("conn")
    publisher.flush()
    assert heap.value("VBE.b", "conn") == 2**64 - 1
    assert [key for key in heap.pieces if key[0] == "StatDoc"] == [("StatDoc", f"{doc_id(CLASSES['VBE']):x}")]
    first.destroy()
    first.destroy()
    assert ("Stat", "VBE.a") not in heap.pieces
    second.destroy()
    assert heap.pieces == {}
    publisher.stop()


def test_collectors_run_before_publishing() -> None:
    registry, heap = Registry(), Heap()
    segment = registry.new(SMA, "s0")

    def collect() -> None:
        segment.set("g_bytes", 4711)

    registry.add_collector(collect)
    publisher = Publisher(registry, heap)
    publisher.start(thread=False)
    assert heap.value("SMA.s0", "g_bytes") == 4711
    registry.remove_collector(collect)
    segment.set("g_bytes", 1)
    publisher.flush()
    assert heap.value("SMA.s0", "g_bytes") == 1


def test_the_thread_publishes_by_itself_and_survives_a_failing_collector() -> None:
    registry, heap = Registry(), Heap()
    registry.new(MGT)
    ticks = threading.Semaphore(0)
    publisher = Publisher(registry, heap, tick=ticks.release, interval=0.01)
    publisher.start()
    assert ticks.acquire(timeout=5)
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise RuntimeError("a collector's defect")

    registry.add_collector(fail)
    assert failed.wait(5)
    registry.remove_collector(fail)
    while ticks.acquire(blocking=False):
        pass
    assert ticks.acquire(timeout=5)
    publisher.stop()
    assert any("defect" in str(failure) for failure in publisher.failures)
    assert heap.swept


def test_names_with_line_breaks_are_refused() -> None:
    registry = Registry()
    with pytest.raises(StatsError):
        registry.new(VBE, "a\nb")


def test_head_is_what_the_c_programs_expect() -> None:
    assert (HEAD_SIZE, HEAD.format) == (24, "=i4xQQ")
