"""What ``client`` and ``server`` share: repeating a script over connections, in a thread of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from . import numbers, tls
from .context import Test, Waker
from .http1 import Http
from .log import Voice
from .table import Opt
from .text import Text
from .tls_socket import TlsSocket

Connection = socket.socket | TlsSocket
Connect = Callable[[Voice], socket.socket]
Disconnect = Callable[[Voice, Connection], None]

SESSION_OPTIONS = {
    "-rcvbuf": Opt("SIZE", "with a receive buffer of {0} bytes"),
    "-repeat": Opt("NUMBER", "{0} times"),
    "-keepalive": Opt("", "over one connection"),
}


@dataclass(slots=True)
class Session:
    """How often, and over how many connections, a script runs."""

    name: str
    repeat: int = 1
    keepalive: bool = False
    receive_buffer: int = 0

    def option(self, option: str, args: list[Text]) -> bool:
        """Take one of ``SESSION_OPTIONS``; False for any other option."""
        match option:
            case "-rcvbuf":
                self.receive_buffer = numbers.integer(args[0])
            case "-repeat":
                self.repeat = numbers.integer(args[0])
            case "-keepalive":
                self.keepalive = True
            case _:
                return False
        return True


def run_script(
    test: Test,
    voice: Voice,
    session: Session,
    spec: Text,
    sock: Connection,
    address: str,
    waker: Waker | None,
    listener: socket.socket | None,
) -> Connection | None:
    """Run a script once on a connection; the connection it ended with (None if it closed it)."""
    if session.receive_buffer and isinstance(sock, socket.socket):
        old = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, session.receive_buffer)
        actual = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        voice.say(3, f"-rcvbuf fd={sock.fileno()} old={old} new={session.receive_buffer} actual={actual}")
    http = Http(test, voice, session.name, sock, listener)
    http.waker = waker
    http.know_peer(address)
    interpreter = test.interpreter(voice, "http", http)
    http.run = lambda script: interpreter.run(Text(script))
    try:
        interpreter.run(spec)
        if http.h2 is not None:
            http.h2.stop()
    except BaseException:
        if http.h2 is not None:
            http.h2.abandon()
        http.close()
        raise
    tls.leave(http)
    return http.sock


def run_session(
    test: Test,
    voice: Voice,
    session: Session,
    spec: Text,
    address: str,
    connect: Connect,
    disconnect: Disconnect,
    waker: Waker | None = None,
    listener: socket.socket | None = None,
) -> None:
    """Run a script ``session.repeat`` times, over one connection or one each."""
    voice.say(
        2,
        f"Started on {address} ({session.repeat} iterations{' using keepalive' if session.keepalive else ''})",
    )
    sock: Connection | None = None
    try:
        for _ in range(session.repeat):
            if sock is None:
                sock = connect(voice)
            sock = run_script(test, voice, session, spec, sock, address, waker, listener)
            if sock is not None and not session.keepalive:
                disconnect(voice, sock)
                sock = None
        if sock is not None:
            disconnect(voice, sock)
            sock = None
    finally:
        if sock is not None:
            sock.close()
    voice.say(2, "Ending")
