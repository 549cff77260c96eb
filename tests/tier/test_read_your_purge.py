"""Read your purge: on two nodes whose clocks are five seconds apart, no answer is older than an acknowledged purge.

Random histories of requests, stores, purges, bans, outages and losses, each of which may come in the middle of another:
see model_nodes.py. What is promised, and checked of every answer:

* the node that purged answers nothing older from the moment its purge is acknowledged;
* so does another from the moment it has read the log that far;
* what comes from the engine or the origin is never older than any acknowledged purge, on no node;
* nothing is answered beyond its lifetime, and Age is right.

``VARNISHPY_HISTORIES`` says how many histories; `make soak` takes ten thousand.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.tier.memory_store import Content
from tests.tier.model_nodes import SKEW, URLS, ModelNode, ModelWorld
from varnishpy.base import clock

HISTORIES = int(os.environ.get("VARNISHPY_HISTORIES", "40"))
HOURS = 6 * 3600  # seconds; ten thousand take their time
STEPS = 25

numbers = some.integers(0, 1)
urls = some.sampled_from(URLS)
hows = some.sampled_from(["purge", "purge", "key", "ban"])
gets = some.tuples(some.just("get"), numbers, urls)
invalidations = some.tuples(some.just("invalidate"), numbers, urls, hows)
events = some.one_of(
    gets,
    gets,
    invalidations,
    some.tuples(some.sampled_from(["follow", "write"]), numbers),
)
interruptions = some.lists(some.tuples(some.integers(0, 4), events), min_size=1, max_size=3)


def machine(nodes: list[ModelNode], total: list[int]) -> type[RuleBasedStateMachine]:
    class Histories(RuleBasedStateMachine):
        """One history."""

        def __init__(self) -> None:
            super().__init__()
            self.world = ModelWorld(nodes)
            self.kept: list[Content] = []

        def teardown(self) -> None:
            self.world.settle()
            total[0] += self.world.judged

        def event(self, words: tuple[Any, ...]) -> None:
            kind, number, *rest = words
            act: Callable[..., None] = getattr(self.world, kind)
            act(self.world.nodes[number], *rest)

        @rule(words=events)
        def simply(self, words: tuple[Any, ...]) -> None:
            self.event(words)

        @rule(words=events, plans=interruptions)
        def interrupted(self, words: tuple[Any, ...], plans: list[tuple[int, tuple[Any, ...]]]) -> None:
            self.world.plans = [(skip, partial(self.event, inner)) for skip, inner in plans]
            self.event(words)
            self.world.plans = []
            self.world.settle()

        @rule(url=urls, number=numbers)
        def shared(self, url: str, number: int) -> None:
            """The usual way of an object: fetched by one, stored, found by the other."""
            first, second = self.world.nodes[number], self.world.nodes[1 - number]
            self.world.get(first, url)
            self.world.write(first)
            self.world.get(second, url)

        @rule()
        def outage(self) -> None:
            self.world.store.down = not self.world.store.down

        @rule(seconds=some.sampled_from([1.0, 7.0, 20.0]))
        def later(self, seconds: float) -> None:
            self.world.later(seconds)

        @rule()
        def keep(self) -> None:
            self.kept.append(self.world.store.snapshot())

        @rule(empty=some.booleans())
        def lose(self, empty: bool) -> None:
            if empty or self.kept:
                self.world.lose(Content() if empty else self.kept[-1])
                self.kept.clear()

    return Histories


class Still:
    """A clock that only moves when it is told to (`clock.travel`): a machine that is busy ages no answers."""

    @staticmethod
    def time() -> float:
        return 1_800_000_000.0


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ModelNode]]:
    monkeypatch.setattr(clock, "time", Still)
    ahead = clock.travel(0.0)
    made = [ModelNode("first", 0.0), ModelNode("second", SKEW)]
    yield made
    clock.travel(ahead - clock.travel(0.0))
    for node in made:
        node.counters.destroy()
        node.cache.env.pools.stop(1.0)


@pytest.mark.timeout(HOURS)
def test_no_answer_is_older_than_an_acknowledged_purge(pair: list[ModelNode]) -> None:
    total = [0]
    run_state_machine_as_test(
        machine(pair, total),
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert total[0] > HISTORIES, "answers were judged"
    found = [node.counters.get("hit") for node in pair]
    assert any(found), f"objects of the engine were used: {found}"


@pytest.mark.parametrize("how", ["purge", "key", "ban"])
def test_what_waited_for_the_engine_holds_for_what_is_stored(pair: list[ModelNode], how: str) -> None:
    """It is applied at home before it has a number, which is what stored objects are held against."""
    world = ModelWorld(pair)
    first, second = pair
    world.get(first, "/a")
    world.write(first)
    world.get(second, "/a")
    world.store.down = True
    world.invalidate(second, "/a", how)
    world.store.down = False
    for _ in range(2):  # sent, and read in the log
        world.follow(second)
    assert not second.queued
    world.get(second, "/a")


def test_a_loss_is_noticed_although_the_counter_has_caught_up(pair: list[ModelNode]) -> None:
    """Who has not read a purge takes the next number of an engine that has lost it: who made it must notice."""
    world = ModelWorld(pair)
    first, second = pair
    world.get(first, "/b")
    world.invalidate(second, "/b", "purge")
    world.store.down = True
    world.invalidate(first, "/a", "purge")
    world.lose(Content())
    assert not first.queued
    world.get(first, "/b")


@pytest.mark.parametrize("how", ["purge", "key", "ban"])
def test_a_purge_holds_for_who_has_no_copy_and_has_not_read_the_log(pair: list[ModelNode], how: str) -> None:
    """What it finds in the engine is held against marks, and bans that it has not read keep it from taking anything."""
    world = ModelWorld(pair)
    first, second = pair
    world.get(first, "/a")
    world.write(first)
    world.invalidate(first, "/a", how)
    world.get(second, "/a")


def test_old_data_of_an_engine_are_not_taken_for_new(pair: list[ModelNode]) -> None:
    """It comes back with what was purged meanwhile, and who has not read of the purge asks it."""
    world = ModelWorld(pair)
    first, second = pair
    world.get(second, "/b")
    world.write(second)
    old = world.store.snapshot()
    world.invalidate(second, "/b", "purge")
    world.lose(old)
    world.get(first, "/b")
