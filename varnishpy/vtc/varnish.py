"""The command ``varnish``: VCL, CLI and counters of daemons under test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from varnishpy.cli import protocol

from . import kinds, numbers
from .compare import matches
from .context import Test
from .daemon import Daemon
from .errors import ScriptError
from .server import all_backends
from .table import Call, Command, Opt
from .text import Text

EXPECT_PATIENCE = 5.0
ABSENCE_PATIENCE = 1.0
POLL = 0.02
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    ">": lambda left, right: left > right,
    "<": lambda left, right: left < right,
    ">=": lambda left, right: left >= right,
    "<=": lambda left, right: left <= right,
}


def _vcl(daemon: Daemon, source: str, backends: bool) -> None:
    declared = all_backends(daemon.test) if backends else ""
    between = f"{declared}\n" if backends else ""
    status, _ = daemon.load_vcl(f"vcl {daemon.syntax:.1f};\n{between}{source}")
    if status != protocol.OK:
        daemon.fatal("FAIL VCL does not compile" if backends else "VCL compilation failed expected success")


def _errvcl(daemon: Daemon, wanted: str, source: str) -> None:
    status, text = daemon.load_vcl(f"vcl {daemon.syntax:.1f};\n{source}")
    if status == protocol.OK:
        daemon.fatal("VCL compilation succeeded expected failure")
    daemon.voice.say(2, "VCL compilation failed (as expected)")
    if wanted not in text:
        daemon.fatal(f'Did not find expected string: ("{wanted}")')
    daemon.voice.say(3, f'Found expected string: ("{wanted}")')


def _ask(daemon: Daemon, command: str, wanted: int = 0) -> str:
    status, text = daemon.cli.ask(command)
    daemon.voice.say(2, f"CLI {status:03d} <{command}>")
    if wanted and status != wanted:
        daemon.fatal(f"FAIL CLI response {status} expected {wanted}")
    return text


def _cliexpect(daemon: Daemon, args: list[Text]) -> None:
    unwanted = len(args) == 3
    pattern, command = args[-2:]
    text = _ask(daemon, command)
    if matches(pattern, text) == unwanted:
        negation = "" if unwanted else " not"
        daemon.fatal(f'Expect failed: regexp "{pattern}" did{negation} match response "{text}"')


def _clijson(daemon: Daemon, command: str) -> None:
    text = _ask(daemon, command, protocol.OK)
    try:
        json.loads(text)
    except ValueError as error:
        daemon.fatal(f"FAIL CLI, not good JSON: {error}")


def _expect_absent(daemon: Daemon, pattern: str) -> None:
    if daemon.counters.wait_for(pattern, ABSENCE_PATIENCE, POLL) is not None:
        daemon.fatal(f"Found (not expected): {pattern}")
    daemon.voice.say(2, f"not found (as expected): {pattern}")


def _expect(daemon: Daemon, args: list[Text]) -> None:
    """A counter compared with a number or another counter; up to five seconds until it holds."""
    assert daemon.cli
    if args[0].startswith("!"):
        _expect_absent(daemon, args[0][1:])
        return
    left, operator, right = args
    number = numbers.whole_unsigned(right)
    counters = daemon.counters
    until = time.monotonic() + EXPECT_PATIENCE
    while True:
        counters.refresh()
        got = counters.find(left)
        wanted = counters.find(right) if number is None else number
        if got is not None and wanted is not None and _COMPARE[operator](got, wanted):
            daemon.voice.say(2, f"as expected: {left} ({got}) {operator} {right} ({wanted})")
            return
        if time.monotonic() > until:
            break
        daemon.test.sleep(POLL)
    if got is None or wanted is None:
        daemon.fatal(f"stats field {left if got is None else right} unknown")
    daemon.fatal(f"Not true: {left} ({got}) {operator} {right} ({wanted})")


def _vsc(daemon: Daemon, pattern: str) -> None:
    assert daemon.cli
    daemon.counters.refresh()
    for point in daemon.counters.points():
        if pattern == "*" or fnmatchcase(point.name, pattern):
            daemon.voice.say(4, f"VSC {point.name} {point.value}")


def _only_before_launch(daemon: Daemon, at: Text) -> None:
    if daemon.process is not None:
        raise ScriptError(f"{daemon.name} is running already: too late for this", at.locate())


def _arg(daemon: Daemon, args: list[Text]) -> None:
    _only_before_launch(daemon, args[0])
    daemon.args.append(str(args[0]))
    if args[0].startswith("-a"):
        daemon.has_listen_argument = True


def _jail(daemon: Daemon, args: list[Text]) -> None:
    _only_before_launch(daemon, args[0])
    daemon.jail = str(args[0])


def _proto(daemon: Daemon, args: list[Text]) -> None:
    _only_before_launch(daemon, args[0])
    daemon.proto = str(args[0])


def _syntax(daemon: Daemon, args: list[Text]) -> None:
    daemon.syntax = numbers.number(args[0])


def _expectexit(daemon: Daemon, args: list[Text]) -> None:
    daemon.expect_exit = numbers.unsigned(args[0])


def _clierr(daemon: Daemon, args: list[Text]) -> None:
    _ask(daemon, args[1], numbers.integer(args[0]))


def _cliexpect_count(words: Sequence[str]) -> int:
    return 3 if words and words[0].startswith("!") else 2


def _check_cliexpect(args: Sequence[Text]) -> None:
    kinds.check("-cliexpect", "REGEX", args[-2])


def _check_expect(args: Sequence[Text]) -> None:
    if len(args) == 3:
        kinds.check("-expect", "OPERATOR", args[1], {"OPERATOR": kinds.one_of(tuple(_COMPARE))})


def _expect_count(words: Sequence[str]) -> int:
    return 1 if words and words[0].startswith("!") else 3


_ACTIONS: dict[str, tuple[Opt, Callable[[Daemon, list[Text]], object]]] = {
    "-arg": (Opt("ARGUMENT", "with {0}"), _arg),
    "-cleanup": (Opt("", "clean up after it"), lambda daemon, _: daemon.cleanup()),
    "-cli": (Opt("COMMAND", "CLI: {0}"), lambda daemon, args: _ask(daemon, args[0])),
    "-clierr": (Opt("STATUS COMMAND", "CLI, expecting {0}: {1}"), _clierr),
    "-cliexpect": (
        Opt("[!] REGEX COMMAND", "CLI, expecting {0}: {1}", count=_cliexpect_count, check=_check_cliexpect),
        _cliexpect,
    ),
    "-clijson": (Opt("COMMAND", "CLI, expecting JSON: {0}"), lambda daemon, args: _clijson(daemon, args[0])),
    "-cliok": (Opt("COMMAND", "CLI, expecting success: {0}"), lambda daemon, args: _ask(daemon, args[0], protocol.OK)),
    "-errvcl": (
        Opt("STRING VCL", 'load VCL that must fail with "{0}"'),
        lambda daemon, args: _errvcl(daemon, args[0], args[1]),
    ),
    "-expect": (
        Opt(
            "!PATTERN|PATTERN OPERATOR NUMBER|PATTERN",
            "expect {0} {1} {2}",
            count=_expect_count,
            check=_check_expect,
        ),
        _expect,
    ),
    "-expectexit": (Opt("STATUS", "which exits with {0}"), _expectexit),
    "-jail": (Opt("JAIL", "in jail {0}"), _jail),
    "-proto": (Opt("PROTOCOL", "speaking {0}"), _proto),
    "-start": (Opt("", "start its child"), lambda daemon, _: daemon.start()),
    "-stop": (Opt("", "stop its child"), lambda daemon, _: daemon.stop()),
    "-syntax": (Opt("VERSION", "VCL version {0}"), _syntax),
    "-vcl": (Opt("VCL", "load VCL"), lambda daemon, args: _vcl(daemon, args[0], False)),
    "-vcl+backend": (
        Opt("VCL", "load VCL with the servers as backends"),
        lambda daemon, args: _vcl(daemon, args[0], True),
    ),
    "-vsc": (Opt("PATTERN", "log counters matching {0}"), lambda daemon, args: _vsc(daemon, args[0])),
    "-vsl_catchup": (Opt("", "wait until its log has been read"), lambda daemon, _: daemon.catch_up()),
    "-wait": (Opt("", "stop it and wait for its end"), lambda daemon, _: daemon.wait()),
    "-wait-running": (Opt("", "wait for its child to run"), lambda daemon, _: daemon.wait_running()),
    "-wait-stopped": (Opt("", "wait for its child to stop"), lambda daemon, _: daemon.wait_stopped()),
}


def _varnish(test: Test, call: Call) -> None:
    name = str(call.plain[0])
    daemon = test.find(Daemon, name) or test.add(Daemon(test, name, call.command.name))
    daemon.syntax = 4.1
    for item in call.items[1:]:
        _ACTIONS[item.option][1](daemon, item.args)


VARNISH_ROWS = tuple(
    Command(name, _varnish, "NAME", {option: row for option, (row, _) in _ACTIONS.items()}, f"{name} {{0}}", named="v")
    for name in ("varnish", "vinyl")
)
