from __future__ import annotations

import gc

import pytest

from varnishpy.child.collecting import Collecting


class World:
    """A collector of which each full collection takes so long."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cycles = 0
        self.said: list[str] = []
        self.collecting = Collecting(
            lambda: self.cycles,
            lambda: self.now,
            lambda: self.said.append("freeze"),
            lambda: self.said.append("unfreeze"),
        )

    def collect(self, seconds: float, generation: int = 2) -> None:
        self.collecting.heard("start", {"generation": generation})
        self.now += seconds
        self.collecting.heard("stop", {"generation": generation})


@pytest.fixture
def world() -> World:
    return World()


def test_what_is_there_is_frozen_once_a_collection_takes_long(world: World) -> None:
    world.collect(0.01)
    world.collect(1.0, generation=1)
    assert world.said == []
    world.collect(0.2)
    assert world.said == ["freeze"]


def test_what_may_have_been_left_behind_is_looked_at_in_the_end(world: World) -> None:
    world.cycles = 2000
    for _ in range(3):
        world.collect(0.2)
    assert world.said == ["freeze", "freeze", "freeze", "unfreeze"]
    world.collect(0.2)
    assert world.said[4:] == ["freeze"]
    world.cycles = 0
    for _ in range(100):
        world.collect(0.2)
    assert "unfreeze" not in world.said[4:]


def test_it_hears_of_full_collections(world: World) -> None:
    heard = []
    world.collecting.start()
    try:
        world.cycles = 10_000
        world.now = -1000.0
        gc.callbacks.append(lambda phase, info: heard.append(phase))
        gc.collect()
    finally:
        gc.callbacks.pop()
        world.collecting.stop()
    assert heard == ["start", "stop"]
    assert world.said == []
