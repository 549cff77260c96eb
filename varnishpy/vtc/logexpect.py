"""``logexpect``: reads a daemon's log and matches records against a list of expectations.

The list is worked off in order.  ``expect SKIP VXID TAG REGEX`` lets at most SKIP records pass before one matches;
a block of ``expect ?`` must match one record each, in any order; ``fail add`` names records that must not come until
``fail clear``.  The test succeeds when the list is done and nothing is left that may fail.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import NoReturn

from varnishpy.log.cursor import LogError
from varnishpy.log.grouping import MODES, Grouper, Transaction
from varnishpy.log.query import QueryError, parse_query
from varnishpy.log.query import Test as Query
from varnishpy.log.record import Record
from varnishpy.log.selection import Selection, SelectionError, TagPatternError, match_tags
from varnishpy.log.tags import Tag

from . import kinds, numbers
from .compare import matches
from .context import Test
from .errors import NOWHERE, Place, Position, ScriptError
from .party import PATIENCE, ThreadedParty
from .shared_memory import IGNORED_TAGS, LogTail, show
from .table import Call, Command, Item, Opt, table
from .text import Text

POLL = 0.005
ANY, LAST = "*", "="


class Kind(Enum):
    EXPECT = auto()
    ALTERNATIVE = auto()
    FAIL = auto()
    CLEAR = auto()
    ABORT = auto()


@dataclass(slots=True)
class Expectation:
    """One line of the list; ``None`` for vxid or tag is anything, ``LAST`` what the previous match had."""

    kind: Kind
    shown: str
    skip: int | None = 0
    vxid: int | str | None = None
    tags: frozenset[int] | str | None = None
    regex: str | None = None
    at: Position = NOWHERE
    seen: bool = False


class Outcome(Enum):
    MATCH = auto()
    SKIP = auto()
    FAIL = auto()


class Matcher:
    """The list being worked off.  Knows nothing of where records come from."""

    def __init__(self, expectations: list[Expectation], say: Callable[[int, str], None], show_misses: bool) -> None:
        self._list = expectations
        self._say = say
        self._show_misses = show_misses
        self._at = -1
        self._skipped = 0
        self._last_vxid = -1
        self._last_tag = 0
        self._failing: list[Expectation] = []
        self.failed: Expectation | None = None  # the one that a record has failed
        for expectation in expectations:
            expectation.seen = False
        self._advance()

    @property
    def _current(self) -> Expectation | None:
        return self._list[self._at] if self._at < len(self._list) else None

    @property
    def done(self) -> bool:
        return self._current is None and not self._failing

    @property
    def wanted(self) -> str:
        """The expectation whose turn it is."""
        return self._current.shown if self._current is not None else "fail clear"

    def _advance(self) -> None:
        """On to the next expectation that needs a record; a block of alternatives is left when all were seen."""
        current = self._current if self._at >= 0 else None
        if current is None or current.kind is not Kind.ALTERNATIVE:
            self._at += 1
        while (current := self._current) is not None:
            if current.seen:
                self._at += 1
            elif current.kind is Kind.CLEAR:
                self._say(3, "cond | fail clear")
                self._failing.clear()
                self._at += 1
            elif current.kind is Kind.FAIL:
                self._say(3, f"cond | {current.shown}")
                self._failing.append(current)
                self._at += 1
            elif current.kind is Kind.ABORT:
                os.kill(os.getpid(), signal.SIGABRT)
            else:
                self._say(3, f"test | {current.shown}")
                return

    def take(self, record: Record) -> Outcome:
        """Judge one record."""
        for failing in self._failing:
            if self._fits(failing, record):
                return self._fail(failing, "fail", record)
            if self._show_misses:
                self._tell("fmiss", record)
        current = self._current
        if current is None:
            return Outcome.SKIP
        if current.kind is Kind.ALTERNATIVE:
            return self._alternatives(record)
        if self._fits(current, record):
            return self._matched(record)
        if current.skip is None or current.skip > self._skipped:
            if current.vxid is not None and self._same_vxid(current, record) and record.tag == Tag.End:
                return self._fail(current, "end", record)
            if self._show_misses:
                self._tell("miss", record)
            self._skipped += 1
            return Outcome.SKIP
        return self._fail(current, "err", record)

    def _alternatives(self, record: Record) -> Outcome:
        for expectation in self._list[self._at :]:
            if expectation.kind is not Kind.ALTERNATIVE:
                break
            if not expectation.seen and self._fits(expectation, record):
                expectation.seen = True
                return self._matched(record)
        return self._fail(self._list[self._at], "err", record)

    def _fail(self, expectation: Expectation, legend: str, record: Record) -> Outcome:
        self._tell(legend, record)
        self.failed = expectation
        return Outcome.FAIL

    def _matched(self, record: Record) -> Outcome:
        self._tell("match", record)
        self._last_vxid, self._last_tag = record.vxid, record.tag
        self._skipped = 0
        self._advance()
        return Outcome.MATCH

    def _same_vxid(self, expectation: Expectation, record: Record) -> bool:
        return record.vxid == (self._last_vxid if expectation.vxid == LAST else expectation.vxid)

    def _fits(self, expectation: Expectation, record: Record) -> bool:
        if expectation.vxid is not None and not self._same_vxid(expectation, record):
            return False
        tags = expectation.tags
        if tags == LAST:
            return record.tag == self._last_tag
        if tags is None:
            return True
        assert isinstance(tags, frozenset)
        if record.tag not in tags:
            return False
        return expectation.regex is None or matches(expectation.regex, record.text)

    def _tell(self, legend: str, record: Record) -> None:
        self._say(4, f"{legend:<5}| {show(record)}")


class LogExpect(ThreadedParty):
    title = "logexp"

    def __init__(self, test: Test, name: str, daemon: str) -> None:
        super().__init__(test, name)
        self.daemon = daemon
        self.expectations: list[Expectation] = []
        self.from_head = False
        self.grouping = "vxid"
        self.query: Text | None = None
        self.show_misses = False
        self.must_fail = False
        self.selection = Selection()
        self.timeout = 120.0
        self.limit = 1000

    def set_spec(self, spec: Text) -> None:
        self.expectations = []
        self.test.interpreter(self.voice, "logexpect", self).run(spec)

    def start(self) -> None:
        query: Query | None = None
        if self.query is not None:
            try:
                query = parse_query(self.query, self.selection.caseless)
            except QueryError as error:
                self.voice.fatal(f"Query expression error: {error}")
        tail = LogTail(Path(self.test.tmpdir, self.daemon))
        if not tail.open(not self.from_head):
            self.voice.fatal(f"VSL_CursorVSM: {tail.problem}")
        selection = self.selection
        grouper = Grouper(self.grouping, self.limit, self.timeout, selection.client, selection.backend, selection.esi)
        expectations = list(self.expectations)
        self.run(lambda: self._follow(expectations, tail, grouper, query))

    def _follow(self, expectations: list[Expectation], tail: LogTail, grouper: Grouper, query: Query | None) -> None:
        voice = self.voice
        voice.say(4, "begin|")
        if self.query is not None:
            voice.say(4, f"qry  | {self.query}")
        matcher = Matcher(expectations, voice.say, self.show_misses)
        idle = 0
        while not matcher.done and not self.test.over:
            try:
                chunk = tail.next()
            except LogError as error:
                voice.fatal(f"bad  | dispatch failed ({error})")
            if chunk is None:
                idle += 1
                if idle % 20 == 0:
                    tail.refresh()
                with self.test.waiting(f"log records: {matcher.wanted}"):
                    self.test.sleep(POLL)
                continue
            for group in grouper.feed(chunk):
                if (query is None or query(group)) and not self._judge(matcher, group):
                    if self.must_fail:
                        voice.say(4, "done | failed as expected")
                        return
                    self._failed(matcher)
                if matcher.done:
                    break
        voice.say(4, "done |" if matcher.done else "bad  | outstanding expectations")

    def _failed(self, matcher: Matcher) -> NoReturn:
        assert matcher.failed is not None
        at, shown = matcher.failed.at, matcher.failed.shown
        self.voice.say(0, str(Place(at, shown)))
        self.voice.fatal(f"bad  | expectation failed: {shown}", at)

    def _judge(self, matcher: Matcher, group: list[Transaction]) -> bool:
        """Show a group's records to the list; False if one of them fails it."""
        for transaction in group:
            for record in transaction.records:
                if record.tag in IGNORED_TAGS or not self.selection.matches(record):
                    continue
                if matcher.take(record) is Outcome.FAIL:
                    return False
                if matcher.done:
                    return True
        return True

    def not_started(self) -> str:
        return "logexp not -started '-wait'"

    def reset(self) -> None:
        if self.thread is not None:
            self.voice.say(2, "Waiting for logexp")
            self.thread.join_anyway(PATIENCE)


