"""Delivery processors: what a stored body goes through on its way to a client, and a request's on its way to a backend
(``sent_body.py``).

A processor turns a stream of pieces into another one; streams are generators, so nothing is computed before the
transport asks for it. Which thread runs them depends on the transport:

* where ``pull`` may take its time (HTTP/1, ESI includes) the transport gets a `PullSource` around the last stream,
* where it must not (HTTP/2) the transport gets a `GrowingSource`, and a request thread runs the `Pump`, which pushes
  pieces into it. When the client is slow the request leaves its thread, and the pump goes on on another one later: a
  processor may find itself on a different thread after each piece, so it asks its context for the worker every time.

An empty piece means that the next one may be long in coming (an ESI include is about to begin): who holds octets back
lets them go. Processors hand it on.

A body that needs no processor, or only a range cut out of it, is never touched here: the transport pulls views of
storage.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, cast

from varnishpy.base.compiled import mypyc_attr
from varnishpy.base.panic import present
from varnishpy.log.tag_numbers import VDP_ACCT
from varnishpy.log.tasklog import is_masked
from varnishpy.request.growing import GrowingSource, Pieces, ReaderGone
from varnishpy.storage.source import END, LATER, Piece, Source, SourceError, _Mark
from varnishpy.vcl.tasks import ClientTask

if TYPE_CHECKING:
    from varnishpy.http.message import Message
    from varnishpy.log.tasklog import TaskLog
    from varnishpy.request.busyobj import BusyObject
    from varnishpy.request.request import Request
    from varnishpy.storage.object import StoredObject
    from varnishpy.threads.worker import Worker


PIECE: Final = 65536  # octets asked of storage at a time
PROCESSOR_ROOM: Final = 72  # octets of the task's workspace: what the reference keeps of a processor there


class ProcessorError(Exception):
    """A processor cannot be used; the response is not sent."""


def worker_of(req: Request) -> Worker:
    """The worker on which a request's body, or that of the request it is included in, is computed at this moment."""
    wrk = req.topreq.wrk
    assert wrk is not None
    return wrk


def _worker(task: Request | BusyObject) -> Worker:
    """The worker that computes a body of this task at this moment."""
    if isinstance(task, ClientTask):
        return worker_of(task)
    return present(task.wrk, "a fetch sends from a worker")


class DeliveryContext:
    """What a processor may look at and change before the first octet leaves.

    ``length`` is the size of the body after the processors opened so far, -1 if unknown. ``stobj`` is the stored
    object for the first processor and None for later ones: what they see is no longer what is stored.

    ``task`` is the request that is answered, or the fetch whose request is sent: then ``response`` is bereq.
    """

    __slots__ = ("finished", "length", "log", "response", "stobj", "task")

    def __init__(
        self,
        task: Request | BusyObject,
        log: TaskLog,
        response: Message,
        length: int,
        stobj: StoredObject | None,
        finished: bool,
    ) -> None:
        self.task = task
        self.log = log
        self.response = response
        self.length = length
        self.stobj = stobj
        self.finished = finished  # the object is complete in storage, its attributes are final

    @property
    def req(self) -> Request | None:
        """The request that is answered; None where the body goes to a backend."""
        task = self.task
        return task if isinstance(task, ClientTask) else None

    @property
    def wrk(self) -> Worker:
        """The worker that computes the body at this moment."""
        return _worker(self.task)


@mypyc_attr(allow_interpreted_subclasses=True)
class DeliveryProcessor:
    """Base of delivery processors. A subclass sets ``name`` and overrides what it needs."""

    name = ""
    __slots__ = ("context",)

    def __init__(self) -> None:
        self.context: DeliveryContext

    def open(self) -> bool:
        """Prepare, with ``context`` set, and adapt headers and length; False to stay out of the way.

        :raises ProcessorError: the response cannot be delivered (VMODs raise `VclFailure`)
        """
        return True

    def run(self, pieces: Pieces) -> Pieces:
        """The processed body; a generator. Raises `SourceError` when the body cannot be completed."""
        return pieces

    def close(self) -> None:
        """Release what is held; called once, at the end or when the delivery is given up."""


