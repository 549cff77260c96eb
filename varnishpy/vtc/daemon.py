"""A varnishd under test, ours or another: starting it, its CLI, its log, its counters, and its end.

Whatever the program is, it is started the way varnishtest does: in debug mode (``-d``) on pipes, told to call back
(``-M``) and to authenticate, its child started only when the script asks for it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from varnishpy.cli import protocol
from varnishpy.log.cursor import LogError

from . import net, own_program, warm
from .children import check_exit
from .context import Test, Waker
from .daemon_cli import CliConnection
from .errors import TestAborted, TestFailed
from .party import Party
from .shared_memory import Counters, LogTail, show
from .threads import PartyThread
from .warm import Started

POLL = 0.01
SLOWEST_POLL = 0.2
LOG_POLL = 0.02
LOG_PATIENCE = 3.0
NONSENSE = "%XJEIFLH|)Xspa8P"
_OLD_XIDS = re.compile(r"varnish-(?:[0-6]\.|7\.[0-2]\.)")
_SETTINGS = (
    "-l 2m",
    "-p auto_restart=off",
    "-p syslog_cli_traffic=off",
    "-p thread_pool_min=10",
    "-p debug=+vtc_mode",
    "-p vsl_mask=+Debug,+H2RxHdr,+H2RxBody",
    "-p h2_initial_window_size=1m",
    "-p h2_rx_window_low_water=64k",
)
_KEEP = ("-p debug=+vcl_keep", "-p debug=+vmod_so_keep", "-p debug=+vsm_keep")


def program_of(test: Test, command: str) -> str:
    """The program behind a command (``varnish`` or its other name ``vinyl``)."""
    for name in (f"{command}d", "varnishd"):
        value = test.macros.get(name)
        if value:
            return value
    return test.settings.program or own_program.shell_words()


class Daemon(Party):
    """One instance: ``v1`` and so on."""

    def __init__(self, test: Test, name: str, command: str) -> None:
        super().__init__(test, name)
        self.command = command
        self.workdir = Path(test.tmpdir, name)
        shutil.rmtree(self.workdir, ignore_errors=True)
        self.workdir.mkdir(parents=True)
        self.args: list[str] = []
        self.has_listen_argument = False
        self.jail = ""
        self.proto = ""
        self.syntax = 4.1
        self.expect_exit = 0
        self.vcl_number = 0
        self.banner = ""
        self.process: subprocess.Popen[bytes] | Started | None = None
        self._cli: CliConnection | None = None
        self.counters = Counters(self.workdir)
        self._output: PartyThread | None = None
        self._log: PartyThread | None = None
        self._mute = Waker()
        self._stop_log = threading.Event()
        self._poke_log = threading.Event()
        self.log_seen = False
        self.log_idle = 0

    @property
    def cli(self) -> CliConnection:
        """The CLI; the daemon is launched on first use."""
        if self._cli is None:
            self.launch()
        assert self._cli is not None
        return self._cli

    def fatal(self, text: str) -> None:
        """Fail, after what the daemon had to say has reached the log."""
        if self._output is not None and self.process is not None and self.process.poll() is not None:
            self._output.join_anyway(0.5)
        self.voice.fatal(text)

    # Launching

    def _arguments(self, cli_port: net.Bound) -> str:
        test, macros = self.test, self.test.macros
        words = [f"{self.jail} -d -n {self.workdir} -i {self.name}"]
        if macros.get("varnishd_args_prepend") is not None:
            words.append("${varnishd_args_prepend}")
        words.extend(f"-p '{parameter}'" for parameter in test.settings.parameters)
        if test.settings.leave_temp:
            words.extend(_KEEP)
        words.extend(_SETTINGS)
        if not self.has_listen_argument:
            words.append(f"-a '{test.settings.listen_address}'" + (f",{self.proto}" if self.proto else ""))
        words.append(f"-M '{cli_port.address} {cli_port.port}'")
        words.append(f"-P {self.workdir}/{self.command}d.pid")
        if test.settings.vmod_path:
            words.append(f"-p vmod_path={test.settings.vmod_path}")
        words.extend(self.args)
        if macros.get("varnishd_args_append") is not None:
            words.append("${varnishd_args_append}")
        return " ".join(words)

    def launch(self) -> None:
        """Start the manager process and log into its CLI."""
        listener = net.listen(self.test.settings.listen_address, 1)
        with listener:
            listener.setblocking(False)
            self.voice.say(2, "Launch")
            self.process = self._start_process(self._arguments(net.bound(listener)))
            self.voice.say(3, f"PID: {self.process.pid}")
            self.test.define(self.voice, f"{self.name}_pid", str(self.process.pid))
            self.test.define(self.voice, f"{self.name}_name", str(self.workdir))
            self._output = PartyThread(self.test, self.voice, self._record, self.name).start()
            sock = self._await_call(listener)
        self.voice.say(3, f"CLI connection fd = {sock.fileno()}")
        self._cli = CliConnection(self.test, self.voice, sock)
        try:
            secret = (self.workdir / "_.secret").read_bytes()
        except OSError:
            secret = b""  # the answer will be refused, which says more
        self.banner = self._cli.authenticate(secret)
        self._log = PartyThread(self.test, self.voice, self._gather_log, f"{self.name} log").start()

    def _start_process(self, arguments: str) -> subprocess.Popen[bytes] | Started:
        """Start the manager: with a shell, or where our own takes no shell, from the worker's nursery."""
        line = f"cd ${{pwd}} && exec {program_of(self.test, self.command)} {arguments}"
        self.voice.say(3, f"CMD: {line}")
        line = self.test.expand(self.voice, line)
        self.voice.say(3, f"CMD: {line}")
        settings = self.test.settings
        nursery = settings.nursery
        if nursery is not None and warm.helps(settings.named_in(self.test.macros)):
            words = warm.words_of(self.test.expand(self.voice, arguments))
            if words is not None:
                return nursery.start(words, self.test.macros.get("pwd") or os.getcwd(), os.environ)
        return subprocess.Popen(
            ["/bin/sh", "-c", line.encode("latin-1")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _await_call(self, listener: socket.socket) -> socket.socket:
        patience = self.test.settings.max_duration / 3
        try:
            ready = self.test.poll(listener.fileno(), select.POLLIN, patience, self._mute)
        except TestAborted:
            if self.test.failed:
                raise
            self.voice.fatal("FAIL debug pipe closed")
        if not ready:
            self.voice.fatal("FAIL timeout waiting for CLI connection")
        return listener.accept()[0]

    def _record(self) -> None:
        """Copy what the daemon prints to the log."""
        assert self.process is not None and self.process.stdout is not None
        fd = self.process.stdout.fileno()
        while data := os.read(fd, 8192):
            for row in data.splitlines():
                self.voice.dump(3, "debug", row + b"\n")
        self.voice.say(4, "STDOUT EOF")
        self._mute.wake()

    def _gather_log(self) -> None:
        """Copy the daemon's shared memory log to the test's, and know when all of it has been seen."""
        tail = LogTail(self.workdir)
        from_tail = False
        while not self._stop_log.is_set() or tail.is_open:
            stopping = self._stop_log.is_set()
            if not tail.is_open and not tail.open(from_tail):
                if stopping:
                    return
                self._pause_log()
                continue
            from_tail = True
            try:
                for record in tail.records():
                    self.log_seen = True
                    self.voice.say(4, f"vsl| {show(record)}")
            except LogError as error:
                self.voice.say(3, f"vsl|{error}")
                continue
            self.log_idle += 1
            if stopping:
                return
            tail.refresh()
            self._pause_log()

    def _pause_log(self) -> None:
        self._poke_log.wait(LOG_POLL)
        self._poke_log.clear()

    # The child

    def status(self) -> str:
        return self.cli.must("status", "status")

    def start(self) -> None:
        """Start the child, and learn where it listens."""
        cli = self.cli
        self.voice.say(2, "Start")
        cli.must("start", "start")
        self.wait_running()
        # Up to 7.2 the number is that of the last transaction, since then that of the next.
        old = _OLD_XIDS.search(self.banner) or "vsl_layout=1" in self.test.settings.parameters
        cli.must("debug.xid 999" if old else "debug.xid 1000", "debug.xid")
        self._listening(cli.must("debug.listen_address", "debug.listen_address"))
        until = time.monotonic() + LOG_PATIENCE
        while not self.log_seen:
            if time.monotonic() > until:
                self.voice.say(1, f"no log record within {LOG_PATIENCE:g} s, going on")
                break
            self.test.sleep(POLL)

    def wait_running(self) -> None:
        pause = POLL
        while True:
            self.voice.say(3, "wait-running")
            state = self.status()
            if state == "Child in state stopped":
                self.fatal(f"Child stopped before running: {protocol.OK} {state}")
            if state == "Child in state running":
                status, text = self.cli.ask("debug.listen_address")
                if status == protocol.OK:
                    return
                if status != protocol.COMMS:  # a child just started anew may not be listening to its CLI yet
                    self.fatal(f"CLI status command failed: {status} {text}")
            self.test.sleep(pause)
            pause = min(pause * 1.5, SLOWEST_POLL)

    def wait_stopped(self) -> None:
        self.voice.say(3, "wait-stopped")
        pause = POLL
        while self.status() != "Child in state stopped":
            self.test.sleep(pause)
            pause = min(pause * 1.5, SLOWEST_POLL)

    def _listening(self, text: str) -> None:
        """Make macros of ``debug.listen_address``: one line each of name, address and port."""
        previous = ""
        first = True
        for line in text.splitlines():
            words = line.split(" ")
            if len(words) != 3:
                continue
            name, address, port = words
            if port == "-":
                together, address, port = address, "0.0.0.0", "0"
            else:
                together = net.Bound(address, port).together
            if first:
                self.voice.say(2, f"Listen on {address} {port}")
                self._define("", address, port, together)
                first = False
            if name != previous:
                self._define(f"{name}_", address, port, together)
            previous = name

    def _define(self, prefix: str, address: str, port: str, together: str) -> None:
        for what, value in (("addr", address), ("port", port), ("sock", together)):
            self.test.define(self.voice, f"{self.name}_{prefix}{what}", value)

    def stop(self) -> None:
        cli = self.cli
        self.voice.say(2, "Stop")
        cli.ask("stop")
        self.wait_stopped()

    def catch_up(self) -> None:
        """Wait until all of the shared memory log has been read."""
        assert self.cli
        before = self.log_idle
        self._poke_log.set()
        while self.log_idle < before + 2:
            self._poke_log.set()
            self.test.sleep(POLL / 2)

    # VCL

    def load_vcl(self, source: str) -> tuple[int, str]:
        """Compile and, if that succeeds, use VCL; the last status and the compiler's answer."""
        self.vcl_number += 1
        name = f"vcl{self.vcl_number}"
        status, text = self.cli.ask(f"vcl.inline {name} << {NONSENSE}\n{source}\n{NONSENSE}\n")
        if status == protocol.OK:
            status, _ = self.cli.ask(f"vcl.use {name}")
        return status, text

    # Ending

    def wait(self) -> None:
        """Stop the child, see that it did not panic, end the manager and check its exit status."""
        if self._cli is None:
            return
        self.voice.say(2, "Wait")
        self._cli.ask("backend.list")
        self.stop()
        status, _ = self._cli.ask("panic.show")
        if status != protocol.CANT:
            self.fatal("Unexpected panic")
        self.cleanup()

    def cleanup(self) -> None:
        """Close all connections to the daemon, wait for its end, check how it ended."""
        process = self._close()
        assert process is not None and self._output is not None
        if not self._output.join(self.test.settings.max_duration / 2):
            self.voice.fatal("the daemon does not end")
        self._finish_log()
        _, status, usage = os.wait4(process.pid, 0)
        self._forget(process, status)
        check_exit(self.voice, process.pid, status, usage, self.expect_exit)

    def _close(self) -> subprocess.Popen[bytes] | Started | None:
        if self._cli is not None:
            self._cli.close()
            self._cli = None
        if self.process is not None and self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        return self.process

    def _finish_log(self) -> None:
        self._stop_log.set()
        self._poke_log.set()
        if self._log is not None:
            self._log.join_anyway(2.0)
        self._log = None

    def _forget(self, process: subprocess.Popen[bytes] | Started, status: int) -> None:
        process.returncode = status
        if process.stdout is not None:
            process.stdout.close()
        self.process = None
        self._output = None
        self._stop_log.clear()

    def reset(self) -> None:
        if not self.test.failed:
            self.wait()
        if self.process is not None:
            self._tear_down()
        self._mute.close()

    def _tear_down(self) -> None:
        """End a daemon of a failed test, having asked for its last words."""
        if self._cli is not None:
            with contextlib.suppress(TestFailed, TestAborted):
                self._cli.ask("panic.show", timeout=2.0)
        process = self._close()
        assert process is not None and self._output is not None
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            if number:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
            if self._output.join_anyway(1.0):
                break
        self._finish_log()
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        self._forget(process, process.wait())
