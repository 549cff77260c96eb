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
| ``p:c:NAME`` | a shared counter |

Every call has the deadline ``tier_timeout`` for each answer of the engine, the breaker is asked before and told after.
What the engine answers is checked: it may be any program that listens there.
"""

from __future__ import annotations

import ssl
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Final, Protocol, TypeVar

import valkey
from valkey.cluster import ValkeyCluster
from valkey.connection import (
    BlockingConnectionPool,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)

from varnishpy import stats
from varnishpy.base import clock
from varnishpy.params import params
from varnishpy.stats.names import TierName
from varnishpy.tier import scripts
from varnishpy.tier.breaker import Breaker
from varnishpy.tier.config import TierSpec
from varnishpy.tier.errors import TierError, TierTimeout
from varnishpy.tier.record import ALL, BAN, KEYS, NONCE, PURGE, SEALED, Invalidation
from varnishpy.tier.store import Asked, Facts, Published

Word = bytes | str | int | float
Answer = TypeVar("Answer")

_PUBLISH: Final = scripts.PUBLISH % (SEALED, SEALED + NONCE - 1)
_FACTS: Final = ("number", "floor", "ban", "ban_floor", "trimmed")
_RAW: Final = ("XREAD", "XRANGE", "HGETALL", "TIME", "SET")  # commands whose answers we take apart ourselves
_BATCH: Final = 512  # records of the log, or marks, at a time
_JUMP: Final = 1 << 20  # further than invalidations can have got that nobody here has seen
_OUTCOMES: Final = (Published.STORED, Published.CHANGED, Published.PURGED)
_CONNECTIONS: Final = 64
_SLACK: Final = 0.5  # seconds by which an engine may end a wait late: it looks at its clients ten times a second


class _Commands(Protocol):
    """What is used of the package's clients and their pipelines alike."""

    def execute_command(self, *args: Word) -> object: ...


class _Pipeline(_Commands, Protocol):
    def execute(self) -> Sequence[object]: ...


class _Client(_Commands, Protocol):
    def pipeline(self, transaction: bool) -> _Pipeline: ...
    def set_response_callback(self, command: str, callback: Callable[..., object]) -> None: ...
    def close(self) -> None: ...


_open_cluster: Final[Callable[..., _Client]] = ValkeyCluster
_open_pool: Final[Callable[..., ConnectionPool]] = BlockingConnectionPool


def _as_it_comes(answer: object, **options: object) -> object:
    return answer


