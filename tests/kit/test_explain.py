"""``varnishpy explain``: the whole way of a request, statement by statement."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.test_unit import SHOP
from varnishpy.kit.explain import Answer, ExplainError, Outcome, Theatre, parse_answer
from varnishpy.kit.recorder import Run, statement_text
from varnishpy.params import table


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("explain") / "shop.vcl"
    file.write_text(SHOP)
    return file


@pytest.fixture
def theatre(path: Path) -> Iterator[Theatre]:
    with Theatre(path, Answer(headers=(("Cache-Control", "max-age=60"),))) as made:
        yield made
    for name in ("thread_pools", "thread_pool_min"):
        table.reset(name)


def runs(outcome: Outcome) -> dict[str, Run]:
    return {event.method: event for event in outcome.events if isinstance(event, Run)}


def facts(outcome: Outcome) -> list[str]:
    return [event for event in outcome.events if isinstance(event, str)]


def test_a_miss_and_then_a_hit(theatre: Theatre) -> None:
    first = theatre.ask("/x", headers=[("Cookie", "a=b"), ("User-Agent", "iPhone")])
    assert list(runs(first)) == ["recv", "hash", "miss", "backend_fetch", "backend_response", "deliver"]
    assert facts(first) == ["lookup: not in the cache", "backend app is asked: GET /x", "it answers: 200"]
    assert (first.status, first.body) == (200, b"hello from the origin\n")
    assert ("X-Cache", "MISS") in first.headers
    second = theatre.ask("/x", headers=[("User-Agent", "iPhone")])
    assert list(runs(second)) == ["recv", "hash", "hit", "deliver"]
    assert facts(second) == ["lookup: found in the cache"]
    assert ("X-Cache", "HIT") in second.headers


def test_steps_have_values_and_changes(theatre: Theatre) -> None:
    recv = runs(theatre.ask("/x", headers=[("Cookie", "a=b")]))["recv"]
    steps = {step.line: step for step in recv.steps if step.file.endswith("shop.vcl")}
    assert (steps[13].sub, steps[13].outcome) == ("normalise", "false")
    assert steps[13].values == ["req.http.User-Agent = not there"]
    assert steps[16].changes == ["req.http.X-Device: desktop"]
    assert steps[21].text == "set req.backend_hint = pool.backend();"
    assert steps[21].changes == ["req.backend_hint: pool"]
    assert steps[24].values == ['req.method = "GET"']
    assert steps[30].changes == ["req.http.Cookie removed"]
    assert 14 not in steps
    assert recv.action == "hash"


def test_failures_and_sick_backends(theatre: Theatre) -> None:
    theatre.sick("legacy")
    outcome = theatre.ask("/x")
    assert list(runs(outcome)) == ["recv", "hash", "synth"]
    assert (outcome.status, outcome.reason, outcome.body) == (503, "legacy down", b"sorry: 503")
    with pytest.raises(ExplainError, match="no backend is named 'nobody'; there are: app, legacy"):
        theatre.sick("nobody")


def test_what_an_origin_says() -> None:
    answer = parse_answer('status=404 reason="Not there" cache-control="max-age=10" body="sorry, no"')
    assert answer == Answer(404, "Not there", (("Cache-Control", "max-age=10"),), b"sorry, no")
    for wrong in ("status=abc", "status", '"', "=x"):
        with pytest.raises(ExplainError, match="--origin"):
            parse_answer(wrong)


def test_the_text_of_statements() -> None:
    source = 'sub a {\n\tset req.http.X = "a;{" +\n\t\t"b"; if (x) {\n{"long; string"}\n'
    assert statement_text(source, 2, 9) == 'set req.http.X = "a;{" + "b";'
    assert statement_text(source, 3, 22) == "if (x)"
    assert statement_text('synthetic({"a;b"});', 1, 1) == 'synthetic({"a;b"});'


def explain(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "varnishpy", "explain", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command(path: Path) -> None:
    done = explain(str(path), "GET /x", "-H", "Cookie: a=b", "--times", "2", "--origin", "cache-control=max-age=9")
    assert done.returncode == 0, done.stderr
    assert "shop.vcl:30        unset req.http.Cookie;" in done.stdout
    assert "lookup: not in the cache" in done.stdout and "lookup: found in the cache" in done.stdout
    assert "hash_data(req.http.host);" in done.stdout and "req_host" not in done.stdout
    data = json.loads(explain(str(path), "/x", "--json").stdout)
    assert data[0]["response"]["status"] == 200
    assert data[0]["events"][0]["sub"] == "vcl_recv"


def test_a_pipe_has_no_response(tmp_path: Path) -> None:
    program = tmp_path / "pipe.vcl"
    program.write_text('vcl 4.1; backend b { .host = "192.0.2.1"; } sub vcl_recv { return (pipe); }')
    text = explain(str(program), "GET /chat").stdout
    assert "piped: " in text and "response:" not in text
    (data,) = json.loads(explain(str(program), "GET /chat", "--json").stdout)
    assert data["piped"] is True and data["response"] is None


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["none.vcl", "/"], 2, "there is no such file"),
        (["{}", "GET /x HTTP/1.1"], 2, "is not 'METHOD URL'"),
        (["{}", "/", "-H", "nope"], 2, "is not 'Name: value'"),
        (["{}", "/", "--sick", "nobody"], 1, "no backend is named 'nobody'"),
    ],
)
def test_mistakes_are_told(path: Path, words: list[str], status: int, text: str) -> None:
    done = explain(*(word.format(path) for word in words))
    assert (done.returncode, done.stdout) == (status, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
