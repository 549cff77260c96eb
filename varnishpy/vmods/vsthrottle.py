"""VMOD vsthrottle: how often something may happen, with the functions of varnish-modules' VMOD of that name.

Each call names a *token bucket* by key, limit, period and block time together. A bucket begins full, with *limit*
tokens, and is refilled evenly over *period*. Buckets belong to the cache process: all VCLs share them, and they go with
the last VCL that imports this module. One that was not used for longer than its period is full again, and is dropped.

With ``shared = true`` the bucket is one for all nodes of a tier (docs/many-nodes.md), by the engine's clock. Where
there is no tier, or its engine does not answer in time, the node's own bucket is used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from varnishpy.base import clock
from varnishpy.base.locks import make_lock
from varnishpy.vmods._lifetime import Importers
from varnishpy.vmods.api import BOOL, DURATION, INT, PRIV_VCL, STRING, Ctx, blocking

if TYPE_CHECKING:
    from varnishpy.cache.limits import Bucket

_PARTS: Final = 16  # each with a lock of its own
_LOOK: Final = 1000  # calls between two looks for buckets that may go

Identity = tuple[str, int, float, float]


class _Bucket:
    """The tokens of one identity. ``last_used``: when a token was last taken, or the call was blocked."""

    __slots__ = ("blocked_until", "capacity", "last_used", "period", "tokens")

    def __init__(self, limit: int, period: float, now: float) -> None:
        self.capacity = limit
        self.period = period
        self.tokens = limit
        self.last_used = now
        self.blocked_until = 0.0

    def available(self, now: float) -> int:
        """Tokens at this moment. Parts of a token count once they are whole, from ``last_used`` on."""
        if self.period <= 0:
            return self.capacity
        grown = (now - self.last_used) / self.period * self.capacity
        if grown >= self.capacity:
            return max(self.capacity, min(self.tokens, self.capacity))
        return min(self.capacity, self.tokens + math.floor(grown))

    def take(self, now: float, block: float) -> bool:
        """Try to take a token; False: denied."""
        tokens = self.available(now)
        if block > 0 and now < self.blocked_until:
            self.tokens = max(tokens - 1, 0)
            self.last_used = now
            return False
        if tokens > 0:
            self.tokens = tokens - 1
            self.last_used = now
            self.blocked_until = 0.0
            return True
        if block > 0:
            self.blocked_until = now + block
        return False


class _Part:
    """Some of the buckets, and their lock."""

    def __init__(self) -> None:
        self.lock = make_lock("vmod_vsthrottle")
        self.buckets: dict[Identity, _Bucket] = {}
        self._calls = 0

    def bucket(self, identity: Identity, now: float) -> _Bucket:
        """The bucket, made if need be; the lock is held."""
        self._calls += 1
        if self._calls >= _LOOK:
            self._calls = 0
            self._drop_idle(now)
        found = self.buckets.get(identity)
        if found is None:
            found = self.buckets[identity] = _Bucket(identity[1], identity[2], now)
        return found

    def _drop_idle(self, now: float) -> None:
        idle = [
            identity
            for identity, bucket in self.buckets.items()
            if now - bucket.last_used > bucket.period and now >= bucket.blocked_until
        ]
        for identity in idle:
            del self.buckets[identity]


_parts = tuple(_Part() for _ in range(_PARTS))


def _part(identity: Identity) -> _Part:
    return _parts[hash(identity) % _PARTS]


def _forget_all() -> None:
    for part in _parts:
        with part.lock:
            part.buckets.clear()


_importers = Importers("vmod_vsthrottle", _forget_all, _forget_all)


def vmod_event(ctx: Ctx, priv: PRIV_VCL, event: str) -> None:
    """Buckets live while any VCL imports this module."""
    _importers.hear(priv, event)


def is_denied(ctx: Ctx, key: STRING, limit: INT, period: DURATION, block: DURATION = 0.0, shared: BOOL = False) -> BOOL:
    """Take a token; true if there was none. With *block* the key is then denied for so long.

    A null key is denied.
    """
    if key is None:
        return True
    identity = (key, limit, period, block)
    common = _common(ctx, identity, 1) if shared else None
    if common is not None:
        return common.denied
    part = _part(identity)
    with part.lock:
        now = clock.mono()
        return not part.bucket(identity, now).take(now, block)


def return_token(
    ctx: Ctx, key: STRING, limit: INT, period: DURATION, block: DURATION = 0.0, shared: BOOL = False
) -> None:
    """Give a token back: what is limited then is how much happens at a time."""
    if key is None:
        return
    identity = (key, limit, period, block)
    if shared and _common(ctx, identity, -1) is not None:
        return
    part = _part(identity)
    with part.lock:
        part.bucket(identity, clock.mono()).tokens += 1


def remaining(ctx: Ctx, key: STRING, limit: INT, period: DURATION, block: DURATION = 0.0, shared: BOOL = False) -> INT:
    """Tokens left; -1 of a null key. Asking changes nothing."""
    if key is None:
        return -1
    identity = (key, limit, period, block)
    common = _common(ctx, identity, 0) if shared else None
    if common is not None:
        return common.left
    part = _part(identity)
    with part.lock:
        now = clock.mono()
        return part.bucket(identity, now).available(now)


def blocked(ctx: Ctx, key: STRING, limit: INT, period: DURATION, block: DURATION, shared: BOOL = False) -> DURATION:
    """How long the key will still be denied for *block*; -1 s of a null key."""
    if key is None:
        return -1.0
    identity = (key, limit, period, block)
    common = _common(ctx, identity, 0) if shared else None
    if common is not None:
        return common.blocked
    part = _part(identity)
    with part.lock:
        now = clock.mono()
        return max(part.bucket(identity, now).blocked_until - now, 0.0)


def remove_bucket(ctx: Ctx, key: STRING, limit: INT, period: DURATION, block: DURATION = 0.0) -> None:
    """Forget a bucket of this node: the next call finds it full."""
    if key is None:
        return
    identity = (key, limit, period, block)
    part = _part(identity)
    with part.lock:
        part.buckets.pop(identity, None)


def _common(ctx: Ctx, identity: Identity, amount: int) -> Bucket | None:
    """The bucket that all nodes have in common, after so many tokens were taken; ``None``: the node's own will do."""
    limits = ctx.vcl.host.shared_limits()
    if limits is None:
        return None
    name = "\0".join(map(str, identity)).encode("latin-1")
    with blocking():
        return limits.bucket(name, *identity[1:], amount)
