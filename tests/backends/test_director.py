"""Resolving directors, and making backends."""

from __future__ import annotations

from typing import Any

import pytest

from varnishpy.backends import BackendError, Director, FetchError, resolve
from varnishpy.log import BACKEND, TaskLog
from varnishpy.log.memory import captured
from varnishpy.log.tags import Tag
from varnishpy.vcl.specs import BackendSpec, ProbeSpec


class Choosing(Director):
    def __init__(self, name: str, choice: Director | None) -> None:
        super().__init__(name)
        self.choice = choice

    def resolve(self, ctx: Any) -> Director | None:
        return self.choice


def logged(director: Director | None) -> tuple[Director | None, list[str]]:
    with captured() as log:
        task = TaskLog(7, BACKEND)
        found = resolve(director, None, task)
        task.flush()
        return found, log.texts(Tag.FetchError)


def test_chain_ends_at_who_resolves_to_itself() -> None:
    end = Director("end")
    assert resolve(Choosing("a", Choosing("b", end)), None) is end


def test_no_backend() -> None:
    assert logged(None) == (None, ["No backend"])
    assert logged(Choosing("dir", None)) == (None, ["Director dir returned no backend"])


def test_circle_of_directors_ends() -> None:
    first = Choosing("first", None)
    first.choice = Choosing("second", first)
    assert logged(first) == (None, ["Director first returned no backend"])


def test_plain_director_does_not_fetch(rig: Any) -> None:
    bo = rig.bo()
    with pytest.raises(FetchError, match="cannot fetch"):
        Director("d").get_response(rig.wrk, bo)
    with pytest.raises(FetchError, match="does not support pipe"):
        Director("d").open_pipe(rig.wrk, bo)
    assert Director("d").get_ip(bo) is None


def test_administrator_wins() -> None:
    director = Director("d")
    assert director.healthy(None)[0]
    director.set_admin_health("sick")
    assert not director.healthy(None)[0]
    director.release()
    director.set_admin_health("healthy")
    assert director.admin_health == "deleted"


@pytest.mark.parametrize(
    ("fields", "via", "message"),
    [
        ({}, None, "Illegal IP"),
        ({"path": "/x"}, "self", "Via is only supported for IP addresses"),
        ({"ipv4": ("192.0.2.1", 1)}, Choosing("c", None), "Via resolution failed"),
        ({"ipv4": ("192.0.2.1", 1)}, Director("plain"), "Via does not resolve to a backend"),
    ],
)
def test_backends_that_cannot_be(rig: Any, fields: dict[str, Any], via: Any, message: str) -> None:
    if via == "self":
        via = Director("any")
    with pytest.raises(BackendError, match=message):
        rig.backends.new(BackendSpec("x", **fields), "vcl1", via)


def test_default_probe_applies_where_none_is_given(rig: Any) -> None:
    spec = BackendSpec("x", ipv4=("192.0.2.1", 1))
    assert rig.backends.new(spec, "vcl1").probe is None
    assert rig.backends.new(spec, "vcl1", None, ProbeSpec("default", url="/p")).probe.request.startswith(b"GET /p ")
