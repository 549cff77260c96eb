"""The cache process: put together from its rooms, run until the manager's end of the CLI closes.

The main thread serves the CLI and nothing else; traffic is the business of the worker pools. A panic anywhere writes
its dump into memory shared with the manager and ends the process by SIGABRT.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import random
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

from varnishpy import log, stats
from varnishpy.base import panic
from varnishpy.base.arenas import share_one_arena
from varnishpy.child.assembly import Child
from varnishpy.child.collecting import YOUNG, Collecting
from varnishpy.child.commands import ChildCommands
from varnishpy.child.heritage import TMPDIR, Heritage, write_panic
from varnishpy.child.stats_socket import StatsSocketError
from varnishpy.cli.dispatch import CliSession, Dispatcher
from varnishpy.cli.protocol import CANT, OK, frame
from varnishpy.log import Tag
from varnishpy.params import params
from varnishpy.session.certificates import CertError
from varnishpy.storage.config import StorageConfigError
from varnishpy.storage.room import StorageError
from varnishpy.vcl.vmodspec import VmodError

# octets of stack with which the interpreter finds that recursion goes too deep before the kernel does; half of it is
# just enough where each level goes through C
_LEAST_STACK: Final = 4 << 20

_CYCLES_OF_VCL: Final = 100  # a program counts like so many sessions

_COMMAND_PIECE: Final = 4096  # octets of the CLI read at once
_OUT_OF_MEMORY: Final = 0.05  # seconds until it is tried again

# mistakes in the command line or in parameters; any other exception is a defect
_NO_START: Final = (CertError, StatsSocketError, StorageConfigError, StorageError, VmodError, OSError)


def run(heritage: Heritage) -> NoReturn:
    """Be the child, in a freshly forked process, and end it."""
    status = 1
    try:
        print("Child starts", flush=True)
        _settle_in(heritage)
        status = _serve(heritage)
    except panic.Panic as fault:
        panic.escaped(fault, "main")
        _die(heritage, fault)
    except Exception:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _quit(_number: int, _frame: object) -> None:
    """The manager had no answer from this thread in time. What it was doing instead stands in the backtrace."""
    panic.panic("Wrong turn: It's time for the big quit")


def _settle_in(heritage: Heritage) -> None:
    """Make the forked copy of the manager a process of its own."""
    share_one_arena()
    _close_strange_descriptors(heritage)
    # sent to the whole group (Ctrl-C, systemd's KillMode=control-group) they are for the manager, which then stops us
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, _quit)
    if params.sigsegv_handler:
        faulthandler.enable()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if params.feature.no_coredump or params.debug.vtc_mode:
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    gc.set_threshold(*YOUNG)
    random.seed()
    os.environ["TMPDIR"] = tempfile.tempdir = str(heritage.workdir / TMPDIR)
    panic.set_identity(f"{heritage.ident},epoll", heritage.argv)
    panic.set_handler(lambda fault: _die(heritage, fault))
    threading.excepthook = _thread_failed
    threading.stack_size(max(_LEAST_STACK, int(params.thread_pool_stack)))


def _close_strange_descriptors(heritage: Heritage) -> None:
    """Close what belongs to the manager: its CLI, its lock, its loop.

    The numbers stay taken (by /dev/null), so that the manager's objects, which this copy still holds, cannot close
    something of ours should they ever be collected.
    """
    keep = {0, 1, 2, heritage.cli.fileno(), *(sock.fileno() for _, sock in heritage.listen)}
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd not in keep and fd != null:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself is gone by now
                os.fstat(fd)
                os.dup2(null, fd, inheritable=False)
    os.dup2(null, 0)
    os.close(null)


def _thread_failed(arguments: threading.ExceptHookArgs) -> None:
    """An exception that left a thread's function: nobody is left to do that thread's job, so it is a panic."""
    if arguments.exc_value is not None:
        panic.escaped(arguments.exc_value, arguments.thread.name if arguments.thread else "?")


def _die(heritage: Heritage, fault: panic.Panic) -> NoReturn:
    """On whatever thread: leave the last words and go. Nothing may keep the process from it."""
    try:
        write_panic(heritage.panic, fault.dump or str(fault))
        faulthandler.disable()  # its account of SIGABRT would say less than ours
    finally:
        os.abort()


def _serve(heritage: Heritage) -> int:
    try:
        child = Child(heritage)
        child.start()
        Collecting(lambda: stats.main.get("h2_sessions_live") + _CYCLES_OF_VCL * len(child.vcls.rows())).start()
    except _NO_START as error:
        heritage.cli.sendall(frame(CANT, str(error)))
        return 1
    except Exception as error:
        heritage.cli.sendall(frame(CANT, f"{type(error).__name__}: {error}"))
        raise
    try:
        # the manager cuts answers, and passes on what goes to standard error
        dispatcher = Dispatcher(lambda: 1 << 30, fault=lambda text: print(text, file=sys.stderr, flush=True))
        commands = ChildCommands(child)
        commands.bind(dispatcher)
        heritage.cli.sendall(frame(OK, "ready"))
        _answer_cli(heritage.cli, dispatcher, child.vcls.poke)
        commands.delay_shutdown()
    finally:
        child.stop()
    return 0


def _log_cli(session: CliSession, line: str, status: int | None, answer: str) -> None:
    """CLI traffic as it stands in the log: what was read, what was written."""
    if line.startswith("tls.") and not params.debug.cli_show_sensitive:
        return
    text = f"Rd {line}" if status is None else f"Wr {status:03d} {len(answer)} {answer}"
    log.vsl(Tag.CLI, 0, text.encode("utf-8", "replace").decode("latin-1"))


def _answer_cli(sock: socket.socket, dispatcher: Dispatcher, poke: Callable[[], None]) -> None:
    """:param poke: called before each command, so at least as often as the manager pings"""
    session = CliSession(dispatcher, authenticated=True, ident="manager", internal=True, audit=_log_cli)
    sock.setblocking(True)
    while True:
        try:
            data = sock.recv(_COMMAND_PIECE)
        except ConnectionError:
            return
        except MemoryError:  # traffic has taken all there is, and gives it back; the manager's patience is the deadline
            time.sleep(_OUT_OF_MEMORY)
            continue
        if not data:
            return
        poke()
        answer = session.feed(data)
        try:
            sock.sendall(answer)
        except OSError:  # the manager is gone
            return
        if session.closing:
            return
