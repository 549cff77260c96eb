"""Who has what in the engine: one server has all, or a cluster has a part on each (`Cluster`).

A key's *slot* says which server has it. The map of slots is asked of any server, and again when one could not be asked
or sent us elsewhere. The package has a cluster client too; it is not used since it tries again on its own, command by
command and past any deadline, and does not hold a server's certificate against its name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from valkey.crc import key_slot
from valkey.exceptions import AskError, MovedError

from varnishpy.base.locks import make_lock
from varnishpy.tier.answers import a_list, a_number, a_string
from varnishpy.tier.breaker import State
from varnishpy.tier.errors import TierError
from varnishpy.tier.server import Command, Server

Address = tuple[str, int]
MakeServer = Callable[[str, int], Server]

SLOTS: Final = 16384  # fixed by the engine's cluster specification
_HOPS: Final = 4  # redirections in a row: a slot is on its way from one server to another, and the map is old as well


class Servers(Protocol):
    """Whoever can carry out commands. Any thread."""

    def ask(self, commands: Sequence[Command]) -> list[object]:
        """Answers in order, those of the first command's server first. :raises TierError:"""

    @property
    def state(self) -> State:
        """The worst of their breakers."""

    def close(self) -> None:
        """Let go of all connections."""


class Single:
    """An engine that is no cluster."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def ask(self, commands: Sequence[Command]) -> list[object]:
        answers = self._server.ask(commands)
        for answer in answers:
            if isinstance(answer, AskError):
                raise TierError('the engine is a cluster: -s tier needs the option "cluster"')
        return answers

    @property
    def state(self) -> State:
        return self._server.breaker.state

    def close(self) -> None:
        self._server.close()


def slot_of(words: Command) -> int:
    """The slot of a command's first key. A command without any is one that the server of the map may answer."""
    name = words[0]
    at = 3 if name == "EVAL" else words.index("STREAMS") + 1 if name == "XREAD" else 1
    key = words[at]
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


class Cluster:
    """See the module text.

    :param host: of any of its servers
    """

    def __init__(self, make: MakeServer, host: str, port: int) -> None:
        self._make = make
        self._start = (host, port)
        self._lock = make_lock("tier_slots")  # of what follows
        self._servers: dict[Address, Server] = {}
        self._slots: list[Address] = []  # empty until it has been learnt
        self._outdated = True
        self._next = 0  # whom to ask for the map
        self._learning = threading.Lock()

    # -- asking ----------------------------------------------------------------------------------------------------

    def ask(self, commands: Sequence[Command]) -> list[object]:
        if self._outdated:
            self._learn()
        answers: list[object] = [None] * len(commands)
        left = list(range(len(commands)))
        asking: dict[int, Address] = {}  # commands that another server takes although it has not the slot yet
        for _ in range(_HOPS):
            self._round(commands, left, asking, answers)
            left = [number for number in left if isinstance(answers[number], AskError)]
            if not left:
                return answers
            asking = self._redirected(left, answers)
        raise TierError("the cluster sends us in circles")

    def _round(
        self, commands: Sequence[Command], left: Sequence[int], asking: dict[int, Address], answers: list[object]
    ) -> None:
        """Ask each server for its part, one after the other."""
        parts: dict[Address, list[int]] = {}
        for number in left:
            parts.setdefault(asking.get(number) or self._where(slot_of(commands[number])), []).append(number)
        for address, numbers in parts.items():
            words: list[Command] = []
            for number in numbers:
                words += [("ASKING",), commands[number]] if number in asking else [commands[number]]
            found = self._ask_one(address, words)
            kept = [answer for answer, sent in zip(found, words, strict=True) if sent[0] != "ASKING"]
            for number, answer in zip(numbers, kept, strict=True):
                answers[number] = answer

    def _ask_one(self, address: Address, words: Sequence[Command]) -> list[object]:
        try:
            return self._server(address).ask(words)
        except TierError:
            self._outdated = True
            raise

    def _redirected(self, left: Sequence[int], answers: Sequence[object]) -> dict[int, Address]:
        """Note where slots are now; which commands are to be asked of whom all the same."""
        asking: dict[int, Address] = {}
        with self._lock:
            for number in left:
                answer = answers[number]
                assert isinstance(answer, AskError)
                address = (answer.host, answer.port)
                if not 0 <= answer.slot_id < SLOTS or not answer.host:
                    raise TierError("the cluster sends us nowhere")
                if isinstance(answer, MovedError):  # it is an AskError as well
                    self._slots[answer.slot_id] = address
                    self._outdated = True
                else:
                    asking[number] = address
        return asking

    def _where(self, slot: int) -> Address:
        with self._lock:
            if not self._slots or not self._slots[slot][0]:
                raise TierError("no server of the cluster has that slot")
            return self._slots[slot]

    def _server(self, address: Address) -> Server:
        with self._lock:
            found = self._servers.get(address)
            if found is None:
                found = self._servers[address] = self._make(*address)
            return found

    # -- the map ---------------------------------------------------------------------------------------------------

    def _learn(self) -> None:
        """Ask one server for the map; the next one next time, if that fails. One thread at a time.

        :raises TierError: there is no map, not even an old one
        """
        if not self._learning.acquire(blocking=not self._slots):
            return
        try:
            if self._outdated:
                self._learn_of(self._candidate())
        except TierError:
            self._next += 1
            if not self._slots:
                raise
        finally:
            self._learning.release()

    def _candidate(self) -> Server:
        with self._lock:
            known = [self._start, *(address for address in self._servers if address != self._start)]
        return self._server(known[self._next % len(known)])

    def _learn_of(self, server: Server) -> None:
        slots = _read_map(a_list(server.ask((("CLUSTER", "SLOTS"),)))[0], server.address[0])
        with self._lock:
            self._outdated = False
            self._slots = slots
            gone = [address for address in self._servers if address != self._start and address not in set(slots)]
            left = [self._servers.pop(address) for address in gone]
        for old in left:
            old.close()

    # -- all of them -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        with self._lock:
            states = {server.breaker.state for server in self._servers.values()}
        return next((state for state in (State.OPEN, State.TRYING) if state in states), State.CLOSED)

    def close(self) -> None:
        with self._lock:
            servers, self._servers = list(self._servers.values()), {}
            self._outdated = True
        for server in servers:
            server.close()


def _read_map(answer: object, host: str) -> list[Address]:
    """The answer to ``CLUSTER SLOTS``: where each slot is. :raises TierError:"""
    slots: list[Address] = [("", 0)] * SLOTS
    for row in a_list(answer):
        cells = a_list(row)
        if len(cells) < 3:
            raise TierError("the engine answered a map of slots that is none")
        first, last = a_number(cells[0]), a_number(cells[1])
        primary = a_list(cells[2])
        if len(primary) < 2 or not first <= last < SLOTS:
            raise TierError("the engine answered a map of slots that is none")
        name = (a_string(primary[0]) or b"").decode("latin-1")
        slots[first : last + 1] = [(name or host, a_number(primary[1]))] * (last + 1 - first)
    return slots
