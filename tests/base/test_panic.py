"""Panics and their dumps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from varnishpy.base import panic
from varnishpy.base.dumptext import DumpText
from varnishpy.base.locks import lock_class, make_condition, make_lock
from varnishpy.base.panic import Panic, invariant, present


@pytest.fixture
def caught() -> Iterator[list[Panic]]:
    found: list[Panic] = []
    panic.set_handler(found.append)
    yield found
    panic.set_handler(None)


def test_invariant_holds_quietly() -> None:
    invariant(True, "fine")


def test_handler_gets_the_dump_once(caught: list[Panic]) -> None:
    panic.set_identity("Linux,test", ["varnishpy", "-a", ":0"])
    with pytest.raises(Panic, match=r"Condition\(two and two\) not true"):
        invariant(2 + 2 == 5, "two and two")
    (fault,) = caught
    for part in (
        "Panic at: ", "Assert error in test_handler_gets_the_dump_once(), base/test_panic.py line ",
        "  Condition(two and two) not true.",
        "version = varnishpy-", "ident = Linux,test", "Backtrace:",
        "test_handler_gets_the_dump_once", '[1] = "-a"', "thread.name = (MainThread)",
    ):  # fmt: skip
        assert part in fault.dump
    panic.set_identity("")


def test_what_is_present_is_handed_on_and_what_is_missing_is_a_panic(caught: list[Panic]) -> None:
    assert present(0, "a number") == 0
    nothing: str | None = None
    with pytest.raises(Panic, match=r"Condition\(a name\) not true"):
        present(nothing, "a name")
    assert "Assert error in test_what_is_present_is_handed_on" in caught[0].dump


def test_dumpers_add_sections_and_may_fail() -> None:
    panic.add_dumper("good", lambda: "good = {},\n")
    panic.add_dumper("bad", lambda: str(1 // 0))
    try:
        dump = panic.build_dump("x")
    finally:
        panic.remove_dumper("good")
        panic.remove_dumper("bad")
    assert "\ngood = {},\n" in dump
    assert "bad = (no dump: ZeroDivisionError" in dump
    assert "good = {}" not in panic.build_dump("x", [])


def test_panic_from_an_exception_shows_its_traceback(caught: list[Panic]) -> None:
    try:
        raise KeyError("lost")
    except KeyError as exc:
        with pytest.raises(Panic):
            panic.panic("broken table", exc)
    assert "KeyError: 'lost'" in caught[0].dump


def test_panic_in_the_handler_does_not_recurse(caught: list[Panic]) -> None:
    calls = []

    def handler(fault: Panic) -> None:
        calls.append(fault)
        panic.panic("again")

    panic.set_handler(handler)
    with pytest.raises(Panic, match="again"):
        panic.panic("first")
    assert len(calls) == 1


def test_panic_is_no_exception() -> None:
    assert not issubclass(Panic, Exception)


def test_locks_are_counted_by_class() -> None:
    klass = lock_class("testing")
    before = klass.creat
    lock = make_lock("testing")
    condition = make_condition("testing")
    on_given = make_condition("testing", lock)
    assert klass.creat == before + 2
    assert klass.live == 2
    del condition
    assert klass.live == 1
    del lock, on_given
    assert klass.live == 0
    assert klass.destroy == klass.creat


def test_a_panic_raised_by_hand_meets_the_handler_when_its_thread_ends(caught: list[Panic]) -> None:
    panic.escaped(Panic("by hand"), "worker-1")
    panic.escaped(KeyError("lost"), "worker-2")
    assert [str(fault) for fault in caught] == ["by hand", "Thread worker-2 failed: KeyError('lost')"]
    assert all("Backtrace:" in fault.dump for fault in caught)


def test_a_panic_in_a_dumper_is_a_hole_in_the_dump(caught: list[Panic]) -> None:

    def worse() -> str:
        invariant(False, "the dumper's own")
        return "never"

    panic.add_dumper("worse", worse)
    try:
        with pytest.raises(Panic, match="first"):
            panic.panic("first")
    finally:
        panic.remove_dumper("worse")
    assert [str(fault) for fault in caught] == ["first"]
    assert "worse = (no dump: Panic: " in caught[0].dump


def test_a_brief_dump_has_no_sections() -> None:
    panic.add_dumper("long", lambda: "long = {}")
    panic.set_brief(lambda: True)
    try:
        dump = panic.build_dump("x")
    finally:
        panic.set_brief(bool)
        panic.remove_dumper("long")
    assert "long = {}" not in dump and "short_panic" in dump


def test_dump_text_nests_repeats_nothing_and_survives_broken_objects() -> None:
    out = DumpText()
    thing = object()

    def broken(out: DumpText, _: object) -> None:
        out.line("before")
        raise ValueError("kaputt")

    with out.block("all"):
        out.struct("one", thing, broken)
        out.struct("again", thing, broken)
        out.struct("none", None, broken)
        out.line("a\nb")
    assert out.text().replace(f"{id(thing):#x}", "0x1").splitlines() == [
        "all {",
        "  one = 0x1 {",
        "    before",
        "    (no dump: ValueError: kaputt)",
        "  },",
        "  again = 0x1 {",
        "    [Already dumped, see above]",
        "  },",
        "  none = NULL",
        "  a",
        "  b",
        "},",
    ]
