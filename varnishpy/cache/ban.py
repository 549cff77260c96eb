"""Bans: conditions held against every object that is older than they are.

The list runs from the newest to the oldest ban. Each object refers to the newest ban it has been tested against; a
lookup that finds it tests what is newer, and either moves the object to the top or kills it. The *lurker*
(ban_lurker.py) does the same behind the scenes for bans that need no request, so that old bans come to be referred to
by nobody and can go.

The list starts with a placeholder, so that there is always a newest ban. Only the oldest ban is ever removed, and only
when nobody refers to it: whoever holds a reference may walk from the newest ban to his own without the lock.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.base.locks import make_condition
from varnishpy.cache.ban_spec import BanError, Test, parse_string, parse_words
from varnishpy.log.tag_numbers import EXP_BAN
from varnishpy.params import params

if TYPE_CHECKING:
    from varnishpy.cache.asking import Asking
    from varnishpy.cache.ban_lurker import Lurker
    from varnishpy.cache.hash import Hash
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.cache.spreading import Spreading
    from varnishpy.http.message import Message


def _walk(oc: ObjectCore | None, most: int) -> tuple[list[ObjectCore], ObjectCore | None]:
    """So many of the object cores of a ban, from this one on, and the one after them."""
    found: list[ObjectCore] = []
    while oc is not None and len(found) < most:
        found.append(oc)
        oc = oc.ban_next
    return found, oc


class Ban:
    """A ban in the list. ``completed``: nothing needs to be tested against it any more.

    :param moment: when it was made, by which ages are counted
    :param time: by which the list is sorted, and its name; later than *moment* if the clock was set back before
    """

    __slots__ = (
        *("_at", "_first", "_last", "completed", "made", "moment", "newer", "older", "on_object", "on_request"),
        *("refcount", "tests", "time"),
    )

    def __init__(self, tests: tuple[Test, ...], moment: float, time: float) -> None:
        self.tests = tests
        self.moment = moment
        self.time = time
        self.made = clock.mono()
        self.completed = False
        self.on_request = any(test.field.on_request for test in tests)
        self.on_object = any(not test.field.on_request for test in tests)
        self.refcount = 0
        self._first: ObjectCore | None = None  # a list through the object cores that refer to it
        self._last: ObjectCore | None = None
        self._at: ObjectCore | None = None  # where the lurker goes on
        self.newer: Ban | None = None
        self.older: Ban | None = None

    # the list of object cores; callers hold the lock of the ban list

    def take(self, oc: ObjectCore) -> None:
        """An object that is on the list of no ban refers to this one from now on."""
        last = self._last
        oc.ban = self
        oc.ban_prev = last
        if last is None:
            self._first = oc
        else:
            last.ban_next = oc
        self._last = oc

    def let_go(self, oc: ObjectCore) -> None:
        """Take an object that refers to this ban off its list; the caller gives it another ban, or none."""
        prev, following = oc.ban_prev, oc.ban_next
        if self._at is oc:
            self._at = following
        if prev is None:
            self._first = following
        else:
            prev.ban_next = following
        if following is None:
            self._last = prev
        else:
            following.ban_prev = prev
        oc.ban_prev = oc.ban_next = None

    def rewind(self) -> None:
        """`next_objcores` begins with the first again."""
        self._at = self._first

    def next_objcores(self, most: int) -> list[ObjectCore]:
        """So many more of the object cores that refer to it, as they came; each once, whichever leave meanwhile."""
        found, self._at = _walk(self._at, most)
        return found

    def objcores(self) -> list[ObjectCore]:
        """All of them."""
        return _walk(self._first, sys.maxsize)[0]

    def matches(self, oc: ObjectCore, request: Message | None) -> tuple[bool, int]:
        """Do all conditions hold for an object? And how many had to be tested."""
        for number, test in enumerate(self.tests, 1):
            if not test.holds(oc, request, self.moment):
                return False, number
        return True, len(self.tests)

    @property
    def words(self) -> list[str]:
        """What `parse_words` makes the same conditions of."""
        found: list[str] = []
        for test in self.tests:
            found += (["&&"] if found else []) + test.words
        return found

    def equals(self, other: Ban) -> bool:
        """Is the other ban the same, so that the older of both is done with?"""
        if any(test.field.relative for test in self.tests):
            return False
        return [test.key for test in self.tests] == [test.key for test in other.tests]

    def show(self, quoted: bool = False) -> str:
        """The conditions as ``ban.list`` prints them."""
        return " && ".join(test.show(_quote if quoted else None) for test in self.tests)


def _quote(text: str) -> str:
    """An argument inside a JSON string, in quotes if the CLI would need them."""
    if text and not any(char in ' "\\\t\r\n' for char in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Keeper(Protocol):
    """Storage that remembers bans beyond the process. Called with the list's lock held."""

    def ban_added(self, time: float, moment: float, words: list[str]) -> None: ...
    def ban_gone(self, time: float) -> None: ...


