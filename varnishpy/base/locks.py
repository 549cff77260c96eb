"""Locks with a class name, so that ``LCK.<class>.creat`` and ``.destroy`` can be counted.

The lock handed out is Python's own: taking it costs nothing extra. How many live is known by weak references, whose
callback may run inside any allocation and therefore takes no lock.
"""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

Lock = threading.Lock


@dataclass(slots=True, eq=False)
class LockClass:
    """The locks of one kind."""

    name: str
    creat: int = 0
    _live: set[weakref.ref[Any]] = field(default_factory=set)
    _guard: Any = field(default_factory=threading.Lock)

    def track(self, lock: Any) -> None:
        """Count a lock until it is collected."""
        with self._guard:
            self.creat += 1
            self._live.add(weakref.ref(lock, self._live.discard))

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


def make_lock(klass: str) -> threading.Lock:
    """A new mutex of a class."""
    lock = threading.Lock()
    lock_class(klass).track(lock)
    return lock


def make_condition(klass: str, lock: threading.Lock | None = None) -> threading.Condition:
    """A new condition variable on the lock given, else on a new lock of the class."""
    if lock is None:
        lock = make_lock(klass)
    return threading.Condition(lock)
