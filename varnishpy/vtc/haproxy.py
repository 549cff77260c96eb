"""``haproxy``: an HAProxy under test, its configuration, its command socket and its end."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import net, numbers
from .children import check_exit
from .compare import matches
from .context import Test
from .party import Party
from .server import Server
from .table import Call, Command, Opt, table
from .text import Text
from .threads import PartyThread

PID_FILE_TIMEOUT = 3.0
MAX_ANSWER = 2 << 20
_INHERITED = re.compile(r"(quic\+)?(?:\[?)fd@\$\{([^}]*)\}")


class CommandSocket:
    """HAProxy's command line over TCP: one command, one answer per connection."""

    def __init__(self, haproxy: HAProxy, macro: str) -> None:
        self.haproxy = haproxy
        self.address = f"${{{haproxy.name}_{macro}_sock}}"
        self.spec: Text | None = None
        self.sock: socket.socket | None = None

    def _connect(self) -> socket.socket:
        voice, test = self.haproxy.voice, self.haproxy.test
        address = test.expand(voice, self.address)
        try:
            sock = net.connect(test, address, 10.0)
        except net.NetError as error:
            voice.fatal(f"CLI failed to open {address}: {error}")
        mine = net.bound(sock)
        voice.say(3, f"CLI connected fd {sock.fileno()} from {mine.address} {mine.port} to {address}")
        return sock

    def run(self) -> None:
        if self.spec is None:
            return
        voice, test = self.haproxy.voice, self.haproxy.test
        spec, self.spec = self.spec, None
        voice.say(2, "CLI starting")

        def main() -> None:
            self.sock = self._connect()
            test.interpreter(voice, "haproxy-cli", self).run(spec)
            self.close()
            voice.say(2, "CLI ending")

        PartyThread(test, voice, main, f"{self.haproxy.name}.cli").start().join()

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def send(self, text: str) -> None:
        voice = self.haproxy.voice
        if self.sock is None:
            self.sock = self._connect()
        voice.dump(4, "CLI send", text + "\n")
        try:
            net.send_all(self.haproxy.test, self.sock, (text + "\n").encode("latin-1"))
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            voice.fatal(f"CLI fd {self.sock.fileno()} send error {error.strerror}")

    def receive(self) -> bytes:
        voice, test = self.haproxy.voice, self.haproxy.test
        if self.sock is None:
            voice.fatal("CLI: nothing was sent")
        parts: list[bytes] = []
        size = 0
        while size < MAX_ANSWER:
            if not test.poll(self.sock.fileno(), select.POLLIN, test.settings.max_duration * 0.5):
                voice.fatal("CLI rx timeout")
            data = self.sock.recv(16384)
            if not data:
                voice.say(4, "CLI connection normally closed")
                self.close()
                break
            parts.append(data)
            size += len(data)
        answer = b"".join(parts)
        voice.dump(4, "CLI recv", answer)
        return answer


def _cli_send(cli: CommandSocket, call: Call) -> None:
    cli.send(call.plain[0])


def _cli_expect(cli: CommandSocket, call: Call) -> None:
    operator, pattern = call.plain
    answer = cli.receive()
    if matches(pattern, answer) != (operator == "~"):
        call.voice.fatal(f'CLI expect failed {operator} "{pattern}"')
    call.voice.say(4, f'CLI expect match {operator} "{pattern}"')


HAPROXY_CLI = table(
    Command("send", _cli_send, "COMMAND", text="send: {0}", mixed=False),
    Command("expect", _cli_expect, "~|!~ REGEX", text="expect the answer {0} {1}", mixed=False),
)


