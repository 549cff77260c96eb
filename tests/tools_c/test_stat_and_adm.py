"""varnishstat and varnishadm on a varnishpy."""

from __future__ import annotations

import json
import subprocess

from tests.conftest import require_program
from tests.tools_c.conftest import PATIENCE, Busy, run, screen
from varnishpy.shm.reader import SetReader

FORMATS = {"integer": "i", "bytes": "B", "bitmap": "b", "duration": "d"}


def test_stat_once(busy: Busy) -> None:
    values = {}
    for line in busy.run("varnishstat", "-1").splitlines():
        name, value, _rate, _description = line.split(None, 3)
        values[name] = int(value)
    hits = sum(sent.handling == "hit" for sent in busy.sent)
    assert values["MAIN.cache_hit"] == hits
    assert values["MAIN.client_req"] == len(busy.sent)
    assert values["MAIN.sess_conn"] == len(busy.sessions)
    assert values["MAIN.s_synth"] == 1
    assert values["MAIN.s_pass"] == 1
    assert values["MAIN.s_pipe"] == 1
    assert values["MAIN.esi_req"] == 1
    assert values["MAIN.n_object"] == 4
    assert values["VBE.boot.default.req"] == 6
    assert values["VBE.boot.dead.fail_econnrefused"] == 1
    assert values["MGT.child_start"] == 1
    for name in ("busyobj", "req0", "req1", "sess0", "sess1"):
        assert values[f"MEMPOOL.{name}.live"] == 0, "nothing is left of the traffic"
    assert values["MEMPOOL.busyobj.allocs"] == 7
    assert values["MEMPOOL.req0.allocs"] + values["MEMPOOL.req1.allocs"] == len(busy.sent) + 1
    assert any(name.startswith("LCK.") for name in values)
    assert any(name.startswith("SMA.s0.") for name in values)


def test_stat_as_json_agrees_with_our_own(busy: Busy) -> None:
    theirs = json.loads(busy.run("varnishstat", "-j"))["counters"]
    ours = json.loads(busy.cache.stats_page("/stats.json"))["counters"]
    assert set(theirs) <= set(ours) | {name for name in theirs if name.startswith("MGT.")}
    still = [name for name in theirs if name.startswith(("MAIN.cache_", "MAIN.client_", "VBE.", "MAIN.sess_c"))]
    assert len(still) > 20
    for name in still:
        assert theirs[name]["value"] == ours[name]["value"], name
        assert theirs[name]["description"] == ours[name]["description"], name
        assert theirs[name]["flag"] == ours[name]["flag"], name
        assert theirs[name]["format"] == FORMATS[ours[name]["format"]], name


def test_stat_fields(busy: Busy) -> None:
    assert busy.run("varnishstat", "-1", "-f", "MAIN.client_req").split()[:2] == [
        "MAIN.client_req",
        str(len(busy.sent)),
    ]
    assert "MAIN.cache_hit" in busy.run("varnishstat", "-l")
    assert "<name>MAIN.uptime</name>" in busy.run("varnishstat", "-x")


def test_stat_on_a_screen(busy: Busy) -> None:
    with screen("varnishstat", "-n", str(busy.cache.workdir)) as shown:
        shown.wait_for(lambda text: "MAIN.client_req" in text and "Hitrate n" in text, "the counters")
        shown.type("v")
        shown.wait_for(lambda text: "DIAG" in text or "DEBUG" in text, "more verbose")
        shown.type("q")
        shown.process.wait(10)


def test_adm(busy: Busy) -> None:
    assert busy.run("varnishadm", "status") == "Child in state running\n"
    assert busy.run("varnishadm", "ping").startswith("PONG ")
    assert "boot" in busy.run("varnishadm", "vcl.list")
    assert "timeout_idle" in busy.run("varnishadm", "param.show", "timeout_idle")
    banner = busy.run("varnishadm", "banner")
    assert "Varnish Cache CLI 1.0" in banner and "varnishpy" in banner
    rows = json.loads(busy.run("varnishadm", "backend.list", "-j"))
    assert "boot.default" in rows[3]
    help_text = busy.run("varnishadm", "help")
    assert "panic.show [-j]" in help_text and "debug." not in help_text


def test_adm_tells_what_failed(busy: Busy) -> None:
    program = [require_program("varnishadm"), "-n", str(busy.cache.workdir)]
    for words, status in ((["no.such"], 101), (["vcl.use"], 104), (["param.show", "nosuch"], 106)):
        done = subprocess.run([*program, *words], capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 1
        assert f"Command failed with error code {status}" in done.stderr


def test_adm_on_a_screen(busy: Busy) -> None:
    with screen("varnishadm", "-n", str(busy.cache.workdir)) as shown:
        shown.wait_for(lambda text: "\nvarnish>" in text, "the prompt")
        shown.type("ban req.url == /nothing\n")
        shown.wait_for(lambda text: text.count("\nvarnish>") == 2, "the next prompt")
        shown.type("ban.list\n")
        shown.wait_for(lambda text: "Present bans:" in text and text.count("req.url == /nothing") == 2, "the ban")
        shown.type("quit\n")
        shown.process.wait(PATIENCE)


def test_adm_by_address_and_secret(busy: Busy) -> None:
    reader = SetReader(busy.cache.workdir)
    reader.attach(0)
    host, port = (reader.read_text("Arg", "-T") or "").split()[:2]
    secret = (reader.read_text("Arg", "-S") or "").strip()
    assert run("varnishadm", "-T", f"{host}:{port}", "-S", secret, "status") == "Child in state running\n"
