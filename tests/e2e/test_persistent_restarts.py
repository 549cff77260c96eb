"""A daemon with persistent storage: its cache process dies, its manager dies, it is started again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.e2e.kill_rounds import Rounds
from tests.waiting import wait_for

VCL = """
vcl 4.1;
import std;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv { if (req.method == "PURGE") { return (purge); } }
sub vcl_hash { hash_data(req.url); return (lookup); }  # not the port, which is another one each time
sub vcl_backend_response {
    if (bereq.url ~ "^/heap") { set beresp.storage = storage.heap; }
    else { set beresp.storage = storage.disk; }
}
sub vcl_deliver {
    set resp.http.storage = obj.storage;
    set resp.http.happy = storage.disk.happy;
    set resp.http.used = storage.disk.used_space;
    set resp.http.free = storage.disk.free_space;
}
"""


@pytest.fixture
def arguments(origin: Origin, tmp_path: Path) -> list[str]:
    def page(exchange: Exchange) -> None:
        size = int(exchange.target.partition("?")[2] or 100)
        exchange.answer(exchange.target.encode() * size, cache_control="max-age=1000")

    for path in ("/heap", "/disk", "/purged", "/banned"):
        origin.pages[path] = page
    (tmp_path / "v.vcl").write_text(VCL % origin.port)
    return ["-f", str(tmp_path / "v.vcl"), "-s", f"disk=deprecated_persistent,{tmp_path}/disk,32m", "-s", "heap=malloc"]


def settled(cache: Cache, objects: int) -> None:
    """So many objects are in the index."""
    wait_for(lambda: cache.counter("SMP.disk.g_backlog") == 0, "everything to be written")
    wait_for(lambda: cache.counter("SMP.disk.g_alloc") >= 2 * objects, "the objects to be complete")
    cache.wait_counter("SMP.disk.c_commit", lambda count: count > 0)


def test_objects_outlive_their_process_where_vcl_says_so(arguments: list[str], tmp_path: Path) -> None:
    with running(tmp_path / "v", *arguments, status=0) as cache:
        assert "storage.disk = persistent" in cache.cli("storage.list")
        heap, disk = cache.get("/heap"), cache.get("/disk?300000")
        assert (heap.headers["storage"], disk.headers["storage"]) == ("storage.heap", "storage.disk")
        assert cache.get("/purged").status == cache.get("/banned").status == 200
        settled(cache, 3)
        again = cache.get("/disk?300000")
        assert again.headers["happy"] == "true"
        assert float(again.headers["used"]) > 300_000
        assert float(again.headers["free"]) < 32 << 20
        assert cache.get("/purged", method="PURGE").status == 200
        cache.cli("ban", "req.url", "~", "^/banned")
        cache.cli("stop")
        cache.cli("start")
        assert not cache.get("/heap").is_hit
        assert not cache.get("/purged").is_hit
        assert not cache.get("/banned").is_hit
        after = cache.get("/disk?300000")
        assert after.is_hit
        assert after.body == disk.body
        cache.wait_counter("MAIN.n_vampireobject", lambda count: count == 0)
    with running(tmp_path / "v", *arguments) as cache:
        assert cache.get("/disk?300000").is_hit


def test_two_instances_cannot_have_one_directory(arguments: list[str], tmp_path: Path) -> None:
    with running(tmp_path / "v", *arguments) as cache:
        other = Cache(tmp_path / "w", arguments, expect_start=False)
        assert other.process.wait(20) == 2
        other._reader.join(5)
        text = f"Storage directory {tmp_path}/disk is in use by process {cache.process.pid}: stop that, or name another"
        assert other.said(text), other.output
        assert cache.get("/disk").status == 200


def test_a_storage_that_is_damaged_is_set_aside_and_told(arguments: list[str], tmp_path: Path) -> None:
    with running(tmp_path / "v", *arguments) as cache:
        assert cache.get("/disk").status == 200
        settled(cache, 1)
    (tmp_path / "disk" / "index.db").write_bytes(b"\0" * 10_000)
    with running(tmp_path / "v", *arguments) as cache:
        assert cache.said(f"storage.disk: {tmp_path}/disk is damaged")
        assert not cache.get("/disk").is_hit
        assert cache.get("/disk").is_hit
        assert cache.counter("SMP.disk.c_damaged") == 1


def test_a_directory_that_cannot_be_used_is_counted_and_served_without(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "disk" / "data").mkdir(parents=True)
    with running(tmp_path / "v", *arguments) as cache:
        assert cache.said(f"{tmp_path}/disk cannot be used")
        answer = cache.get("/disk")
        assert (answer.status, answer.headers["storage"], answer.headers["happy"]) == (
            200,
            "storage.Transient",
            "false",
        )
        assert cache.counter("SMP.disk.c_fail") > 0


def test_a_new_manager_waits_for_the_old_cache_process(arguments: list[str], tmp_path: Path) -> None:
    cache = Cache(tmp_path / "v", arguments)
    try:
        assert cache.get("/disk").status == 200
        settled(cache, 1)
    finally:
        os.kill(cache.process.pid, signal.SIGKILL)
        cache.process.wait(20)
    with running(tmp_path / "v", *arguments) as cache:
        assert cache.get("/disk").is_hit


def test_whatever_is_served_after_a_kill_was_given_once(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, seed=5)
    try:
        for number in range(4):
            rounds.round(manager=number == 2)
    finally:
        rounds.close()
    assert rounds.tally.wrong == []
    assert rounds.tally.rounds == 4
    assert rounds.tally.swept_hits > 0
