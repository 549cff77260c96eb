"""``varnishpy log --har``: a document that holds what the log has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.conftest import NOW, Instance
from tests.waiting import wait_for
from varnishpy.log.grouping import Transaction
from varnishpy.log.record import Record
from varnishpy.log.selection import Selection
from varnishpy.log.tags import Tag
from varnishpy.tools import log
from varnishpy.tools.log_har import entry

Output = pytest.CaptureFixture[bytes]
Text = pytest.CaptureFixture[str]
Entry = dict[str, dict[str, object]]


def document(octets: bytes) -> list[Entry]:
    found = json.loads(octets)["log"]
    assert (found["version"], found["creator"]["name"]) == ("1.2", "varnishpy")
    entries: list[Entry] = found["entries"]
    return entries


def entries(instance: Instance, capture: Output, *arguments: str) -> list[Entry]:
    assert log.main(["-n", instance.n, "-d", "--har", *arguments]) == 0
    return document(capture.readouterr().out)


def made(kind: str, *records: tuple[Tag, str]) -> Entry | None:
    client = kind == "req"
    written = [Record(int(tag), 7, client, not client, text.encode("latin-1") + b"\0") for tag, text in records]
    found = entry(Transaction(1, 7, 6, kind, "rxreq", written), Selection())
    return None if found is None else json.loads(json.dumps(found))


def test_a_clients_request(instance: Instance, capsysbinary: Output) -> None:
    first, second = entries(instance, capsysbinary)
    request, response = first["request"], first["response"]
    assert request["url"] == "http://example.com/a?b=c" and request["queryString"] == [{"name": "b", "value": "c"}]
    assert {"name": "User-Agent", "value": 'curl "q" \\x'} in json.loads(json.dumps(request["headers"]))
    assert (request["headersSize"], request["bodySize"], response["bodySize"]) == (100, 0, 300)
    assert (response["status"], response["httpVersion"]) == (200, "HTTP/1.1")
    assert response["content"] == {"size": 300, "mimeType": "text/html"}
    assert (first["startedDateTime"], first["time"]) == ("2023-11-14T22:13:20.250000Z", 750.0)
    phases = {name: first["timings"][name] for name in ("send", "wait", "receive", "connect", "dns")}
    assert phases == {"send": 0.0, "wait": 500.0, "receive": 250.0, "connect": -1.0, "dns": -1.0}
    assert (first["_vxid"], first["_handling"], first["_side"]) == ("1001", "miss", "client")
    assert second["_vxid"] == "1004"


def test_a_fetch(instance: Instance, capsysbinary: Output) -> None:
    (fetch,) = entries(instance, capsysbinary, "-b")
    assert (fetch["serverIPAddress"], fetch["_backend"], fetch["connection"]) == ("127.0.0.1", "default", "1001")
    assert fetch["response"]["status"] == 503 and fetch["timings"]["receive"] == 100.0
    whole = entries(instance, capsysbinary, "-g", "request")
    assert [one["_vxid"] for one in whole] == ["1001", "1002", "1003", "1004"]


def test_nothing_to_show_is_a_document_too(instance: Instance, capsysbinary: Output) -> None:
    assert entries(instance, capsysbinary, "-q", "RespStatus == 999") == []


def test_every_field_line_and_cookie() -> None:
    found = made(
        "req",
        (Tag.ReqMethod, "GET"), (Tag.ReqURL, "/?a=1&a=&b"), (Tag.ReqProtocol, "HTTP/2.0"),
        (Tag.ReqStart, "192.0.2.1 5 a0 https"), (Tag.ReqHeader, "Host: h\xc3\xa9"),
        (Tag.ReqHeader, "Cookie: x=1; y=2=3; z"),
        (Tag.VCL_call, "RECV"), (Tag.ReqHeader, "X-Vcl: set"),
        (Tag.RespStatus, "302"), (Tag.RespHeader, "Set-Cookie: s=1; Path=/"), (Tag.RespHeader, "Set-Cookie: t=2"),
        (Tag.RespHeader, "Location: /there"), (Tag.RespHeader, "Bad: \xff\x01"),
    )  # fmt: skip
    assert found is not None
    request, response = found["request"], found["response"]
    assert request["url"] == "https://hé/?a=1&a=&b"
    assert [(q["name"], q["value"]) for q in list(request["queryString"])] == [("a", "1"), ("a", ""), ("b", "")]  # type: ignore[call-overload]
    assert request["cookies"] == [{"name": "x", "value": "1"}, {"name": "y", "value": "2=3"}]
    assert response["cookies"] == [{"name": "s", "value": "1"}, {"name": "t", "value": "2"}]
    assert response["redirectURL"] == "/there"
    assert {"name": "Bad", "value": "\xff\x01"} in list(response["headers"])  # type: ignore[call-overload]
    assert "X-Vcl" not in str(request["headers"])


def test_what_is_no_request_has_no_entry() -> None:
    assert made("req", (Tag.HttpGarbage, "rubbish")) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--har", "--json"], "--har does not go with --json"),
        (["--har", "-v"], "-v does not go with --har"),
        (["--har", "-a", "-w", "x"], "-a does not go with --har: that is one document"),
        (["--har", "-S", "local"], "-S does not go with --har: that is one document"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], message: str, capsys: Text) -> None:
    assert log.main(arguments) == 1
    assert capsys.readouterr().err == message + "\n"


def test_rotation_leaves_whole_documents(instance: Instance, tmp_path: Path) -> None:
    out, old = tmp_path / "out.har", tmp_path / "old.har"
    words = [sys.executable, "-m", "varnishpy", "log", "-n", instance.n, "--har", "-u", "-w", str(out)]
    process = subprocess.Popen(words)
    number = iter(range(10_000, 99_999))

    def seen(url: str) -> bool:
        instance.request(next(number), 1, url=url)
        instance.child.flush()
        return out.exists() and url.encode() in out.read_bytes()

    try:
        wait_for(lambda: seen("/first"), "the first document")
        out.rename(old)
        os.kill(process.pid, signal.SIGHUP)
        wait_for(lambda: seen("/second"), "the second document")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(20)
    assert "/first" in str(document(old.read_bytes())[0]["request"])
    assert "/second" in str(document(out.read_bytes())[-1]["request"])
    assert NOW and "/second" not in old.read_text()
