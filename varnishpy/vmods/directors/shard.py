"""The shard director: consistent hashing over a circle on which every backend has many points.

A key (of the request's hash, its URL, a number or a blob) falls on a point of the circle and so on a backend; the next
different backends on the circle are its alternatives. Backends that have just become healthy get their share by and by
(*rampup*), and alternatives get some requests early so that they know the objects (*warmup*).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Literal

from varnishpy.backends.director import Director
from varnishpy.base import clock
from varnishpy.base.testable_random import testable_random
from varnishpy.log import vsl
from varnishpy.log.tags import Tag
from varnishpy.vcl import runtime
from varnishpy.vmods.api import (
    BACKEND,
    BLOB,
    BOOL,
    DURATION,
    INT,
    NOT_GIVEN,
    REAL,
    STRANDS,
    STRING,
    Ctx,
    NotGiven,
    PrivateData,
    VclFailure,
)
from varnishpy.vmods.directors.shard_circle import Changes, Circle, Member, Removal, build
from varnishpy.vmods.directors.shard_param import (
    By,
    Healthy,
    Parameters,
    ParametersBlob,
    arguments,
    director_parameters,
    director_state,
    key_of,
    shard_param,
)
from varnishpy.vmods.directors.simple import hash_text
from varnishpy.vmods.directors.vdir import BackendList, DirectorObject

_DEBUG = int(Tag.Debug)
_ERROR = int(Tag.Error)
_NOTICE = int(Tag.Notice)
_LOOKUP, _CIRCLE, _RAMP = 1, 2, 4  # of .debug()
_REPLICAS = 67


class _Shard(BackendList):
    type = "shard"
    weighted = False

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        super().__init__(ctx, vcl_name)
        self.circle = Circle()
        self.rampup = 0.0
        self.warmup = 0.0
        self.parameters: shard_param | None = None
        self.debug = 0

    def log(self, ctx: Ctx, tag: int, text: str) -> None:
        ctx.log(tag, f"vmod_directors: shard {self.vcl_name}: {text}")

    def trace(self, flag: int, text: str) -> None:
        """A Debug record of the process, if VCL asked for its kind."""
        if self.debug & flag:
            vsl(_DEBUG, 0, f"vmod_directors: shard: {text}")

    # -- changing --------------------------------------------------------------------------------------------------

    def change(self, ctx: Ctx, step: Member | Removal | None) -> None:
        """Note a change; it comes into effect with `reconfigure`, at the end of the task at the latest."""
        self._changes(ctx).steps.append(step)

    def _changes(self, ctx: Ctx) -> Changes:
        private = runtime.priv_task(ctx, f"directors.shard.{self.vcl_name}")
        is_new = Changes not in private
        changes = private.of(Changes)
        if is_new:

            def end(_private: PrivateData) -> None:
                if changes.steps:
                    self.reconfigure(ctx, _REPLICAS)

            private.on_end = end
        return changes

    def reconfigure(self, ctx: Ctx, replicas: int) -> bool:
        """Put the task's changes into effect; False when no backend is left."""
        changes = self._changes(ctx)
        if not changes.steps:
            return True
        with self.lock:
            members = changes.apply(self.circle.members, replicas, lambda text: self.log(ctx, _NOTICE, text))
            self.circle = circle = build(members) if members else Circle()
            self.members = tuple((member.backend, member.weight) for member in members)
        if not members:
            self.log(ctx, _ERROR, ".reconfigure() no backends")
            return False
        if self.debug & _CIRCLE:
            for place, (point, owner) in enumerate(zip(circle.points, circle.owners, strict=True)):
                self.trace(_CIRCLE, f"hashcircle[{place:5d}] = {{point = {point:8x}, host = {owner:2d}}}")
        return True

    # -- choosing --------------------------------------------------------------------------------------------------

    def resolve(self, ctx: Ctx | None) -> Director | None:
        """As a director by itself: with the parameters of the task, else its own."""
        if ctx is None:
            return None
        return self.choose(ctx, director_parameters(self, ctx))

    def choose(self, ctx: Ctx, wanted: Parameters) -> Director | None:
        circle = self.circle
        if not circle.members:
            self.log(ctx, _ERROR, "no backends")
            return None
        key = key_of(ctx, wanted)
        alt = wanted.alt or 0
        if alt >= len(circle.members):
            self.log(ctx, _ERROR, f"parameter alt={alt} limited to {len(circle.members) - 1}")
            alt = len(circle.members) - 1
        start = bisect.bisect_left(circle.points, key)
        if start == len(circle.points):
            start -= 1
        if self.debug & _LOOKUP:
            self.trace(_LOOKUP, f"lookup key {key:x} idx {start} host {circle.owners[start]}")
        walk = _Walk(ctx, circle, start)
        if alt > 0 and walk.next(alt - 1, wanted.healthy == "ALL") is None:
            return walk.last_healthy()
        ignore = wanted.healthy == "IGNORE"
        chosen = walk.next(0, not ignore)
        if chosen is None:
            return walk.last_healthy()
        warmup = self.warmup if wanted.warmup == -1 else wanted.warmup or 0.0
        if alt > 0 or ignore or (not wanted.rampup and warmup == 0):
            return circle.members[chosen].backend
        other = walk.next(0, True)
        if other is None:
            return circle.members[chosen].backend
        return self._ramp(ctx, circle, chosen, other, bool(wanted.rampup), warmup)

    def _ramp(self, ctx: Ctx, circle: Circle, chosen: int, other: int, rampup: bool, warmup: float) -> Director:
        """The chosen one or the next, by their health's age and by chance."""
        ages = []
        for what, host in (("chosen", chosen), ("alt", other)):
            member = circle.members[host]
            age = ctx.now - member.backend.healthy(ctx)[1]
            duration = self.rampup_of(member)
            ages.append((age, duration))
            if self.debug & _RAMP:
                self.trace(_RAMP, f"{what} host {host} rampup {duration:f} changed {age:f}")
        (age, duration), (other_age, other_duration) = ages
        if age < duration:
            stay = not rampup or other_age < other_duration or testable_random() * duration < age
        else:
            stay = warmup == 0 or testable_random() > warmup
        return circle.members[chosen if stay else other].backend

    def rampup_of(self, member: Member) -> float:
        return self.rampup if member.rampup is None else member.rampup

    # -- showing ---------------------------------------------------------------------------------------------------

    def _states(self) -> list[tuple[Member, bool, float, float]]:
        """Each member with its health, how far its rampup is (0 to 1), and how many seconds are left."""
        now = clock.now()
        found = []
        for member in self.circle.members:
            healthy, changed = member.backend.healthy(None)
            duration, age = self.rampup_of(member), now - changed
            if not healthy:
                found.append((member, False, 0.0, 0.0))
            elif age < duration:
                found.append((member, True, age / duration, duration - age))
            else:
                found.append((member, True, 1.0, 0.0))
        return found

    def details_text(self) -> str:
        lines = ["\n\n\tBackend\tIdent\tHealth\tRampup  Remaining\n"]
        for member, healthy, ramped, left in self._states():
            health = "healthy" if healthy else "sick"
            lines.append(f"\t{member.backend.vcl_name}\t{member.name}\t{health}\t{ramped * 100:6.2f}% {left:8.3f}s\n")
        return "".join(lines)

    def details(self) -> dict[str, object]:
        backends = {
            member.backend.vcl_name: {
                "ident": member.name,
                "health": "healthy" if healthy else "sick",
                "rampup": round(ramped, 6),
                "rampup_remaining": round(left, 3),
            }
            for member, healthy, ramped, left in self._states()
        }
        return {"warmup": self.warmup, "rampup_duration": self.rampup, "backends": backends}


