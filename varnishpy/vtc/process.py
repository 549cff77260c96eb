"""The command ``process``: its options, and what each does to a ``Process``."""

from __future__ import annotations

from collections.abc import Callable

from . import numbers
from .context import Test
from .kinds import one_of
from .pty_process import KEYS, Process
from .table import Call, Command, Opt
from .text import Text


def _hex(process: Process, text: Text) -> None:
    data = numbers.hex_bytes(text)
    process.voice.hexdump(4, "sendhex", data)
    process.write(data)


def _log(option: str) -> Callable[[Process, list[Text]], None]:
    def choose(process: Process, _args: list[Text]) -> None:
        if process.thread is not None:
            process.voice.fatal(f"Cannot {option[1:]} a running process")
        process.log = option

    return choose


def _run(process: Process, _args: list[Text]) -> None:
    process.start()
    process.wait()


def _stop(process: Process, _args: list[Text]) -> None:
    process.kill("TERM")
    if process.thread is not None:
        process.thread.join(1.0)


def _key(process: Process, args: list[Text]) -> None:
    process.write(KEYS[args[0]])


def _more_than_one(word: str) -> str:
    return "" if numbers.integer(word) > 1 else "a number above 1"


def _winsz(process: Process, args: list[Text]) -> None:
    lines, columns = (numbers.integer(arg) for arg in args)
    process.resize(lines, columns)


def _set(attribute: str, value: object = None) -> Callable[[Process, list[Text]], None]:
    def store(process: Process, args: list[Text]) -> None:
        setattr(process, attribute, numbers.unsigned(args[0]) if args else value)

    return store


_ACTIONS: dict[str, tuple[Opt, Callable[[Process, list[Text]], None]]] = {
    "-allow-core": (Opt("", "it may dump core"), _set("allow_core", True)),
    "-ansi-response": (Opt("", "answering terminal queries"), _set("ansi_response", True)),
    "-close": (Opt("", "hang up"), lambda process, _: process.kill("HUP")),
    "-dump": (Opt("", "logging its output"), _log("-dump")),
    "-expect-cursor": (
        Opt("LINE COLUMN", "expect the cursor at {0},{1}"),
        lambda process, args: process.expect_cursor(args[0], args[1]),
    ),
    "-expect-exit": (Opt("STATUS", "which exits with {0}"), _set("expect_exit")),
    "-expect-signal": (Opt("NUMBER", "which dies of signal {0}"), _set("expect_signal")),
    "-expect-text": (
        Opt("LINE COLUMN TEXT", 'wait for "{2}" at {0},{1}'),
        lambda process, args: process.expect_text(args[0], args[1], args[2]),
    ),
    "-hexdump": (Opt("", "logging its output in hex"), _log("-hexdump")),
    "-key": (Opt("KEY", "press {0}", kinds={"KEY": one_of(tuple(KEYS))}), _key),
    "-kill": (Opt("SIGNAL", "send it {0}"), lambda process, args: process.kill(args[0])),
    "-log": (Opt("", "logging its output by lines"), _log("-log")),
    "-match-text": (
        Opt("LINE COLUMN REGEX", 'expect "{2}" to match at {0},{1}'),
        lambda process, args: process.match_text(args[0], args[1], args[2]),
    ),
    "-need-bytes": (Opt("[+]NUMBER", "wait for {0} bytes"), lambda process, args: None),
    "-run": (Opt("", "start it and wait for its end"), _run),
    "-screen-dump": (Opt("", "log the screen"), lambda process, _: process.dump()),
    "-screen_dump": (Opt("", "log the screen"), lambda process, _: process.dump()),
    "-start": (Opt("", "start it"), lambda process, _: process.start()),
    "-stop": (Opt("", "terminate it"), _stop),
    "-wait": (Opt("", "wait for its end"), lambda process, _: process.wait()),
    "-winsz": (
        Opt("LINES COLUMNS", "make its screen {0} by {1}", kinds={"LINES": _more_than_one, "COLUMNS": _more_than_one}),
        _winsz,
    ),
    "-write": (Opt("STRING", 'type "{0}"'), lambda process, args: process.write(args[0].encode("latin-1"))),
    "-writehex": (Opt("HEX", "type the bytes {0}"), lambda process, args: _hex(process, args[0])),
    "-writeln": (
        Opt("STRING", 'type "{0}" and return'),
        lambda process, args: process.write(args[0].encode("latin-1") + b"\n"),
    ),
}


def _process(test: Test, call: Call) -> None:
    process = test.party(Process, str(call.plain[0]))
    with process.lock:
        before = process.out_bytes
    for item in call.items[1:]:
        if item.option == "-need-bytes":
            more = item.args[0]
            wanted = numbers.unsigned(more.removeprefix("+")) + (before if more.startswith("+") else 0)
            process.need_bytes(wanted)
        elif item.option:
            _ACTIONS[item.option][1](process, item.args)
        else:
            process.spec = item.args[0]


PROCESS = Command(
    "process",
    _process,
    "NAME [COMMAND]",
    {name: option for name, (option, _) in _ACTIONS.items()},
    "process {0}",
    named="p",
)