class Chain:
    """Processors stacked on a stored body: iterate over it for the result, and close it in any case.

    :param length: octets of the result, -1 when they are not known
    """

    __slots__ = ("_closed", "_counts", "_processors", "_result", "_source", "_streams", "_task")

    def __init__(
        self, processors: list[DeliveryProcessor], source: Source, task: Request | BusyObject, length: int = -1
    ) -> None:
        self._processors = processors
        self._source = source
        self._task = task
        self._counts: list[list[int]] = []
        self._closed = False
        pieces = self._stored()
        self._streams = [pieces]
        counted = not is_masked(VDP_ACCT)
        for processor in processors:
            pieces = processor.run(pieces)
            self._streams.append(pieces)
            if counted:
                pieces = self._count(pieces)
                self._streams.append(pieces)
        if length >= 0 and processors:
            pieces = _hold_end_back(pieces, length)
            self._streams.append(pieces)
        self._result = pieces

    @property
    def may_wait(self) -> bool:
        """Is what is stored still being fetched, so that any piece may be long in coming?"""
        return not self._source.complete

    def __iter__(self) -> Iterator[Piece]:
        return self._result

    def __next__(self) -> Piece:
        return next(self._result)

    def _stored(self) -> Pieces:
        """The octets of the stored object, waiting for those still to come."""
        source = self._source
        while True:
            piece = source.pull(PIECE)
            if piece is LATER:
                with _worker(self._task).blocking():  # the fetch is still going on; it has deadlines of its own
                    piece = source.pull_wait(PIECE, _for_ever)
            if piece is END:
                return
            yield cast(Piece, piece)

    def _count(self, pieces: Pieces) -> Pieces:
        counts = [0, 0]
        self._counts.append(counts)
        for piece in pieces:
            if len(piece):
                counts[0] += 1
                counts[1] += len(piece)
            yield piece

    def close(self) -> None:
        """End all streams, the outermost first, then release what the processors and the source hold."""
        if self._closed:
            return
        self._closed = True
        for stream in reversed(self._streams):
            stream.close()
        for processor in self._processors:
            processor.close()
        for processor, counts in zip(self._processors, self._counts, strict=False):
            processor.context.log.put(VDP_ACCT, f"{processor.name} {counts[0]} {counts[1]}")
        self._source.close()


def _hold_end_back(pieces: Pieces, length: int) -> Pieces:
    """Let the last of so many octets go only when the processors have come to their end without a complaint.

    Who knows how long a body is takes its last octet for the end, whatever goes wrong after that.
    """
    left = length
    for piece in pieces:
        left -= len(piece)
        if left > 0 or not len(piece):
            yield piece
            continue
        for following in pieces:
            yield piece
            piece = following
        yield piece


def _for_ever() -> float:
    return threading.TIMEOUT_MAX


class PullSource(Source):
    """A computed body for a transport that pulls on a thread which may work and wait (HTTP/1, ESI).

    ``pull`` answers ``LATER`` with ``may_wait`` set where the next call may take long, whatever the body's state.
    """

    __slots__ = ("_chain", "_done", "_rest", "_streaming")

    def __init__(self, chain: Chain, length: int) -> None:
        super().__init__(length, False)
        self._chain = chain
        self.may_wait = self._streaming = chain.may_wait
        self._rest: Piece = b""
        self._done = False

    def pull(self, limit: int) -> Piece | _Mark:
        piece = self._rest
        while not len(piece):
            if self._done:
                return END
            following = next(self._chain, None)
            if following is None:
                self._done = True
                return END
            piece = following
            if not len(piece):
                self.may_wait = True
                return LATER
        self.may_wait = self._streaming
        if len(piece) <= limit:
            self._rest = b""
            return piece
        view = memoryview(piece)
        self._rest = view[limit:]
        return view[:limit]

    def close(self) -> None:
        self._done = True
        self._rest = b""
        self._chain.close()


class Pump:
    """Runs a computed body into a `GrowingSource`, in as many goes as it takes.

    :param limit: octets that may be computed ahead of the client
    :param resume: has `run` called again, on some worker; any thread may call it
    """

    __slots__ = ("_chain", "_resume", "source")

    def __init__(self, chain: Chain, length: int, limit: int, resume: Callable[[], None]) -> None:
        self.source = GrowingSource(length, limit)
        self._chain = chain
        self._resume = resume

    def run(self) -> bool:
        """Compute until the end, an error, or until the transport has closed the source: True.

        False: until the client is too far behind. Another thread may be running the request by then.
        """
        source = self.source
        chain = self._chain
        try:
            while source.wants_more(self._resume):
                piece = next(chain, None)
                if piece is None:
                    source.finish()
                    break
                source.push(piece)
            else:
                return False
        except ReaderGone:
            pass
        except SourceError as exc:
            source.finish(str(exc))
        except BaseException:
            source.finish("delivery processor failed")
            chain.close()
            raise
        chain.close()
        return True

    def give_up(self) -> None:
        """There is no thread for the rest of the body; `run` is not running, and will not be called again."""
        self.source.finish("no thread to compute it")
        self._chain.close()
