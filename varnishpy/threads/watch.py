"""The watch of a pool: connections whose sessions have nothing to do, and hold no thread.

A session takes its connection up in the watch once, with `Watch.add`, and drops it before it closes it. In between the
connection stays registered in one edge-triggered epoll, so that resting costs no system call. A session is *served* or
it *rests*:

* Whoever serves it calls `Watched.rest` as the very last thing, with the moment at which to come back in any case.
  True: the session rests, and may be served by another thread already. False: something has stirred meanwhile, go on.
* A resting session *stirs* when the kernel has news of its connection, when its moment has come, or when somebody calls
  `Watched.stir`. Its task is then queued, once, and the worker that runs it serves the session.

The kernel tells of a change once. So a session may only rest after it has read all that is there, and `Watched.hangup`
tells that an end of file is among it. News may be false: read, find nothing, and rest again. When a session's moment
has come nobody says so either: its task finds nothing to read and looks at the clock.

Who looks is a worker that found nothing else to do: it *leads* (see ``pool.py``). What has stirred goes into the pool's
queue in the order in which the kernel tells of it, and the leader takes the first. So on an interpreter with a global
lock one thread serves all short work in turn, and never hands the interpreter over in between. While no worker leads,
because all that may run at once have work, workers and the herder look from time to time.

All states change under the mutex of the pool. Moments are kept in a heap that a session enters at most once each time
its earlier entry has been seen to: one that is asked something a thousand times a second is not sorted in every time.
"""

from __future__ import annotations

import heapq
import select
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.base.wakeup import Wakeup

if TYPE_CHECKING:
    from varnishpy.threads.pool import Pool
    from varnishpy.threads.worker import Task

BATCH: Final = 64  # connections told of at once
LONGEST_WAIT: Final = 3600.0  # seconds

_NEWS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_HANGUP: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

News = list[tuple[int, int]]  # descriptor and epoll(7) events


class Watched:
    """A connection in the watch. Its methods are for whoever serves the session, but `stir`, which is for everybody.

    :ivar task: what serves the session when it stirs; may be changed while it is served
    :ivar readable: the kernel has told of something since this was last set to False. Set it so before reading
    :ivar hangup: the other end has closed its half, or the connection is broken: read on until that shows
    """

    __slots__ = ("_due", "_heaped", "_resting", "_room", "_stirred", "fd", "hangup", "readable", "task", "watch")

    def __init__(self, watch: Watch, fd: int, task: Task) -> None:
        self.watch = watch
        self.fd = fd
        self.task = task
        self.readable = True
        self.hangup = False
        self._due = clock.NEVER
        self._heaped = clock.NEVER  # when the entry of the heap is due that counts, if there is one
        self._resting = False
        self._room = False  # room to write is news as well
        self._stirred = False  # something came while it was served

    @property
    def resting(self) -> bool:
        """Does nobody serve it? The answer may be old when it is read."""
        return self._resting

    def rest(self, due: float) -> bool:
        """Leave the session to the watch: nothing of it may be touched afterwards if the answer is True.

        :param due: monotonic time (`clock.mono`) at which it stirs in any case
        :returns: False if something has stirred since the session was taken out of its rest, or since the last such
            answer: go on serving
        :raises OSError: its pool has ended, and the heir's watch has no room for it
        """
        watch = self.watch
        pool = watch.pool
        with pool.mutex:
            if self._stirred:
                self._stirred = False
                return False
            heir = pool.heir
            if heir is None:
                self._resting = True
                self._due = due
                watch.quiet += 1
                if due < self._heaped:
                    watch.expect(self)
                worker = pool.attend()
        if heir is not None:
            self._move(heir.watch)
            return self.rest(due)
        if worker is not None:
            worker.sleep.release()
        return True

    def stir(self) -> None:
        """Somebody has left something for the session: have it served. Callable from any thread, never blocks."""
        moved = True
        while moved:
            watch = self.watch
            pool = watch.pool
            worker = None
            with pool.mutex:
                moved = self.watch is not watch
                if not moved:
                    if not self._resting:
                        self._stirred = True
                        return
                    self._resting = False
                    watch.quiet -= 1
                    worker = pool.stirred(self.task)
            if worker is not None:
                worker.sleep.release()

    def expect_room(self) -> None:
        """The socket took less than it was given: from now on the kernel tells when it takes more again.

        Room that there is already is news, too.
        """
        if not self._room:
            self._room = True
            self.watch.modify(self.fd, _NEWS | select.EPOLLOUT)

    def drop(self, closing: bool = True) -> None:
        """Take the connection out of the watch for good.

        :param closing: it is closed right afterwards; else the kernel must be told to forget it
        """
        watch = self.watch
        with watch.pool.mutex:
            watch.forget(self)
        if not closing:
            watch.unregister(self.fd)

    def _move(self, heir: Watch) -> None:
        """Go over to another pool's watch."""
        watch = self.watch
        with watch.pool.mutex:
            watch.forget(self)
            self.watch = heir
        watch.unregister(self.fd)
        self._room = False
        heir.take_up(self)


