"""Workspaces: the bounded memory of a session, a request, a fetch or a thread.

In C a workspace is where strings live. Here it is a *contract*: strings live on Python's heap and are charged to the
workspace with `Workspace.account`, buffers are cut out of it with `Workspace.alloc` or `Workspace.reserve`. What
matters is the same: a task can use so much and no more, an overflow is marked and fails that task, and everything goes
at once with `Workspace.reset`. The arena's own bytes are allocated on the first `alloc` or `reserve`, so an idle
session that only accounts costs no more than this object.

A workspace belongs to one task at a time and takes no locks. Sizes are octets; every charge is rounded up to 8.

`WorkspaceEmulator` keeps the same contract with every allocation an object of its own, between canaries. It finds what
the arena hides: a write past the end (canary), a write after reset or past the released part of a reservation (poison),
a use of the view itself after reset (released views raise ``ValueError``). `set_emulator` chooses what `make_workspace`
makes.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from varnishpy.base.panic import invariant, panic


def _round_up(n: int) -> int:
    return (n + 7) & ~7


class Workspace:
    """An arena of fixed size.

    :param name: who it belongs to, for dumps: ``ses``, ``req``, ``bo``, ``wrk``, ...
    :param size: octets; rounded down to 8
    """

    __slots__ = ("_memory", "_reserved", "name", "overflowed", "size", "used")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.size = size & ~7
        self.used = 0
        self.overflowed = False
        self._reserved = -1  # octets of the reservation that is open, or -1
        self._memory: memoryview | None = None

    @property
    def free(self) -> int:
        """Octets that can still be charged."""
        return self.size - self.used

    @property
    def reserved(self) -> int:
        """Octets of the open reservation; -1 without one."""
        return self._reserved

    def _arena(self) -> memoryview:
        memory = self._memory
        if memory is None:
            memory = self._memory = memoryview(bytearray(self.size))
        return memory

    def alloc(self, n: int) -> memoryview | None:
        """``n`` octets, or ``None`` and the overflow mark when there is no room. The content is undefined."""
        invariant(self._reserved < 0, "workspace: no reservation open at alloc")
        start = self.used
        end = start + ((n + 7) & ~7)
        if end > self.size:
            self.overflowed = True
            return None
        self.used = end
        return self._arena()[start : start + n]

    def account(self, n: int) -> bool:
        """Charge ``n`` octets for a string on the heap. False, and the overflow mark, when there is no room."""
        used = self.used + ((n + 7) & ~7)
        if used > self.size:
            self.overflowed = True
            return False
        if self._reserved >= 0:
            panic("Assert error: workspace: no reservation open at account")
        self.used = used
        return True

    def reserve(self, n: int = 0) -> memoryview | None:
        """Open the one reservation: ``n`` octets, or all that is left for 0.

        ``None``, without a reservation, when there is no room; asking for all of nothing is no overflow.
        """
        invariant(self._reserved < 0, "workspace: one reservation at a time")
        free = self.size - self.used
        if n == 0:
            n = free
            if n == 0:
                return None
        elif _round_up(n) > free:
            self.overflowed = True
            return None
        self._reserved = n
        return self._arena()[self.used : self.used + n]

    def release(self, used: int) -> None:
        """Close the reservation, keeping its first ``used`` octets."""
        invariant(self._reserved >= 0, "workspace: a reservation is open at release")
        invariant(0 <= used <= self._reserved, "workspace: no more released than was reserved")
        self._reserved = -1
        self.used += (used + 7) & ~7

    def snapshot(self) -> int:
        """A mark to `reset` to."""
        if self._reserved >= 0:
            panic("Assert error: workspace: no reservation open at snapshot")
        return self.used

    def reset(self, snap: int = 0) -> None:
        """Give back everything charged since the snapshot. A reset to the start clears the overflow mark."""
        if self._reserved >= 0:
            panic("Assert error: workspace: no reservation open at reset")
        if not 0 <= snap <= self.used:
            panic("Assert error: workspace: reset to a snapshot of now or before")
        self.used = snap
        if snap == 0:
            self.overflowed = False

    def rollback(self, snap: int = 0) -> None:
        """`reset` for a task that starts over: what overflowed before does not count any more."""
        self.reset(snap)
        self.overflowed = False

    def mark_overflow(self) -> None:
        """Fail the task for want of workspace, though nothing was asked of this one."""
        self.overflowed = True

    def check(self) -> None:
        """Panic if something wrote where it should not have; the arena itself cannot tell."""

    def dump(self) -> str:
        """One workspace as a panic dump shows it."""
        flag = "OVERFLOWED, " if self.overflowed else ""
        reservation = f", reserved = {self._reserved}" if self._reserved >= 0 else ""
        return f'ws = {{ {flag}id = "{self.name}", used = {self.used}, size = {self.size}{reservation} }},'


_CANARY: Final = b"\xca\x7a\x21\xe5" * 4
_POISON: Final = 0xDB
_QUARANTINE: Final = 64  # freed allocations still watched for late writes, per workspace


class _Allocation:
    """One allocation of the emulator: ``[canary][octets][canary]``."""

    __slots__ = ("data", "start", "used", "view")

    def __init__(self, start: int, n: int) -> None:
        self.start = start
        self.data = bytearray(_CANARY + bytes([_POISON]) * n + _CANARY)
        self.used = n
        self.view = memoryview(self.data)[len(_CANARY) : len(_CANARY) + n]

    def fault(self, freed: bool) -> str | None:
        """What is wrong with the octets that nobody may write, if anything."""
        edge = len(_CANARY)
        size = len(self.data) - 2 * edge
        if self.data[:edge] != _CANARY or self.data[edge + size :] != _CANARY:
            return "write outside of an allocation"
        used = 0 if freed else self.used
        tail = self.data[edge + used : edge + size]
        if tail.count(_POISON) != len(tail):
            return "write after release" if freed else "write past the released part of a reservation"
        return None

    def shrink(self, used: int) -> None:
        """Take back all but the first octets of a reservation."""
        edge = len(_CANARY)
        end = len(self.data) - edge
        self.used = used
        self.data[edge + used : end] = bytes([_POISON]) * (end - edge - used)

    def free(self) -> None:
        """Poison everything; the view handed out raises ``ValueError`` from now on."""
        self.view.release()
        edge = len(_CANARY)
        size = len(self.data) - 2 * edge
        self.data[edge : edge + size] = bytes([_POISON]) * size


class WorkspaceEmulator(Workspace):
    """A workspace that catches misuse: for tests and for hunting. Same contract, far more expensive."""

    __slots__ = ("_allocations", "_open", "_quarantine", "_snapshots")

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, size)
        self._allocations: list[_Allocation] = []
        self._quarantine: deque[_Allocation] = deque(maxlen=_QUARANTINE)
        self._open: _Allocation | None = None
        self._snapshots: set[int] = {0}

    def check(self) -> None:
        for freed, group in ((False, self._allocations), (True, self._quarantine)):
            for allocation in group:
                fault = allocation.fault(freed)
                if fault is not None:
                    panic(f'Assert error: workspace "{self.name}": {fault} at {allocation.start}')

    def alloc(self, n: int) -> memoryview | None:
        self.check()
        start = self.used
        if super().account(n):
            allocation = _Allocation(start, n)
            self._allocations.append(allocation)
            return allocation.view
        return None

    def reserve(self, n: int = 0) -> memoryview | None:
        self.check()
        invariant(self._reserved < 0, "workspace: one reservation at a time")
        if n == 0:
            n = self.free
            if n == 0:
                return None
        elif _round_up(n) > self.free:
            self.overflowed = True
            return None
        self._reserved = n
        self._open = _Allocation(self.used, n)
        return self._open.view

    def release(self, used: int) -> None:
        self.check()
        super().release(used)
        allocation, self._open = self._open, None
        assert allocation is not None  # held by the parent's invariants
        allocation.shrink(used)
        self._allocations.append(allocation)

    def snapshot(self) -> int:
        snap = super().snapshot()
        self._snapshots.add(snap)
        return snap

    def reset(self, snap: int = 0) -> None:
        self.check()
        invariant(snap in self._snapshots, "workspace: reset to a snapshot that was taken and is still valid")
        super().reset(snap)
        kept = []
        for allocation in self._allocations:
            if allocation.start < snap:
                kept.append(allocation)
            else:
                allocation.free()
                self._quarantine.append(allocation)
        self._allocations = kept
        self._snapshots = {mark for mark in self._snapshots if mark <= snap}


_class: type[Workspace] = Workspace


def set_emulator(on: bool) -> None:
    """Choose what `make_workspace` makes from now on."""
    global _class
    _class = WorkspaceEmulator if on else Workspace


def make_workspace(name: str, size: int) -> Workspace:
    """A workspace of the kind chosen for this process."""
    return _class(name, size)