class Bans:
    """The ban list. Thread safe."""

    def __init__(self) -> None:
        self.cond = make_condition("ban")
        now = clock.now()
        first = Ban((), now, now)
        first.completed = True
        self.newest: Ban = first  # read without the lock: replacing it is atomic
        self.oldest = first
        self.kicks = 0  # counts the reasons the lurker had to look; under the lock
        self.stopping = False
        self.lurker: Lurker | None = None
        self._hash: Hash | None = None
        self.spreading: Spreading | None = None
        self.keepers: list[Keeper] = []  # what remembers bans beyond the process
        self.cold = 0  # references of objects that nobody has looked at since the start; under the lock
        self._restored: list[Ban] = []  # oldest first
        stats.main.inc("bans")
        stats.main.inc("bans_added")
        stats.main.inc("bans_completed")

    def attach(self, hash_: Hash) -> None:
        """The hash whose objects are banned."""
        self._hash = hash_

    # -- adding ----------------------------------------------------------------------------------------------------

    def add(self, tests: tuple[Test, ...]) -> Ban:
        """Put a ban at the top of the list.

        :raises BanError: the process is shutting down
        """
        with self.cond:
            if self.stopping:
                raise BanError("Shutting down")
            moment = clock.now()
            ban = Ban(tests, moment, max(moment, self.newest.time + 1e-6))
            ban.older = self.newest
            self.newest.newer = ban
            self.newest = ban
            stats.main.inc("bans")
            stats.main.inc("bans_added")
            if ban.on_object:
                stats.main.inc("bans_obj")
            if ban.on_request:
                stats.main.inc("bans_req")
            if params.ban_dups:
                other: Ban | None = ban.older
                while other is not None:
                    if not other.completed and ban.equals(other):
                        self.complete(other)
                        stats.main.inc("bans_dups")
                    other = other.older
            for keeper in self.keepers:
                keeper.ban_added(ban.time, moment, ban.words)
            if not ban.on_request:
                self.kick()
        return ban

    def ban_words(self, words: Sequence[str]) -> str | None:
        """The CLI's ``ban``: a text about what is wrong, or ``None``."""
        try:
            self._spread(parse_words(words))
        except BanError as exc:
            return str(exc)
        return None

    def ban_string(self, text: str | None) -> str | None:
        """VCL's ``ban()`` and ``std.ban()``: a text about what is wrong, or ``None``."""
        if text is None:
            return "Null argument"
        try:
            self._spread(parse_string(text))
        except BanError as exc:
            return str(exc)
        return None

    def _spread(self, tests: tuple[Test, ...]) -> None:
        if self.spreading is not None:
            self.spreading.ban(tests)
        else:
            self.add(tests)

    def complete(self, ban: Ban) -> None:
        """Mark a ban done; the lock is held."""
        if not ban.completed:
            ban.completed = True
            stats.main.inc("bans_completed")

    def kick(self) -> None:
        """Tell the lurker to look; the lock is held."""
        self.kicks += 1
        self.cond.notify_all()

    # -- what was there before the start ---------------------------------------------------------------------------

    def restore(self, found: Sequence[tuple[float, float, tuple[Test, ...]]], oldest: float) -> None:
        """Put bans from before the start below those there are; once, before any thread runs.

        :param found: their times, ascending, the moments they were made, and their conditions
        :param oldest: the earliest moment that `hold` will be asked for
        """
        with self.cond:
            newest = self.newest
            if found and newest.time <= found[-1][0]:
                newest.time = found[-1][0] + 1e-6
            # for objects that are older than all bans
            earliest = min(oldest, newest.time - 1e-6, *(row[0] - 1e-6 for row in found[:1]))
            tail = Ban((), earliest, earliest)
            tail.completed = True
            stats.main.inc("bans_completed")
            self._restored = [tail]
            for time, moment, tests in found:
                ban = Ban(tests, moment, time)
                if ban.on_object:
                    stats.main.inc("bans_obj")
                if ban.on_request:
                    stats.main.inc("bans_req")
                self._restored.append(ban)
            stats.main.inc("bans", len(self._restored))
            stats.main.inc("bans_added", len(self._restored))
            self._restored.append(newest)
            for older, newer in pairwise(self._restored):
                older.newer, newer.older = newer, older
            self.oldest = tail

    def hold(self, time: float, count: int) -> Ban:
        """Have so many objects refer to the newest ban that is not newer than a time, until they are looked at."""
        with self.cond:
            ban = self._restored[max(0, bisect_right(self._restored, time, key=lambda ban: ban.time) - 1)]
            ban.refcount += count
            self.cold += count
            return ban

    def thaw(self, oc: ObjectCore, ban: Ban) -> None:
        """An object is looked at: it takes its reference over."""
        with self.cond:
            self.cold -= 1
            ban.take(oc)

    def dismiss(self, ban: Ban) -> None:
        """An object will never be looked at."""
        with self.cond:
            self.cold -= 1
            ban.refcount -= 1
            if not self.cold or self.oldest.refcount == 0:
                self.kick()

    # -- objects ---------------------------------------------------------------------------------------------------

    def new_object(self, oc: ObjectCore) -> None:
        """An object becomes available: it need not be tested against the bans there are."""
        with self.cond:
            ban = self.newest
            ban.refcount += 1
            ban.take(oc)

    def forget(self, oc: ObjectCore) -> None:
        """An object is being freed."""
        with self.cond:
            ban = oc.ban
            if ban is not None:
                ban.refcount -= 1
                ban.let_go(oc)
                oc.ban = None

    def check_object(self, oc: ObjectCore, req: Asking) -> bool:
        """Test an object that a request found; the head's lock is held.

        :return: True: it is banned, and the caller takes it out of use. False: it stands, and is at the top now.
        """
        if oc.ban is self.newest:
            return False
        with self.cond:
            newest = self.newest
            own = oc.ban
            if own is None or own is newest:
                return False
            own.refcount += 1
        tests = 0
        banned = False
        ban: Ban | None = newest
        while ban is not None and ban is not own:
            if not ban.completed:
                banned, tested = ban.matches(oc, req.http)
                tests += tested
                if banned:
                    break
            ban = ban.older
        with self.cond:
            own.refcount -= 1
            if not banned:
                self._move(oc, own, newest)
            if self.oldest.refcount == 0:
                self.kick()
        stats.main.inc("bans_tested")
        stats.main.inc("bans_tests_tested", tests)
        if banned:
            stats.main.inc("bans_obj_killed")
            req.log.put(EXP_BAN, f"{oc.xid} banned lookup")
        return banned

    def move(self, oc: ObjectCore, old: Ban, new: Ban) -> None:
        """Let an object that was tested refer to a newer ban, unless it has moved meanwhile."""
        with self.cond:
            self._move(oc, old, new)

    def _move(self, oc: ObjectCore, old: Ban, new: Ban) -> None:
        """Let an object refer to a newer ban; the lock is held."""
        if oc.ban is old and old is not new:
            old.refcount -= 1
            old.let_go(oc)
            new.refcount += 1
            new.take(oc)

    def clean_tail(self) -> None:
        """Remove the oldest bans that nobody refers to."""
        with self.cond:
            while self.oldest is not self.newest and self.oldest.refcount == 0:
                gone = self.oldest
                following = gone.newer
                assert following is not None
                following.older = None
                self.oldest = following
                if gone.completed:
                    stats.main.dec("bans_completed")
                gone.completed = True  # whoever still looks at it must neither test nor count it
                if gone.on_object:
                    stats.main.dec("bans_obj")
                if gone.on_request:
                    stats.main.dec("bans_req")
                stats.main.dec("bans")
                stats.main.inc("bans_deleted")
                for keeper in self.keepers:
                    keeper.ban_gone(gone.time)

    # -- showing ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> list[Ban]:
        """The list, newest first."""
        found: list[Ban] = []
        with self.cond:
            ban: Ban | None = self.newest
            while ban is not None:
                found.append(ban)
                ban = ban.older
        return found

    def list_text(self) -> str:
        """The answer to ``ban.list``."""
        lines = ["Present bans:\n"]
        for ban in self.snapshot():
            state = "C" if ban.completed else "-"
            extra = ""
            if params.debug.lurker:
                extra = f"{'R' if ban.on_request else '-'}{'O' if ban.on_object else '-'} {id(ban):#x} "
            lines.append(f"{ban.time:10.6f} {ban.refcount:5d} {state}{extra}  {ban.show()}\n")
            if params.debug.lurker:
                with self.cond:
                    lines.extend(f"  oc = {id(oc):#x}\n" for oc in ban.objcores())
        with self.cond:
            self.kick()
        return "".join(lines)

    def list_json(self) -> list[dict[str, object]]:
        """The elements of the answer to ``ban.list -j``."""
        found: list[dict[str, object]] = []
        for ban in self.snapshot():
            row: dict[str, object] = {
                "time": round(ban.time, 6),
                "refs": ban.refcount,
                "completed": ban.completed,
                "spec": ban.show(quoted=True),
            }
            if params.debug.lurker:
                row["req_tests"] = ban.on_request
                row["obj_tests"] = ban.on_object
                row["pointer"] = f"{id(ban):#x}"
                with self.cond:
                    row["objcores"] = [f"{id(oc):#x}" for oc in ban.objcores()]
            found.append(row)
        with self.cond:
            self.kick()
        return found

    # -- the lurker ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the lurker."""
        from varnishpy.cache.ban_lurker import Lurker

        assert self._hash is not None
        self.stopping = False
        self.lurker = Lurker(self, self._hash)
        self.lurker.start()

    def wake(self) -> None:
        """The clock was set: the lurker is to look anew."""
        with self.cond:
            self.kick()

    def stop(self) -> None:
        """Take no more bans, stop the lurker and wait for its end."""
        with self.cond:
            self.stopping = True
            self.kick()
        if self.lurker is not None:
            self.lurker.join()
            self.lurker = None
