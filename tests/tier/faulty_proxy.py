"""A proxy in front of each server of the engine, which spoils the answer to one command, chosen by its number."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

Fault = Callable[[socket.socket], bool]  # does something to the client; False: the connection is over


def error(text: bytes) -> Fault:
    """The engine refuses."""

    def refuse(client: socket.socket) -> bool:
        client.sendall(b"-" + text + b"\r\n")
        return True

    return refuse


def cut(client: socket.socket) -> bool:
    """It begins an answer and breaks off, as when it is killed."""
    client.sendall(b"$1000000\r\nhalf")
    return False


def hang(client: socket.socket) -> bool:
    """It never answers: a black hole."""
    return True


class FaultyProxy:
    """Listens on loopback; ``fault`` is done to the command with number ``at``, counted from `arm` on.

    :ivar ports: one for each server
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.ports = [int(door.getsockname()[1]) for door in self._doors]
        self._fault: Fault | None = None
        self._left = 0
        self.commands: list[bytes] = []
        self.done = False  # has the fault happened?

    def open(self, paths: Sequence[Path]) -> None:
        """Pass on to servers at those unix sockets from now on."""
        for door, path in zip(self._doors, paths, strict=True):
            threading.Thread(target=self._accept, args=(door, path), daemon=True).start()

    def arm(self, fault: Fault, at: int) -> None:
        with self._lock:
            self._fault, self._left, self.done = fault, at, False
            self.commands = []

    def disarm(self) -> None:
        with self._lock:
            self._fault = None

    def close(self) -> None:
        for door in self._doors:
            with contextlib.suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()

    def _accept(self, door: socket.socket, path: Path) -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client, path), daemon=True).start()

    def _serve(self, client: socket.socket, path: Path) -> None:
        """One command at a time, so that each answer belongs to one."""
        with client, socket.socket(socket.AF_UNIX) as engine:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError, ValueError):  # either side may go away
                engine.connect(str(path))
                orders, answers = client.makefile("rb"), engine.makefile("rb")
                while order := _value(orders):
                    fault = self._count(order)
                    if fault is not None:
                        if not fault(client):
                            return
                        continue
                    engine.sendall(order)
                    client.sendall(_value(answers))

    def _count(self, order: bytes) -> Fault | None:
        name = order.split(b"\r\n")[2].upper()
        if name in (b"CLIENT", b"SELECT", b"HELLO"):
            return None
        with self._lock:
            self.commands.append(name)
            if self._fault is None or self.done:
                return None
            if self._left:
                self._left -= 1
                return None
            self.done = True
            return self._fault


def _value(stream: object) -> bytes:
    """One value of the engine's protocol, whole; empty at the end."""
    line: bytes = stream.readline()  # type: ignore[attr-defined]
    if not line.endswith(b"\r\n"):
        return b""
    kind, number = line[:1], line[1:-2]
    if kind == b"$" and number != b"-1":
        return line + bytes(stream.read(int(number) + 2))  # type: ignore[attr-defined]
    if kind == b"*" and number != b"-1":
        return line + b"".join(_value(stream) for _ in range(int(number)))
    return line


@contextlib.contextmanager
def faulty_proxy(count: int = 1) -> Iterator[FaultyProxy]:
    made = FaultyProxy(count)
    try:
        yield made
    finally:
        made.close()
