"""The `Store` on Valkey or Redis, through the client package ``valkey``.

Keys: ``PREFIX:<SUBJECT>:...``. What must be in one slot of a cluster has the same part in braces, which is what the
slot is computed of: the digest for everything that belongs to it, ``log`` for what belongs to the log.

| key | what |
|---|---|
| ``p:gG:{D}:i`` | index of digest D, generation G |
| ``p:gG:{D}:IDENT:N`` | head (0) and chunks of an object |
| ``p:{D}:m`` | mark: number of the latest purge |
| ``p:{D}:l`` | lease |
| ``p:k:HASH`` | mark of a surrogate key |
| ``p:{log}:f`` | facts: number, floor, ban, ban_floor, trimmed |
| ``p:{log}:x``, ``p:{log}:b`` | the log and the list of bans, both streams |
| ``p:{log}:n`` | what nodes have reported |
| ``p:t:HASH`` | a token bucket of VMOD vsthrottle |

What the engine answers is checked: it may be any program that listens there. server.py has deadlines and breakers,
cluster.py finds the server that has a key.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Final

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.cache.limits import Bucket
from varnishpy.params import params
from varnishpy.stats.names import TierName
from varnishpy.tier import scripts
from varnishpy.tier.answers import a_list, a_number, a_string, stream_entries
from varnishpy.tier.breaker import State
from varnishpy.tier.cluster import Cluster, Servers, Single
from varnishpy.tier.config import TierSpec
from varnishpy.tier.errors import LeftAlone, TierError, TierTimeout
from varnishpy.tier.position import order
from varnishpy.tier.record import ALL, BAN, KEYS, NONCE, PURGE, SEALED, Invalidation
from varnishpy.tier.server import Command, Server, Word
from varnishpy.tier.store import Asked, Facts, Published

_PUBLISH: Final = scripts.PUBLISH % (SEALED, SEALED + NONCE - 1)
_FACTS: Final = ("number", "floor", "ban", "ban_floor", "trimmed")
_BATCH: Final = 512  # records of the log, or marks, at a time
_JUMP: Final = 1 << 20  # further than invalidations can have got that nobody here has seen
_OUTCOMES: Final = (Published.STORED, Published.CHANGED, Published.PURGED)
_SLACK: Final = 0.5  # seconds by which an engine may end a wait late: it looks at its clients ten times a second


def _facts(answer: object) -> Facts:
    number, floor, ban, ban_floor, trimmed = a_list(answer, len(_FACTS))
    return Facts(a_number(number), a_number(floor), a_string(ban) or b"", a_number(ban_floor), a_string(trimmed) or b"")


class EngineStore:
    """See the module text.

    :param counters: where errors, timeouts and octets are counted
    :param password: what the password file says, which may be out of reach by now
    """

    def __init__(self, spec: TierSpec, counters: stats.Counters[TierName], password: str | None = None) -> None:
        self.spec = spec
        self._password = password
        self._counters = counters
        self._servers = self._reach(0.0)
        self._follower: Servers | None = None  # has a connection of its own, on which it waits
        self._longest_wait = 0.0
        self._prefix = spec.prefix
        self._facts_key = f"{self._prefix}:{{log}}:f"
        self._log_key = f"{self._prefix}:{{log}}:x"
        self._bans_key = f"{self._prefix}:{{log}}:b"
        self._nodes_key = f"{self._prefix}:{{log}}:n"

    # -- keys ------------------------------------------------------------------------------------------------------

    def _digest(self, digest: bytes) -> str:
        return f"{{{urlsafe_b64encode(digest).rstrip(b'=').decode()}}}"

    def _index(self, digest: bytes) -> str:
        return f"{self._prefix}:g{self.spec.generation}:{self._digest(digest)}:i"

    def _mark(self, digest: bytes) -> str:
        return f"{self._prefix}:{self._digest(digest)}:m"

    def _lease(self, digest: bytes) -> str:
        return f"{self._prefix}:{self._digest(digest)}:l"

    def _tag(self, tag: bytes) -> str:
        return f"{self._prefix}:k:{blake2b(tag, digest_size=16).hexdigest()}"

    def _values(self, digest: bytes, ident: bytes, first: int, count: int) -> list[str]:
        front = f"{self._prefix}:g{self.spec.generation}:{self._digest(digest)}:{ident.hex()}:"
        return [f"{front}{number}" for number in range(first, first + count)]

    # -- calling ---------------------------------------------------------------------------------------------------

    def _reach(self, wait: float) -> Servers:
        """Whom to ask; nobody is asked yet. :param wait: as in `Server`"""

        def make(host: str, port: int) -> Server:
            return Server(self.spec, self._password, host, port, lambda: self._counters.inc("opened"), wait)

        spec = self.spec
        return Cluster(make, spec.host, spec.port) if spec.cluster else Single(make(spec.host, spec.port))

    @property
    def state(self) -> State:
        """Of the breakers of its servers."""
        return self._servers.state

    def _many(self, commands: Sequence[Command]) -> list[object]:
        """Ask the engine, in time, and tell the counters how it went. :raises TierError:"""
        started = clock.mono()
        try:
            answers = self._servers.ask(commands)
        except LeftAlone:
            raise
        except TierTimeout:
            self._counters.inc("timeout")
            raise
        except TierError:
            self._counters.inc("error")
            raise
        if clock.mono() - started > params.tier_timeout:
            self._counters.inc("late")  # in time each time, but not in all
        return answers

    def _one(self, *words: Word) -> object:
        return self._many((words,))[0]

    # -- objects ---------------------------------------------------------------------------------------------------

    def ask(self, digest: bytes) -> Asked:
        facts, index, mark = self._many(
            (("HMGET", self._facts_key, *_FACTS), ("GET", self._index(digest)), ("GET", self._mark(digest)))
        )
        found = a_string(index)
        self._counters.inc("octets_in", len(found or b""))
        return Asked(_facts(facts), found, a_number(mark))

    def read(
        self, digest: bytes, ident: bytes, first: int, count: int, tags: Sequence[bytes] = ()
    ) -> tuple[list[bytes | None], list[int]]:
        keys = self._values(digest, ident, first, count) + [self._tag(tag) for tag in tags]
        answers = self._many([("GET", key) for key in keys])
        values = [a_string(answer) for answer in answers[:count]]
        self._counters.inc("octets_in", sum(len(value) for value in values if value is not None))
        return values, [a_number(answer) for answer in answers[count:]]

    def present(self, digest: bytes, ident: bytes, first: int, count: int) -> int:
        return a_number(self._one("EXISTS", *self._values(digest, ident, first, count)))

    def write(self, digest: bytes, ident: bytes, first: int, values: Sequence[bytes], life: float) -> None:
        keys = self._values(digest, ident, first, len(values))
        milliseconds = _milliseconds(life)
        self._many([("SET", key, value, "PX", milliseconds) for key, value in zip(keys, values, strict=True)])
        self._counters.inc("octets_out", sum(map(len, values)))

    def publish(self, digest: bytes, nonce: bytes, index: bytes, position: int, life: float) -> Published:
        keys = (self._index(digest), self._mark(digest))
        outcome = a_number(self._one("EVAL", _PUBLISH, 2, *keys, nonce, index, position, _milliseconds(life)))
        if outcome >= len(_OUTCOMES):
            raise TierError("the engine answered what our script cannot have said")
        return _OUTCOMES[outcome]

    def forget(self, digest: bytes, ident: bytes, count: int) -> None:
        self._one("UNLINK", *self._values(digest, ident, 0, count))

    # -- invalidation ----------------------------------------------------------------------------------------------

    def number(self) -> int:
        return a_number(self._one("HINCRBY", self._facts_key, "number", 1))

    def mark(self, invalidation: Invalidation) -> None:
        life = _milliseconds(params.tier_max_life + 3600.0)  # longer than anything it must be held against
        if invalidation.kind == PURGE:
            marks = [self._mark(invalidation.digest)]
        elif invalidation.kind == KEYS:
            marks = [self._tag(tag) for tag in invalidation.tags]
        else:
            return
        commands: list[Sequence[Word]] = [("EVAL", scripts.MARK, 1, mark, invalidation.number, life) for mark in marks]
        if invalidation.kind == PURGE:
            commands.append(("UNLINK", self._index(invalidation.digest)))
        for start in range(0, len(commands), _BATCH):  # each has a deadline of its own, however many keys there are
            self._many(commands[start : start + _BATCH])

    def append(self, invalidation: Invalidation) -> bytes:
        record = invalidation.encode()
        if invalidation.kind == BAN:
            keys = (self._facts_key, self._log_key, self._bans_key)
            limits = (record, params.tier_log_length, invalidation.number, params.tier_bans)
            name = self._one("EVAL", scripts.APPEND_BAN, 3, *keys, *limits)
        else:
            name = self._one("EVAL", scripts.APPEND, 2, self._facts_key, self._log_key, record, params.tier_log_length)
        found = a_string(name)
        if found is None:
            raise TierError("the engine appended and gave no id")
        return found

    def repair(self, number: int, missing: bool = False) -> Facts:
        floor = a_number(self._one("EVAL", scripts.REPAIR, 1, self._facts_key, number, _JUMP, int(missing)))
        if floor:
            self.append(Invalidation(ALL, number=floor, moment=self.time()))
        return self.facts()

    # -- the log ---------------------------------------------------------------------------------------------------

    def follow(self, after: bytes, wait: float) -> list[tuple[bytes, bytes]]:
        if self._follower is None or wait > self._longest_wait:  # one that waits longer needs more patience
            self._longest_wait = wait
            self._follower = self._reach(wait + _SLACK)
        block = ("BLOCK", _milliseconds(wait)) if wait > 0.0 else ()
        words = ("XREAD", "COUNT", _BATCH, *block, "STREAMS", self._log_key, after)
        answer = self._follower.ask((words,))[0]
        return stream_entries(a_list(a_list(a_list(answer, 1)[0], 2)[1])) if answer else []

    def bans(self, after: bytes) -> list[tuple[bytes, bytes]]:
        return stream_entries(self._one("XRANGE", self._bans_key, b"(" + after, "+", "COUNT", _BATCH))

    def facts(self, known: Sequence[bytes] = ()) -> Facts:
        looks = [("XRANGE", self._log_key, name, name) for name in known]
        answer, *found = self._many((("HMGET", self._facts_key, *_FACTS), *looks))
        facts = _facts(answer)
        absent = [name for name, entries in zip(known, found, strict=True) if not stream_entries(entries)]
        return replace(facts, missing=tuple(name for name in absent if order(name) > order(facts.trimmed)))

    def time(self) -> float:
        seconds, micros = a_list(self._one("EVAL", scripts.TIME, 1, self._log_key), 2)
        return a_number(seconds) + a_number(micros) / 1e6

    def report(self, node: str, applied: bytes) -> None:
        self._one("HSET", self._nodes_key, node, f"{applied.decode('latin-1')} {self.time():.3f}")

    def nodes(self) -> dict[str, tuple[bytes, float]]:
        flat = a_list(self._one("HGETALL", self._nodes_key))
        found: dict[str, tuple[bytes, float]] = {}
        for name, told in zip(flat[::2], flat[1::2], strict=True):
            applied, _, moment = (a_string(told) or b"").partition(b" ")
            try:
                found[(a_string(name) or b"").decode("latin-1")] = applied, float(moment)
            except ValueError:
                raise TierError("the engine answered a node's report that is none") from None
        return found

    def forget_node(self, node: str) -> None:
        self._one("HDEL", self._nodes_key, node)

    # -- leases and limits -----------------------------------------------------------------------------------------

    def lease(self, digest: bytes, holder: bytes, life: float) -> bool:
        answer = self._one("SET", self._lease(digest), holder, "NX", "PX", _milliseconds(life))
        return answer is not None

    def leased(self, digest: bytes) -> bool:
        return bool(a_number(self._one("EXISTS", self._lease(digest))))

    def release(self, digest: bytes, holder: bytes) -> None:
        self._one("EVAL", scripts.RELEASE, 1, self._lease(digest), holder)

    def bucket(self, name: bytes, limit: int, period: float, block: float, amount: int) -> Bucket:
        key = f"{self._prefix}:t:{blake2b(name, digest_size=16).hexdigest()}"
        numbers = (limit, int(period * 1000), int(block * 1000), amount)
        denied, left, blocked = a_list(self._one("EVAL", scripts.BUCKET, 1, key, *numbers), 3)
        return Bucket(bool(a_number(denied)), a_number(left), a_number(blocked) / 1000.0)

    def close(self) -> None:
        self._servers.close()
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.close()


def _milliseconds(seconds: float) -> int:
    """As the engine takes them: at least one."""
    return max(int(seconds * 1000), 1)
