"""Times as records have them: seconds with six decimals, the same text that ``"%.6f"`` makes.

``%.6f`` writes a time of today with sixteen digits, for which it needs long arithmetic: 0.35 µs, three times as much as
for a small number. Compiled, whole numbers come to a fifth of that; the interpreter takes longer for the sums than for
the formatting, so it formats.

Why the sums are exact: a float between 2**30 and 2**33 seconds is a multiple of 2**-22, and so is the difference of two
of them. A part of a second is then n / 2**22, and a million times that is n * 15625 / 2**16: no float needs to be
rounded on the way. What is left is to round that to the nearest whole number, and to the even one between two, which is
what ``%.6f`` does.
"""

from __future__ import annotations

from typing import Final

from varnishpy.base.compiled import is_compiled

_FIRST: Final = float(1 << 30)  # seconds since the epoch: January 2004
_LAST: Final = float(1 << 33)
_SHORT: Final = 0.999  # seconds: less than one also when rounded
_THREE: Final = [f"{number:03d}" for number in range(1000)]
_IN_PARTS: Final = is_compiled()

_second = (0, "0.")  # the last whole second, and its text: one object, so that no thread sees half of it


def _micros(part: float) -> int:
    """A part of a second as microseconds."""
    exact = part * 1e6
    whole = int(exact)
    over = exact - whole
    if over > 0.5 or (over == 0.5 and whole & 1):
        whole += 1
    return whole


def absolute(now: float) -> str:
    """A time of the wall clock."""
    return in_parts(now) if _IN_PARTS else "%.6f" % now  # noqa: UP031 - compiled, f-strings call the interpreter


def in_parts(now: float) -> str:
    """`absolute` by whole numbers."""
    global _second
    if _FIRST <= now < _LAST:
        known = _second
        second = int(now)
        if known[0] != second:
            known = _second = second, f"{second}."
        micros = _micros(now - second)
        if micros < 1_000_000:
            return f"{known[1]}{_THREE[micros // 1000]}{_THREE[micros % 1000]}"
    return "%.6f" % now  # noqa: UP031


def stamp(label: str, now: float, first: float, previous: float) -> str:
    """Text of a ``Timestamp``: label, time, seconds since the start, seconds since the previous one."""
    if _IN_PARTS:
        return stamp_in_parts(label, now, first, previous)
    # one formatting of three numbers is cheaper than three
    return "%s: %.6f %.6f %.6f" % (label, now, now - first, now - previous)  # noqa: UP031


def stamp_in_parts(label: str, now: float, first: float, previous: float) -> str:
    """`stamp` by whole numbers."""
    if _FIRST <= first <= previous <= now < _LAST and now - first < _SHORT:
        since_first = _micros(now - first)
        since_previous = _micros(now - previous)
        three = _THREE
        return (
            f"{label}: {in_parts(now)} 0.{three[since_first // 1000]}{three[since_first % 1000]}"
            f" 0.{three[since_previous // 1000]}{three[since_previous % 1000]}"
        )
    return "%s: %.6f %.6f %.6f" % (label, now, now - first, now - previous)  # noqa: UP031
