"""The scoreboard: what runs, what waits, what is parked, what is queued; over the stats socket and as a tool."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Held, Origin, running
from tests.e2e.screen import Screen
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def held() -> Held:
    return Held()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, held: Held) -> Iterator[Cache]:
    origin = Origin()
    origin.pages["/held"] = held.page
    origin.pages["/"] = lambda exchange: exchange.answer(b"x", cache_control="max-age=600")
    pools = ["-p", "thread_pools=1", "-p", "thread_pool_min=10", "-p", "thread_pool_max=10"]
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-p", "feature=+http2", *pools, "-p", "timeout_linger=0.02"]
    arguments = [*arguments, "-p", "timeout_idle=100"]  # a parked session stays to be seen on a slow machine
    with running(tmp_path_factory.mktemp("board") / "v", *arguments) as made:
        yield made
        held.release.set()
    origin.close()


def board(cache: Cache) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cache.stats_page("/scoreboard"))
    return found


def tool(cache: Cache, *arguments: str) -> str:
    command = [sys.executable, "-m", "varnishpy", "scoreboard", "-n", str(cache.workdir), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def test_a_request_and_its_fetch_and_its_session(cache: Cache, held: Held) -> None:
    held.release.clear()
    client = H2Client(cache.port)
    client.request("/held?h2")
    with cache.connect() as sock:
        sock.sendall(b"POST /held?h1 HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
        wait_for(lambda: len(board(cache)["tasks"]) == 5, "two requests, two fetches, one session")
        shown = board(cache)
        tasks = {(task["kind"], task["request"]): task for task in shown["tasks"]}
        assert set(tasks) == {
            ("HTTP/2 session", ""), ("HTTP/2 request", "GET /held?h2"), ("fetch", "GET /held?h2"),
            ("HTTP/1 request", "POST /held?h1"), ("fetch", "POST /held?h1"),
        }  # fmt: skip
        assert tasks["HTTP/2 session", ""]["state"] == "1 stream"
        assert tasks["HTTP/1 request", "POST /held?h1"]["state"] == "pass"
        assert tasks["fetch", "GET /held?h2"]["state"] == "startfetch"
        assert tasks["HTTP/2 request", "GET /held?h2"]["session"] == tasks["HTTP/2 session", ""]["vxid"]
        assert all(task["waiting"] and task["client"] == "127.0.0.1" and task["vxid"] for task in tasks.values())
        assert len({task["vxid"] for task in tasks.values()}) == 5
        (pool,) = shown["pools"]
        assert (pool["threads"], pool["threads"] - pool["idle"], pool["active"], pool["queued"]) == (10, 3, 0, 0), (
            "each fetch borrows a worker"
        )
        assert (shown["sessions"], shown["parked"], shown["tracked"]) == (2, 0, True)
        older = tasks["HTTP/2 request", "GET /held?h2"]["age"]
        assert 0 <= older < 30
        assert next(t["age"] for t in board(cache)["tasks"] if t["kind"] == "HTTP/2 request") > older, "it grows"

        lines = tool(cache, "-1").splitlines()
        assert lines[0] == ("3 running (3 waiting)   7 idle   0 queued   10 threads in 1 pool   2 sessions (0 parked)")
        assert lines[1].split() == ["AGE", "KIND", "STATE", "VXID", "CLIENT", "REQUEST"]
        ages = [float(line.split()[0]) for line in lines[2:]]
        assert len(ages) == 5 and ages == sorted(ages, reverse=True)
        assert any(re.search(r"HTTP/1 request +pass, waiting +\d+ +127\.0\.0\.1 +POST /held\?h1$", ln) for ln in lines)
        assert len(json.loads(tool(cache, "-j"))["tasks"]) == 5

        held.release.set()
        wait_for(lambda: not board(cache)["tasks"], "everything to be parked")
        shown = board(cache)
        assert (shown["sessions"], shown["parked"]) == (2, 2), "sessions stay, without a worker"
        client.get("/")
        wait_for(lambda: board(cache)["parked"] == 2, "the session to be parked again")
    client.sock.close()
    wait_for(lambda: board(cache)["sessions"] == 0, "the sessions' end")


def test_queued_tasks(cache: Cache, held: Held) -> None:
    """Ten workers: when all of them wait, what comes in queues, and the board still answers."""
    held.release.clear()
    socks = []
    try:
        for number in range(8):
            sock = cache.connect()
            sock.sendall(f"GET /held?q{number} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
            socks.append(sock)
        wait_for(lambda: board(cache)["queued"], "a queue")
        shown = board(cache)
        assert {row["priority"] for row in shown["queued"]} <= {"REQ", "BO"}
        assert all(row["age"] >= 0 and row["pool"] == "0" for row in shown["queued"])
        assert shown["pools"][0]["queued"] == len(shown["queued"])
        assert re.search(r"[1-9]\d* queued", tool(cache, "-1"))
        held.release.set()
        for sock in socks:
            assert b"200 OK" in sock.recv(65536)
        wait_for(lambda: not board(cache)["queued"], "the end of the queue")
    finally:
        held.release.set()
        for sock in socks:
            sock.close()


def test_no_tracking(cache: Cache, held: Held) -> None:
    held.release.clear()
    cache.cli("param.set thread_pool_track off")
    with cache.connect() as sock:
        sock.sendall(b"GET /held HTTP/1.1\r\nHost: t\r\n\r\n")
        wait_for(lambda: board(cache)["pools"][0]["idle"] < 10, "a busy worker")
        shown = board(cache)
        assert shown["tasks"] == [] and shown["tracked"] is False
        assert "thread_pool_track is off" in tool(cache, "-1")
        cache.cli("param.set thread_pool_track on")
        assert board(cache)["tasks"], "switched on, it shows what has been running all along"
        held.release.set()
        assert b"at last" in sock.recv(65536)


@pytest.mark.parametrize("columns", [132, 80, 70])
def test_live(cache: Cache, held: Held, columns: int) -> None:
    held.release.clear()
    words = [sys.executable, "-m", "varnishpy", "scoreboard", "-n", str(cache.workdir), "-p", "0.1"]
    shown = Screen(*words, columns=columns)
    try:
        shown.wait_for(lambda text: "0 running" in text and "AGE" in text, "an idle board")
        with cache.connect() as sock:
            sock.sendall(b"GET /held?live HTTP/1.1\r\nHost: t\r\n\r\n")
            shown.wait_for(lambda text: "1 running" in text and text.count("GET /held?live") == 2, "request and fetch")
            held.release.set()
            shown.wait_for(lambda text: "0 running" in text and "1 sessions (1 parked)" in text, "the session to park")
        shown.end("q")
    finally:
        held.release.set()
        shown.close()