# The spec


def _parse(call: Call, kind: Kind, skip: int | None, words: list[Text]) -> Expectation:
    """VXID TAG [REGEX]"""
    vxid: int | str | None = None
    if words[0] == LAST:
        vxid = LAST
    elif words[0] != ANY:
        vxid = numbers.unsigned(words[0])
    tags: frozenset[int] | str | None = None
    if words[1] == LAST:
        tags = LAST
    elif words[1] != ANY:
        tags = match_tags(words[1])
    regex = str(words[2]) if len(words) > 2 else None
    shown = " ".join(call.words[:4]) + " " + (regex or "")
    return Expectation(kind, shown, skip, vxid, tags, regex, call.words[0].locate())


def _expect(target: LogExpect, call: Call) -> None:
    skip_word, *rest = call.plain
    kind, skip = Kind.EXPECT, 0
    if skip_word == "?":
        kind = Kind.ALTERNATIVE
    elif skip_word != ANY:
        skip = numbers.unsigned(skip_word)
    target.expectations.append(_parse(call, kind, None if skip_word == ANY else skip, rest))


def _fail(target: LogExpect, call: Call) -> None:
    action, *rest = call.plain
    if action == "clear":
        target.expectations.append(Expectation(Kind.CLEAR, "fail clear"))
        return
    target.expectations.append(_parse(call, Kind.FAIL, 0, rest))


