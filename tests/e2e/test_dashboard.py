"""The statistics' page in a browser: what it shows of a cache that works, and a click to a transaction's log.

``VARNISHPY_SCREENSHOT=docs/dashboard.png`` in the environment renews the picture in the documentation.
"""

from __future__ import annotations

import functools
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.chromium import Chromium
from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Held, Origin, running
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.child.stats_port import StatsPort

TOKEN = "a token that nobody guesses"
VCL = """
vcl 4.1;
backend web { .host = "127.0.0.1"; .port = "%d"; .probe = { .url = "/"; .interval = 1s; .initial = 3; } }
backend api { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv {
    set req.backend_hint = web;
    if (req.url ~ "^/api") { set req.backend_hint = api; return (pass); }
}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def held() -> Held:
    return Held()


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, held: Held, port: int) -> Iterator[Cache]:
    origin = Origin()
    origin.pages["/held"] = held.page
    for path in ("/", "/news", "/shop", "/api/cart"):
        origin.pages[path] = lambda exchange: exchange.answer(b"x" * 20_000, cache_control="max-age=600")
    directory = tmp_path_factory.mktemp("page")
    vcl = directory / "page.vcl"
    vcl.write_text(VCL % (origin.port, origin.port))
    arguments = ["-f", str(vcl), "-p", "feature=+http2", "-p", f"stats_listen=127.0.0.1:{port}"]
    with running(directory / "v", *arguments) as made:
        yield made
        held.release.set()
    origin.close()


@pytest.fixture(scope="module")
def browser(cache: Cache, port: int) -> Iterator[Chromium]:
    program = require_program("chromium")
    with tempfile.TemporaryDirectory(prefix="vp-", ignore_cleanup_errors=True) as profile:
        made = Chromium(program, Path(profile))
        try:
            made.open(f"http://127.0.0.1:{port}/")
            made.wait_for("document.querySelector('#state')?.innerText.startsWith('up')", "the page to live")
            yield made
        finally:
            made.close()
    assert not made.troubles()


def cells(browser: Chromium, table: str) -> list[list[str]]:
    """What stands in the rows of a table's body."""
    script = f"[...document.querySelectorAll('#{table} tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    found = browser.run(script)
    assert isinstance(found, list)
    return found


def shows(browser: Chromium, table: str, column: int, expected: dict[str, str]) -> None:
    """Wait until these rows have these texts in a column: each table is asked for alone, counters come in portions."""
    seen: dict[str, str] = {}

    def shown() -> bool:
        seen.clear()
        seen.update((line[0], line[column]) for line in cells(browser, table) if column < len(line))
        return expected.items() <= seen.items()

    try:
        wait_for(shown, f"{expected} in column {column} of #{table}")
    except AssertionError as exc:
        raise AssertionError(f"{exc}; the last was {seen}") from None


def test_hit_ratios_and_latencies(cache: Cache, browser: Chromium) -> None:
    for path in ("/", "/", "/news", "/news", "/news", "/shop", "/shop", "/shop", "/api/cart", "/api/cart"):
        assert cache.get(path).status == 200
    shows(browser, "latencies", 1, {"hit": "5", "miss": "3", "pass": "2", "fetch": "5"})
    lines = cells(browser, "latencies")
    assert len(lines) == 4 and all(cell.endswith("s") for line in lines for cell in line[2:])
    shows(browser, "backends", 2, {"boot.web": "62.5 %", "boot.api": "0.0 %"})
    assert browser.run("document.querySelector('#tier').hidden") is True


def test_a_backend_without_a_probe_is_not_sick(cache: Cache, browser: Chromium) -> None:
    text = (
        'vcl 4.1; backend plain { .host = "127.0.0.1"; }'
        'backend sick { .host = "127.0.0.1"; .port = "1"; .probe = { .interval = 1s; .initial = 0; } }'
        "sub vcl_recv { set req.backend_hint = sick; set req.backend_hint = plain; }"
    )
    cache.cli("vcl.inline", "probing", text)
    shows(browser, "backends", 1, {"probing.plain": "no probe", "probing.sick": "no good one"})
    cache.cli("vcl.discard", "probing")


def test_streams_of_a_session_and_a_click_to_the_log(cache: Cache, browser: Chromium, held: Held) -> None:
    held.release.clear()
    client = H2Client(cache.port)
    try:
        client.request("/held?page")
        browser.wait_for("document.querySelector('#sessions tr.sub')?.innerText.includes('/held?page')", "the stream")
        lines = cells(browser, "sessions")
        session = next(line for line in lines if line[1] == "HTTP/2")
        stream = next(line for line in lines if line[4] == "/held?page")
        assert session[1] == "HTTP/2" and session[5] == "64.0 KB / 64.0 KB", session
        assert float(session[7]) >= 1
        assert stream[0] == "stream 1" and stream[4] == "/held?page" and stream[7].startswith("urgency")
        if picture := os.environ.get("VARNISHPY_SCREENSHOT"):
            Path(picture).write_bytes(browser.screenshot())
        assert browser.screenshot().startswith(b"\x89PNG")

        browser.run("document.querySelector('#sessions tr.sub td').click()")
        assert "waits for its end" in browser.text("#records")
        held.release.set()
        browser.wait_for("document.querySelector('#records').innerText.includes('RespStatus')", "its records")
        shown = browser.text("#records")
        assert "ReqURL" in shown and "/held?page" in shown
        browser.run("document.querySelector('#shut').click()")
        assert browser.run("document.querySelector('#detail').hidden") is True
    finally:
        held.release.set()
        client.sock.close()


def test_the_log_is_followed_and_a_line_opens(cache: Cache, browser: Chromium) -> None:
    browser.run("document.querySelector('#follow').click()")
    try:
        browser.wait_for("document.querySelector('#follow').innerText === 'stop'", "the log")

        def asked() -> bool:
            cache.get("/news?followed")
            return "/news?followed" in browser.text("#log")

        wait_for(asked, "the request in the log", 60)
        browser.run("document.querySelector('#log tbody tr[data-vxid] td').click()")
        browser.wait_for("document.querySelector('#records').innerText.includes('ReqAcct')", "its records")
    finally:
        browser.run("document.querySelector('#follow').click()")


def test_a_tier_has_its_place(browser: Chromium) -> None:
    """Shown where there are its counters; the page of another instance, so this comes last."""
    tier = stats.new_segment(stats.TIER, "shared")
    pages: dict[str, object] = {"scoreboard": {"tasks": [], "pools": []}, "sessions": [], "backends": {}, "panic": ""}
    made = StatsPort("127.0.0.1:0", {name: functools.partial(dict(pages).get, name) for name in pages})
    made.start()
    try:
        for name, count in (("hit", 3), ("miss", 1), ("put", 2), ("open", 1)):
            tier.add(name, count)
        browser.open(f"http://127.0.0.1:{made.port}/")
        browser.wait_for("document.querySelector('#tiers')?.innerText.includes('left alone')", "the tier")
        assert browser.run("document.querySelector('#tier').hidden") is False
        for column, text in enumerate(("shared", "3", "75.0 %", "2")):
            shows(browser, "tiers", column, {"shared": text})
    finally:
        made.stop()
        tier.destroy()