class Watch:
    """See the module text. Methods marked *locked* are called with the pool's mutex held."""

    __slots__ = (
        "_epoll", "_heap", "_serial", "_wakeup", "actions", "hangups", "led", "looked", "pool", "quiet", "soonest",
        "timeouts", "watched",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.watched: dict[int, Watched] = {}  # by descriptor
        self.quiet = 0  # of these, those that rest
        self.actions = self.hangups = self.timeouts = 0  # why they stirred
        self.led = False  # a worker waits in the epoll
        self.looked = 0  # tasks the pool had given out when somebody last looked
        self.soonest = clock.NEVER  # when the leader will come up by itself
        self._epoll = select.epoll()
        self._wakeup = Wakeup()
        self._epoll.register(self._wakeup.fileno(), select.EPOLLIN)
        self._heap: list[tuple[float, int, Watched]] = []
        self._serial = 0

    # -- for sessions ----------------------------------------------------------------------------------------------

    def add(self, fd: int, task: Task) -> Watched:
        """Take up a connection; the caller serves its session at the moment.

        What there is to read already is news, too.

        :param task: what serves the session when it stirs
        :raises OSError: the system or the pool has no room for it
        """
        pool = self.pool
        watch = self if pool.heir is None else pool.heir.watch
        watched = Watched(watch, fd, task)
        watch.take_up(watched)
        return watched

    def take_up(self, watched: Watched) -> None:
        """Register a connection that is served.

        :raises OSError: see `add`
        """
        fd = watched.fd
        with self.pool.mutex:
            self.watched[fd] = watched
        try:
            self._epoll.register(fd, _NEWS)
        except (OSError, ValueError) as exc:  # ValueError: the pool has ended
            with self.pool.mutex:
                self.forget(watched)
            raise OSError(f"cannot watch descriptor {fd}: {exc}") from exc

    def modify(self, fd: int, events: int) -> None:
        """Have the kernel tell of other events than so far."""
        try:
            self._epoll.modify(fd, events)
        except ValueError:  # the pool has ended, and its epoll with it
            return

    def unregister(self, fd: int) -> None:
        """Have the kernel forget a descriptor that stays open."""
        try:
            self._epoll.unregister(fd)
        except ValueError:  # the pool has ended, and its epoll with it
            return

    def forget(self, watched: Watched) -> None:
        """*Locked*: a connection goes."""
        if self.watched.get(watched.fd) is watched:
            del self.watched[watched.fd]
        watched._heaped = clock.NEVER
        if watched._resting:
            watched._resting = False
            self.quiet -= 1

    def expect(self, watched: Watched) -> None:
        """*Locked*: a resting session is due earlier than any entry of it in the heap."""
        due = watched._heaped = watched._due
        self._serial += 1
        heap = self._heap
        heapq.heappush(heap, (due, self._serial, watched))
        if len(heap) > 64 and len(heap) > 4 * len(self.watched):
            self._heap = [item for item in heap if item[2]._heaped == item[0]]
            heapq.heapify(self._heap)
        if self.led and due < self.soonest:
            self.soonest = due
            self._wakeup.signal()

    # -- for the pool ----------------------------------------------------------------------------------------------

    def begin_leading(self) -> None:
        """*Locked*: a worker is about to `wait`."""
        self.led = True
        heap = self._heap
        self.soonest = heap[0][0] if heap else clock.NEVER

    def wait(self) -> News:
        """What the kernel has to tell, as soon as there is anything, somebody calls `wake`, or a session is due."""
        patience = self.soonest - clock.mono()
        if patience <= 0.0:
            return self._epoll.poll(0, BATCH)
        return self._epoll.poll(min(patience, LONGEST_WAIT), BATCH)

    def look(self) -> News:
        """What the kernel has to tell now."""
        try:
            return self._epoll.poll(0, BATCH)
        except ValueError:  # the pool has just ended
            return []

    def wake(self) -> None:
        """Make the leader come up. Any thread."""
        self._wakeup.signal()

    def sort(self, news: News, now: float) -> list[Task]:
        """*Locked*: take in what was told, and the time. The tasks of the sessions that have stirred."""
        tasks: list[Task] = []
        find = self.watched.get
        for fd, events in news:
            watched = find(fd)
            if watched is None:
                if fd == self._wakeup.fileno():
                    self._wakeup.clear()
                continue
            watched.readable = True
            if events & _HANGUP:
                watched.hangup = True
            if watched._resting:
                watched._resting = False
                tasks.append(watched.task)
                if watched.hangup:
                    self.hangups += 1
                else:
                    self.actions += 1
            else:
                watched._stirred = True
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, watched = heapq.heappop(heap)
            if watched._heaped != due:
                continue  # it has gone, or has an earlier entry
            watched._heaped = clock.NEVER
            if not watched._resting:
                continue  # enters again when it rests
            if watched._due > now:
                self.expect(watched)
            else:
                watched._resting = False
                tasks.append(watched.task)
                self.timeouts += 1
        self.quiet -= len(tasks)
        return tasks

    def hand_over(self) -> None:
        """The pool has got an heir: what rests here goes there, and what is served follows when it comes to rest."""
        heir = self.pool.heir
        assert heir is not None
        with self.pool.mutex:
            leaving = [watched for watched in self.watched.values() if watched._resting]
            for watched in leaving:
                watched._resting = False
            self.quiet = 0
        for watched in leaving:
            try:
                rests = watched.rest(watched._due)
            except OSError:  # whoever serves it will find that, too, and end it
                rests = False
            if not rests:
                with heir.mutex:
                    worker = heir.stirred(watched.task)
                if worker is not None:
                    worker.sleep.release()

    def close(self) -> None:
        """*Locked*: the pool has ended."""
        self.watched.clear()
        self._heap.clear()
        self.quiet = 0
        self._epoll.close()
        self._wakeup.close()