def _abort(target: LogExpect, _call: Call) -> None:
    target.expectations.append(Expectation(Kind.ABORT, "abort"))


def _check_fail(items: Sequence[Item]) -> None:
    if items[0].args[0] == "add" and len(items) < 3:
        raise ScriptError("fail add: expected VXID TAG [REGEX]", items[0].at)


def _number_or(*others: str) -> kinds.Kind:
    def judge(word: str) -> str:
        good = word in others or (numbers.whole_unsigned(word) is not None and not word.startswith("-"))
        return "" if good else f"a number, {' or '.join(others)}"

    return judge


def _tag(word: str) -> str:
    try:
        if word not in (ANY, LAST):
            match_tags(word)
    except TagPatternError as error:
        return f"the name of a log tag ({error.kind})"
    return ""


def _query(word: str) -> str:
    try:
        parse_query(word)
    except QueryError as error:
        return f"a query expression ({error})"
    return ""


_KINDS = {"SKIP": _number_or(ANY, "?"), "VXID": _number_or(ANY, LAST), "TAG": _tag}

LOGEXPECT_SPEC = table(
    Command(
        "expect", _expect, "SKIP VXID TAG [REGEX]", text="expect, {0} records later, {2} {3}", mixed=False, kinds=_KINDS
    ),
    Command(
        "fail",
        _fail,
        "add|clear [VXID] [TAG] [REGEX]",
        text="from here on fail ({0}): {2} {3}",
        mixed=False,
        kinds=_KINDS,
        check=_check_fail,
    ),
    Command("abort", _abort, "[WORD...]", text="abort the test program", mixed=False),
)


def _logexpect(test: Test, call: Call) -> None:
    name = str(call.plain[0])
    target = test.find(LogExpect, name)
    items = call.items[1:]
    if target is None:
        if not items or items[0].option != "-v":
            raise ScriptError("new logexp lacks -v (it must come first)", call.words[0].locate())
        target = test.add(LogExpect(test, name, str(items[0].args[0])))
        items = items[1:]
    for item in items:
        if target.wait_if_asked(item.option):
            continue
        if target.thread is not None:
            target.wait()
        _option(target, item.option, item.args)


def _option(target: LogExpect, option: str, args: list[Text]) -> None:
    match option:
        case "-v":
            if args[0] != target.daemon:
                raise ScriptError("-v argument cannot change", args[0].locate())
        case "-d":
            target.from_head = numbers.integer(args[0]) != 0
        case "-g":
            target.grouping = str(args[0])
        case "-q":
            target.query = args[0]
        case "-m":
            target.show_misses = not target.show_misses
        case "-err":
            target.must_fail = not target.must_fail
        case "-start":
            target.start()
        case "-run":
            target.start()
            target.wait()
        case "-T":
            target.timeout = numbers.number(args[0])
        case "-L":
            target.limit = numbers.integer(args[0])
        case "-C":
            target.selection.caseless = True
        case "-c":
            target.selection.client = True
        case "-b":
            target.selection.backend = True
        case "-E":
            target.selection.esi = True
        case "-i" | "-I" | "-x" | "-X":
            try:
                target.selection.option(option[1], args[0])
            except SelectionError as error:
                raise ScriptError(str(error), args[0].locate()) from None
        case _:
            target.set_spec(args[0])


LOGEXPECT = Command(
    "logexpect",
    _logexpect,
    "NAME [SPEC...]",
    {
        "-v": Opt("DAEMON", "of {0}"),
        "-d": Opt("0|1", "from the beginning: {0}"),
        "-g": Opt("GROUPING", "grouped by {0}", kinds={"GROUPING": kinds.one_of(MODES)}),
        "-q": Opt("QUERY", "selected by {0}", kinds={"QUERY": _query}),
        "-m": Opt("", "logging misses too"),
        "-err": Opt("", "which must fail"),
        "-start": Opt("", "start it"),
        "-wait": Opt("", "wait for its end"),
        "-run": Opt("", "start it and wait for its end"),
        "-T": Opt("SECONDS", "transactions end after {0} s"),
        "-L": Opt("NUMBER", "at most {0} open transactions"),
        "-C": Opt("", "caseless"),
        "-c": Opt("", "client side"),
        "-b": Opt("", "backend side"),
        "-E": Opt("", "with ESI requests"),
        "-i": Opt("TAGS", "only {0}"),
        "-I": Opt("[TAGS:]REGEX", "only {0}"),
        "-x": Opt("TAGS", "without {0}"),
        "-X": Opt("[TAGS:]REGEX", "without {0}"),
    },
    "log expectation {0}",
    named="l",
    language="logexpect",
)
