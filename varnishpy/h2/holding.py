"""Who holds a request, who lets go of it, who frees its stream.

Theory of operation
===================

A request is *held* by every request thread that may still touch it, and by every queued task that will. It has an end
only once: its log is closed, its octets are counted, its objects are let go. Whoever does that must be the last who
touches it, and two parties may be last: the session thread, when the response has left, or a request thread, when
it comes back after that. A `Holding` decides. It has four verbs:

* `take`: one more thread or task holds the request.
* `hand_over`: a request thread leaves it to the session thread, in one step with the word about it in the inbox.
  First with a response to send; or, when it has finished the request, with a stream to free.
* `give_back`: a request thread lets go, and leaves nothing behind. True: it is the last and the response is over, so
  it goes on holding, finishes the request, and hands the stream over.
* `over`: there is nothing more to wait for: the response has left, or was given up, or there will be none. True:
  nobody holds the request, so the caller finishes it. False: whoever holds it last will.

```
            take             hand_over                     over, nobody holds it
   IDLE ----------> RUNNING ------------> SENDING ----------------------------------> FREE
                       |                     |                                          ^
                       | over, held          | over, held        give_back, the last,   |
                       `----------.----------'                   then hand_over         |
                                  `---------------> ENDED ------------------------------'
```

In RUNNING, SENDING and ENDED the count of holders goes up with `take` and down with `give_back`. RUNNING with no
holder is a request on a waiting list. SENDING with a holder is one whose body is still being computed. A stream is
freed (``ending.free``) when it is closed and its holding is IDLE or FREE.

Threads. The count and the stage change under the session's mutex. `hand_over` is called with the mutex held (see
`Inbox.post`), the others take it. IDLE becomes RUNNING, and anything becomes FREE, only by the session thread or for
it to see in its inbox; so what it reads without the mutex holds still.
"""

from __future__ import annotations

import threading
from enum import IntEnum
from typing import Final, NoReturn

from varnishpy.base.panic import panic


class Stage(IntEnum):
    """How far a request has come, seen from its stream."""

    IDLE = 0  # no request was made, or it was never run
    RUNNING = 1  # request threads hold it, or it waits for an object
    SENDING = 2  # the session thread has its response
    ENDED = 3  # the response is over; the last request thread finishes the request
    FREE = 4  # finished


class Verb(IntEnum):
    """What is done to a holding."""

    TAKE = 0
    HAND_OVER = 1
    GIVE_BACK = 2
    OVER = 3


IDLE: Final = Stage.IDLE
RUNNING: Final = Stage.RUNNING
SENDING: Final = Stage.SENDING
ENDED: Final = Stage.ENDED
FREE: Final = Stage.FREE

# (stage, verb) -> the stage that follows while anybody holds the request, and when nobody does; a pair that is missing
# cannot happen, and trying it is a panic
STAGES: Final[dict[tuple[Stage, Verb], tuple[Stage, Stage | None]]] = {
    (IDLE, Verb.TAKE): (RUNNING, RUNNING),
    (RUNNING, Verb.TAKE): (RUNNING, RUNNING),
    (RUNNING, Verb.HAND_OVER): (SENDING, SENDING),
    (RUNNING, Verb.GIVE_BACK): (RUNNING, RUNNING),
    (RUNNING, Verb.OVER): (ENDED, FREE),
    (SENDING, Verb.TAKE): (SENDING, SENDING),
    (SENDING, Verb.GIVE_BACK): (SENDING, SENDING),
    (SENDING, Verb.OVER): (ENDED, FREE),
    (ENDED, Verb.TAKE): (ENDED, ENDED),
    (ENDED, Verb.HAND_OVER): (FREE, FREE),
    (ENDED, Verb.GIVE_BACK): (ENDED, ENDED),
    (ENDED, Verb.OVER): (ENDED, None),
}

# the same by index: [verb][stage]
_HELD: Final = tuple(tuple(STAGES.get((stage, verb), (None, None))[0] for stage in Stage) for verb in Verb)
_UNHELD: Final = tuple(tuple(STAGES.get((stage, verb), (None, None))[1] for stage in Stage) for verb in Verb)
_TAKE: Final = _HELD[Verb.TAKE]
_HAND_OVER: Final = _HELD[Verb.HAND_OVER]
_GIVE_BACK: Final = _HELD[Verb.GIVE_BACK]
_OVER_HELD: Final = _HELD[Verb.OVER]
_OVER_UNHELD: Final = _UNHELD[Verb.OVER]


class Holding:
    """See the module text. It does not refer to its stream: the two would be garbage for the collector to find.

    :param mutex: of the session
    :param number: of the stream whose request it is
    """

    __slots__ = ("handed_by", "holders", "mutex", "number", "stage")

    def __init__(self, mutex: threading.Lock, number: int) -> None:
        self.mutex = mutex
        self.number = number
        self.stage: Stage = IDLE
        self.holders = 0
        self.handed_by: object | None = None  # who let go in one step with handing the response over

    @property
    def busy(self) -> bool:
        """Is the request still to be finished? The stream must stay until then."""
        stage = self.stage
        return stage is not FREE and stage is not IDLE

    def take(self) -> None:
        """One more thread or task holds the request. On any thread; nobody else may be about to finish the request."""
        if self.stage is IDLE:  # the session thread's: nobody else knows of the request yet
            self.stage = RUNNING
            self.holders = 1
            return
        with self.mutex:
            stage = _TAKE[self.stage]
            if stage is None:
                self._impossible(Verb.TAKE)
            self.stage = stage
            self.holders += 1

    def hand_over(self, by: object | None) -> None:
        """The request thread leaves the response, or the finished request's stream, to the session thread.

        Call it with the mutex held.

        :param by: who lets go of the request in the same step and must not touch it any more; ``None``: it goes on
            computing the body, and gives back later
        """
        stage = _HAND_OVER[self.stage]
        if stage is None or self.holders < 1:
            self._impossible(Verb.HAND_OVER)
        self.stage = stage
        if by is not None:
            self.handed_by = by
            self.holders -= 1
            if stage is FREE and self.holders:
                self._impossible(Verb.HAND_OVER)

    def give_back(self) -> bool:
        """The request thread lets go. True: it is the last, and still holds the request: it must finish it, and
        `hand_over` its stream.
        """
        with self.mutex:
            stage = _GIVE_BACK[self.stage]
            if stage is None or self.holders < 1:
                self._impossible(Verb.GIVE_BACK)
            if stage is ENDED and self.holders == 1:
                return True
            self.holders -= 1
            return False

    def over(self) -> bool:
        """No response is to be waited for any more. True: nobody holds the request, the caller finishes it."""
        if self.holders:  # more only by this thread's doing; who handed over and let go did so in one step
            with self.mutex:
                if self.holders:
                    stage = _OVER_HELD[self.stage]
                    if stage is None:
                        self._impossible(Verb.OVER)
                    self.stage = stage
                    return False
        stage = _OVER_UNHELD[self.stage]
        if stage is None:
            self._impossible(Verb.OVER)
        self.stage = stage
        return True

    def _impossible(self, verb: Verb) -> NoReturn:
        panic(
            f"Assert error: stream {self.number}: {verb.name} of a request that is {self.stage.name},"
            f" held by {self.holders}"
        )
