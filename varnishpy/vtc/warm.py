"""Starting our own daemon without waiting for Python to import it.

Most of what a daemon's start costs is the import of its modules.  The runner imports them once; each worker has a
*nursery*, a process with a single thread that was forked before any script ran, and that forks a daemon when asked.
What is forked is told everything a new process would be (arguments, environment, folder, standard streams) and becomes
a child of the worker, because the process between the two ends at once and the worker adopts orphans.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import os
import re
import shlex
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import BinaryIO

_MODULES = (
    "encodings.idna",
    "varnishpy.__main__",
    "varnishpy.manager.background",
    "varnishpy.manager.compiler",
    "varnishpy.manager.main",
    "varnishpy.manager.manager",
    "varnishpy.cache.ban_lurker",
    "varnishpy.vcl.runtime",
)
_QUOTED = re.compile(r"""'[^']*'|"[^"$`\\]*\"""")
_PLAIN = re.compile(r"[\w./:,=+@%^\s-]*")
_HEAD = 4
_ENTRY = "varnishpy.__main__"


def load() -> None:
    """Import what a daemon needs."""
    for name in _MODULES:
        importlib.import_module(name)


def helps(named: str) -> bool:
    """Whether it is our daemon that scripts start, and the system lets a process adopt orphans.

    :param named: the daemon that the command line or the test names, if any
    """
    return sys.platform == "linux" and not named


def is_fresh() -> bool:
    """Whether this process has not worked with what a daemon is made of.

    In one that has (pytest, say) counters and parameters need not be those of a new daemon.
    """
    return not any(name in sys.modules for name in _MODULES if name.startswith("varnishpy.") and name != _ENTRY)


def words_of(line: str) -> list[str] | None:
    """The words of a command line, or None if it takes a shell to tell them."""
    if _PLAIN.fullmatch(_QUOTED.sub("", line)) is None:
        return None
    return shlex.split(line)


class Started:
    """A daemon that a nursery started; the part of ``subprocess.Popen`` that its user needs."""

    __slots__ = ("pid", "returncode", "stdin", "stdout")

    def __init__(self, pid: int, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status if the process has ended (negative: the signal it died of)."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        status = self._wait(0)
        assert status is not None
        return status

    def _wait(self, flags: int) -> int | None:
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, flags)
            except ChildProcessError:
                self.returncode = 0  # somebody else has collected it: nobody can tell any more (as Popen has it)
                return 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Nursery:
    """The process that forks daemons, seen from the worker that it belongs to."""

    def __init__(self) -> None:
        """Fork it.  The calling process must have one thread only, and adopt orphans."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            _serve(theirs)
        theirs.close()

    def start(self, arguments: Sequence[str], directory: str, environment: Mapping[str, str]) -> Started:
        """Start a daemon, with pipes for its standard streams.

        :raises OSError: the nursery is gone
        """
        stdin_read, stdin_write = os.pipe()
        stdout_read, stdout_write = os.pipe()
        request = json.dumps([list(arguments), directory, dict(environment)]).encode("ascii")
        try:
            message = len(request).to_bytes(_HEAD, "big") + request
            sent = socket.send_fds(self._socket, [message], [stdin_read, stdout_write])
            self._socket.sendall(message[sent:])
            answer = _receive(self._socket, _HEAD)
            if not answer:
                raise ConnectionResetError("the process that starts daemons has ended")
        except BaseException:
            os.close(stdin_write)
            os.close(stdout_read)
            raise
        finally:
            os.close(stdin_read)
            os.close(stdout_write)
        pid = int.from_bytes(answer, "big")
        return Started(pid, os.fdopen(stdin_write, "wb", buffering=0), os.fdopen(stdout_read, "rb", buffering=0))

    def close(self) -> None:
        """End it."""
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _receive(sock: socket.socket, wanted: int) -> bytes:
    """So many octets, or none if the other side is gone."""
    got = b""
    while len(got) < wanted:
        data = sock.recv(wanted - len(got))
        if not data:
            return b""
        got += data
    return got


def _serve(sock: socket.socket) -> None:
    """The life of a nursery.  Never returns."""
    code = 1
    try:
        room = socket.CMSG_SPACE(2 * array.array("i").itemsize)
        while True:
            head, control, _, _ = sock.recvmsg(_HEAD, room)
            if not head:
                break
            streams = array.array("i")
            for _, _, data in control:
                streams.frombytes(data[: len(data) - len(data) % streams.itemsize])
            head += _receive(sock, _HEAD - len(head))
            request = _receive(sock, int.from_bytes(head, "big"))
            pid = _fork_daemon(sock, request, list(streams))
            for fd in streams:
                os.close(fd)
            sock.sendall(pid.to_bytes(_HEAD, "big"))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _fork_daemon(sock: socket.socket, request: bytes, streams: list[int]) -> int:
    """Fork a daemon that is not our child; its process id."""
    told, tell = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            pid = os.fork()
            if pid == 0:
                sock.close()
                os.close(told)
                os.close(tell)
                _become_daemon(request, streams)
            os.write(tell, pid.to_bytes(_HEAD, "big"))
        finally:
            os._exit(0)
    os.close(tell)
    answer = os.read(told, _HEAD)
    os.close(told)
    os.waitpid(between, 0)  # from now on the daemon is the worker's child
    if not answer:
        raise ChildProcessError("the process that was to fork a daemon has ended")
    return int.from_bytes(answer, "big")


def _become_daemon(request: bytes, streams: list[int]) -> None:
    """Run the daemon in this process, as if it had just been started.  Never returns."""
    code = 1
    try:
        arguments, directory, environment = json.loads(request)
        for fd, stream in enumerate((streams[0], streams[1], streams[1])):
            os.dup2(stream, fd)
        os.closerange(3, max(int(name) for name in os.listdir("/proc/self/fd")) + 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        os.chdir(directory)
        sys.argv = ["varnishpy", *arguments]
        from varnishpy.__main__ import main

        try:
            code = main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