def _connect(spec: TierSpec, password: str | None, patience: float) -> _Client:
    """A client; it opens connections as it needs them.

    :param patience: seconds that an answer may take
    """
    options: dict[str, object] = {
        "socket_timeout": patience,
        "socket_connect_timeout": params.tier_timeout,
        "client_name": "varnishpy",
        "db": spec.db,
    }
    if spec.user:
        options["username"] = spec.user
    if password is not None:
        options["password"] = password
    kind: type[Connection | SSLConnection | UnixDomainSocketConnection] = Connection
    if spec.tls:
        kind = SSLConnection
        options["ssl_check_hostname"] = True
        options["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
        for option, path in (("ssl_ca_certs", spec.ca), ("ssl_certfile", spec.cert), ("ssl_keyfile", spec.key)):
            if path:
                options[option] = path
    client: _Client
    if spec.cluster:
        del options["db"]
        client = _open_cluster(
            spec.host, spec.port, ssl=spec.tls, cluster_error_retry_attempts=1, max_connections=_CONNECTIONS, **options
        )
    else:
        if spec.path:
            kind = UnixDomainSocketConnection
            options["path"] = spec.path
            del options["socket_connect_timeout"]
        else:
            options.update(host=spec.host, port=spec.port)
        pool = _open_pool(_CONNECTIONS, params.tier_timeout, connection_class=kind, **options)
        client = valkey.Valkey.from_pool(pool)  # which closes the pool when it is closed
    for command in _RAW:
        client.set_response_callback(command, _as_it_comes)
    return client


def _number(answer: object) -> int:
    """A number, or nothing for 0. :raises TierError:"""
    if answer is None:
        return 0
    if isinstance(answer, bytes | str) and (len(answer) > 20 or not answer.isdigit()):
        raise TierError("the engine answered what is no number")
    if isinstance(answer, int | bytes | str):
        return int(answer)
    raise TierError("the engine answered what is no number")


def _octets(answer: object) -> bytes | None:
    if answer is None or isinstance(answer, bytes):
        return answer
    raise TierError("the engine answered what is no string")


def _list(answer: object, length: int = -1) -> list[object]:
    if not isinstance(answer, list | tuple) or (length >= 0 and len(answer) != length):
        raise TierError("the engine answered what is no list of that length")
    return list(answer)


def _entries(answer: object) -> list[tuple[bytes, bytes]]:
    """Entries of a stream: id, and the record in its first field."""
    found = []
    for entry in _list(answer):
        name, fields = _list(entry, 2)
        if fields is None:  # deleted while it was read
            continue
        name, record = _octets(name), _octets(_list(fields)[1])
        if name is None or record is None:
            raise TierError("the engine answered an entry without id or record")
        found.append((name, record))
    return found


def _facts(answer: object) -> Facts:
    number, floor, ban, ban_floor, trimmed = _list(answer, len(_FACTS))
    return Facts(_number(number), _number(floor), _octets(ban) or b"", _number(ban_floor), _octets(trimmed) or b"")


class EngineStore:
    """See the module text.

    :param counters: where errors, timeouts and octets are counted
    :param password: what the password file says, which may be out of reach by now
    """

    def __init__(self, spec: TierSpec, counters: stats.Counters[TierName], password: str | None = None) -> None:
        self.spec = spec
        self._password = password
        self.breaker = Breaker()
        self._counters = counters
        self._client: _Client | None = None
        self._follower: _Client | None = None  # has a connection of its own, on which it waits
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

    def _call(self, work: Callable[[_Client], Answer], guarded: bool = True) -> Answer:
        """Ask the engine, in time, and tell breaker and counters how it went. :raises TierError:"""
        if guarded and not self.breaker.allows():
            raise TierError("the engine failed a moment ago")
        started = clock.mono()
        try:
            if self._client is None:
                self._client = _connect(
                    self.spec, self._password, params.tier_timeout
                )  # two of them do no harm, one is forgotten
            answer = work(self._client)
        except (valkey.TimeoutError, TimeoutError) as exc:
            self._counters.inc("timeout")
            self._failed()
            raise TierTimeout(str(exc) or "no answer in time") from None
        except (valkey.ValkeyError, OSError) as exc:
            self._counters.inc("error")
            self._failed()
            raise TierError(str(exc)) from None
        except TierError:
            self._counters.inc("error")
            self._failed()
            raise
        except Exception as exc:  # the package takes for granted that an engine keeps to its protocol
            self._counters.inc("error")
            self._failed()
            raise TierError(f"no sense in the engine's answer: {type(exc).__name__}: {exc}") from None
        if clock.mono() - started > params.tier_timeout:
            self._counters.inc("late")  # in time each time, but not in all
        self.breaker.succeeded()
        return answer

    def _failed(self) -> None:
        if self.breaker.failed():
            self._counters.inc("opened")

    def _one(self, *words: Word) -> object:
        return self._call(lambda client: client.execute_command(*words))

    def _many(self, commands: Iterable[Sequence[Word]]) -> list[object]:
        listed = list(commands)

        def work(client: _Client) -> list[object]:
            pipeline = client.pipeline(transaction=False)
            for words in listed:
                pipeline.execute_command(*words)
            return _list(pipeline.execute(), len(listed))

        return self._call(work)

    # -- objects ---------------------------------------------------------------------------------------------------

    def ask(self, digest: bytes) -> Asked:
        facts, index, mark = self._many(
            (("HMGET", self._facts_key, *_FACTS), ("GET", self._index(digest)), ("GET", self._mark(digest)))
        )
        found = _octets(index)
        self._counters.inc("octets_in", len(found or b""))
        return Asked(_facts(facts), found, _number(mark))

    def read(
        self, digest: bytes, ident: bytes, first: int, count: int, tags: Sequence[bytes] = ()
    ) -> tuple[list[bytes | None], list[int]]:
        keys = self._values(digest, ident, first, count) + [self._tag(tag) for tag in tags]
        answers = self._many(("GET", key) for key in keys)
        values = [_octets(answer) for answer in answers[:count]]
        self._counters.inc("octets_in", sum(len(value) for value in values if value is not None))
        return values, [_number(answer) for answer in answers[count:]]

    def present(self, digest: bytes, ident: bytes, first: int, count: int) -> int:
        return _number(self._one("EXISTS", *self._values(digest, ident, first, count)))

    def write(self, digest: bytes, ident: bytes, first: int, values: Sequence[bytes], life: float) -> None:
        keys = self._values(digest, ident, first, len(values))
        milliseconds = _milliseconds(life)
        self._many(("SET", key, value, "PX", milliseconds) for key, value in zip(keys, values, strict=True))
        self._counters.inc("octets_out", sum(map(len, values)))

    def publish(self, digest: bytes, nonce: bytes, index: bytes, position: int, life: float) -> Published:
        keys = (self._index(digest), self._mark(digest))
        outcome = _number(self._one("EVAL", _PUBLISH, 2, *keys, nonce, index, position, _milliseconds(life)))
        if outcome >= len(_OUTCOMES):
            raise TierError("the engine answered what our script cannot have said")
        return _OUTCOMES[outcome]

    def forget(self, digest: bytes, ident: bytes, count: int) -> None:
        self._one("UNLINK", *self._values(digest, ident, 0, count))

    # -- invalidation ----------------------------------------------------------------------------------------------

    def number(self) -> int:
        return _number(self._one("HINCRBY", self._facts_key, "number", 1))

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
        found = _octets(name)
        if found is None:
            raise TierError("the engine appended and gave no id")
        return found

    def repair(self, number: int) -> Facts:
        floor = _number(self._one("EVAL", scripts.REPAIR, 1, self._facts_key, number, number + _JUMP))
        if floor:
            self.append(Invalidation(ALL, number=floor, moment=self.time()))
        return self.facts()

    # -- the log ---------------------------------------------------------------------------------------------------

    def follow(self, after: bytes, wait: float) -> list[tuple[bytes, bytes]]:
        try:
            if self._follower is None or wait > self._longest_wait:  # one that waits longer needs more patience
                self._longest_wait = wait
                self._follower = _connect(self.spec, self._password, wait + _SLACK)
            block = ("BLOCK", _milliseconds(wait)) if wait > 0.0 else ()
            answer = self._follower.execute_command("XREAD", "COUNT", _BATCH, *block, "STREAMS", self._log_key, after)
            if answer is None:
                return []
            if isinstance(answer, dict):  # in RESP3
                answer = list(answer.items())
            return _entries(_list(_list(answer, 1)[0], 2)[1])
        except (valkey.TimeoutError, TimeoutError) as exc:
            raise TierTimeout(str(exc) or "no answer in time") from None
        except TierError:
            raise
        except Exception as exc:  # as in `_call`
            raise TierError(str(exc)) from None

    def bans(self, after: bytes) -> list[tuple[bytes, bytes]]:
        return _entries(self._one("XRANGE", self._bans_key, b"(" + after, "+", "COUNT", _BATCH))

    def facts(self) -> Facts:
        return _facts(self._one("HMGET", self._facts_key, *_FACTS))

    def time(self) -> float:
        seconds, micros = _list(self._one("TIME"), 2)
        return _number(seconds) + _number(micros) / 1e6

    def report(self, node: str, applied: bytes) -> None:
        self._one("HSET", self._nodes_key, node, f"{applied.decode('latin-1')} {self.time():.3f}")

    def nodes(self) -> dict[str, tuple[bytes, float]]:
        flat = _list(self._one("HGETALL", self._nodes_key))
        found: dict[str, tuple[bytes, float]] = {}
        for name, told in zip(flat[::2], flat[1::2], strict=True):
            applied, _, moment = (_octets(told) or b"").partition(b" ")
            try:
                found[(_octets(name) or b"").decode("latin-1")] = applied, float(moment)
            except ValueError:
                raise TierError("the engine answered a node's report that is none") from None
        return found

    def forget_node(self, node: str) -> None:
        self._one("HDEL", self._nodes_key, node)

    # -- leases and counters ---------------------------------------------------------------------------------------

    def lease(self, digest: bytes, holder: bytes, life: float) -> bool:
        answer = self._one("SET", self._lease(digest), holder, "NX", "PX", _milliseconds(life))
        return answer is not None

    def leased(self, digest: bytes) -> bool:
        return bool(_number(self._one("EXISTS", self._lease(digest))))

    def release(self, digest: bytes, holder: bytes) -> None:
        self._one("EVAL", scripts.RELEASE, 1, self._lease(digest), holder)

    def count(self, name: bytes, amount: int, life: float) -> int:
        key = f"{self._prefix}:c:{blake2b(name, digest_size=16).hexdigest()}"
        return _number(self._one("EVAL", scripts.COUNT, 1, key, amount, _milliseconds(life)))

    def close(self) -> None:
        clients, self._client, self._follower = (self._client, self._follower), None, None
        for client in clients:
            if client is not None:
                client.close()


def _milliseconds(seconds: float) -> int:
    """As the engine takes them: at least one."""
    return max(int(seconds * 1000), 1)
