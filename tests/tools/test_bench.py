"""The stand of comparison: its clients, its arithmetic, its faces. No test here compares speeds."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.benching import fair, load, report
from tools.benching.scenarios import SCENARIOS, Scenario, choose

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SCENARIO = SCENARIOS[0]


@pytest.fixture
def origin() -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, str(TOOLS / "benching" / "origin.py")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def rows(*values: tuple[str, float], scenario: Scenario = SCENARIO) -> list[report.Row]:
    return [report.Row(scenario, peer, [load.Measured(value, cpu_us=10.0)]) for peer, value in values]


def test_the_fair_client_counts_every_connection(origin: int) -> None:
    got = fair.run(origin, "/1k", 7, 20.0, count=700)
    assert sum(got.answers) == len(got.latencies) == 700
    assert got.failed == 0
    assert min(got.answers) > 0


def test_the_fair_client_asks_for_another_object_each_time(origin: int) -> None:
    got = fair.run(origin, "/miss/{}", 3, 20.0, count=30)
    assert (sum(got.answers), got.failed) == (30, 0)


def test_the_fair_client_takes_large_answers_in_pieces(origin: int) -> None:
    got = fair.run(origin, "/1m", 2, 20.0, count=6)
    assert (sum(got.answers), got.failed) == (6, 0)


def test_a_closed_connection_is_a_failure_and_is_replaced() -> None:
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * 1):
            sock, _ = listener.accept()
            with sock:
                sock.recv(1000)
                if answer:
                    sock.sendall(answer)
                    sock.recv(1000)

    thread = threading.Thread(target=serve)
    thread.start()
    got = fair.run(listener.getsockname()[1], "/", 1, 20.0, count=2)
    thread.join()
    listener.close()
    assert (sum(got.answers), got.failed) == (1, 1)


def test_percentiles() -> None:
    assert fair.percentiles([0.001] * 99 + [0.5]) == {"p50": 1.0, "p99": 500.0, "p99_9": 500.0, "max": 500.0}
    assert fair.percentiles([]) == {"p50": 0.0, "p99": 0.0, "p99_9": 0.0, "max": 0.0}


H2LOAD = """
finished in 500.00ms, 8.00 req/s, 1.30MB/s
requests: 5 total, 5 started, 5 done, 4 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 3 2xx, 0 3xx, 0 4xx, 1 5xx
"""


def test_what_h2load_says_is_understood() -> None:
    good, bad, seconds, times = load.parse_h2load(H2LOAD, "1\t200\t1000\n1\t200\t2000\n1\t503\t9\n1\t200\t3000\n")
    assert (good, bad, seconds) == (3, 2, 0.5)
    assert times["p50"] == 2.0
    with pytest.raises(load.LoadFailed, match="status codes: 0 2xx"):
        load.parse_h2load(H2LOAD.replace("3 2xx", "0 2xx"), "")
    with pytest.raises(load.LoadFailed, match="no such host"):
        load.parse_h2load("no such host", "")


def test_ratios_are_to_the_c_program_and_targets_are_judged() -> None:
    result = report.Report(rows(("varnishpy", 600.0), ("varnishpy compiled", 1200.0), ("varnishd", 1000.0)))
    data = {row["peer"]: row for row in json.loads(result.as_json())}
    assert data["varnishpy"]["ratio"] == 0.6
    assert "| varnishpy | 0.60 |" in result.table()
    judged = result.targets()
    assert any(line.startswith("met ") and "varnishpy is 0.60 x varnishd" in line for line in judged)
    assert any(line.startswith("MISSED") and "compiled is 1.20 x varnishd, at least 1.5" in line for line in judged)


def test_where_less_is_better() -> None:
    start = next(each for each in SCENARIOS if each.tool == "start")
    result = report.Report(rows(("varnishpy", 2.0), ("varnishd", 1.0), scenario=start))
    assert result.targets() == ["MISSED start: varnishpy is 2.00 x varnishd, at most 1.2 wanted"]
    recorded = report.Report(rows(("varnishpy", 1.0), ("varnishd", 1.0), scenario=start)).as_json()
    assert result.check(recorded, 0.15) == ["start: varnishpy was 1.00, is 2.00"]


def test_the_check_tells_what_has_become_worse() -> None:
    recorded = report.Report(rows(("varnishpy", 600.0), ("varnishd", 1000.0))).as_json()
    assert report.Report(rows(("varnishpy", 550.0), ("varnishd", 1000.0))).check(recorded, 0.15) == []
    worse = report.Report(rows(("varnishpy", 400.0), ("varnishd", 1000.0))).check(recorded, 0.15)
    assert worse == [f"{SCENARIO.name}: varnishpy was 0.60, is 0.40"]


def test_failures_and_unfairness_are_noted() -> None:
    row = report.Row(SCENARIO, "varnishd", [load.Measured(1.0, failed=3, spread=0.25)])
    assert "3 failed, connections within 25% of the mean" in report.Report([row]).table()


def test_the_chart_is_a_picture() -> None:
    result = report.Report(rows(("varnishpy", 600.0), ("varnishd", 1000.0), ("a < b", 1.0)))
    root = ElementTree.fromstring(result.chart())
    assert root.tag.endswith("svg")
    titles = [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["varnishpy", "varnishd", "a < b"]


def test_scenarios_are_chosen_by_name() -> None:
    assert [each.name for each in choose("h1 miss,h1 pass", False)] == ["h1 miss", "h1 pass"]
    assert {each.name for each in choose(None, True)} == {each.name for each in SCENARIOS if each.quick}
    with pytest.raises(ValueError, match="no scenario is named like 'h9'"):
        choose("h9", False)
    assert len({each.name for each in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--list"], 0, "h2 hit c10 m10"),
        (["--only", "apache"], 2, "no server is named apache"),
        (["--ours", "compiled"], 2, "LABEL=PROGRAM is meant"),
        (["--scenario", "h9"], 2, "no scenario is named like"),
    ],
)
def test_the_command(words: list[str], status: int, text: str) -> None:
    run = subprocess.run([sys.executable, str(TOOLS / "bench"), *words], capture_output=True, text=True, check=False)
    assert run.returncode == status
    assert text in run.stdout + run.stderr
