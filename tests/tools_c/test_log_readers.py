"""varnishlog, varnishncsa, varnishtop and varnishhist show what was sent through a varnishpy, no more and no less."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.tools_c.conftest import Busy, Sent, run, screen

# an ESI include logs its URL when it is made, and again as every request does
INCLUDED = Counter({"/inc": 2})
KINDS = {"Session": "sess", "Request": "req", "BeReq": "bereq"}


@dataclass
class Transaction:
    """One transaction as varnishlog prints it."""

    level: int
    kind: str
    vxid: int
    records: list[tuple[str, str]] = field(default_factory=list)

    def all(self, tag: str) -> list[str]:
        return [text for name, text in self.records if name == tag]

    def one(self, tag: str) -> str:
        found = self.all(tag)
        assert len(found) == 1, (tag, self)
        return found[0]


def parse(output: str) -> list[list[Transaction]]:
    """Groups of transactions."""
    groups: list[list[Transaction]] = []
    for text in output.strip("\n").split("\n\n"):
        group: list[Transaction] = []
        for line in text.splitlines():
            head = re.fullmatch(r"(\*+|\*\d+\*) *<< (\w+) *>> (\d+) *", line)
            if head:
                level = head[1].strip("*")
                group.append(Transaction(int(level) if level else len(head[1]), head[2], int(head[3])))
                continue
            record = re.fullmatch(r"(?:-+|-\d+-) +(\w+)(?: +(.*?))?\s*", line)
            assert record, line
            group[-1].records.append((record[1], record[2] or ""))
        if group:
            groups.append(group)
    return groups


def start(transaction: Transaction) -> float:
    """When it began. (Ids tell nothing of time: each worker has a batch of its own.)"""
    if transaction.kind == "Session":
        return float(transaction.one("SessOpen").split()[5])
    return float(next(text.split()[1] for text in transaction.all("Timestamp") if text.startswith("Start: ")))


def tops(busy: Busy) -> list[Transaction]:
    """Transactions of client requests that no ESI include made, in the order in which they were sent."""
    groups = parse(busy.run("varnishlog", "-d", "-g", "vxid", "-c"))
    return sorted((group[0] for group in groups if group[0].one("Begin").endswith(" rxreq")), key=start)


def test_raw(busy: Busy) -> None:
    # a record of the CLI may hold several lines
    lines = busy.run("varnishlog", "-d", "-g", "raw", "-x", "CLI").splitlines()
    records = [re.fullmatch(r" *(\d+) (\w+) +([-cb]) ?(.*)", line) for line in lines]
    assert all(records), [line for line, record in zip(lines, records, strict=True) if not record]
    urls = Counter(record[4] for record in records if record and record[2] == "ReqURL")
    assert urls == INCLUDED + Counter(sent.url for sent in busy.sent)
    assert all(record[3] == "c" for record in records if record and record[2] == "ReqURL")
    assert all(record[3] == "b" for record in records if record and record[2] == "BereqURL")
    ends = Counter(record[1] for record in records if record and record[2] == "End")
    begins = Counter(record[1] for record in records if record and record[2] == "Begin")
    assert begins == ends and set(begins.values()) == {1}, "every transaction begins and ends once"


def test_vxid_groups_hold_one_transaction_each(busy: Busy) -> None:
    groups = parse(busy.run("varnishlog", "-d", "-g", "vxid"))
    assert all(len(group) == 1 and group[0].level == 1 for group in groups)
    kinds = Counter(group[0].kind for group in groups)
    fetches = 2 + 2 + 1 + 1 + 1  # /hit /h2, /esi /inc, /pass, /dead, /pipe
    assert kinds == {"Session": 5, "Request": len(busy.sent) + 1, "BeReq": fetches}
    for (transaction,) in groups:
        assert transaction.records[0][0] == "Begin" and transaction.records[-1][0] == "End"
        assert transaction.one("Begin").split()[0] == KINDS[transaction.kind]


def test_client_transactions_say_what_the_client_sent_and_got(busy: Busy) -> None:
    found = tops(busy)
    sessions = [url for urls in busy.sessions for url in urls]
    assert [t.one("ReqURL") for t in found] == sessions
    for transaction, sent in zip(found, busy.sent, strict=True):
        assert transaction.one("ReqMethod") == sent.method
        assert transaction.one("ReqProtocol") == sent.proto
        assert re.fullmatch(r"127\.0\.0\.1 \d+ a0( http)?", transaction.one("ReqStart"))
        assert "host: test" in [header.lower() for header in transaction.all("ReqHeader")]
        assert transaction.all("VCL_Log") == [f"side:client {sent.url}"]
        if sent.handling == "pipe":
            assert len(transaction.one("PipeAcct").split()) == 4
            continue
        assert int(transaction.all("RespStatus")[-1]) == sent.status
        header_in, body_in, all_in, header_out, body_out, all_out = map(int, transaction.one("ReqAcct").split())
        assert (all_in, all_out) == (header_in + body_in, header_out + body_out)
        assert body_in == (5 if sent.method == "POST" else 0)
        if sent.length >= 0:
            assert body_out >= sent.length if sent.url == "/esi" else body_out == sent.length
        labels = [text.split(":")[0] for text in transaction.all("Timestamp")]
        assert labels[0] == "Start" and labels[-1] == "Resp" and "Process" in labels


def test_backend_transactions(busy: Busy) -> None:
    groups = parse(busy.run("varnishlog", "-d", "-g", "vxid", "-b"))
    by_url = {group[0].one("BereqURL"): group[0] for group in groups}
    assert set(by_url) == {"/hit", "/h2", "/esi", "/inc", "/pass?q=1", "/dead", "/pipe"}
    for url, transaction in by_url.items():
        if url == "/dead":
            assert transaction.all("FetchError") and transaction.all("BerespStatus")[-1] == "503"
        elif url != "/pipe":
            assert transaction.one("BerespStatus") == "200"
            assert re.fullmatch(r"\d+ default 127\.0\.0\.1 \d+ 127\.0\.0\.1 \d+ .*", transaction.one("BackendOpen"))
            assert transaction.all("BackendClose")
    assert by_url["/hit"].one("Length") == "1234"
    assert by_url["/pass?q=1"].one("Begin").endswith(" pass")


def test_request_groups_are_trees(busy: Busy) -> None:
    groups = parse(busy.run("varnishlog", "-d", "-g", "request"))
    trees = sorted((group for group in groups if group[0].kind == "Request"), key=lambda group: start(group[0]))
    assert [group[0].one("ReqURL") for group in trees] == [sent.url for sent in busy.sent]
    for group, sent in zip(trees, busy.sent, strict=True):
        if sent.url != "/esi":
            fetches = sent.handling in ("miss", "pass", "pipe")
            assert [(t.level, t.kind) for t in group] == [(1, "Request"), (2, "BeReq")][: 1 + fetches]
    esi = next(group for group in trees if group[0].one("ReqURL") == "/esi")
    assert [(t.level, t.kind) for t in esi] == [(1, "Request"), (2, "BeReq"), (2, "Request"), (3, "BeReq")]
    assert esi[2].one("Begin") == f"req {esi[0].vxid} esi 1"
    assert f"req {esi[2].vxid} esi 1" in esi[0].all("Link")


def test_session_groups_hold_what_came_over_one_connection(busy: Busy) -> None:
    groups = sorted(parse(busy.run("varnishlog", "-d", "-g", "session")), key=lambda group: start(group[0]))
    assert [group[0].kind for group in groups] == ["Session"] * 5
    for group, urls in zip(groups, busy.sessions, strict=True):
        assert [t.one("ReqURL") for t in group if t.level == 2 and t.kind == "Request"] == urls
        assert re.match(r"127\.0\.0\.1 \d+ a0 127\.0\.0\.1 \d+ \d+\.\d+ \d+$", group[0].one("SessOpen"))
        assert len(group[0].one("SessClose").split()) == 2


@pytest.mark.parametrize(
    ("query", "urls"),
    [
        ("RespStatus >= 400", {"/synth", "/dead"}),
        ('ReqURL ~ "^/h" and ReqMethod eq GET', {"/hit", "/h2"}),
        ("VCL_call eq PASS", {"/pass?q=1"}),
        ('ReqHeader:host eq test and ReqProtocol eq "HTTP/2.0"', {"/h2", "/hit"}),
        ("Timestamp:Resp[2] < 20 and not VCL_call eq DELIVER", {"/synth"}),
        ("BerespStatus == 503 or FetchError", {"/dead"}),
        ("{2}Begin ~ esi", {"/esi"}),
        ("ReqAcct[5] == 1234", {"/hit"}),
        ("ReqURL ~ nothing-like-that", set()),
    ],
)
def test_queries(busy: Busy, query: str, urls: set[str]) -> None:
    output = busy.run("varnishlog", "-d", "-g", "request", "-q", query)
    assert {group[0].one("ReqURL") for group in parse(output) if output} == urls


def _ncsa(sent: Sent) -> str:
    hit = {"hit": "hit", "miss": "miss"}.get(sent.handling, "miss")
    return f"{sent.method} http://test{sent.url} {sent.proto}|{sent.status}|{hit}|{sent.handling}"


def test_ncsa(busy: Busy) -> None:
    lines = busy.run("varnishncsa", "-d", "-F", "%r|%s|%{Varnish:hitmiss}x|%{Varnish:handling}x").splitlines()
    # a pipe has no response of ours, so no status
    wanted = [_ncsa(sent).replace("|200|", "|-|") if sent.handling == "pipe" else _ncsa(sent) for sent in busy.sent]
    assert sorted(lines) == sorted(wanted)
    for line in busy.run("varnishncsa", "-d").splitlines():
        assert re.fullmatch(
            r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "\w+ http://\S+ HTTP/\d\.\d" (\d{3}|-) '
            r'(\d+|-) "-" "(test/1|-)"',
            line,
        ), line
    sizes = dict(line.split() for line in busy.run("varnishncsa", "-d", "-F", "%U%q %b").splitlines())
    assert sizes["/h2"] == "500" and sizes["/pass?q=1"] == "9"
    rows = [
        json.loads(line) for line in busy.run("varnishncsa", "-d", "-j", "-F", '{"u":"%U","s":%s}').splitlines()[:3]
    ]
    assert [row["u"] for row in rows] == ["/hit", "/hit", "/hit"]
    backend = busy.run("varnishncsa", "-d", "-b", "-F", "%m %U %s").splitlines()
    assert {"POST /pass 200", "GET /dead 503", "GET /inc 200"} <= set(backend)


def test_ncsa_reads_what_varnishlog_wrote(busy: Busy, tmp_path: Path) -> None:
    saved = str(tmp_path / "log")
    busy.run("varnishlog", "-d", "-w", saved)
    lines = run("varnishncsa", "-r", saved, "-F", "%U").splitlines()
    assert Counter(lines) == Counter(sent.url.partition("?")[0] for sent in busy.sent)


def test_top(busy: Busy) -> None:
    lines = busy.run("varnishtop", "-d", "-1", "-i", "ReqURL").splitlines()
    counts = {line.split()[2]: float(line.split()[0]) for line in lines if line}
    assert counts == INCLUDED + Counter(sent.url for sent in busy.sent)


def test_hist(busy: Busy) -> None:
    with screen("varnishhist", "-n", str(busy.cache.workdir), "-d", "-p", "0.2") as shown:
        text = shown.wait_for(lambda text: "|" in text and "#" in text, "hits and misses")
        assert re.search(r"n = \d+", text)
        assert "busy" in text or "varnishpy" in text or text.startswith("1:")
        shown.type("q")
        shown.process.wait(10)
