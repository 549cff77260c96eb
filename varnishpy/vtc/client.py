"""``client``: connects and runs a script."""

from __future__ import annotations

import socket

from . import net, proxy
from .context import Test
from .log import Voice
from .party import PATIENCE, ThreadedParty
from .session import SESSION_OPTIONS, Connection, Session, run_session
from .table import Call, Command, Opt
from .text import Text

CONNECT_TIMEOUT = 10.0


class Client(ThreadedParty):
    title = "client"

    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.session = Session(name)
        self.spec = Text("")
        self.connect_to = "${v1_sock}"
        self.address = ""
        self.proxy: tuple[int, Text] | None = None

    def start(self) -> None:
        self.voice.say(2, "Starting client")
        self.address = self.test.expand(self.voice, self.connect_to)
        spec = self.spec

        def run() -> None:
            run_session(self.test, self.voice, self.session, spec, self.address, self._connect, _disconnect)

        self.run(run)

    def _connect(self, _voice: Voice) -> socket.socket:
        self.voice.say(3, f"Connect to {self.address}")
        try:
            sock = net.connect(self.test, self.address, CONNECT_TIMEOUT)
        except net.NetError as error:
            self.voice.fatal(f"Failed to open {self.address}: {error}")
        if net.is_path(self.address):
            self.voice.say(3, f"connected fd {sock.fileno()} to {self.address}")
        else:
            mine = net.bound(sock)
            self.voice.say(3, f"connected fd {sock.fileno()} from {mine.address} {mine.port} to {self.address}")
        if self.proxy is not None:
            version, spec = self.proxy
            try:
                net.send_all(self.test, sock, proxy.header(version, spec))
            except OSError as error:
                sock.close()
                self.voice.fatal(f"Write failed: {error.strerror}")
        return sock

    def reset(self) -> None:
        if self.thread is not None:
            if self.test.failed:
                self.thread.join_anyway(PATIENCE)
            else:
                self.wait()


def _disconnect(voice: Voice, sock: Connection) -> None:
    voice.say(3, f"closing fd {sock.fileno()}")
    sock.close()


def _client(test: Test, call: Call) -> None:
    client = test.party(Client, str(call.plain[0]))
    for item in call.items[1:]:
        if client.wait_if_asked(item.option):
            continue
        if client.thread is not None:
            client.wait()
        if client.session.option(item.option, item.args):
            continue
        match item.option:
            case "-connect":
                client.connect_to = item.args[0]
            case "-proxy1" | "-proxy2":
                client.proxy = int(item.option[-1]), item.args[0]
            case "-start":
                client.start()
            case "-run":
                client.start()
                client.wait()
            case _:
                client.spec = item.args[0]


CLIENT = Command(
    "client",
    _client,
    "NAME [SPEC...]",
    {
        "-wait": Opt("", "wait for its end"),
        "-start": Opt("", "start it"),
        "-run": Opt("", "start it and wait for its end"),
        "-connect": Opt("ADDRESS", "to {0}"),
        "-proxy1": Opt("ADDRESSES", "saying PROXY (version 1) for {0}", check=proxy.check),
        "-proxy2": Opt("ADDRESSES", "saying PROXY (version 2) for {0}", check=proxy.check),
        **SESSION_OPTIONS,
    },
    "client {0}",
    named="c",
    language="http",
)
