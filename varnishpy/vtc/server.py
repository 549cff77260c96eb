"""``server``: accepts a connection and runs a script on it; ``s0 -dispatch`` accepts any number."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from . import net
from .context import Test
from .errors import ScriptError
from .log import Voice
from .party import ListeningParty
from .session import SESSION_OPTIONS, Connection, Session, run_script, run_session
from .table import Call, Command, Item, Opt
from .text import Text

BACKLOG = 10


class Server(ListeningParty):
    title = "server"
    verb = "Breaking"

    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.session = Session(name)
        self.spec = Text("")
        self.listen_on = test.settings.listen_address
        self.bound = net.Bound("", "")
        self.dispatched = False
        self.dispatches = 0

    # Listening

    def listen(self) -> None:
        self.close()
        try:
            self.sock = net.listen(self.listen_on, BACKLOG)
        except net.NetError as error:
            self.voice.fatal(f"Server listen address ({self.listen_on}) cannot be resolved: {error}")
        self.sock.setblocking(False)
        test = self.test
        if net.is_path(self.listen_on):
            self.bound = net.Bound("0.0.0.0", "0")
            together = self.listen_on
        else:
            self.bound = net.bound(self.sock)
            together = self.listen_on = self.bound.together
        test.define(self.voice, f"{self.name}_addr", self.bound.address)
        test.define(self.voice, f"{self.name}_port", self.bound.port)
        test.define(self.voice, f"{self.name}_sock", together)

    def backend(self) -> str:
        """The VCL that declares this server as a backend."""
        if net.is_path(self.listen_on):
            return f'backend {self.name} {{ .path = "{self.listen_on}"; }}\n'
        return f'backend {self.name} {{ .host = "{self.bound.address}"; .port = "{self.bound.port}"; }}\n'

    # Running

    def start(self) -> None:
        self.voice.say(2, "Starting server")
        self.listen()
        self.voice.say(1, f"Listen on {self.listen_on}")
        spec, listener = self.spec, self.sock

        def run() -> None:
            run_session(
                self.test,
                self.voice,
                self.session,
                spec,
                self.listen_on,
                self._accept,
                self._disconnect,
                self.waker,
                listener,
            )

        self.run(run)

    def _accept(self, voice: Voice) -> socket.socket:
        assert self.sock is not None
        sock = net.accept(self.test, self.sock, self.waker)
        if net.is_path(self.listen_on):
            voice.say(3, f"accepted fd {sock.fileno()} 0.0.0.0 0")
        else:
            peer = sock.getpeername() if _connected(sock) else ("?", "?")
            voice.say(3, f"accepted fd {sock.fileno()} {peer[0]} {peer[1]}")
        return sock

    def _disconnect(self, voice: Voice, sock: Connection) -> None:
        voice.say(3, f"shutting fd {sock.fileno()} (server run)")
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        sock.close()

    def dispatch(self) -> None:
        self.listen()
        self.voice.say(2, "Starting dispatch server")
        self.run(self._dispatch)

    def _dispatch(self) -> None:
        self.voice.say(2, f"Dispatch started on {self.listen_on}")
        spec, listener = self.spec, self.sock
        assert listener is not None
        while True:
            sock = net.accept(self.test, listener, self.waker)
            self.dispatches += 1
            worker = Server(self.test, f"s{self.dispatches}")
            self.voice.say(3, f"dispatch fd {sock.fileno()} -> {worker.name}")
            worker.dispatched = True
            worker.listen_on = self.listen_on
            # a script may wait for it by its name, unless it has a server of that name
            taken = self.test.find(Server, worker.name) is not None
            self.test.add(worker, f"dispatched {worker.name}" if taken else worker.name)
            worker.serve(spec, sock)

    def serve(self, spec: Text, sock: socket.socket) -> None:
        """Run a script on a connection already accepted."""

        def run() -> None:
            self.voice.say(3, f"start with fd {sock.fileno()}")
            left = run_script(self.test, self.voice, self.session, spec, sock, self.listen_on, self.waker, sock)
            if left is not None:
                self._disconnect(self.voice, left)
            self.voice.say(2, "Ending")

        self.run(run)

    # Ending

    def place(self) -> str:
        return f" ({-1 if self.sock is None else self.sock.fileno()}/-1)"

    def stop(self) -> None:
        super().stop()
        self.close()


def _connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def all_backends(test: Test) -> str:
    """VCL declaring every server that has been started."""
    return "".join(server.backend() for server in test.parties(Server) if not server.dispatched)


def _server(test: Test, call: Call) -> None:
    server = test.party(Server, str(call.plain[0]))
    for item in call.items[1:]:
        if server.wait_if_asked(item.option):
            continue
        if item.option == "-break":
            server.stop()
            continue
        if server.thread is not None:
            server.wait()
        if server.session.option(item.option, item.args):
            continue
        match item.option:
            case "-listen":
                server.close()
                server.listen_on = str(item.args[0])
            case "-start":
                server.start()
            case "-dispatch":
                server.dispatch()
            case _:
                server.spec = item.args[0]


def _check(items: Sequence[Item]) -> None:
    for item in items:
        if item.option == "-dispatch" and items[0].args[0] != "s0":
            raise ScriptError("server -dispatch only works on s0", item.at)


SERVER = Command(
    "server",
    _server,
    "NAME [SPEC...]",
    {
        "-wait": Opt("", "wait for its end"),
        "-break": Opt("", "stop it"),
        "-listen": Opt("ADDRESS", "on {0}"),
        "-start": Opt("", "start it"),
        "-dispatch": Opt("", "start it, for any number of connections"),
        **SESSION_OPTIONS,
    },
    "server {0}",
    named="s",
    language="http",
    check=_check,
)
