"""The live views of the log and the counters, on narrow terminals."""

from __future__ import annotations

import contextlib
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


def view(name: str, workdir: Path, *arguments: str, columns: int = 80) -> Screen:
    return Screen(sys.executable, "-m", "varnishpy", name, "-n", str(workdir), *arguments, columns=columns)


def narrow(text: str) -> bool:
    return all(len(line) <= 80 for line in text.splitlines())


def selected(text: str, name: str) -> bool:
    """Does the bar below the counters name this one?"""
    return any(line[:4] in ("vvv ", "    ") and line[4:].split()[:1] == [name] for line in text.splitlines())


def foot(text: str) -> str:
    """The last line that is not empty."""
    return text.rstrip().splitlines()[-1]


def test_top(cache: Cache) -> None:
    with view("top", cache.workdir, "-i", "ReqURL") as shown:
        shown.wait_for(lambda text: "list length 0" in text, "an empty list")
        for _ in range(3):
            cache.get("/page")
        text = shown.wait_for(lambda text: "list length 1" in text and "quit (q)" in text, "one row")
        assert "ReqURL" in text and "/page" in text and narrow(text)
        assert foot(text) == "first field only, or all (f)   clear (c)   quit (q)"
        shown.type("c")
        shown.wait_for(lambda text: "list length 0" in text, "the list cleared")
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(10) == 0


def test_hist(cache: Cache) -> None:
    with view("hist", cache.workdir, "-p", "0.2") as shown:
        shown.wait_for(lambda text: "1e-1" in text or "+" in text, "an axis")
        cache.get("/page")
        cache.get("/page")
        # nine of them are the axis, one tells what they are
        text = shown.wait_for(lambda text: text.count("|") > 10 and "time (<, >)   quit" in text, "a hit")
        assert narrow(text)
        assert "\n| hit, # other   period: 2^n s (0-9), half (+), double (-)   time (<, >)   quit" in text
        shown.type("1")
        shown.wait_for(lambda text: ", d = 2" in text, "the period")
        shown.end("q")


def test_stat(cache: Cache) -> None:
    cache.get("/page")
    cache.get("/page")  # a hit: counters that are zero are not shown
    with view("stat", cache.workdir) as shown:
        shown.wait_for(lambda text: "MAIN.cache_hit" in text, "counters")
        before = cache.counter("MAIN.cache_hit")
        cache.get("/page")
        cache.get("/page")
        cache.wait_counter("MAIN.cache_hit", lambda count: count > before)
        assert narrow(shown.text())
        shown.end("q")


def test_top_ends_by_a_key(cache: Cache) -> None:
    with view("top", cache.workdir) as shown:
        shown.wait_for(lambda text: "quit (q)" in text, "the keys")
        shown.end("q")


def test_stat_at_70_columns(cache: Cache) -> None:
    """Columns are left out, numbers are whole; the selected counter is explained; the keys are varnishstat's."""
    cache.get("/page")
    cache.get("/page")
    with view("stat", cache.workdir, columns=70) as shown:
        text = shown.wait_for(lambda text: "MAIN.cache_hit " in text, "counters")
        rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("MAIN.")}
        assert int(rows["MAIN.cache_hit"][0]) >= 1
        assert all(len(line) <= 70 for line in text.splitlines())
        assert "NAME" in text and "AVERAGE" in text and "AVG_10" not in text
        bar = shown.wait_for(lambda text: selected(text, "MGT.uptime"), "the first counter selected")
        assert "INFO  1-" in bar
        shown.type("jj")
        shown.wait_for(lambda text: not selected(text, "MGT.uptime"), "another selection")
        shown.type("g")
        shown.wait_for(lambda text: selected(text, "MGT.uptime"), "the first again")
        shown.type("vv")
        shown.wait_for(lambda text: "DEBUG  1-" in text, "all levels")
        shown.type("G")
        shown.wait_for(lambda text: "LCK." in text, "the last ones")
        shown.type("d")
        shown.wait_for(lambda text: "UNSEEN  DEBUG" in text, "counters that are zero")
        shown.type("h")
        shown.wait_for(lambda text: "Navigate the counter list one line up." in text, "the help screen")
        shown.type("h")
        shown.wait_for(lambda text: "NAME" in text, "the counters again")
        shown.end("q")


def test_stat_changes_its_period(cache: Cache) -> None:
    with view("stat", cache.workdir, columns=120) as shown:
        shown.wait_for(lambda text: "NAME" in text, "counters")
        shown.type("++")
        shown.wait_for(lambda text: "interval set to 1.2 seconds." in text, "a longer one")
        shown.type("---")
        shown.wait_for(lambda text: "interval set to 0.9 seconds." in text, "a shorter one")
        shown.type("e")
        shown.wait_for(lambda text: "0+00:" not in text.split("NAME")[1], "seconds in full")
        shown.end("q")


@pytest.mark.parametrize(
    ("name", "gone", "back"),
    [
        ("stat", "Uptime mgt:     Not Running", "MAIN."),
        ("scoreboard", "gone, waiting for it to come back", "100 threads in 1 pool"),
    ],
)
def test_an_instance_that_comes_back(name: str, gone: str, back: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as screens:
        with running(tmp_path / "v", "-b", "none") as made:
            shown = screens.enter_context(view(name, made.workdir, columns=70))
            shown.wait_for(lambda text: back in text, "a running instance")
        shown.wait_for(lambda text: gone in text, "its end told")
        with running(tmp_path / "v", "-b", "none"):
            shown.wait_for(lambda text: back in text and gone not in text, "its return")
        shown.end("q")


@pytest.mark.parametrize("name", ["top", "hist"])
def test_an_instance_that_ends(name: str, tmp_path: Path) -> None:
    """The view waits for it to come back, and says so."""
    with running(tmp_path / "v", "-b", "none") as made, view(name, made.workdir) as shown:
        shown.wait_for(str.strip, "a picture")
        made.stop()
        text = shown.wait_for(lambda text: "Failed to acquire log" in text.splitlines()[0], "the reason")
        assert narrow(text)
        with running(tmp_path / "v", "-b", "none"):
            shown.wait_for(lambda text: "Log reacquired" in text.splitlines()[0], "the return")
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(10) == 0