class HAProxy(Party):
    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.program = os.environ.get("HAPROXY_PROGRAM", "haproxy")
        self.args = [os.environ["HAPROXY_ARGS"]] if os.environ.get("HAPROXY_ARGS") else []
        self.worker = ""
        self.daemon = False
        self.master_socket = False
        self.check_only = False
        self.expect_exit = 0
        self.directory = Path(test.tmpdir, name)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config = ""
        self.cli = CommandSocket(self, "cli")
        self.mcli = CommandSocket(self, "mcli")
        self.process: subprocess.Popen[bytes] | None = None
        self.pid = -1
        self.output: list[bytes] = []
        self.thread: PartyThread | None = None
        self._inherited: dict[str, socket.socket] = {}
        with net.listen("127.0.0.1:0", 100) as closed:
            self._define(f"{name}_closed", net.bound(closed))

    def _define(self, prefix: str, where: net.Bound) -> None:
        self.test.define(self.voice, f"{prefix}_sock", where.together)
        self.test.define(self.voice, f"{prefix}_addr", where.address)
        self.test.define(self.voice, f"{prefix}_port", where.port)

    # Configuration

    def configure(self, text: str, backends: bool) -> None:
        """Take a configuration; sockets it wants to inherit (``fd@${name}``) are opened and become macros."""
        conf = f'    global\n\tstats socket "{self.directory}/stats.sock" level admin mode 600\n'
        conf += '    stats socket "fd@${cli}" level admin\n' + text
        if backends:
            conf += _backend_sections(self.test)
        for quic, name in _INHERITED.findall(conf):
            sock = net.listen("127.0.0.1:0", 100, datagram=bool(quic))
            self._inherited[name] = sock
            self._define(f"{self.name}_{name}", net.bound(sock))
            self.voice.say(4, f"setenv({name}, {sock.fileno()})")
        ignored, self.test.macros.ignore_unknown = self.test.macros.ignore_unknown, True
        self.config = self.test.expand(self.voice, conf)
        self.test.macros.ignore_unknown = ignored

    def check(self, wanted: str) -> None:
        self.check_only = True
        self.output.clear()
        self.start()
        self.wait()
        if wanted.encode("latin-1") not in b"".join(self.output):
            self.voice.fatal(f"Did not find expected string '{wanted}'")
        self.voice.say(2, f"Found expected '{wanted}'")
        self.check_only = False

    # Running

    def start(self) -> None:
        self.voice.say(2, "haproxy_start")
        mode = "-c" if self.check_only else "-D" if self.daemon else "-d"
        words = ["exec", shlex.quote(self.program), mode]
        environment = {**os.environ, **{name: str(sock.fileno()) for name, sock in self._inherited.items()}}
        keep = [sock.fileno() for sock in self._inherited.values()]
        notify: socket.socket | None = None
        if self.worker:
            words.append(self.worker)
            if self.worker == "-Ws":
                notify = self._notify_socket(environment)
            if self.master_socket:
                sock = net.listen(self.test.settings.listen_address, 100)
                self._inherited["mcli"] = sock
                self._define(f"{self.name}_mcli", net.bound(sock))
                keep.append(sock.fileno())
                words.append(f'-S "fd@{sock.fileno()}"')
        words.extend(self.args)
        (self.directory / "cfg").write_bytes(self.config.encode("latin-1"))
        self.voice.dump(4, "conf", self.config)
        words.append(f'-f "{self.directory}/cfg"')
        pid_file = self.directory / "pid" if self.worker or self.daemon else None
        if pid_file is not None:
            words.append(f'-p "{pid_file}"')
        command = " ".join(words)
        self.voice.dump(4, "argv", command)
        if self.worker and not self.daemon:
            self.expect_exit = 128 + signal.SIGINT
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.directory,
            env=environment,
            pass_fds=keep,
        )
        self.pid = self.process.pid
        self.voice.say(3, f"PID: {self.pid}")
        self.test.define(self.voice, f"{self.name}_pid", str(self.pid))
        self.test.define(self.voice, f"{self.name}_name", str(self.directory))
        self.thread = PartyThread(self.test, self.voice, self._record, self.name).start()
        if pid_file is not None:
            self._wait_pid_file(pid_file)
        if notify is not None:
            self._wait_ready(notify)

    def _notify_socket(self, environment: dict[str, str]) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = str(self.directory / "sd_notify.sock")
        sock.bind(path)
        environment["NOTIFY_SOCKET"] = path
        self.voice.say(4, f"sd_notify {path}")
        return sock

    def _wait_ready(self, sock: socket.socket) -> None:
        self.voice.say(3, "wait-sdnotify-ready")
        with sock:
            if not self.test.poll(sock.fileno(), select.POLLIN, self.test.settings.max_duration / 3):
                self.voice.fatal("FAIL timeout waiting for sd_notify recv")
            if b"READY=1" not in sock.recv(8192):
                self.voice.fatal("FAIL sd_notify recv READY failure")
        self.voice.say(3, "sd_notify READY=1")

    def _wait_pid_file(self, path: Path) -> None:
        self.voice.say(3, "wait-pid-file")
        until = time.monotonic() + PID_FILE_TIMEOUT
        while time.monotonic() < until:
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                if self.daemon or pid == self.pid:
                    os.kill(pid, 0)
                    self.pid = pid
                    self.voice.say(2, f"haproxy PID {pid} successfully started")
                    return
            self.test.sleep(0.005)
        self.voice.fatal(f"haproxy {self.name} PID file check failed: {path}")

    def _record(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        while data := self.process.stdout.read1(8192):  # type: ignore[attr-defined]
            self.output.append(data)
            self.voice.dump(3, "debug", data)
        self.voice.say(4, "STDOUT EOF")

    # Ending

    def wait(self) -> None:
        self.voice.say(2, "Wait")
        if self.process is None:
            self.start()
        for cli in (self.cli, self.mcli):
            cli.run()
        process, thread = self.process, self.thread
        assert process is not None and process.stdin is not None and thread is not None
        process.stdin.close()
        self.voice.say(2, f"Stop HAproxy pid={self.pid}")
        expect_signal = 0
        if not self.check_only:
            expect_signal = self._kill(thread)
        thread.join_anyway(2.0)
        assert process.stdout is not None
        process.stdout.close()
        if not self.daemon:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = status
            self._forget()
            check_exit(self.voice, process.pid, status, usage, self.expect_exit, expect_signal)
        else:
            process.wait()
        self._forget()

    def _kill(self, thread: PartyThread) -> int:
        """Interrupt, then terminate, then kill; what the exit status may show of it."""
        sent = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return sent
            sent = -int(number)
            self.voice.say(4, f"Kill({int(number)})")
            if thread.join_anyway(2.0):
                return sent
        return sent

    def _forget(self) -> None:
        for sock in self._inherited.values():
            sock.close()
        self._inherited.clear()
        self.process = None
        self.thread = None
        self.pid = -1

    def reset(self) -> None:
        self.voice.say(2, f"Reset and free {self.name} haproxy {self.pid}")
        if self.process is not None:
            self.wait()


def _backend_sections(test: Test) -> str:
    backends = frontends = ""
    for server in test.parties(Server):
        number = server.name[1:]
        where = server.bound
        backends += f"\n    backend be{number}\n\tserver srv{number} {where.address}:{where.port}\n"
        frontends += f'\n    frontend http{number}\n\tuse_backend be{number}\n\tbind "fd@${{fe{number}}}"\n'
    return backends + frontends


def _haproxy(test: Test, call: Call) -> None:
    haproxy = test.party(HAProxy, str(call.plain[0]))
    for item in call.items[1:]:
        args = item.args
        match item.option:
            case "-conf-OK":
                haproxy.configure(args[0], False)
                haproxy.expect_exit = 0
                haproxy.check("")
            case "-conf-BAD":
                haproxy.configure(args[1], False)
                haproxy.expect_exit = 1
                haproxy.check(args[0])
            case "-conf" | "-conf+backend":
                haproxy.configure(args[0], item.option == "-conf+backend")
            case "-D":
                haproxy.daemon = True
            case "-W" | "-Ws":
                haproxy.worker = item.option
            case "-S":
                haproxy.master_socket = True
            case "-arg":
                haproxy.args.append(str(args[0]))
            case "-cli" | "-mcli":
                cli = haproxy.cli if item.option == "-cli" else haproxy.mcli
                cli.spec = args[0]
                if haproxy.process is not None:
                    cli.run()
            case "-expectexit":
                haproxy.expect_exit = numbers.unsigned(args[0])
            case "-start":
                haproxy.start()
            case "-wait":
                haproxy.wait()


HAPROXY = Command(
    "haproxy",
    _haproxy,
    "NAME",
    {
        "-conf-OK": Opt("CONFIG", "whose configuration must be good"),
        "-conf-BAD": Opt("ERROR CONFIG", 'whose configuration must fail with "{0}"'),
        "-conf": Opt("CONFIG", "with a configuration"),
        "-conf+backend": Opt("CONFIG", "with a configuration and the servers as backends"),
        "-D": Opt("", "as a daemon"),
        "-W": Opt("", "with a master process"),
        "-Ws": Opt("", "with a master process that tells systemd"),
        "-S": Opt("", "with a master command socket"),
        "-arg": Opt("ARGUMENT", "with {0}"),
        "-cli": Opt("SPEC", "talk to its command socket", language="haproxy-cli"),
        "-mcli": Opt("SPEC", "talk to its master's command socket", language="haproxy-cli"),
        "-expectexit": Opt("STATUS", "which exits with {0}"),
        "-start": Opt("", "start it"),
        "-wait": Opt("", "stop it and wait for its end"),
    },
    "haproxy {0}",
    named="h",
)
