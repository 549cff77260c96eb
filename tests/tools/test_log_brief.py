"""``varnishpy log --brief``: what happened, a line a request."""

from __future__ import annotations

import re
import sys

import pytest

from tests.e2e.screen import Screen
from tests.tools.conftest import NOW, Instance
from varnishpy import log as log_room
from varnishpy.log.grouping import Transaction
from varnishpy.log.record import Record
from varnishpy.log.selection import Selection
from varnishpy.log.tags import Tag
from varnishpy.tools import log
from varnishpy.tools.log_brief import BriefForm

Text = pytest.CaptureFixture[str]


def lines(instance: Instance, capture: Text, *arguments: str) -> list[str]:
    instance.child.flush()
    assert log.main(["-n", instance.n, "-d", "--brief", *arguments]) == 0
    return capture.readouterr().out.splitlines()


def test_a_line_tells_of_request_and_fetches(instance: Instance, capsys: Text) -> None:
    first, second = lines(instance, capsys)
    when, what = first[:12], first[12:]
    assert re.fullmatch(r"\d\d:\d\d:20\.250", when)
    assert what == "  miss           200     750.0 ms        300 B  GET example.com/a?b=c   default 503 200.0 ms"
    assert second.endswith("GET example.com/pipe")


def test_a_query(instance: Instance, capsys: Text) -> None:
    assert len(lines(instance, capsys, "-q", 'ReqURL eq "/pipe"')) == 1


def test_a_client_does_nothing_to_the_terminal(instance: Instance, capsys: Text) -> None:
    task = log_room.TaskLog(5000, log_room.CLIENT)
    task.begin("req", 1, "rxreq")
    task.start_clock(NOW)
    task.timestamp("Start", NOW)
    task.put(Tag.ReqURL, "/\x1b[2J\x07caf\xc3\xa9")
    task.end()
    assert lines(instance, capsys)[-1].endswith("- /\\x1b[2J\\x07café")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--brief", "--json"], "--brief does not go with --json"),
        (["--brief", "-g", "vxid"], "-g does not go with --brief, which shows whole requests"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], message: str, capsys: Text) -> None:
    assert log.main(arguments) == 1
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.parametrize(
    ("status", "handling", "colour"), [(200, "MISS", "33"), (200, "HASH", ""), (503, "MISS", "31"), (503, "PASS", "31")]
)
def test_colours(status: int, handling: str, colour: str) -> None:
    texts = [(Tag.ReqMethod, "GET"), (Tag.ReqURL, "/"), (Tag.VCL_call, handling), (Tag.RespStatus, str(status))]
    records = [Record(int(tag), 7, True, False, text.encode() + b"\0") for tag, text in texts]
    group = [Transaction(1, 7, 0, "req", "rxreq", records)]
    assert b"\x1b" not in BriefForm(False).render(group, Selection())
    shown = BriefForm(True).render(group, Selection())
    assert (f"\x1b[{colour}m".encode() in shown) if colour else (b"\x1b" not in shown)


def test_at_a_terminal(instance: Instance) -> None:
    with Screen(sys.executable, "-m", "varnishpy", "log", "-n", instance.n, "-d", "--brief") as shown:
        shown.wait_for(lambda text: "/pipe" in text and "miss " in text and "\\x1b" not in text, "both lines")
