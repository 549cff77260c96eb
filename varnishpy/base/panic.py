"""Panics: an invariant of shared state is broken, so this process must not serve another byte.

A *panic* differs from an error of one request, which is contained where it happens. `panic` collects the dump, gives it
to the handler that the process installed with `set_handler` (the child's writes it where the manager finds it and ends
the process), and raises `Panic`, which is no ``Exception``: nothing that contains errors catches it by accident.
Without a handler, in tests and tools, the exception alone is the result.

Rooms contribute sections to the dump with `add_dumper`. A dumper runs on the thread that panicked, while other threads
may still hold locks: it must not take any.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import threading
import time
import traceback
from collections.abc import Callable
from email.utils import formatdate
from typing import Final, NoReturn, TypeVar

from varnishpy import __version__
from varnishpy.base import clock
from varnishpy.base.compiled import interpreter, is_compiled

# How long (seconds) a thread that panics waits for the end that another thread's panic brings.
_PATIENCE: Final = 10.0
_COMPILED: Final = is_compiled()  # functions of this module have no frames then

Handler = Callable[["Panic"], None]
Dumper = Callable[[], str]

T = TypeVar("T")


class Panic(BaseException):
    """A broken invariant; ``str()`` is what failed, ``dump`` the whole report."""

    def __init__(self, text: str, dump: str = "") -> None:
        super().__init__(text)
        self.dump = dump


_handler: Handler | None = None
_dumpers: dict[str, Dumper] = {}
_ident = ""
_argv: list[str] | None = None
_brief: Callable[[], bool] = bool
_in_panic = threading.local()
_first = threading.Lock()  # held for good by the thread that panics first, where a handler is installed


def set_handler(handler: Handler | None) -> None:
    """Install what is done with a panic; in the child it does not return."""
    global _handler
    _handler = handler


def set_identity(ident: str, argv: list[str] | None = None) -> None:
    """What the dump says of this process: platform and storage in the form of the CLI banner, and the command line."""
    global _ident, _argv
    _ident = ident
    _argv = argv


def add_dumper(name: str, fn: Dumper) -> None:
    """Add a section to the dump; a name given again replaces its section. The text ``fn`` returns stands as it is."""
    _dumpers[name] = fn


def set_brief(fn: Callable[[], bool]) -> None:
    """Have the sections of `add_dumper` left out whenever the function says so."""
    global _brief
    _brief = fn


def remove_dumper(name: str) -> None:
    """Take a section out of the dump again."""
    _dumpers.pop(name, None)


def _section(name: str, fn: Dumper) -> str:
    try:
        return fn().rstrip("\n")
    except (Exception, Panic) as exc:  # a dump with a hole is better than none, and the hole says why
        return f"{name} = (no dump: {type(exc).__name__}: {exc})"


def build_dump(text: str, stack: list[str] | None = None) -> str:
    """The report of a panic, in the shape of varnish-cli(7) ``panic.show``.

    :param text: what failed
    :param stack: formatted backtrace, innermost frame last; the caller's own if not given
    """
    if stack is None:
        stack = _stack(1)
    thread = threading.current_thread()
    argv = sys.argv if _argv is None else _argv
    lines = [
        f"Panic at: {formatdate(time.time(), usegmt=True)}",
        text,
        f"version = varnishpy-{__version__}, python = {interpreter()}",
        f"ident = {_ident or platform.platform()}",
        f"now = {clock.mono():.6f} (mono), {clock.now():.6f} (real)",
        "Backtrace:",
    ]
    for entry in stack:
        lines.extend("  " + line for line in entry.rstrip("\n").split("\n"))
    lines.append("argv = {")
    lines.extend(f'  [{i}] = "{arg}",' for i, arg in enumerate(argv))
    lines.append("}")
    lines.append(f"pid = {os.getpid()}")
    lines.append(f"thread.ident = {thread.ident}")
    lines.append(f"thread.name = ({thread.name})")
    if _brief():
        lines.append("Feature short_panic left the details out.")
    else:
        lines.extend(_section(name, fn) for name, fn in list(_dumpers.items()))
    return "\n".join(lines) + "\n"


def _stack(own: int) -> list[str]:
    """The formatted backtrace of this thread, without so many innermost functions of this module."""
    stack = traceback.format_stack()
    return stack if _COMPILED else stack[: -1 - own]


def panic(text: str, exc: BaseException | None = None) -> NoReturn:
    """Give up on the process: build the dump, call the handler, raise `Panic`.

    :param exc: the exception that revealed the fault; its traceback becomes the backtrace
    """
    if isinstance(exc, Panic):
        raise exc
    if getattr(_in_panic, "busy", False):  # a dumper or the handler broke an invariant itself
        raise Panic(text)
    _give_up(text, exc)


def _give_up(text: str, exc: BaseException | None) -> NoReturn:
    handler = _handler
    if handler is not None and not _first.acquire(timeout=_PATIENCE):
        raise Panic(text)  # another thread's last words have gone out, and the process goes with them
    _in_panic.busy = True
    try:
        if exc is not None:
            stack = traceback.format_exception(exc)
        else:
            stack = _stack(2)
        fault = Panic(text, build_dump(text, stack))
        if handler is not None:
            handler(fault)
    finally:
        _in_panic.busy = False
        if handler is not None:
            _first.release()  # only where the handler returns: in tests
    raise fault


def invariant(cond: object, text: str) -> None:
    """Panic with ``text`` unless the condition is true. ``text`` should be a constant: it is evaluated always."""
    if not cond:
        _broken(text)


def present(value: T | None, text: str) -> T:
    """The value, which cannot be missing here; without it, a panic with ``text`` as `invariant` has it."""
    if value is None:
        _broken(text)
    return value


def _broken(text: str) -> NoReturn:
    """Panic, naming the caller of `invariant` or `present`.

    Compiled functions have no frames: the caller is then the nearest interpreted function, or something compiled that
    it has called. The condition's text tells which.
    """
    frame = sys._getframe(0 if _COMPILED else 2)
    code = frame.f_code
    where = ", or compiled code called there" if _COMPILED else ""
    file = os.path.join(os.path.basename(os.path.dirname(code.co_filename)), os.path.basename(code.co_filename))
    panic(f"Assert error in {code.co_name}(), {file} line {frame.f_lineno}{where}:\n  Condition({text}) not true.")


def escaped(exc: BaseException, where: str) -> None:
    """An exception left a thread whose job nobody else can do. A `Panic` that met no handler yet meets it now.

    :param where: names the thread
    """
    if not isinstance(exc, Panic):
        text = f"Thread {where} failed: {exc!r}"
    elif _handler is None:
        return
    else:  # raised without `panic`, or in the middle of another panic's dump
        text = str(exc)
    with contextlib.suppress(Panic):
        _give_up(text, exc)