class _Walk:
    """Backends in the order of the circle from a point on, each once."""

    def __init__(self, ctx: Ctx, circle: Circle, start: int) -> None:
        self._ctx = ctx
        self._members = circle.members
        self._order: Iterator[int] = iter(dict.fromkeys(circle.owners[start:] + circle.owners[:start]))
        self._good: int | None = None

    def next(self, skip: int, healthy: bool) -> int | None:
        """The next one after skipping so many; only healthy ones count, if so wanted."""
        for owner in self._order:
            good = self._members[owner].backend.healthy(self._ctx)[0]
            if good:
                self._good = owner
            if good or not healthy:
                if skip == 0:
                    return owner
                skip -= 1
        return None

    def last_healthy(self) -> Director | None:
        return self._members[self._good].backend if self._good is not None else None


class shard(DirectorObject):
    """See the module text."""

    director: _Shard

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        self.director = _Shard(ctx, vcl_name)

    def set_warmup(self, ctx: Ctx, probability: REAL = 0.0) -> None:
        if not 0 <= probability < 1:
            self.director.log(ctx, _NOTICE, f".set_warmup({probability:f}) ignored")
        else:
            self.director.warmup = probability

    def set_rampup(self, ctx: Ctx, duration: DURATION = 0.0) -> None:
        self.director.rampup = max(0.0, duration)

    def associate(self, ctx: Ctx, param: BLOB = None) -> None:
        if param is None:
            self.director.parameters = None
        elif isinstance(param, ParametersBlob):
            self.director.parameters = param.parameters
        else:
            raise VclFailure(f"vmod_directors: shard {self.director.vcl_name}: shard .associate param invalid")

    def add_backend(
        self,
        ctx: Ctx,
        backend: BACKEND,
        ident: STRING | NotGiven = NOT_GIVEN,
        rampup: DURATION | NotGiven = NOT_GIVEN,
        weight: REAL | NotGiven = NOT_GIVEN,
    ) -> BOOL:
        director = self.director
        if backend is None:
            raise VclFailure(f"vmod_directors: shard {director.vcl_name}: None backend cannot be added")
        share = 1.0
        if weight is not NOT_GIVEN:
            if weight >= 1:
                share = weight
            else:
                director.log(ctx, _NOTICE, f".add_backend(weight={weight:f}) ignored")
        name = ident if ident is not NOT_GIVEN and ident else ""
        director.change(ctx, Member(backend, name, None if rampup is NOT_GIVEN else rampup, share))
        return True

    def remove_backend(self, ctx: Ctx, backend: BACKEND = None, ident: STRING = None) -> BOOL:
        if backend is None and ident is None:
            raise VclFailure(
                f"vmod_directors: shard {self.director.vcl_name}: "
                ".remove_backend(): either backend or ident are required"
            )
        self.director.change(ctx, Removal(backend, ident or ""))
        return True

    def clear(self, ctx: Ctx) -> BOOL:
        self.director.change(ctx, None)
        return True

    def reconfigure(self, ctx: Ctx, replicas: INT = _REPLICAS) -> BOOL:
        if replicas <= 0:
            self.director.log(ctx, _ERROR, f".reconfigure() invalid replicas argument {replicas}")
            return False
        return self.director.reconfigure(ctx, replicas)

    def key(self, ctx: Ctx, text: STRANDS, /) -> INT:
        return hash_text(text)

    def backend(
        self,
        ctx: Ctx,
        by: By | NotGiven = NOT_GIVEN,
        key: INT | NotGiven = NOT_GIVEN,
        key_blob: BLOB | NotGiven = NOT_GIVEN,
        alt: INT | NotGiven = NOT_GIVEN,
        warmup: REAL | NotGiven = NOT_GIVEN,
        rampup: BOOL | NotGiven = NOT_GIVEN,
        healthy: Healthy | NotGiven = NOT_GIVEN,
        param: BLOB | NotGiven = NOT_GIVEN,
        resolve: Literal["NOW", "LAZY"] | NotGiven = NOT_GIVEN,
    ) -> BACKEND:
        director = self.director
        who = f"vmod_directors: shard {director.vcl_name}: "
        given = (by, key, key_blob, alt, warmup, rampup, healthy)
        housekeeping = ctx.task() is None
        if resolve == "LAZY" or (resolve is NOT_GIVEN and housekeeping):
            if param is NOT_GIVEN and all(value is NOT_GIVEN for value in given):
                return director
            if ctx.bo is None:
                raise VclFailure(
                    f"{who}.backend(resolve=LAZY) with other parameters can only be used in backend/pipe context"
                )
            state = director_state(director, ctx)
        else:
            if housekeeping:
                raise VclFailure(f"{who}.backend(resolve=NOW) cannot be used in vcl_init{{}}/vcl_fini{{}}")
            state = director_state(director, ctx, lasting=False)
        if param is not NOT_GIVEN:
            if not isinstance(param, ParametersBlob):
                raise VclFailure(f"{who}.backend(key_blob) param invalid")
            state.base = param.parameters
        state.own = arguments(ctx, director.vcl_name, "shard.backend()", *given)
        if resolve == "LAZY" or housekeeping:
            return director
        return director.choose(ctx, state.complete(ctx))

    def debug(self, ctx: Ctx, flags: INT, /) -> None:
        """1: look-ups, 2: the circle whenever it changes, 4: rampup and warmup; as Debug records."""
        self.director.debug = flags
