"""Times in parts are the text that ``%.6f`` makes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from varnishpy.log import moments

TICK = 2.0**-22  # between two floats of today
TODAY = 1_795_745_182.0


def formatted(label: str, now: float, first: float, previous: float) -> str:
    return f"{label}: {now:.6f} {now - first:.6f} {now - previous:.6f}"


ticks = st.integers(0, 2**22 - 1).map(lambda n: n * TICK)
seconds = st.sampled_from([TODAY, 2.0**30, 2.0**31 - 1, 2.0**32, 2.0**33 - 1])


@given(seconds, ticks)
def test_a_time(second: float, part: float) -> None:
    now = second + part
    assert moments.in_parts(now) == moments.absolute(now) == f"{now:.6f}"


def test_what_lies_between_two_microseconds_is_rounded_to_the_even_one() -> None:
    parts = [n * TICK for n in range(2**22) if n * 15625 % 2**16 == 2**15]
    assert len(parts) > 50
    for part in parts:
        assert moments.in_parts(TODAY + part) == f"{TODAY + part:.6f}"
        assert moments.stamp_in_parts("x", TODAY + part, TODAY, TODAY) == formatted("x", TODAY + part, TODAY, TODAY)


def test_the_last_moment_of_a_second() -> None:
    for n in range(8):
        now = TODAY - n * TICK
        assert moments.in_parts(now) == f"{now:.6f}"


@given(seconds, ticks, st.floats(0.0, 1.5), st.floats(0.0, 1.0))
def test_a_timestamp(second: float, part: float, since_first: float, since_previous: float) -> None:
    now = second + part
    previous, first = now - since_previous, now - since_previous - since_first
    expected = formatted("Process", now, first, previous)
    assert moments.stamp_in_parts("Process", now, first, previous) == expected
    assert moments.stamp("Process", now, first, previous) == expected


@given(st.floats(-(2.0**40), 2.0**40), st.floats(-(2.0**40), 2.0**40), st.floats(-(2.0**40), 2.0**40))
def test_any_time(now: float, first: float, previous: float) -> None:
    assert moments.in_parts(now) == f"{now:.6f}"
    assert moments.stamp_in_parts("x", now, first, previous) == formatted("x", now, first, previous)
