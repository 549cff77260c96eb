"""Histories of a cache, drawn by lot: whatever happens, clients get what the model allows.

``VARNISHPY_HISTORIES`` says how many; `make soak` takes ten thousand.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.model.asking import Answer, Ask
from tests.model.cache import Book
from tests.model.pages import FAILURES
from tests.model.world import PAGES, World, world
from tests.waiting import wait_for

HISTORIES = int(os.environ.get("VARNISHPY_HISTORIES", "300"))
STEPS = 14
HOURS = 200_000  # seconds: ten thousand histories take their time

paths = st.sampled_from([page.path for page in PAGES])
simple = st.sampled_from([page.path for page in PAGES if not page.includes])
variants = st.sampled_from("ab")
asks = st.builds(Ask, paths, variants, http2=st.booleans(), gzip=st.booleans())
plans = st.fixed_dictionaries(
    {
        "ttl": st.sampled_from([0, 100, 100, 1000]),
        "grace": st.sampled_from([0, 0, 300]),
        "keep": st.sampled_from([0, 1000]),
        "size": st.sampled_from([0, 10, 5000, 70_000, 300_000]),
        "chunked": st.booleans(),
        "gzip": st.booleans(),
        "stream": st.booleans(),
    }
)
# a new child takes a while: mostly the cache is only emptied, which must come to the same
ends = st.sampled_from(["empty"] * 100 + ["stop", "kill"])


Rule = Callable[..., None]


def step(**strategies: st.SearchStrategy[Any]) -> Callable[[Rule], Rule]:
    """A rule whose failure is remembered with all that led to it: threads and time are not the same in the next run."""

    drawn_from: Any = strategies  # the overloads of `rule` know no keywords by name

    def decorate(function: Rule) -> Rule:
        @functools.wraps(function)
        def run(self: History, **drawn: object) -> None:
            self.story.append(f"{function.__name__} {drawn}")
            try:
                function(self, **drawn)
            except Exception as error:
                self.world.remember(self.story, error)
                raise

        make: Any = rule(**drawn_from)
        return cast("Rule", make(run))

    return decorate


class History(RuleBasedStateMachine):
    """One history. Each rule is one thing that happens."""

    def __init__(self, around: World) -> None:
        super().__init__()
        self.world = around
        self.story: list[str] = []
        try:
            around.begin()
        except Exception as error:
            around.remember(["between two histories"], error)
            raise
        self.book = Book(around.site, lambda: around.ahead)

    def teardown(self) -> None:
        """Every few histories all is taken out: nothing may be left."""
        if self.world.histories % 10 == 0:
            self.world.check_empty()

    # -- requests --------------------------------------------------------------------------------------------------

    def _ask(self, asks: list[Ask]) -> list[Answer]:
        before = self.book.moment(asks)
        answers = self.world.clients.ask(asks)
        stale = []
        for index, (ask, answer) in enumerate(zip(asks, answers, strict=True)):
            try:
                if self.book.judge(ask, answer, before, index):
                    stale.append(ask)
            except AssertionError as error:
                log = self.world.log_of(answer.headers.get("x-varnish", "").split(" ")[0])
                raise AssertionError(f"{ask}: {error}\n{log}") from None
        if all(before.hits):
            assert self.world.site.asked == before.asked, "the origin was asked for what is fresh"
        for ask in stale:
            self._refreshed(ask)
        return answers

    def _refreshed(self, ask: Ask) -> None:
        """Behind a stale answer the page is fetched anew, unless that fails."""
        again = Ask(ask.path, ask.variant)

        def fresh() -> bool:
            site = self.world.site
            page = site.pages[ask.path]
            if any(site.plans[path].fail for path in (page.path, *page.includes)):
                return True
            before = self.book.moment([again])
            return not self.book.judge(again, self.world.clients.ask([again])[0], before, 0)

        wait_for(fresh, f"a fresh {ask.path}")

    @step(ask=asks)
    def one(self, ask: Ask) -> None:
        self._ask([ask])

    @step(ask=asks, times=st.integers(2, 3))
    def again(self, ask: Ask, times: int) -> None:
        for _ in range(times):
            self._ask([ask])

    @step(many=st.lists(asks, min_size=2, max_size=6))
    def at_once(self, many: list[Ask]) -> None:
        self._ask(many)

    @step(path=paths, http2=st.booleans(), count=st.integers(2, 4))
    def all_the_same(self, path: str, http2: bool, count: int) -> None:
        self._ask([Ask(path, http2=http2)] * count)

    @step(path=simple, variant=variants, http2=st.booleans(), first=st.integers(0, 40), more=st.integers(0, 6000))
    def part(self, path: str, variant: str, http2: bool, first: int, more: int) -> None:
        self._ask([Ask(path, variant, http2=http2, range=(first, first + more))])

    @step(ask=asks)
    def head(self, ask: Ask) -> None:
        self._ask([Ask(ask.path, ask.variant, "HEAD", ask.http2)])

    @step(path=simple, http2=st.booleans())
    def conditional(self, path: str, http2: bool) -> None:
        answer = self._ask([Ask(path)])[0]
        self._ask([Ask(path, http2=http2, etag=str(answer.serial))])

    @step(ask=asks)
    def passed(self, ask: Ask) -> None:
        self._ask([Ask(ask.path, ask.variant, http2=ask.http2, passed=True)])

    @step(path=simple, http2=st.booleans(), text=st.text("xyz", min_size=1, max_size=50))
    def post(self, path: str, http2: bool, text: str) -> None:
        answer = self._ask([Ask(path, method="POST", http2=http2, body=text)])[0]
        plain = answer.plain()
        assert not answer.serial or answer.broken or (plain is not None and text.encode() in plain[:100])

    @step(path=paths, variant=variants)
    def abandon(self, path: str, variant: str) -> None:
        self.world.clients.abandon(Ask(path, variant))
        self._ask([Ask(path, variant)])

    # -- the origin ------------------------------------------------------------------------------------------------

    @step(path=paths, plan=plans)
    def plan(self, path: str, plan: dict[str, object]) -> None:
        self.world.site.set(path, **plan)

    @step(path=paths)
    def change(self, path: str) -> None:
        self.world.site.change(path)

    @step(path=paths, how=st.sampled_from(FAILURES))
    def fail(self, path: str, how: str) -> None:
        self.world.site.set(path, fail=how)

    @step()
    def mend(self) -> None:
        for path in self.world.site.pages:
            self.world.site.set(path, fail="")

    # -- time, and what takes objects away ---------------------------------------------------------------------------

    @step(seconds=st.sampled_from([10, 50, 110, 150, 400, 1200, 7200, -20, -60, -3600]))
    def travel(self, seconds: int) -> None:
        self.world.travel(self.world.ahead, seconds)
        self.book.moved()

    @step(path=paths)
    def purge(self, path: str) -> None:
        self.world.tell("PURGE", path)
        self.book.kill(lambda told: told.page.path == path)

    @step(key=st.sampled_from(["k1", "k2"]))
    def purge_key(self, key: str) -> None:
        self.world.tell("GET", "/", **{"X-Purge-Key": key})
        self.book.kill(lambda told: key in told.page.keys)

    @step(key=st.sampled_from(["k1", "k2"]))
    def soften_key(self, key: str) -> None:
        self.world.tell("GET", "/", **{"X-Soft-Key": key})
        self.book.soften(key)

    @step(path=paths, field=st.sampled_from(["req.url", "obj.http.X-Path"]))
    def ban(self, path: str, field: str) -> None:
        self.world.cache.cli("ban", field, "==", path)
        self.book.kill(lambda told: told.page.path == path)

    @step()
    def ban_old(self) -> None:
        self.world.cache.cli("ban", "obj.age", ">", "60s")
        self.book.kill_older(60)

    @step(how=ends)
    def end(self, how: str) -> None:
        if how == "empty":
            self.world.cache.cli("debug.empty")
        else:
            self.world.restart(kill=how == "kill")
        self.book.kill(lambda told: True)


@pytest.fixture
def around(short_tmp: Path) -> Iterator[World]:
    with world(short_tmp) as made:
        yield made


@pytest.mark.timeout(HOURS)
def test_histories(around: World) -> None:
    plan = settings(
        max_examples=HISTORIES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
    )
    history: Any = lambda: History(around)  # noqa: E731 (instead of a class without arguments)
    try:
        run_state_machine_as_test(history, settings=plan)
    except BaseException as error:
        for story in around.failures[:1]:
            error.add_note(f"The first history that failed:\n{story}")
        raise
    assert around.histories >= HISTORIES
