"""When memory that bodies have left is given back to the system."""

from __future__ import annotations

from varnishpy.storage.heap import HeapKeeper

MB = 1 << 20


class Heap:
    """Storage of which a test says how much is used; counts how often the heap was trimmed."""

    def __init__(self) -> None:
        self.used = 0
        self.trimmed = 0
        self.stored = 0
        self.keeper = HeapKeeper(lambda: self.used, lambda: self.stored, self.trim)

    def trim(self) -> None:
        self.trimmed += 1

    def look(self, *used: int) -> int:
        for self.used in used:
            self.keeper.look()
        return self.trimmed


def test_when_much_has_been_given_back_and_no_more_is() -> None:
    heap = Heap()
    assert heap.look(0, 100 * MB, 300 * MB, 200 * MB, 100 * MB) == 0, "it is still falling"
    assert heap.look(100 * MB) == 1
    assert heap.look(100 * MB, 100 * MB) == 1, "once is enough"
    assert heap.look(120 * MB, 90 * MB, 95 * MB) == 1, "it is not worth it"
    assert heap.look(10 * MB, 10 * MB) == 2


def test_after_much_was_stored() -> None:
    heap = Heap()
    for heap.stored, trimmed in ((10 * MB, 0), (40 * MB, 1), (60 * MB, 1), (71 * MB, 1), (72 * MB, 2)):
        assert heap.look(10 * MB) == trimmed


def test_the_c_library_does_it() -> None:
    heap = Heap()
    heap.keeper = HeapKeeper(lambda: heap.used, lambda: heap.stored)
    heap.look(100 * MB, 0, 0)
