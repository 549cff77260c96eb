"""The management CLI against a running instance: VCL programs and labels, parameters, bans, backends, traffic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.e2e.h2client import H2Client
from tests.e2e.harness import Cache, Exchange, Origin, running
from tests.waiting import wait_for


def elements(cache: Cache, command: str) -> list[Any]:
    """What follows the preamble of a JSON answer."""
    found = json.loads(cache.cli(command))
    assert found[0] in (1, 2, 3)
    assert found[1] == command.split()
    assert isinstance(found, list)
    return found[3:]


def synth_vcl(text: str, more: str = "") -> str:
    return f'vcl 4.1; backend b none; {more} sub vcl_recv {{ return (synth(200, "{text}")); }}'


def reason(cache: Cache) -> str:
    return cache.raw(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").split(b"\r\n")[0].decode()[13:]


def test_programs_and_labels(cache: Cache) -> None:
    cache.cli("vcl.inline", "one", synth_vcl("ONE"))
    cache.cli("vcl.inline", "two", synth_vcl("TWO"), "warm")
    cache.cli("vcl.use", "one")
    assert reason(cache) == "ONE"
    cache.cli("vcl.label", "label", "two")
    router = "vcl 4.1; backend b none; sub vcl_recv { return (vcl(label)); }"
    cache.cli("vcl.inline", "router", router)
    cache.cli("vcl.use", "router")
    assert reason(cache) == "TWO"
    # the label moves under the program that refers to it
    cache.cli("vcl.label", "label", "one")
    assert reason(cache) == "ONE"
    rows = {row["name"]: row for row in elements(cache, "vcl.list -j")}
    assert rows["router"]["status"] == "active"
    assert rows["label"]["label"]["name"] == "one"
    assert rows["two"]["state"] == "warm"
    assert "router" in cache.cli("vcl.deps")
    assert {"name": "router", "deps": ["label"]} in elements(cache, "vcl.deps -j")
    assert "Label: label -> one" in cache.cli("vcl.symtab")
    for command, status, text in [
        ("vcl.discard router", 300, "Cannot discard active VCL program router"),
        ("vcl.discard label", 300, "Cannot discard VCL label label, other VCLs depend on it:\n\trouter\n"),
        ("vcl.discard one", 300, "Cannot discard labeled VCL program one:\n\tlabel\n"),
        ("vcl.discard nosuch*", 106, "No VCL name matches nosuch*"),
        ("vcl.use nosuch", 106, "No VCL named nosuch known"),
        ("vcl.state one banana", 106, "State must be one of auto, cold or warm."),
        ("vcl.state label cold", 106, "Labels are always warm"),
        ("vcl.state one cold", 300, "A labeled VCL cannot be set cold"),
        ("vcl.state router cold", 300, "Cannot set the active VCL cold."),
        ("vcl.label one two", 106, "one is not a label"),
        ("vcl.label other label", 300, "VCL labels cannot point to labels"),
        ("vcl.label label router", 106, "would create a loop"),
        ("vcl.label no/good one", 106, "Illegal character in VCL name ('/')"),
        ("vcl.load one /nonexistent", 106, "Already a VCL named one"),
        ("vcl.load three /nonexistent", 106, "Cannot read file '/nonexistent'"),
    ]:
        found = cache.cli_result(*command.split())
        assert found[0] == status, (command, found)
        assert text in found[1], (command, found)
    assert cache.cli_result("vcl.inline", "bad", "vcl 4.1; sub vcl_recv { banana }")[0] == 106
    # a new child gets all of it again
    cache.cli("stop")
    text = cache.cli("vcl.list")
    assert [line.split()[4] for line in text.splitlines()] == ["boot", "one", "two", "label", "router"]
    assert {row["name"] for row in elements(cache, "vcl.list -j")} == {"boot", "one", "two", "label", "router"}
    cache.cli("start")
    assert reason(cache) == "ONE"
    # together they can go, in the order of what needs what
    cache.cli("vcl.use", "boot")
    cache.cli("vcl.discard", "router", "label", "one", "two")
    assert [line.split()[4] for line in cache.cli("vcl.list").splitlines() if "discarded" not in line] == ["boot"]


def test_load_show_and_state(cache: Cache, short_tmp: Path) -> None:
    included = short_tmp / "part.vcl"
    included.write_text('sub vcl_recv { return (synth(200, "INCLUDED")); }\n')
    program = short_tmp / "main.vcl"
    program.write_text(f'vcl 4.1; backend b none; include "{included}";\n')
    cache.cli("vcl.load", "main", str(program), "cold")
    assert cache.cli_result("vcl.use", "main")[0] == 300, "a cold program is not used by accident"
    cache.cli("vcl.state", "main", "auto")
    cache.cli("vcl.use", "main")
    assert reason(cache) == "INCLUDED"
    assert cache.cli("vcl.show", "main") == program.read_text()
    verbose = cache.cli("vcl.show", "-v", "main")
    assert "// VCL.SHOW 0 " in verbose
    assert "INCLUDED" in verbose
    cache.cli("vcl.use", "boot")
    cache.cli("param.set", "vcl_cooldown", "1")
    cache.cli("vcl.state", "main", "warm")
    cache.cli("vcl.state", "main", "auto")

    def cold() -> bool:
        rows = {row["name"]: row for row in elements(cache, "vcl.list -j")}
        return bool(rows["main"]["temperature"] == "cold")

    wait_for(cold, "an unused program to cool down")
    cache.cli("vcl.use", "main")
    assert reason(cache) == "INCLUDED"


def test_a_program_that_cannot_be_written_is_refused(cache: Cache, short_tmp: Path) -> None:
    name = "n" * 250  # its directory's name is longer than file systems take
    status, text = cache.cli_result("vcl.inline", name, "vcl 4.1; backend default none;")
    assert status == 300 and text.startswith("Cannot write ") and "File name too long" in text
    assert not list(cache.workdir.glob("vcl_nnn*"))
    assert name not in cache.cli("vcl.list")


def test_too_many_programs(cache: Cache) -> None:
    cache.cli("param.set", "max_vcl", "1")
    assert "Remember to vcl.discard the old/unused VCLs." in cache.cli("vcl.inline", "more", synth_vcl("X"))
    cache.cli("param.set", "max_vcl_handling", "2")
    assert cache.cli_result("vcl.inline", "evenmore", synth_vcl("X"))[0] == 300


def test_parameters(cache: Cache) -> None:
    assert "timeout_idle" in cache.cli("param.show")
    assert "Default is:" in cache.cli("param.show", "-l")
    cache.cli("param.set", "timeout_idle", "9")
    assert "timeout_idle" in cache.cli("param.show", "changed")
    assert "default_ttl" not in cache.cli("param.show", "changed")
    (row,) = elements(cache, "param.show -j timeout_idle")
    assert (row["name"], row["value"]) == ("timeout_idle", 9.0)
    (row,) = elements(cache, "param.set -j timeout_idle 8")
    assert row["value"] == 8.0
    (row,) = elements(cache, "param.reset -j timeout_idle")
    assert row["value"] == 5.0
    assert cache.cli_result("param.set", "timeout_idle", "x")[0] == 106
    assert cache.cli_result("param.show", "nosuch")[0] == 106
    assert cache.cli_result("param.show", "-l", "timeout_idle")[0] == 200
    assert cache.cli_result("param.show", "-j", "-l")[0] == 106
    assert cache.cli_result("param.show", "timeout_idle", "default_ttl")[0] == 105


def test_read_only_parameters(short_tmp: Path, origin: Origin) -> None:
    arguments = ["-b", f"127.0.0.1:{origin.port}", "-r", "timeout_idle,default_ttl", "-t", "77"]
    with running(short_tmp / "v", *arguments) as cache:
        assert cache.cli_result("param.set", "timeout_idle", "9") == (
            107,
            'parameter "timeout_idle" is protected.',
        )
        assert "77.000" in cache.cli("param.show default_ttl")


def test_bans(cache: Cache, origin: Origin) -> None:
    @origin.page("/x")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"%d" % origin.hits["/x"], cache_control="max-age=60")

    assert cache.get("/x").body == b"1"
    assert cache.get("/x").body == b"1"
    cache.cli("ban", "req.url", "==", "/x")
    assert cache.get("/x").body == b"2"
    assert "req.url == /x" in cache.cli("ban.list")
    assert any(row["spec"] == "req.url == /x" for row in elements(cache, "ban.list -j"))


def test_bans_in_other_scripts_than_latin(cache: Cache, origin: Origin) -> None:
    """Headers have UTF-8, and so has the CLI."""

    @origin.page("/x")
    def page(exchange: Exchange) -> None:
        exchange.answer(b"%d" % origin.hits["/x"], cache_control="max-age=60", x_city="Zürich €")

    for number, words in enumerate([("==", "Zürich €"), ("~", "^Z.*€$")], 1):
        assert cache.get("/x").body == b"%d" % number
        cache.cli("ban", "obj.http.X-City", *words)
        assert words[1] in cache.cli("ban.list")
        assert any(words[1] in row["spec"] for row in elements(cache, "ban.list -j"))
    assert cache.get("/x").body == b"3"
    assert cache.cli_result("ban", "€", "~", "x") == (106, 'Unknown or unsupported field "€"')
    assert cache.cli_result("ban", "req.nosuch", "==", "/x")[0] == 106


def test_backends_and_storage(cache: Cache, origin: Origin) -> None:
    origin.pages["/"] = lambda exchange: exchange.answer(b"up", cache_control="no-store")
    assert "boot.default" in cache.cli("backend.list")
    (rows,) = elements(cache, "backend.list -j")
    assert rows["boot.default"]["admin_health"] == "healthy"
    cache.cli("backend.set_health", "default", "sick")
    assert cache.get("/").status == 503
    cache.cli("backend.set_health", "default", "auto")
    assert cache.get("/").status == 200
    assert cache.cli_result("backend.set_health", "nosuch", "sick")[0] == 106
    assert cache.cli_result("backend.set_health", "default", "banana")[0] == 106
    assert "storage.Transient = default" in cache.cli("storage.list")
    assert {"name": "Transient", "storage": "default"} in elements(cache, "storage.list -j")


def test_status_and_pid(cache: Cache) -> None:
    assert elements(cache, "status -j") == ["running"]
    assert elements(cache, "pid -j") == [{"master": cache.process.pid, "worker": cache.child_pid}]
    assert "Varnish Cache CLI 1.0" in cache.cli("banner")
    assert cache.cli("debug.xid 5000 2") == "XID is 5000 chunk 2\n"
    cache.cli("debug.srandom 1")
    assert cache.cli_result("debug.xid", "x")[0] == 106
    cache.cli("stop")
    assert elements(cache, "status -j") == ["stopped"]
    assert elements(cache, "pid -j") == [{"master": cache.process.pid}]
    assert cache.cli_result("ban.list")[0] == 101


def test_draining(cache: Cache, origin: Origin) -> None:
    origin.pages["/"] = lambda exchange: exchange.answer(b"x", cache_control="max-age=60")
    kept = cache.connect()
    with kept, H2Client(cache.port) as client:
        assert client.get("/").status == 200
        kept.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        assert kept.recv(65536).startswith(b"HTTP/1.1 200 OK")
        cache.cli("traffic.stop")
        assert "stopped" in cache.cli("traffic.status")
        while client.step():
            pass
        assert client.goaway == 0, "an HTTP/2 session is ended gracefully"
        kept.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        assert b"Connection: close" in kept.recv(65536)
    cache.cli("traffic.start")
    assert cache.get("/").status == 200
    (row,) = elements(cache, "traffic.status -j")
    assert row["traffic"] == "accepting"
