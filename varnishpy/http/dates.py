"""HTTP dates: the three forms of RFC 9110 section 5.6.7 and ISO 8601 without a zone, read; IMF-fixdate written.

Times are seconds since the epoch, as ``float``. Reading is strict: a date that is wrong in any part, its weekday too,
is no date at all and reads as ``0.0``, which every caller treats as "not given". ``feature=+http_date_postel`` lets the
day of an IMF-fixdate have one digit, as RFC 822 did.
"""

from __future__ import annotations

import calendar
import re
import time
from functools import lru_cache
from typing import Final

from varnishpy.params import params

_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_LONG_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBER: Final = {name: number for number, name in enumerate(_MONTHS, 1)}
_SPELLING: Final = {word.lower(): word for word in (*_WEEKDAYS, *_LONG_WEEKDAYS, *_MONTHS, "GMT", "T")}
_OLDEST_YEAR: Final = 1899  # older than any clock that ever set a date header

_D: Final = r"([0-9]{2})"
_CLOCK: Final = rf"{_D}:{_D}:{_D}"
_IMF: Final = re.compile(rf"([A-Z][a-z]{{2}}), ([0-9]{{1,2}}) ([A-Z][a-z]{{2}}) ([0-9]{{4}}) {_CLOCK} GMT")
_RFC850: Final = re.compile(rf"([A-Z][a-z]+day), {_D}-([A-Z][a-z]{{2}})-{_D} {_CLOCK} GMT")
_ASCTIME: Final = re.compile(rf"([A-Z][a-z]{{2}}) ([A-Z][a-z]{{2}}) ([ 0-9][0-9]) {_CLOCK} ([0-9]{{4}})")
_ISO: Final = re.compile(rf"([0-9]{{4}})-{_D}-{_D}T{_CLOCK}")


def _seconds(year: int, month: int, day: int, hour: int, minute: int, second: int, weekday: int | None) -> float:
    if year < _OLDEST_YEAR or not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 60:
        return 0.0
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return 0.0
    if weekday is not None and calendar.weekday(year, month, day) != weekday:
        return 0.0
    return float(calendar.timegm((year, month, day, hour, minute, min(second, 59))))  # leap seconds are not counted


_WORD: Final = re.compile(r"[A-Za-z]+")


# dates that are remembered, and the longest of them: an origin says the same Date for a second, and objects come again
_MEMO: Final = 512
_MEMO_LENGTH: Final = 40


def parse_date(text: str, lenient: bool = False) -> float:
    """Seconds since the epoch, or ``0.0`` when the text is no valid date.

    :param lenient: words are the same in any case, as RFC 9111 section 4.2 wants it of caches, and a day may be a wrong
        day of the week
    """
    read = _known_date if len(text) <= _MEMO_LENGTH else _read_date
    return read(text, lenient, params.feature.http_date_postel)


def _read_date(text: str, lenient: bool, postel: bool) -> float:
    text = text.strip(" ")
    if lenient:
        text = _WORD.sub(lambda word: _SPELLING.get(word[0].lower(), word[0]), text)
    found = _IMF.fullmatch(text)
    if found is not None:
        name, day, month, year, hour, minute, second = found.groups()
        if name not in _WEEKDAYS or (len(day) == 1 and not postel):
            return 0.0
        weekday = None if lenient else _WEEKDAYS.index(name)
        return _seconds(int(year), _MONTH_NUMBER.get(month, 0), int(day), int(hour), int(minute), int(second), weekday)
    found = _RFC850.fullmatch(text)
    if found is not None:
        name, day, month, year, hour, minute, second = found.groups()
        if name not in _LONG_WEEKDAYS:
            return 0.0
        full = 1900 + int(year)
        if full < 1969:  # two digits: the half century around the epoch decides
            full += 100
        weekday = None if lenient else _LONG_WEEKDAYS.index(name)
        return _seconds(full, _MONTH_NUMBER.get(month, 0), int(day), int(hour), int(minute), int(second), weekday)
    found = _ASCTIME.fullmatch(text)
    if found is not None:
        name, month, day, hour, minute, second, year = found.groups()
        if name not in _WEEKDAYS:
            return 0.0
        weekday = None if lenient else _WEEKDAYS.index(name)
        return _seconds(int(year), _MONTH_NUMBER.get(month, 0), int(day), int(hour), int(minute), int(second), weekday)
    found = _ISO.fullmatch(text)
    if found is not None:
        year, month, day, hour, minute, second = found.groups()
        return _seconds(int(year), int(month), int(day), int(hour), int(minute), int(second), None)
    return 0.0


_known_date: Final = lru_cache(_MEMO)(_read_date)

_last: tuple[int, str] = (0, "Thu, 01 Jan 1970 00:00:00 GMT")


def format_date(t: float) -> str:
    """IMF-fixdate of a moment, whole seconds, rounded down. Cheap when asked for the same second again."""
    global _last
    second = int(t)
    cached = _last  # one read: another thread may replace the pair, never a half of it
    if cached[0] == second:
        return cached[1]
    tm = time.gmtime(second)
    text = (
        f"{_WEEKDAYS[tm.tm_wday]}, {tm.tm_mday:02d} {_MONTHS[tm.tm_mon - 1]} {tm.tm_year:4d} "
        f"{tm.tm_hour:02d}:{tm.tm_min:02d}:{tm.tm_sec:02d} GMT"
    )
    _last = (second, text)
    return text
