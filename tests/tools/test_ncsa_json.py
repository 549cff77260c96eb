"""``varnishpy ncsa --json``: every line is JSON, whatever a client sends."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest

from tests.tools.conftest import NOW, Instance
from varnishpy import log
from varnishpy.log.tags import Tag
from varnishpy.tools import ncsa

Output = pytest.CaptureFixture[bytes]


def lines(instance: Instance, capture: Output, *arguments: str) -> list[dict[str, object]]:
    instance.child.flush()
    assert ncsa.main(["-n", instance.n, "-d", *arguments]) == 0
    return [json.loads(line) for line in capture.readouterr().out.splitlines()]


def logged(vxid: int, *records: tuple[Tag, str]) -> None:
    task = log.TaskLog(vxid, log.CLIENT)
    task.begin("req", 1, "rxreq")
    for tag, text in records:
        task.put(tag, text)
    task.end()


def test_the_usual_fields(instance: Instance, capsysbinary: Output) -> None:
    first = lines(instance, capsysbinary, "--json")[0]
    assert datetime.fromisoformat(str(first.pop("time"))).astimezone(UTC).timestamp() == NOW
    assert first == {
        "side": "c", "vxid": 1001, "client": "127.0.0.1", "user": "user", "method": "GET", "host": "example.com",
        "path": "/a", "query": "?b=c", "protocol": "HTTP/1.1", "status": 200, "bytes": 300, "received": 100,
        "sent": 500, "microseconds": 750000, "first_byte": 0.5, "handling": "miss", "referer": "http://r/\xe9",
        "user_agent": 'curl "q" \\x',
    }  # fmt: skip
    (fetch,) = lines(instance, capsysbinary, "--json", "-b")
    assert (fetch["side"], fetch["status"], fetch["user_agent"]) == ("b", 503, "")


def test_any_octets(instance: Instance, capsysbinary: Output) -> None:
    """Quotes, controls, broken UTF-8, DEL, line separators of Unicode: a line stays a line, and JSON."""
    dice = random.Random(1)
    agents = ['"', "\\", '\\"', "\x7f", "\x01\x1f", "\xc3\xa0", "\xe9", "\xe2\x80\xa8", "\xff\xfe"]
    agents += ["".join(chr(dice.randint(1, 255)) for _ in range(40)).strip(" \t\n\v\f\r") for _ in range(200)]
    for number, agent in enumerate(agents):
        logged(10_000 + number, (Tag.ReqURL, f"/{number}"), (Tag.ReqHeader, f"User-Agent: {agent}"))
    found = {row["path"]: row["user_agent"] for row in lines(instance, capsysbinary, "--json")}
    for number, agent in enumerate(agents):
        octets = agent.encode("latin-1")
        try:
            expected = octets.decode("utf-8")
        except UnicodeError:
            expected = agent
        assert found[f"/{number}"] == expected, octets


def test_what_is_missing_is_empty_or_zero(instance: Instance, capsysbinary: Output) -> None:
    logged(20_000, (Tag.ReqURL, "/bare"))
    bare = next(row for row in lines(instance, capsysbinary, "--json") if row["path"] == "/bare")
    assert (bare["method"], bare["status"], bare["bytes"], bare["client"], bare["first_byte"]) == ("", 0, 0, "", 0)


def test_a_format_of_ones_own_keeps_its_letters(instance: Instance, capsysbinary: Output) -> None:
    assert lines(instance, capsysbinary, "-j", "-k", "1", "-F", '{"größe":%b}') == [{"größe": 300}]
