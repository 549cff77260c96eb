"""Locks with a class name, so that ``LCK.<class>.creat`` and ``.destroy`` can be counted.

The lock handed out is Python's own: taking it costs nothing extra. How many live is known by weak references, whose
callback may run inside any allocation and therefore takes no lock. A process that wants to know more (`watch`) is given
locks that count how often they are taken and were not free, and note each order in which threads take them.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import cast

from varnishpy.base import perturb

Lock = threading.Lock


@dataclass(slots=True, eq=False)
class LockClass:
    """The locks of one kind."""

    name: str
    creat: int = 0
    # of watched locks only; written with the lock in question held, or where a lost update does no harm
    locks: int = 0
    busy: int = 0
    try_fail: int = 0
    _live: set[weakref.ref[threading.Lock]] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def track(self, lock: threading.Lock) -> None:
        """Count a lock until it is collected."""
        with self._guard:
            self.creat += 1
            self._live.add(weakref.ref(lock, self._live.discard))

    def forget(self, lock: threading.Lock) -> None:
        """Count a lock as gone before it is collected: what it belonged to has ended."""
        self._live.discard(weakref.ref(lock))

    @property
    def live(self) -> int:
        """Locks of this kind that exist now."""
        return len(self._live)

    @property
    def destroy(self) -> int:
        """Locks of this kind that are gone."""
        return max(0, self.creat - len(self._live))


_classes: dict[str, LockClass] = {}
_classes_lock = threading.Lock()


def lock_class(name: str) -> LockClass:
    """The class of that name, made on first use."""
    found = _classes.get(name)
    if found is None:
        with _classes_lock:
            found = _classes.setdefault(name, LockClass(name))
    return found


def lock_classes() -> list[LockClass]:
    """All classes used so far, by name: what the LCK counters are published from."""
    return [_classes[name] for name in sorted(_classes)]


class _Held(threading.local):
    """The watched locks that this thread holds, by class, in the order in which it took them."""

    def __init__(self) -> None:
        self.names: list[str] = []


_held = _Held()
_orders: dict[tuple[str, ...], bool] = {}  # classes in the order in which a thread took them: has it been told?
_watching = False


def watch(watching: bool) -> None:
    """Whether locks made from now on are watched (debug=+lck, debug=+witness, debug=+perturb)."""
    global _watching
    _watching = watching


def new_orders() -> list[str]:
    """The orders in which threads have taken watched locks, ``outer > inner``, each once in the life of the process.

    Whoever takes a lock cannot tell of it himself: the log has locks too.
    """
    found = [order for order, told in list(_orders.items()) if not told]
    for order in found:
        _orders[order] = True
    return [" > ".join(order) for order in found]


class WatchedLock:
    """A mutex that counts, and notes the order in which it is taken. With the methods of `threading.Lock`."""

    __slots__ = ("__weakref__", "_class", "_lock", "locked")

    def __init__(self, klass: LockClass) -> None:
        self._class = klass
        self._lock = threading.Lock()
        self.locked = self._lock.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See `threading.Lock.acquire`."""
        klass = self._class
        perturb.pause()
        if not self._lock.acquire(blocking=False):
            if not blocking:
                klass.try_fail += 1
                return False
            if not self._lock.acquire(timeout=timeout):
                return False
            klass.busy += 1
        klass.locks += 1
        names = _held.names
        names.append(klass.name)
        if len(names) > 1:
            _orders.setdefault(tuple(names), False)
        return True

    def release(self) -> None:
        """See `threading.Lock.release`."""
        names = _held.names
        for index in range(len(names) - 1, -1, -1):
            if names[index] == self._class.name:
                del names[index]
                break
        self._lock.release()
        perturb.pause()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _is_owned(self) -> bool:
        """For `threading.Condition`, which else would try to take it."""
        return self._lock.locked()


def make_lock(klass: str) -> threading.Lock:
    """A new mutex of a class."""
    found = lock_class(klass)
    # a watched lock does all that is done with a lock, but is of another class
    lock = cast(threading.Lock, WatchedLock(found)) if _watching else threading.Lock()
    found.track(lock)
    return lock


def retire_lock(klass: str, lock: threading.Lock) -> None:
    """A mutex of that class is not used any more, although references to it may live on for a while."""
    lock_class(klass).forget(lock)


def make_condition(klass: str, lock: threading.Lock | None = None) -> threading.Condition:
    """A new condition variable on the lock given, else on a new lock of the class."""
    if lock is None:
        lock = make_lock(klass)
    return threading.Condition(lock)
