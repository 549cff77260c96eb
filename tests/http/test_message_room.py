"""What messages cost a workspace, and what the log says when there is no room."""

from __future__ import annotations

import pytest

from tests.builders import TaskRecords
from varnishpy.base.workspace import make_workspace
from varnishpy.http.message import Field, Message
from varnishpy.log.tags import Tag


@pytest.fixture(autouse=True)
def _log_ends(log_ends: None) -> None:
    """Messages are logged."""


def message(room: int, max_headers: int = 0) -> tuple[Message, TaskRecords]:
    log = TaskRecords()
    return Message(log.task(), int(Tag.BerespMethod), make_workspace("bo", room), max_headers), log


def test_a_header_without_room_is_lost_and_the_workspace_overflows() -> None:
    made, log = message(16)
    made.add("Date", "Wed, 25 Nov 2026 00:00:00 GMT")
    assert log.records == [
        ("Error", "out of workspace (bo)"),
        ("LostHeader", "Date: Wed, 25 Nov 2026 00:00:00 GMT"),
    ]
    assert made.failed and made.ws is not None and made.ws.overflowed
    assert made.headers == []


def test_constants_cost_nothing() -> None:
    made, log = message(0)
    made.add_field(Field("Server", "Varnish", constant=True))
    made.set_proto("HTTP/1.1")
    made.set_status(503)
    made.set_reason("Backend fetch failed")
    assert [tag for tag, _ in log.records] == ["BerespHeader", "BerespProtocol", "BerespStatus", "BerespReason"]
    assert not made.failed


def test_an_unknown_status_costs_its_digits() -> None:
    made, log = message(0)
    made.set_status(503)
    made.set_status(299)
    assert made.status == 503
    assert log.records[1:] == [("Error", "out of workspace (bo)"), ("LostHeader", "299")]


def test_what_vcl_cannot_assign_stays_as_it_was() -> None:
    made, log = message(16)
    made.assign("foo", "bar")
    made.assign("foo", "a value that is too long")
    assert made.get("foo") == "bar"
    assert log.records == [("BerespHeader", "foo: bar"), ("LostHeader", "foo:")]


@pytest.mark.parametrize("constant", [True, False])
def test_too_many_headers(constant: bool) -> None:
    made, log = message(1000, max_headers=1)
    made.add("a", "1")
    made.add_field(Field("b", "2", constant))
    assert made.get("b") is None
    assert log.records[-1] == ("LostHeader", "b: 2")
