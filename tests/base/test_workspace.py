"""The workspace contract, held by the arena and by its emulator alike, and what only the emulator finds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from varnishpy.base.panic import Panic
from varnishpy.base.workspace import Workspace, WorkspaceEmulator, make_workspace, set_emulator

KINDS = [Workspace, WorkspaceEmulator]


@pytest.fixture(params=KINDS)
def ws(request: pytest.FixtureRequest) -> Workspace:
    kind: type[Workspace] = request.param
    return kind("req", 1024)


def test_alloc_rounds_up_to_eight(ws: Workspace) -> None:
    view = ws.alloc(5)
    assert view is not None and len(view) == 5
    assert (ws.used, ws.free) == (8, 1016)


def test_allocations_do_not_overlap(ws: Workspace) -> None:
    first, second = ws.alloc(8), ws.alloc(8)
    assert first is not None and second is not None
    first[:] = b"aaaaaaaa"
    second[:] = b"bbbbbbbb"
    assert bytes(first) == b"aaaaaaaa"


def test_size_is_rounded_down() -> None:
    assert Workspace("x", 1023).size == 1016


def test_idle_workspace_holds_no_memory() -> None:
    ws = Workspace("x", 1 << 20)
    ws.account(100)
    assert ws._memory is None
    ws.alloc(1)
    assert ws._memory is not None


def test_overflow_is_marked_and_leaves_the_rest_usable(ws: Workspace) -> None:
    assert ws.alloc(1025) is None
    assert ws.overflowed
    assert ws.alloc(1024) is not None
    assert not ws.account(1)
    assert ws.used == 1024


def test_account_charges(ws: Workspace) -> None:
    assert ws.account(9)
    assert ws.used == 16
    assert not ws.overflowed


def test_reset_to_snapshot_keeps_what_was_before(ws: Workspace) -> None:
    kept = ws.alloc(16)
    assert kept is not None
    kept[:2] = b"ok"
    snap = ws.snapshot()
    ws.alloc(100)
    ws.reset(snap)
    assert ws.used == snap
    assert bytes(kept[:2]) == b"ok"


def test_only_full_reset_clears_the_overflow_mark(ws: Workspace) -> None:
    snap = ws.snapshot()
    ws.account(8)
    inner = ws.snapshot()
    ws.mark_overflow()
    ws.reset(inner)
    assert ws.overflowed
    ws.reset(snap)
    assert not ws.overflowed


def test_reservation_keeps_what_is_released(ws: Workspace) -> None:
    ws.account(1000)
    view = ws.reserve()
    assert view is not None and len(view) == 24
    view[:3] = b"abc"
    ws.release(3)
    assert ws.used == 1008
    assert bytes(view[:3]) == b"abc"


def test_reserving_all_of_nothing_is_no_overflow(ws: Workspace) -> None:
    ws.account(1024)
    assert ws.reserve() is None
    assert not ws.overflowed
    assert ws.reserved == -1


def test_reserving_too_much_overflows(ws: Workspace) -> None:
    assert ws.reserve(1025) is None
    assert ws.overflowed


def test_one_reservation_at_a_time(ws: Workspace) -> None:
    ws.reserve(8)
    with pytest.raises(Panic, match="one reservation"):
        ws.reserve(8)


@pytest.mark.parametrize("use", ["alloc", "account", "snapshot", "reset"])
def test_nothing_else_while_reserved(ws: Workspace, use: str) -> None:
    ws.reserve(8)
    arguments = () if use in ("snapshot", "reset") else (8,)
    with pytest.raises(Panic):
        getattr(ws, use)(*arguments)


def test_release_without_reservation_or_beyond_it(ws: Workspace) -> None:
    with pytest.raises(Panic):
        ws.release(0)
    ws.reserve(8)
    with pytest.raises(Panic):
        ws.release(9)


def test_reset_forward_panics(ws: Workspace) -> None:
    with pytest.raises(Panic):
        ws.reset(8)


def test_dump_tells_overflow_and_reservation(ws: Workspace) -> None:
    ws.mark_overflow()
    ws.reserve(8)
    assert "OVERFLOWED" in ws.dump() and "reserved = 8" in ws.dump() and '"req"' in ws.dump()


# -- what only the emulator sees ---------------------------------------------------------------------------------------


@pytest.fixture
def emulator() -> WorkspaceEmulator:
    return WorkspaceEmulator("emu", 1024)


def test_write_outside_is_caught(emulator: WorkspaceEmulator) -> None:
    emulator.alloc(8)
    emulator._allocations[0].data[-1] = 0
    with pytest.raises(Panic, match="outside"):
        emulator.alloc(8)


def test_use_of_a_view_after_reset_raises(emulator: WorkspaceEmulator) -> None:
    view = emulator.alloc(8)
    emulator.reset()
    assert view is not None
    with pytest.raises(ValueError, match="released"):
        view[0] = 1


def test_write_through_a_slice_after_reset_panics(emulator: WorkspaceEmulator) -> None:
    view = emulator.alloc(8)
    assert view is not None
    part = view[2:4]
    emulator.reset()
    part[0] = 1
    with pytest.raises(Panic, match="after release"):
        emulator.check()


def test_write_past_the_released_part_panics(emulator: WorkspaceEmulator) -> None:
    view = emulator.reserve(64)
    assert view is not None
    emulator.release(8)
    view[7] = 1
    emulator.check()
    view[8] = 1
    with pytest.raises(Panic, match="released part"):
        emulator.check()


def test_reset_to_a_snapshot_that_is_gone_panics(emulator: WorkspaceEmulator) -> None:
    emulator.account(8)
    inner = emulator.snapshot()
    emulator.reset()
    emulator.account(64)
    with pytest.raises(Panic, match="still valid"):
        emulator.reset(inner)


@pytest.fixture
def emulate() -> Iterator[None]:
    set_emulator(True)
    yield
    set_emulator(False)


def test_switch_chooses_the_kind(emulate: None) -> None:
    assert type(make_workspace("x", 64)) is WorkspaceEmulator
    set_emulator(False)
    assert type(make_workspace("x", 64)) is Workspace


operation = st.one_of(
    st.tuples(st.just("alloc"), st.integers(0, 300)),
    st.tuples(st.just("account"), st.integers(0, 300)),
    st.tuples(st.just("reserve"), st.integers(0, 300)),
    st.tuples(st.just("reset"), st.just(0)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(operation, max_size=30))
def test_arena_and_emulator_agree(operations: list[tuple[str, int]]) -> None:
    both = [Workspace("x", 1024), WorkspaceEmulator("x", 1024)]
    for name, n in operations:
        seen = []
        for ws in both:
            if name == "alloc":
                view = ws.alloc(n)
                outcome: object = None if view is None else len(view)
            elif name == "account":
                outcome = ws.account(n)
            elif name == "reserve":
                view = ws.reserve(n)
                outcome = None if view is None else len(view)
                if view is not None:
                    ws.release(len(view) // 2)
            else:
                ws.reset(0)
                outcome = None
            seen.append((outcome, ws.used, ws.free, ws.overflowed))
        assert seen[0] == seen[1]
