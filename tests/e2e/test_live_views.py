"""The live views of the log and the counters, on a terminal of 80 columns."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cache, Origin, running
from tests.e2e.screen import Screen


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    origin = Origin()
    origin.pages["/page"] = lambda exchange: exchange.answer(b"x", cache_control="max-age=600")
    with running(tmp_path_factory.mktemp("live") / "v", "-b", f"127.0.0.1:{origin.port}") as made:
        yield made
    origin.close()


def view(name: str, workdir: Path, *arguments: str) -> Screen:
    return Screen(sys.executable, "-m", "varnishpy", name, "-n", str(workdir), *arguments, columns=80)


def narrow(text: str) -> bool:
    return all(len(line) <= 80 for line in text.splitlines())


def test_top(cache: Cache) -> None:
    shown = view("top", cache.workdir, "-i", "ReqURL")
    try:
        shown.wait_for(lambda text: "list length 0" in text, "an empty list")
        for _ in range(3):
            cache.get("/page")
        text = shown.wait_for(lambda text: "list length 1" in text, "one row")
        assert "ReqURL" in text and "/page" in text and narrow(text)
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(10) == 0
    finally:
        shown.close()


def test_hist(cache: Cache) -> None:
    shown = view("hist", cache.workdir, "-p", "0.2")
    try:
        shown.wait_for(lambda text: "1e-1" in text or "+" in text, "an axis")
        cache.get("/page")
        text = shown.wait_for(lambda text: "|" in text, "a hit")
        assert narrow(text)
        shown.type("q")
        assert shown.process.wait(10) == 0
    finally:
        shown.close()


def test_stat(cache: Cache) -> None:
    cache.get("/page")
    cache.get("/page")  # a hit: counters that are zero are not shown
    shown = view("stat", cache.workdir)
    try:
        shown.wait_for(lambda text: "MAIN.cache_hit" in text, "counters")
        before = cache.counter("MAIN.cache_hit")
        cache.get("/page")
        cache.get("/page")
        cache.wait_counter("MAIN.cache_hit", lambda count: count > before)
        assert narrow(shown.text())
        shown.type("q")
        assert shown.process.wait(10) == 0
    finally:
        shown.close()


@pytest.mark.parametrize("name", ["top", "hist"])
def test_an_instance_that_ends(name: str, tmp_path: Path) -> None:
    """The view waits for it to come back, and says so."""
    with running(tmp_path / "v", "-b", "none") as made:
        shown = view(name, made.workdir)
        try:
            shown.wait_for(str.strip, "a picture")
            made.stop()
            text = shown.wait_for(lambda text: "Failed to acquire log" in text.splitlines()[0], "the reason")
            assert narrow(text)
            with running(tmp_path / "v", "-b", "none"):
                shown.wait_for(lambda text: "Log reacquired" in text.splitlines()[0], "the return")
            shown.process.send_signal(signal.SIGINT)
            assert shown.process.wait(10) == 0
        finally:
            shown.close()
