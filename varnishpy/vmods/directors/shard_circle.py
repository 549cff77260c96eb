"""The circle of the shard director, and how changes of its backends come into effect.

Changes (`Changes`) are collected in a task and applied by ``.reconfigure()``, or when the task ends. Backends keep
their place in the list, and so their number in the log; the place of one that has been removed goes to the next that
is added, and holes that are left are filled from the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from varnishpy.backends.director import Director
from varnishpy.vmods.directors.simple import hash_text


@dataclass(slots=True)
class Member:
    """A backend under a name; ``rampup`` is ``None`` for that of the director, ``replicas`` is set when it is added."""

    backend: Director
    ident: str
    rampup: float | None = None
    weight: float = 1.0
    replicas: int = 0

    @property
    def name(self) -> str:
        """What it is hashed by."""
        return self.ident or self.backend.vcl_name

    def same(self, other: Member) -> bool:
        """Would both be the same on the circle?"""
        if not self.ident and not other.ident:
            return self.backend is other.backend
        return self.name == other.name


@dataclass(slots=True, frozen=True)
class Removal:
    """Who is to be removed: those of a name or, where none is said, every one with a backend."""

    backend: Director | None
    ident: str

    def means(self, member: Member) -> bool:
        return member.name == self.ident if self.ident else member.backend is self.backend


@dataclass(slots=True)
class Circle:
    """Points in order, and which member each belongs to."""

    points: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)


@dataclass(slots=True)
class Changes:
    """What a task wants changed, in order: who is added, who is removed, or (``None``) all are."""

    steps: list[Member | Removal | None] = field(default_factory=list)

    def apply(self, members: list[Member], replicas: int, notice: Callable[[str], None]) -> list[Member]:
        """The list of members after the changes, which are forgotten."""
        slots: list[Member | None] = list(members)
        steps, self.steps = self.steps, []
        cleared = max((place for place, step in enumerate(steps) if step is None), default=-1)
        if cleared >= 0:
            slots = []
        for step in steps[cleared + 1 :]:
            if isinstance(step, Member):
                _add(slots, step, replicas, notice)
            elif step is not None:
                _remove(slots, step)
        while None in slots:
            last = slots.pop()
            if last is not None:
                slots[slots.index(None)] = last
        return [member for member in slots if member is not None]


def _add(slots: list[Member | None], member: Member, replicas: int, notice: Callable[[str], None]) -> None:
    known = next((other for other in slots if other is not None and member.same(other)), None)
    if known is not None:
        suffix = f"/{known.ident}" if known.ident else ""
        notice(f"backend {known.backend.vcl_name}{suffix} already exists - skipping")
        return
    member.replicas = min(int(replicas * member.weight), 0xFFFFFFFF)
    if None in slots:
        slots[slots.index(None)] = member
    else:
        slots.append(member)


def _remove(slots: list[Member | None], wanted: Removal) -> None:
    for place in range(len(slots)):
        member = slots[place]
        if member is not None and wanted.means(member):
            slots[place] = None
    while slots and slots[-1] is None:
        slots.pop()


def build(members: list[Member]) -> Circle:
    """The circle of these members: so many points for each as it has replicas."""
    limit = 0xFFFFFFFE // len(members)
    points = sorted(
        (hash_text(f"{member.name}{number}"), owner)
        for owner, member in enumerate(members)
        for number in range(min(member.replicas, limit))
    )
    return Circle([point for point, _ in points], [owner for _, owner in points], members)
