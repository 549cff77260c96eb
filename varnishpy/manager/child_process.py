"""The child's life as the manager sees it: start, watch, stop, bury, start again.

States: ``stopped`` (nobody wants it), ``starting``, ``running``, ``stopping`` (its CLI is closed, it must end by
itself), ``died`` (it ended uninvited). A running child is asked ``ping`` every ``ping_interval``; one that does not
answer within ``cli_timeout`` is killed. A child that died is started again if ``auto_restart`` is on; one that keeps
dying young is given growing pauses, so that a broken set-up does not eat the machine.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Final

from varnishpy.child.heritage import Heritage, read_panic
from varnishpy.cli.protocol import CANT, COMMS, OK, TRUNCATED, CliError, CliProtocolError, join, read_response
from varnishpy.manager.complain import complain
from varnishpy.manager.loop import Loop, Timer, readable
from varnishpy.params import Params
from varnishpy.stats import MgtName

# A child that lives shorter than this died young; each such death doubles the pause before the next start.
_YOUNG: Final = 2.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
# After its CLI is closed a child has this long to end by itself (seconds).
_STOP_PATIENCE: Final = 4.0
# how long a child that was told to panic may take to do so
_LAST_WORDS: Final = 2.0
# How long the answer to a command may take once the manager has been told to end (seconds).
_HURRIED: Final = 3.0
# What a timeout of "never" is for a socket (seconds).
_NEVER: Final = 1e6


class ChildProcess:
    """The one child of a manager.

    :param prepare: makes a `Heritage` for a new child (and its share of the working directory)
    :param enter: what the new process runs; never returns
    :param introduce: called when the child answers: tells it what it must know (VCL), raises `CliError` if it cannot
    :param buried: called with (panic text, signal, exit code, dumped core) after a child ended
    """

    def __init__(
        self,
        loop: Loop,
        params: Params,
        prepare: Callable[[socket.socket], Heritage],
        enter: Callable[[Heritage], None],
        introduce: Callable[[], None],
        buried: Callable[[str, int, int, bool], None],
        count: Callable[[MgtName], None],
    ) -> None:
        self._loop = loop
        self._params = params
        self._prepare = prepare
        self._enter = enter
        self._introduce = introduce
        self._buried = buried
        self._count = count
        self.state = "stopped"
        self.pid = 0
        self.started_at = 0.0
        self._cli: socket.socket | None = None
        self._output = -1
        self._line = b""
        self._ping_timer: Timer | None = None
        self._restart_timer: Timer | None = None
        self._pause = 0.0
        self._heritage: Heritage | None = None

    @property
    def running(self) -> bool:
        return self.state == "running"

    # -- start -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the child and wait until it serves.

        :raises CliError: if it cannot be started
        """
        if self.state not in ("stopped", "died"):
            raise CliError(CANT, f"Child in state {self.state}")
        if self._restart_timer is not None:
            self._restart_timer.cancel()
            self._restart_timer = None
        self.state = "starting"
        ours, theirs = socket.socketpair()
        output, their_output = os.pipe()
        heritage = self._prepare(theirs)
        self._heritage = heritage
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            os.dup2(their_output, 1)
            os.dup2(their_output, 2)
            self._loop.forget_signals()
            self._enter(heritage)
            os._exit(0)
        os.close(their_output)
        theirs.close()
        os.set_inheritable(output, False)
        os.set_blocking(output, False)
        self.pid, self._cli, self._output = pid, ours, output
        self.started_at = time.monotonic()
        complain("Debug", f"Child ({pid}) Started")
        self._count("child_start")
        self._loop.watch(output, self._output_ready)
        try:
            status, text = self._first_words(ours)
        except CliProtocolError as error:
            self.state = "stopping"
            self._quit()
            if not self._wait_until_gone(_LAST_WORDS):
                self._give_up()
            self.state = "stopped"
            raise CliError(CANT, f"Child failed on launch {error}") from None
        if status != OK:
            self._give_up()
            raise CliError(CANT, f"Child failed on launch: {text}")
        try:
            self._introduce()
        except CliError as error:
            self.stop()  # nothing is wrong with the process: it ends when asked
            raise CliError(CANT, f"Child ({pid}) Pushing vcls failed:\n{error.text}") from None
        status, text = self.ask(["accept.start"])
        if status != OK:
            self._give_up()
            raise CliError(CANT, f"Child failed to start accepting: {text}")
        self.state = "running"
        self._ping_timer = self._loop.after(self._params.ping_interval or 3.0, self._ping)

    def _first_words(self, cli: socket.socket) -> tuple[int, str]:
        """What a new child says when it is ready, or that it cannot be.

        :raises CliProtocolError: it says nothing; the text is "" when it died, and the time it had when that is over
        """
        startup, answer = self._params.startup_timeout, self._params.cli_timeout
        name, seconds = ("startup", startup) if startup >= answer else ("cli", answer)
        begin = time.monotonic()
        try:
            if self._loop.wait_readable(cli.fileno(), min(seconds, _NEVER), _HURRIED):
                return read_response(cli, min(seconds, _NEVER))
        except CliProtocolError:
            pass  # it closed its end, or was cut short
        if time.monotonic() - begin < seconds:
            raise CliProtocolError("")
        tip = "" if name == "startup" else " (tip: set startup_timeout)"
        raise CliProtocolError(f"within {name}_timeout={seconds:.2f}s{tip}")

    def _give_up(self) -> None:
        """Kill a child that cannot be used, and reap it at once."""
        self.state = "stopping"
        self._kill(signal.SIGKILL)
        self._wait_until_gone(_STOP_PATIENCE)
        self.state = "stopped"

    def _wait_until_gone(self, patience: float) -> bool:
        """Watch the child, and nothing else, until it is buried; False if that takes more than so many seconds."""
        deadline = time.monotonic() + patience
        while self.pid:
            self.reap()
            if not self.pid:
                break
            if time.monotonic() > deadline:
                return False
            if self._output >= 0:
                if readable(self._output, 0.02):
                    self._read_output()
            else:
                time.sleep(0.005)
        return True

    # -- talk ------------------------------------------------------------------------------------------------------

    def ask(self, words: list[str]) -> tuple[int, str]:
        """Send the child one CLI command and wait for its answer, at most ``cli_timeout``.

        Being told to end meanwhile cuts that short: a child that hangs must not keep the manager from it.
        """
        if self._cli is None or self.state not in ("running", "starting"):
            raise CliError(CANT, "Child not running")
        try:
            timeout = min(self._params.cli_timeout, _NEVER)
            self._cli.settimeout(timeout)
            self._cli.sendall(join(words).encode("utf-8", "surrogateescape") + b"\n")
            if self._loop.wait_readable(self._cli.fileno(), timeout, _HURRIED):
                return read_response(self._cli, timeout)
            raise CliProtocolError("no answer")
        except (OSError, CliProtocolError):
            complain("Error", f"Child ({self.pid}) not responding to CLI, killed it.")
            self._quit()
            return COMMS, "CLI communication error (hdr)"

    def _ping(self) -> None:
        if self.state != "running":
            return
        status, text = self.ask(["ping"])
        if status not in (OK, TRUNCATED, COMMS):
            complain("Error", f"Unexpected reply from ping: {status} {text}")
        self._ping_timer = self._loop.after(self._params.ping_interval or 3.0, self._ping)

    def _output_ready(self) -> None:
        self._read_output()

    def _read_output(self) -> bool:
        """Pass on what the child has printed; False when there is nothing (more) to read for now."""
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._loop.unwatch(self._output)
            os.close(self._output)
            self._output = -1
        *lines, self._line = (self._line + data).split(b"\n")
        if not data and self._line:
            lines.append(self._line)
            self._line = b""
        for line in lines:
            if line:
                complain("Info", f"Child ({self.pid}) said {line.decode('utf-8', 'replace')}")
        return bool(data)

    # -- stop ------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Ask the child to end, and wait until it is gone; one that dawdles is killed."""
        if self._restart_timer is not None:
            self._restart_timer.cancel()
            self._restart_timer = None
        if self.state == "died":
            self.state = "stopped"
        if self.state not in ("running", "starting"):
            return
        complain("Debug", "Stopping Child")
        self.state = "stopping"
        self._close_cli()
        if not self._wait_until_gone(_STOP_PATIENCE):
            complain("Error", f"Child ({self.pid}) does not end, killed it.")
            self._kill(signal.SIGKILL)
            self._wait_until_gone(_STOP_PATIENCE)

    def _quit(self) -> None:
        """Have a child that does not answer panic, which tells what it was doing; kill it if it cannot even do that."""
        pid = self.pid
        self._kill(signal.SIGQUIT)

        def insist() -> None:
            if self.pid == pid:
                self._kill(signal.SIGKILL)

        self._loop.after(_LAST_WORDS, insist)

    def _kill(self, number: signal.Signals) -> None:
        if self.pid:
            os.kill(self.pid, number)

    def _close_cli(self) -> None:
        if self._cli is not None:
            self._cli.close()
            self._cli = None

    # -- bury ------------------------------------------------------------------------------------------------------

    def reap(self) -> None:
        """Bury the child if it has ended."""
        if not self.pid:
            return
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pid, status = self.pid, 0
        if pid == 0:
            return
        while self._output >= 0 and self._read_output():
            pass
        if self._output >= 0:
            # somebody forked by the child may hold the pipe open; what is there has been read
            self._loop.unwatch(self._output)
            os.close(self._output)
            self._output = -1
        self._end(status)

    def reap_all(self) -> None:
        """Bury the child if it has ended; and, as process 1 of a container, those whose parents have ended."""
        self.reap()
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid == self.pid:
                return
            os.waitpid(found.si_pid, 0)

    def _end(self, status: int) -> None:
        pid, state = self.pid, self.state
        if self._ping_timer is not None:
            self._ping_timer.cancel()
            self._ping_timer = None
        self._close_cli()
        self.pid = 0
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
        core = os.WIFSIGNALED(status) and os.WCOREDUMP(status)
        if state == "stopping" and status == 0:
            complain("Info", f"Child ({pid}) ended")
            self._count("child_stop")
        else:
            what = f"died signal={number}" if number else f"died status={code}"
            if core:
                what += " (core dumped)"
            complain("Error", f"Child ({pid}) {what}")
            self._count("child_died" if not code or number else "child_exit")
            if core:
                self._count("child_dump")
        assert self._heritage is not None
        text = read_panic(self._heritage.panic)
        if text:
            text = f"Child ({pid}) {text}"
            complain("Error", text.rstrip("\n"))
            self._count("child_panic")
        self._buried(text, number, code, core)
        complain("Debug", "Child cleanup complete")
        if state == "stopping" or not self._params.auto_restart:
            self.state = "stopped"
        else:
            self.state = "died"
            self._restart()

    def _restart(self) -> None:
        if time.monotonic() - self.started_at < _YOUNG:
            self._pause = min(_LONGEST_PAUSE, self._pause * 2 or _FIRST_PAUSE)
        else:
            self._pause = 0.0
        self._restart_timer = self._loop.after(self._pause, self._start_again)

    def _start_again(self) -> None:
        self._restart_timer = None
        if self.state != "died":
            return
        try:
            self.start()
        except CliError as error:
            complain("Error", error.text)
            self.state = "died"
            self._restart()
