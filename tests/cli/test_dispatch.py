"""CLI sessions as conversations: octets in, octets out."""

from __future__ import annotations

import json

import pytest

from varnishpy.cli.dispatch import CliCall, CliSession, Dispatcher, json_answer
from varnishpy.cli.protocol import CANT, CliError, parse_header
from varnishpy.cli.table import COMMANDS


def answers(data: bytes) -> list[tuple[int, str]]:
    found = []
    while data:
        status, length = parse_header(data[:13])
        found.append((status, data[13 : 13 + length].decode()))
        assert data[13 + length : 14 + length] == b"\n"
        data = data[14 + length :]
    return found


def storage_list(call: CliCall) -> str:
    return json_answer(call, '{"a": 1}') if call.json else "s0 = malloc\n"


def vcl_inline(call: CliCall) -> str:
    return "|".join(call.args)


def stop(call: CliCall) -> str:
    raise CliError(CANT, "not now")


def child(call: CliCall) -> tuple[int, str]:
    return 200, f"child: {call.command} {call.args}"


@pytest.fixture
def dispatcher() -> Dispatcher:
    made = Dispatcher(lambda: 64 * 1024, child)
    made.bind(storage_list=storage_list, vcl_inline=vcl_inline, stop=stop)
    return made


@pytest.fixture
def session(dispatcher: Dispatcher) -> CliSession:
    return CliSession(dispatcher, authenticated=True)


def one(session: CliSession, line: str) -> tuple[int, str]:
    (found,) = answers(session.feed(line.encode() + b"\n"))
    return found


def test_commands_and_errors(session: CliSession) -> None:
    assert one(session, "storage.list") == (200, "s0 = malloc\n")
    assert one(session, "stop") == (300, "not now")
    assert one(session, "PING")[0] == 101
    assert one(session, "ping a b")[0] == 105
    assert one(session, "vcl.inline a")[0] == 104
    assert one(session, "stop -j") == (102, "JSON unimplemented\n")
    assert one(session, '"unfinished')[0] == 100
    assert one(session, '""')[0] == 101
    assert one(session, "vcl.nosuch x") == (200, "child: vcl.nosuch ['x']")


def test_json_envelope(session: CliSession) -> None:
    version, words, when, row = json.loads(one(session, "storage.list -j")[1])
    assert (version, words, row) == (2, ["storage.list", "-j"], {"a": 1})
    assert when > 1e9
    assert json.loads(one(session, "ping -j")[1])[3] == "PONG"
    assert {row["request"] for row in json.loads(one(session, "help -j")[1])[3:]} >= {"ping", "vcl.load"}


def test_input_in_any_pieces(session: CliSession) -> None:
    out = b"".join(session.feed(bytes([octet])) for octet in b"\n\nstorage.list\r\nping\n")
    assert [status for status, _ in answers(out)] == [200, 200]


def test_here_document(session: CliSession) -> None:
    assert session.feed(b"vcl.inline name << END\nvcl 4.1;\n") == b""
    assert session.unfinished
    assert answers(session.feed(b"more END\n\t END\r\n")) == [(200, "name|vcl 4.1;\nmore END\n")]
    assert not session.unfinished


def test_long_answers_are_cut(session: CliSession) -> None:
    session.dispatcher.limit = lambda: 10
    status, text = one(session, "vcl.inline " + "x" * 20 + " y")
    assert status == 201
    assert text == "x" * 9


def test_a_failing_handler_fails_its_command_only(dispatcher: Dispatcher) -> None:
    def broken(call: CliCall) -> str:
        raise KeyError("gone")

    dispatcher.bind(stop=broken)
    with pytest.raises(KeyError):
        CliSession(dispatcher, authenticated=True).feed(b"stop\n")
    told: list[str] = []
    dispatcher.fault = told.append
    session = CliSession(dispatcher, authenticated=True)
    assert one(session, "stop") == (300, "stop failed: KeyError: 'gone'\n")
    assert "in broken" in told[0]
    assert one(session, "ping")[0] == 200


def test_quit_closes(session: CliSession) -> None:
    assert one(session, "quit")[0] == 500
    assert session.closing


def test_unauthenticated_sees_little_and_is_cut_off(dispatcher: Dispatcher) -> None:
    session = CliSession(dispatcher, authenticated=False)
    assert "storage.list" not in one(session, "help")[1]
    assert one(session, "storage.list")[0] == 101
    assert session.closing
    other = CliSession(dispatcher, authenticated=False)
    other.feed(b"x" * 200)
    assert other.closing, "an endless line from a stranger must not be buffered"


def test_internal_commands_are_for_the_manager_only(dispatcher: Dispatcher) -> None:
    dispatcher.bind_name("param.push", lambda call: "pushed")
    dispatcher.wildcard = None
    assert one(CliSession(dispatcher, authenticated=True), "param.push a b")[0] == 101
    assert one(CliSession(dispatcher, authenticated=True, internal=True), "param.push a b") == (200, "pushed")


def test_help_speaks_of_every_public_command(session: CliSession) -> None:
    listed = one(session, "help -a")[1].splitlines()
    for command in COMMANDS.values():
        shown = command.syntax in listed
        assert shown == (command in session.dispatcher.visible(True)), command.name
    assert one(session, "help ban.list")[1].startswith("ban.list [-j]\n")
    assert one(session, "help nosuch")[0] == 101
    with pytest.raises(KeyError):
        session.dispatcher.bind_name("no.such", stop)
