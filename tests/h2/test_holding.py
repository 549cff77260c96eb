"""Who holds a request: every stage and verb of the table, and the ways through it that happen."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.h2.conversation import Conversation
from varnishpy.base.panic import Panic
from varnishpy.h2.holding import STAGES, Holding, Stage, Verb
from varnishpy.h2.stream import Stream


@pytest.fixture
def holding(talk: Conversation) -> Holding:
    stream = Stream(talk.h2, 1, 1000.0)
    return stream.holding


def do(holding: Holding, verb: Verb) -> bool | None:
    """Do one verb the way its callers do."""
    if verb is Verb.TAKE:
        holding.take()
        return None
    if verb is Verb.HAND_OVER:
        with holding.mutex:
            holding.hand_over("me")
        return None
    return holding.give_back() if verb is Verb.GIVE_BACK else holding.over()


# how a fresh holding comes to each stage, held by one thread where it can be held
WAYS: dict[Stage, list[Verb]] = {
    Stage.IDLE: [],
    Stage.RUNNING: [Verb.TAKE],
    Stage.SENDING: [Verb.TAKE, Verb.TAKE, Verb.HAND_OVER],
    Stage.ENDED: [Verb.TAKE, Verb.OVER],
    Stage.FREE: [Verb.TAKE, Verb.HAND_OVER, Verb.OVER],
}


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("verb", Verb)
def test_every_verb_in_every_stage(holding: Holding, stage: Stage, verb: Verb) -> None:
    for step in WAYS[stage]:
        do(holding, step)
    assert holding.stage is stage
    row = STAGES.get((stage, verb))
    if row is None:
        with pytest.raises(Panic, match=f"stream 1: {verb.name} of a request that is {stage.name}"):
            do(holding, verb)
        return
    held, unheld = row
    do(holding, verb)
    assert holding.stage is (held if holding.holders or verb is Verb.HAND_OVER else unheld)


def test_a_stream_stays_while_its_request_is_to_be_finished(holding: Holding) -> None:
    assert not holding.busy
    for verb in (Verb.TAKE, Verb.HAND_OVER):
        do(holding, verb)
        assert holding.busy
    assert holding.over()
    assert not holding.busy


def test_the_response_is_over_while_a_thread_still_computes(holding: Holding) -> None:
    holding.take()
    with holding.mutex:
        holding.hand_over(None)
    assert holding.handed_by is None
    assert not holding.over()
    assert not holding.over()
    assert holding.give_back()
    assert holding.busy, "it finishes the request first"
    do(holding, Verb.HAND_OVER)
    assert not holding.busy


def test_a_thread_that_left_late_finishes_what_another_ended(holding: Holding) -> None:
    """A request was taken off its waiting list before the thread that put it there had left."""
    holding.take()
    holding.take()
    assert not holding.over()
    assert not holding.give_back()
    assert holding.give_back()


def test_nobody_lets_go_of_what_nobody_holds(holding: Holding) -> None:
    holding.take()
    assert not holding.give_back()
    with pytest.raises(Panic, match="held by 0"):
        holding.give_back()
    with pytest.raises(Panic, match="held by 0"):
        do(holding, Verb.HAND_OVER)


def test_a_finished_request_is_handed_over_by_its_last_holder_only(holding: Holding) -> None:
    holding.take()
    holding.take()
    holding.over()
    with pytest.raises(Panic):
        do(holding, Verb.HAND_OVER)


def test_many_threads_and_one_end(talk: Conversation) -> None:
    """However takers, leavers and the end of the response meet, exactly one of them finishes the request."""
    for number in range(1, 401, 2):
        holding = Stream(talk.h2, number, 1000.0).holding
        holding.take()
        with talk.h2.mutex:
            holding.hand_over(None)
        for _ in range(2):
            holding.take()
        finished: list[str] = []
        barrier = threading.Barrier(4)

        def act(verb: Callable[[], bool], name: str, barrier: threading.Barrier, finished: list[str]) -> None:
            barrier.wait(10)
            if verb():
                finished.append(name)

        threads = [
            threading.Thread(target=act, args=(verb, name, barrier, finished))
            for verb, name in (
                (holding.give_back, "a"),
                (holding.give_back, "b"),
                (holding.give_back, "c"),
                (holding.over, "end"),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(finished) == 1
