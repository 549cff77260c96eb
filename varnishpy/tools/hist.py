"""``varnishpy hist``: a histogram of response times or sizes, drawn live, as varnishhist(1).

Columns stand for powers of ten; ``|`` are hits, ``#`` everything else. Keys: q quits, 0 to 9 set the refresh period to
that power of two seconds, + and - change it, < and > change the time bend of a log read from a file.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

from varnishpy.http.dates import format_date
from varnishpy.log.grouping import Transaction
from varnishpy.log.query import nth_field
from varnishpy.log.selection import TagPatternError, match_tags
from varnishpy.log.tags import TAGS, Tag
from varnishpy.tools.follow import Background, Follower, pick, reading
from varnishpy.tools.usage import Option, ToolError, parse, tool

PROGRAM = "varnishpy hist"
RESOLUTION = 100  # buckets per power of ten
WINDOW = 1000  # values the histogram is made of
_SHORTEST = 0.001  # refresh period in seconds

OPTIONS = pick(
    "CdghLnQqrtTV",
    Option("B:", "[-B <factor>]", "Time bending"),
    Option("p:", "[-p <period>]", "Refresh period"),
    Option("P:", "[-P <[cb:]tag:[prefix]:field_num[:min:max]>]", "Profile: one of those below, or your own"),
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What is drawn: the ``field`` of records of ``tag`` that begin with ``prefix``, from 10**low to 10**high."""

    name: str
    side: str
    tag: int
    prefix: str
    field: int
    low: int
    high: int


PROFILES = {
    profile.name.lower(): profile
    for profile in (
        Profile("responsetime", "c", Tag.Timestamp, "Process:", 3, -6, 3),
        Profile("reqbodytime", "c", Tag.Timestamp, "ReqBody:", 3, -6, 3),
        Profile("size", "c", Tag.ReqAcct, "", 5, 1, 8),
        Profile("Bereqtime", "b", Tag.Timestamp, "Bereq:", 3, -6, 3),
        Profile("Beresptime", "b", Tag.Timestamp, "Beresp:", 3, -6, 3),
        Profile("BerespBodytime", "b", Tag.Timestamp, "BerespBody:", 3, -6, 3),
        Profile("Besize", "b", Tag.BereqAcct, "", 5, 1, 8),
    )
}


def parse_profile(text: str) -> Profile:
    """A profile's name, or ``[cb:]tag:[prefix]:field[:min:max]``. Raises ToolError."""
    if ":" not in text:
        found = PROFILES.get(text.lower())
        if found is None:
            raise ToolError(f"-P: No such profile '{text}'")
        return found
    parts = text.split(":")
    side = "c"
    if parts[0] in ("b", "c", "E"):
        side = parts.pop(0)
    if len(parts) not in (3, 5):
        raise ToolError(f"-P: '{text}' is not [cb:]tag:[prefix]:field_num[:min:max]")
    try:
        (tag,) = match_tags(parts[0])
    except (TagPatternError, ValueError):
        raise ToolError(f"-P: '{parts[0]}' is not a valid tag name") from None
    info = TAGS.get(tag)
    if info is not None and info.flags:
        raise ToolError(f"-P: '{parts[0]}' is an unsafe or binary record")
    try:
        field = int(parts[2])
        low, high = (int(parts[3]), int(parts[4])) if len(parts) == 5 else (-6, 3)
    except ValueError:
        raise ToolError(f"-P: '{text}': field, min and max are numbers") from None
    prefix = parts[1]
    if field <= 0:
        raise ToolError(f"-P: '{parts[2]}' is not a valid integer")
    if low >= high:
        raise ToolError("-P: min must be less than max")
    return Profile("custom", side, tag, f"{prefix}:" if prefix else "", field + (1 if prefix else 0), low, high)


