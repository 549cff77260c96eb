"""The CLI connection a daemon opens to the test (``-M``): framing, authentication, status codes."""

from __future__ import annotations

import select
import socket

from varnishpy.cli import protocol

from . import net
from .context import Test
from .log import Voice


class CliConnection:
    """Asks one thing at a time; everything asked and answered is in the log."""

    def __init__(self, test: Test, voice: Voice, sock: socket.socket) -> None:
        self.test = test
        self.voice = voice
        self.sock = sock
        sock.setblocking(False)

    def ask(self, command: str | None, timeout: float | None = None) -> tuple[int, str]:
        """Send a command (None: only read, as for the banner); status and text.

        :raises TestFailed: the connection fails, or no answer comes in ``timeout`` seconds (default: the test's)
        :raises TestAborted: the test failed meanwhile
        """
        shown = "NULL" if command is None else command
        if command is not None:
            self.voice.dump(4, "CLI TX", command)
            try:
                net.send_all(self.test, self.sock, command.encode("latin-1") + b"\n")
            except OSError as error:
                self.voice.fatal(f"CLI write failed ({shown}) = {error.errno} {error.strerror}")
        limit = self.test.settings.max_duration if timeout is None else timeout
        try:
            status, length = protocol.parse_header(self._read(protocol.HEADER_LENGTH, limit))
            text = self._read(length + 1, limit)[:-1].decode("latin-1")
        except (protocol.CliProtocolError, OSError) as error:
            self.voice.fatal(f"CLI failed ({shown}): {error}")
        self.voice.say(3, f"CLI RX  {status}")
        self.voice.dump(4, "CLI RX", text)
        return status, text

    def _read(self, count: int, timeout: float) -> bytes:
        parts: list[bytes] = []
        while count:
            if not self.test.poll(self.sock.fileno(), select.POLLIN, timeout):
                raise protocol.CliProtocolError("no answer in time")
            try:
                data = self.sock.recv(count)
            except BlockingIOError:
                continue
            if not data:
                raise protocol.CliProtocolError("the connection was closed")
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def authenticate(self, secret: bytes) -> str:
        """Answer the challenge that greets us; the banner."""
        status, text = self.ask(None)
        if status != protocol.AUTH:
            self.voice.fatal(f"CLI auth demand expected: {status} {text}")
        status, text = self.ask("auth " + protocol.auth_response(text[: protocol.CHALLENGE_LENGTH], secret))
        if status != protocol.OK:
            self.voice.fatal(f"CLI auth command failed: {status} {text}")
        return text

    def must(self, command: str, what: str) -> str:
        """Ask something that has to succeed; the answer."""
        status, text = self.ask(command)
        if status != protocol.OK:
            self.voice.fatal(f"CLI {what} command failed: {status} {text}")
        return text

    def close(self) -> None:
        self.sock.close()
