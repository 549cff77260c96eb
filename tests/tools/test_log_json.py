"""``varnishpy log --json``: transactions as objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tools.conftest import NOW, Instance
from varnishpy import log as log_room
from varnishpy.log.grouping import Transaction
from varnishpy.log.record import Record
from varnishpy.log.selection import Selection
from varnishpy.log.tags import Tag
from varnishpy.tools import log
from varnishpy.tools.log_json import JsonForm, probe_object, transaction_object

Output = pytest.CaptureFixture[bytes]
Text = pytest.CaptureFixture[str]


def lines(instance: Instance, capture: Output, *arguments: str) -> list[object]:
    assert log.main(["-n", instance.n, "-d", "--json", *arguments]) == 0
    return [json.loads(line) for line in capture.readouterr().out.splitlines()]


def transaction(kind: str, *records: tuple[Tag, str]) -> Transaction:
    client = kind == "req"
    made = [Record(int(tag), 7, client, not client, text.encode("latin-1") + b"\0") for tag, text in records]
    return Transaction(1, 7, 0, kind, "rxreq" if client else "fetch", made)


def digest(kind: str, *records: tuple[Tag, str]) -> dict[str, object]:
    return transaction_object(transaction(kind, *records), Selection())


MISS = {
    "side": "client",
    "req": {
        "headers": {
            "host": "example.com",
            "user-agent": 'curl "q" \\x',
            "authorization": "Basic dXNlcjpwYXNz",
            "referer": "http://r/\xe9",
        },
        "method": "GET",
        "url": "/a?b=c",
        "proto": "HTTP/1.1",
        "hdrBytes": 100,
        "bodyBytes": 0,
    },
    "resp": {
        "headers": {"content-type": "text/html"},
        "proto": "HTTP/1.1",
        "status": 200,
        "hdrBytes": 200,
        "bodyBytes": 300,
    },
    "timeline": [
        {"name": "Start", "timestamp": NOW},
        {"name": "Process", "timestamp": NOW + 0.5},
        {"name": "Resp", "timestamp": NOW + 0.75},
    ],
    "id": "1001",
    "client": {"rAddr": "127.0.0.1", "rPort": 41234, "sock": "a0", "proto": "http"},
    "logs": ["key:val ue"],
    "links": [
        {"type": "bereq", "id": "1002", "reason": "fetch"},
        {"type": "req", "id": "1003", "reason": "esi"},
    ],
    "handling": "miss",
}
FETCH = {
    "side": "backend",
    "req": {"headers": {}, "method": "GET", "url": "/a", "hdrBytes": 10, "bodyBytes": 0},
    "resp": {"headers": {}, "status": 503, "hdrBytes": 20, "bodyBytes": 30},
    "timeline": [
        {"name": "Start", "timestamp": NOW},
        {"name": "Beresp", "timestamp": NOW + 0.1},
        {"name": "BerespBody", "timestamp": NOW + 0.2},
    ],
    "id": "1002",
    "backend": {"name": "default", "rAddr": "127.0.0.1", "rPort": 80, "connReused": False},
    "handling": "incomplete",
}


def test_one_object_a_line_and_clients_unless_asked_otherwise(instance: Instance, capsysbinary: Output) -> None:
    shown = lines(instance, capsysbinary)
    assert shown[0] == MISS
    assert [(o["id"], o["side"]) for o in shown if isinstance(o, dict)] == [("1001", "client"), ("1004", "client")]
    assert lines(instance, capsysbinary, "-b") == [FETCH]
    esi = lines(instance, capsysbinary, "-E", "-q", 'ReqURL eq "/esi"')
    assert [o["id"] for o in esi if isinstance(o, dict)] == ["1003"]


def test_a_group_of_a_request_is_an_array(instance: Instance, capsysbinary: Output) -> None:
    first, second = lines(instance, capsysbinary, "-g", "request")
    assert isinstance(first, list) and isinstance(second, list)
    assert first[:2] == [MISS, FETCH]
    assert [(o["id"], o["handling"]) for o in first[2:] + second] == [("1003", "incomplete"), ("1004", "incomplete")]
    (first, _) = lines(instance, capsysbinary, "-g", "request", "-c")
    assert isinstance(first, list) and [o["id"] for o in first] == ["1001"]


def test_tags_that_are_left_out_leave_out_their_part(instance: Instance, capsysbinary: Output) -> None:
    (shown,) = lines(instance, capsysbinary, "-k", "1", "-x", "Timestamp,ReqAcct,ReqHeader", "-X", "VCL_Log:^key")
    assert isinstance(shown, dict)
    assert shown["timeline"] == [] and "logs" not in shown
    assert shown["req"] == {"headers": {}, "method": "GET", "url": "/a?b=c", "proto": "HTTP/1.1"}


def test_pretty_and_to_a_file(instance: Instance, capsysbinary: Output, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    file.write_bytes(b"[]\n")
    arguments = ["-n", instance.n, "-d", "--json", "-k", "1", "-p"]
    assert log.main([*arguments, "-a", "-w", str(file)]) == 0
    assert capsysbinary.readouterr().out == b""
    text = file.read_bytes()
    assert text.startswith(b'[]\n{\n\t"side": "client",\n\t"req": {\n\t\t"headers"')
    assert json.loads(text[3:]) == MISS


def test_probes(instance: Instance, capsysbinary: Output) -> None:
    log_room.vsl(Tag.Backend_health, 0, 'b1 Went healthy 4---X-RH 1 1 2 0.250000 0.125000 "HTTP/1.1 200 OK"')
    log_room.vsl(Tag.Backend_health, 0, 'b1 Still sick 4---X-R- 0 1 2 0.500000 0.125000 "HTTP/1.1 400 No"')
    assert lines(instance, capsysbinary, "-g", "probe") == [
        {"backend": "b1", "healthy": True, "happy": True, "report": "4---X-RH", "duration": 0.25,
         "message": "HTTP/1.1 200 OK"},
        {"backend": "b1", "healthy": False, "happy": False, "report": "4---X-R-", "duration": 0.5,
         "message": "HTTP/1.1 400 No"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('b Went sick -------- 0 3 8 0.000000 0.000000 ""', ""),
        ("b Went sick -------- 0 3 8 0.000000 0.000000 Open timeout", "Open timeout"),
        ('b Went sick -------- 0 3 8 0.000000 0.000000 "cut off', "cut off"),
        ("b Went sick -------- 0 3 8 0.000000 0.000000", ""),
        ('b Went sick -------- 0 3 8 soon 0.000000 ""', None),
        ("b Went sick", None),
    ],
)
def test_what_a_probe_says(text: str, message: str | None) -> None:
    made = probe_object(Record(int(Tag.Backend_health), 0, False, False, text.encode()))
    assert (made and made["message"]) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p"], "-p goes only with --json"),
        (["--json", "-A"], "-A does not go with --json"),
        (["--json", "-v"], "-v does not go with --json"),
        (["--json", "-g", "session"], "Unknown grouping type for --json: session"),
        (["-g", "probe"], "Unknown grouping type: probe"),
        (["--json", "-D"], "Missing -w option"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], message: str, capsys: Text) -> None:
    assert log.main(arguments) == 1
    assert capsys.readouterr().err == message + "\n"


CALLED = Tag.VCL_call
RETURNED = Tag.VCL_return


@pytest.mark.parametrize(
    ("kind", "records", "handling"),
    [
        ("req", [(CALLED, "RECV"), (CALLED, "HASH"), (Tag.Hit, "5 1.0 10.0 0.0"), (CALLED, "HIT")], "hit"),
        ("req", [(CALLED, "RECV"), (Tag.Hit, "5 1.0 10.0 0.0 100 4000"), (CALLED, "HIT")], "streaming-hit"),
        ("req", [(Tag.Hit, "5 1.0 10.0 0.0"), (CALLED, "HIT"), (CALLED, "PASS")], "pass"),
        ("req", [(CALLED, "RECV"), (CALLED, "PIPE")], "pipe"),
        ("req", [(CALLED, "MISS"), (CALLED, "SYNTH")], "synth"),
        ("req", [(CALLED, "RECV"), (RETURNED, "fail"), (CALLED, "SYNTH")], "fail"),
        ("req", [(RETURNED, "fail"), (Tag.Hit, "5 1.0 10.0 0.0")], "fail"),
        ("bereq", [(CALLED, "BACKEND_FETCH"), (RETURNED, "fetch"), (CALLED, "BACKEND_RESPONSE")], "fetch"),
        ("bereq", [(CALLED, "BACKEND_ERROR"), (RETURNED, "deliver")], "error"),
        ("bereq", [(CALLED, "BACKEND_ERROR"), (RETURNED, "abandon")], "abandon"),
        ("bereq", [], "incomplete"),
    ],
)
def test_handling(kind: str, records: list[tuple[Tag, str]], handling: str) -> None:
    assert digest(kind, *records)["handling"] == handling


def test_a_client_is_shown_what_it_sent_and_got() -> None:
    made = digest(
        "req",
        (Tag.ReqURL, "/sent"), (Tag.ReqHeader, "Bar: a"), (Tag.ReqHeader, "bar:   b"), (Tag.ReqHeader, "Cookie: c"),
        (Tag.ReqHeader, "cookie: d"), (Tag.ReqHeader, "X: 1"), (Tag.ReqUnset, "x: 1"), (CALLED, "RECV"),
        (Tag.ReqURL, "/made"), (Tag.ReqUnset, "bar:   b"), (Tag.ReqHeader, "New: 1"),
        (Tag.RespStatus, "200"), (Tag.RespHeader, "Z: 1"), (Tag.RespHeader, "Set-Cookie: e"), (CALLED, "DELIVER"),
        (Tag.RespHeader, "set-cookie: f"), (Tag.RespUnset, "Z: 1"), (Tag.RespHeader, "Z: 2"), (Tag.RespStatus, "404"),
    )  # fmt: skip
    assert made["req"] == {"headers": {"bar": "a,b", "cookie": "c;d"}, "url": "/sent"}
    assert made["resp"] == {"headers": {"z": "2"}, "status": 404, "set-cookie": ["e", "f"]}


def test_a_backend_is_shown_what_it_got_and_sent() -> None:
    made = digest(
        "bereq",
        (Tag.BereqHeader, "A: 1"), (CALLED, "BACKEND_FETCH"), (Tag.BereqUnset, "A: 1"), (Tag.BereqHeader, "A: 2"),
        (RETURNED, "fetch"), (Tag.BereqHeader, "B: late"), (Tag.BerespStatus, "200"), (Tag.BerespHeader, "Y: origin"),
        (CALLED, "BACKEND_RESPONSE"), (Tag.BerespStatus, "210"), (Tag.BerespUnset, "Y: origin"),
        (Tag.Storage, "malloc s0"), (Tag.FetchError, "one"), (Tag.Error, "two"), (Tag.VCL_Error, "three"),
    )  # fmt: skip
    assert made["req"] == {"headers": {"a": "2"}}
    assert made["resp"] == {"headers": {"y": "origin"}, "status": 200}
    assert made["storage"] == "malloc s0" and made["errors"] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("logged", "name"),
    [
        ("vcl1.s1", "s1"),
        ("vcl1.dir.leaf", "dir.leaf"),
        ("vcl1.udo.dir.(sa4:1.2.3.4:80)", "dir"),
        ("vcl1.s3.dir.x", "dir"),
        ("vcl1.goto.00000000.(1.2.3.4).(http://x:80)", "goto"),
        ("default", "default"),
    ],
)
def test_names_of_backends(logged: str, name: str) -> None:
    made = digest("bereq", (Tag.BackendOpen, f"20 {logged} 127.0.0.1 80 127.0.0.1 5555 reuse"))
    assert made["backend"] == {"name": name, "rAddr": "127.0.0.1", "rPort": 80, "connReused": True}


def test_records_out_of_form_are_passed_over() -> None:
    bad = [
        (Tag.Timestamp, "Start: nan 0 0"), (Tag.Timestamp, "Start:"), (Tag.Timestamp, "Start: x"), (Tag.Link, "req 1"),
        (Tag.BackendOpen, "20 default"), (Tag.ReqStart, "::1"), (Tag.ReqAcct, "1 2 3"),
    ]  # fmt: skip
    empty: dict[str, object] = {"headers": {}}
    assert digest("req", *bad) == {
        "side": "client", "req": empty, "resp": empty, "timeline": [], "handling": "incomplete"
    }  # fmt: skip


def test_a_log_that_was_cut_off_says_so() -> None:
    assert digest("req", (Tag.End, "synth"))["error"] == "truncated log"
    assert "error" not in digest("req", (Tag.End, ""))


def test_octets_become_text_and_sessions_nothing() -> None:
    form = JsonForm("vxid", pretty=False)
    group = [transaction("req", (Tag.VCL_Log, "caf\xc3\xa9"), (Tag.VCL_Log, "caf\xe9"), (Tag.VCL_Log, "\x01"))]
    assert b'"logs":["caf\xc3\xa9","caf\xc3\xa9","\\u0001"]' in form.render(group, Selection())
    assert form.render([transaction("sess", (Tag.SessOpen, "x"))], Selection()) == b""