class Histogram:
    """The last :data:`WINDOW` values in buckets. Thread safe."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        size = RESOLUTION * (profile.high - profile.low)
        self._hits = [0] * size
        self._misses = [0] * size
        self._recent: deque[tuple[int, bool]] = deque()
        self._lock = threading.Lock()

    def add(self, value: float, hit: bool) -> None:
        """Count a value; those out of range go to the outermost bucket."""
        place = round(RESOLUTION * math.log10(value)) - self.profile.low * RESOLUTION
        place = min(max(place, 0), len(self._hits) - 1)
        with self._lock:
            if len(self._recent) >= WINDOW:
                old, was_hit = self._recent.popleft()
                (self._hits if was_hit else self._misses)[old] -= 1
            self._recent.append((place, hit))
            (self._hits if hit else self._misses)[place] += 1

    def __len__(self) -> int:
        return len(self._recent)

    def columns(self, width: int) -> tuple[list[int], list[int]]:
        """Misses and hits in ``width`` columns."""
        misses, hits = [0] * width, [0] * width
        with self._lock:
            for bucket, (miss, hit) in enumerate(zip(self._misses, self._hits, strict=True)):
                column = bucket * width // len(self._hits)
                misses[column] += miss
                hits[column] += hit
        return misses, hits

    def draw(self, width: int, height: int, head: str = "") -> str:
        """The picture: ``height`` lines, the topmost with the scale and ``head``."""
        profile = self.profile
        decades = profile.high - profile.low
        step = max(width // decades, 1)
        columns = step * decades
        misses, hits = self.columns(columns)
        rows = max(height - 3, 1)
        most = max((m + h for m, h in zip(misses, hits, strict=True)), default=1)
        scale = next((s for s in _SCALES if most // s <= rows), _SCALES[-1])
        lines = [f"1:{scale}, n = {len(self)}{head}"]
        for row in range(rows, 0, -1):
            text = [
                "#" if miss // scale >= row else "|" if (miss + hit) // scale >= row else " "
                for miss, hit in zip(misses, hits, strict=True)
            ]
            line = "".join(text)
            if row % 5 == 0:
                mark = f"{row * scale}_"
                line = mark + line[len(mark) :]
            lines.append(line.rstrip())
        lines.append("".join("+" if column % step == 0 else "-" for column in range(columns)))
        lines.append("".join(f"|1e{profile.low + n}".ljust(step)[:step] for n in range(decades)))
        return "\n".join(lines)


_SCALES = (1, 2, 3, 4, 5, 10, 15, 20, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000)


class Gatherer:
    """Takes the value out of each transaction. ``bend`` slows or speeds up the reading of a recorded log."""

    def __init__(self, histogram: Histogram, bend: float) -> None:
        self._histogram = histogram
        self.bend = bend
        self.stamp = 0.0  # the latest moment in the log; known while time is bent
        self._log_start = 0.0
        self._real_start = time.monotonic()

    def group(self, transactions: list[Transaction]) -> None:
        """Count a group; ESI requests and tries that were restarted do not count."""
        for transaction in transactions:
            if transaction.reason != "esi":
                self._transaction(transaction)

    def _transaction(self, transaction: Transaction) -> None:
        profile = self._histogram.profile
        hit = False
        value = 0.0
        stamp = 0.0
        for record in transaction.records:
            if record.tag == Tag.Hit:
                hit = True
            elif record.tag == Tag.VCL_return and record.text.lower() in ("restart", "retry"):
                return
            if record.tag == Tag.Timestamp and self.bend:
                stamp = max(stamp, _number(nth_field(record.text, 2)))
            if record.tag == profile.tag and record.text.startswith(profile.prefix):
                value = _number(nth_field(record.text, profile.field)) or value
        if value > 0:
            if stamp:
                self._wait_for(stamp)
            self._histogram.add(value, hit)

    def change_bend(self, factor: float) -> None:
        """Make time run faster or slower by this factor from here on; it runs as it does if it was not bent."""
        self.bend = self.bend * factor if self.bend else 1.0
        self._log_start = 0.0

    def _wait_for(self, stamp: float) -> None:
        self.stamp = max(self.stamp, stamp)
        if not self._log_start:
            self._log_start = stamp
            self._real_start = time.monotonic()
        ahead = (stamp - self._log_start) / self.bend - (time.monotonic() - self._real_start)
        if ahead > 0:
            time.sleep(min(ahead, 5.0))


def _number(text: str | None) -> float:
    try:
        return float(text) if text is not None else 0.0
    except ValueError:
        return 0.0


_KEYS = "| hit, # other   period: 2^n s (0-9), half (+), double (-)   time (<, >)   quit (q)"


def _watch(follower: Follower, log: Background, histogram: Histogram, gatherer: Gatherer, period: float) -> None:
    from varnishpy.tools.screen import DIM, screen

    ident = follower.reader.read_text("Arg", "-i") or "" if follower.reader is not None else ""
    with screen() as to:
        while not follower.stopping:
            head = f", d = {period:g}"
            if gatherer.bend:
                head += f" @ {format_date(gatherer.stamp)} x {gatherer.bend:g}" if gatherer.stamp else ""
            note = log.note or ident
            to.clear()
            lines = histogram.draw(to.width, to.height, head).split("\n")
            if not lines[1].strip():  # no column reaches up to there
                to.put(1, 0, _KEYS, DIM)
            for number, line in enumerate(lines):
                to.put(number, 0, line)
            to.put(0, max(to.width - 1 - len(note), len(lines[0]) + 1), note)
            to.show()
            code = to.key(period)
            if ord("0") <= code <= ord("9"):
                period = float(2 ** (code - ord("0")))
            elif code in (ord("+"), ord("-")):
                period = max(period / 2 if code == ord("+") else period * 2, _SHORTEST)
            elif code in (ord("<"), ord(">")):
                gatherer.change_bend(2.0 if code == ord(">") else 0.5)
            else:
                to.common(code)


def _run(argv: list[str]) -> None:
    follower = Follower()
    profile = PROFILES["responsetime"]
    period = 1.0
    bend = 0.0
    for letter, value in parse(PROGRAM, OPTIONS, argv):
        if letter == "P":
            profile = parse_profile(value)
        elif letter == "p":
            period = _number(value)
            if period <= 0:
                raise ToolError(f"-p: Invalid '{value}'")
        elif letter == "B":
            bend = _number(value)
            if bend <= 0:
                raise ToolError(f"-B: being able to bend time does not mean we can stop it (invalid factor {value})")
        else:
            follower.option(letter, value)
    if follower.mode not in ("vxid", "request"):
        raise ToolError(f"Invalid grouping mode: {follower.mode}")
    follower.option(profile.side, "")
    if follower.file is not None and not bend:
        bend = 1.0
    histogram = Histogram(profile)
    gatherer = Gatherer(histogram, bend)
    follower.setup()
    follower.on_group = gatherer.group
    with reading(follower) as log:
        _watch(follower, log, histogram, gatherer, max(period, _SHORTEST))


main = tool(_run)
