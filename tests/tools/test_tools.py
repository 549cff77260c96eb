"""Our tools by themselves."""

from __future__ import annotations

import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.conftest import Instance
from varnishpy import log, stats
from varnishpy.child.stats_socket import MOST_CLIENTS, StatsSocket, StatsSocketError
from varnishpy.log.grouping import Transaction
from varnishpy.log.tags import Tag
from varnishpy.tools import hist, ncsa, scoreboard, stat, statdiff, top
from varnishpy.tools import log as log_tool
from varnishpy.tools.follow import Follower
from varnishpy.tools.usage import ToolError

Text = pytest.CaptureFixture[str]


@pytest.mark.parametrize("main", [log_tool.main, ncsa.main, top.main, hist.main, stat.main, scoreboard.main])
def test_nobody_there_is_one_clear_message(main: object, tmp_path: Path, capsys: Text) -> None:
    assert callable(main)
    arguments = ["-n", str(tmp_path)] + ([] if main is scoreboard.main else ["-t", "0"])
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert "Could not get hold of" in captured.err and captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    "main", [log_tool.main, ncsa.main, top.main, hist.main, stat.main, statdiff.main, scoreboard.main]
)
def test_help_version_and_wrong_options(main: object, capsys: Text) -> None:
    assert callable(main)
    for option, text in (("-h", "Usage: varnish"), ("-V", "(varnishpy-")):
        with pytest.raises(SystemExit) as ended:
            main([option])
        assert ended.value.code == 0
        assert text in capsys.readouterr().out
    assert main(["-Z"]) == 1
    assert "Usage" in capsys.readouterr().err
    assert main(["surplus"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "0"], "-k: Invalid number '0'"),
        (["-g", "foo"], "Unknown grouping type: foo"),
        (["-R", "x"], "-R: Range error"),
        (["-R", "1/"], "-R: Syntax error"),
        (["-T", "-1"], "-T: Range error"),
        (["-L", "0"], "-L: Range error"),
        (["-t", "x"], "-t: Invalid argument: x"),
        (["-D"], "Missing -w option"),
        (["-n", "x", "-r", "y"], "Only one of -n and -r options may be used"),
        (["-r", "/nonexistent"], "Cannot open /nonexistent: No such file or directory"),
        (["-Q", "/nonexistent"], "-Q /nonexistent: No such file or directory"),
    ],
)
def test_wrong_values(arguments: list[str], message: str, capsys: Text) -> None:
    assert log_tool.main(arguments) == 1
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.parametrize("instance", [2], indirect=True)
def test_the_newer_layout_reads_the_same(instance: Instance, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert log_tool.main(["-n", instance.n, "-d", "-g", "session", "-i", "ReqURL,SessClose"]) == 0
    assert capsysbinary.readouterr().out == (
        b"*   << Session  >> 1000      \n-   SessClose      REM_CLOSE 1.000\n"
        b"**  << Request  >> 1001      \n--  ReqURL         /a?b=c\n"
        b"**  << Request  >> 1004      \n--  ReqURL         /pipe\n"
        b"*** << BeReq    >> 1002      \n"
        b"*** << Request  >> 1003      \n--- ReqURL         /esi\n\n"
    )


def test_top(instance: Instance, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    log.vsl(Tag.VCL_Log, 0, "caf\xc3\xa9")  # a wire string: octets
    assert top.main(["-n", instance.n, "-1", "-f", "-i", "ReqHeader,VCL_call"]) == 0
    lines = capsysbinary.readouterr().out.splitlines()
    assert lines[0] == b"     3.00 ReqHeader Authorization"
    assert b"     2.00 VCL_call DELIVER" in lines
    assert top.main(["-n", instance.n, "-1", "-i", "VCL_Log", "-g", "raw"]) == 0
    assert "     1.00 VCL_Log café".encode() in capsysbinary.readouterr().out


def test_headers_are_the_first_or_last_as_asked_and_json_stays_json(
    instance: Instance, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    form = '{"gone":"%{X-Gone}i","was":"%{x-gone:first}i","ref":"%{Referer}i"}'
    assert ncsa.main(["-n", instance.n, "-d", "-j", "-k", "1", "-F", form]) == 0
    line = json.loads(capsysbinary.readouterr().out)
    assert line == {"gone": "1", "was": "1", "ref": "http://r/\xe9"}


def test_top_fades() -> None:
    ranking = top.Ranking(period=10)
    for _ in range(100):
        ranking.count("ReqURL", "/often")
    ranking.count("ReqURL", "/once")
    ranking.fade(10)
    ranking.count("ReqURL", "/new")
    (new, *old) = ranking.ranking()
    assert new == (1.0, "ReqURL", "/new")
    assert {text: count for count, _, text in old} == {
        "/often": pytest.approx(1 / 3),
        "/once": pytest.approx(1 / 3),
    }


def test_following_goes_over_to_a_new_child(instance: Instance, capsys: Text) -> None:
    follower = Follower()
    follower.option("n", instance.n)
    follower.option("g", "raw")
    follower.option("q", "VCL_Log ~ seen")
    follower.setup()
    seen: list[str] = []
    news = threading.Condition()

    def group(transactions: list[Transaction]) -> None:
        with news:
            seen.extend(r.text for t in transactions for r in t.records)
            news.notify_all()

    follower.on_group = group
    reader = threading.Thread(target=follower.run)
    reader.start()

    def log_until_seen(text: str) -> None:
        deadline = time.monotonic() + 15
        with news:
            while text not in seen:
                assert time.monotonic() < deadline, seen
                log.vsl(Tag.VCL_Log, 0, text)
                news.wait(0.02)

    log_until_seen("seen before")
    instance.child.close()
    instance.manager.child_gone()
    instance.child = type(instance.child)(instance.manager.new_child(), 1, 1 << 20)
    log_until_seen("seen after")
    follower.stopping = True
    reader.join(10)
    assert not reader.is_alive()
    assert "Log abandoned (vsl)" in (err := capsys.readouterr().err) and "Log reacquired" in err


def test_histogram() -> None:
    histogram = hist.Histogram(hist.PROFILES["responsetime"])
    for _ in range(20):
        histogram.add(0.001, True)
        histogram.add(1.0, False)
    histogram.add(1e9, False)
    histogram.add(1e-9, True)
    picture = histogram.draw(90, 24, ", d = 1").splitlines()
    assert picture[0] == "1:1, n = 42, d = 1"
    assert picture[-1].startswith("|1e-6") and "|1e2" in picture[-1]
    assert [line[30] for line in picture[2:22]] == ["|"] * 20
    assert [line[60] for line in picture[2:22]] == ["#"] * 20
    for _ in range(2 * hist.WINDOW):
        histogram.add(0.1, True)
    assert len(histogram) == hist.WINDOW and sum(histogram.columns(90)[1]) == hist.WINDOW


@pytest.mark.parametrize(
    "text", ["nope", "ReqAcct:", "c:NoTag::1", "c:Timestamp:Resp:x", "c:Debug::1", "c:ReqAcct::1:3:2"]
)
def test_wrong_profiles(text: str) -> None:
    with pytest.raises(ToolError, match="-P"):
        hist.parse_profile(text)


def test_profiles_take_the_value_from_a_transaction(instance: Instance) -> None:
    profile = hist.parse_profile("c:Timestamp:Process:2:-6:3")
    histogram = hist.Histogram(profile)
    follower = Follower()
    follower.option("n", instance.n)
    follower.option("d", "")
    follower.option("c", "")
    follower.setup()
    follower.on_group = hist.Gatherer(histogram, 0.0).group
    follower.run()
    misses, _ = histogram.columns(900)
    assert [column for column, count in enumerate(misses) if count] == [570]  # log10(0.5) = -0.3: 5.7 above -6
    assert len(histogram) == 2


# -- the stats socket and what reads it


@pytest.fixture
def board() -> dict[str, object]:
    task = {
        "kind": "HTTP/2 request",
        "state": "deliver",
        "age": 2.5,
        "vxid": 5,
        "client": "::1",
        "request": "GET /",
        "waiting": True,
    }
    pool = {"threads": 10, "idle": 9, "active": 0, "queued": 1}
    return {"tasks": [task], "pools": [pool], "sessions": 3, "parked": 2}


@pytest.fixture
def stats_socket(instance: Instance, board: dict[str, object]) -> Iterator[StatsSocket]:
    def broken() -> object:
        raise RuntimeError("a provider's defect")

    providers = {"scoreboard": lambda: board, "broken": broken, "panic": lambda: "all is well\n"}
    made = StatsSocket(instance.workdir / "stats.sock", providers, instance.child.log_memory)
    made.start()
    yield made
    made.stop()
    assert not made.path.exists()


def talk(path: Path, request: bytes) -> tuple[int, dict[str, str], bytes]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(request)
        data = b""
        while more := sock.recv(65536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), {k.lower(): v for k, v in (f.split(": ", 1) for f in fields)}, body


def get(path: Path, page: str) -> tuple[int, dict[str, str], bytes]:
    return talk(path, f"GET {page} HTTP/1.1\r\nHost: v\r\nConnection: close\r\n\r\n".encode())


def test_pages(stats_socket: StatsSocket) -> None:
    path = stats_socket.path
    assert path.stat().st_mode & 0o777 == 0o600
    status, fields, body = get(path, "/stats.json")
    assert (status, fields["content-type"], int(fields["content-length"])) == (200, "application/json", len(body))
    assert json.loads(body)["counters"]["VBE.boot.default.req"]["value"] == 3
    status, _, body = get(path, "/metrics")
    assert re.search(rb"^process_resident_memory_bytes [1-9]\d+$", body, re.M)
    sent = dict(stats.registry.lines(stats.VBE))["boot.default"]["req"]  # with what earlier tests' backends have left
    assert b'varnishpy_vbe_req_total{vcl="boot",backend="default"} %d\n' % sent in body
    assert re.search(rb'^varnishpy_build_info\{version="[^"]+",interpreter="[^"]+"\} 1$', body, re.M)
    assert b"# TYPE varnishpy_vbe_conn gauge\n" in body
    accept = b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\nConnection: close\r\n\r\n"
    status, fields, body = talk(path, accept)
    assert fields["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    status, fields, body = get(path, "/")
    assert (
        status == 200 and b"<title>varnishpy</title>" in body and b"http" not in body.replace(b"<!doctype html>", b"")
    )
    assert get(path, "/panic")[2] == b"all is well\n"
    assert get(path, "/nope")[0] == 404
    status, _, body = get(path, "/broken")
    assert status == 500 and b"a provider's defect" in body


def test_requests_that_are_none(stats_socket: StatsSocket) -> None:
    path = stats_socket.path
    assert talk(path, b"POST / HTTP/1.1\r\n\r\n")[0] == 405
    assert talk(path, b"rubbish\r\n\r\n")[0] == 400
    assert talk(path, b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello")[0] == 400
    assert talk(path, b"GET / HTTP/1.1\r\nX: " + b"x" * 9000)[0] == 431
    status, fields, body = talk(path, b"HEAD /metrics HTTP/1.0\r\n\r\n")
    assert status == 200 and int(fields["content-length"]) > 1000 and body == b""


def test_a_connection_serves_several_requests(stats_socket: StatsSocket) -> None:
    request = b"GET /panic HTTP/1.1\r\n\r\n" * 2 + b"GET /panic HTTP/1.1\r\nConnection: close\r\n\r\n"
    status, _, body = talk(stats_socket.path, request)
    assert status == 200 and body.count(b"all is well") == 3


def test_too_many_clients_are_turned_away(stats_socket: StatsSocket) -> None:
    held = []
    try:
        for _ in range(MOST_CLIENTS):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(stats_socket.path))
            held.append(sock)
        assert get(stats_socket.path, "/panic")[0] == 503
    finally:
        for sock in held:
            sock.close()
    deadline = time.monotonic() + 5
    while get(stats_socket.path, "/panic")[0] != 200:
        assert time.monotonic() < deadline


def unchunk(body: bytes) -> bytes:
    out = io.BytesIO()
    while body:
        size, _, rest = body.partition(b"\r\n")
        out.write(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return out.getvalue()


def test_the_log_as_json_lines(stats_socket: StatsSocket) -> None:
    status, _, body = get(stats_socket.path, "/log?d&g=request&q=BerespStatus%20%3E=%20500")
    (line,) = unchunk(body).splitlines()
    group = json.loads(line)
    assert status == 200 and [t["vxid"] for t in group] == [1001, 1002, 1003]
    assert {"tag": "ReqURL", "vxid": 1001, "side": "c", "value": "/a?b=c"} in group[0]["records"]
    status, _, body = get(stats_socket.path, "/log?q=((")
    assert status == 400 and b"Expected VSL tag name" in body
    assert get(stats_socket.path, "/log?g=nope")[0] == 400


def test_the_log_is_streamed_live(stats_socket: StatsSocket, instance: Instance) -> None:
    result: list[bytes] = []
    client = threading.Thread(target=lambda: result.append(get(stats_socket.path, "/log?g=vxid&k=1&q=ReqURL~live")[2]))
    client.start()
    vxid = 5000
    while client.is_alive() and vxid < 6000:
        vxid += 1
        instance.request(vxid, 4999, url="/live")
        client.join(0.02)
    client.join(5)
    assert json.loads(unchunk(result[0]))[0]["vxid"] in range(5001, vxid + 1)


def test_scoreboard(stats_socket: StatsSocket, instance: Instance, capsys: Text) -> None:
    assert scoreboard.main(["-n", instance.n]) == 0
    lines = capsys.readouterr().out.splitlines()
    counts = "1 running (1 waiting)   9 idle   1 queued   10 threads in 1 pool   3 sessions (2 parked)"
    assert lines[0] == counts
    assert lines[1].split() == ["AGE", "KIND", "STATE", "VXID", "CLIENT", "REQUEST"]
    age, *rest = lines[2].split(None, 7)
    assert 2 <= float(age) < 60 and rest == ["HTTP/2", "request", "deliver,", "waiting", "5", "::1", "GET /"]
    assert scoreboard.main(["-s", str(stats_socket.path), "-j"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["age"] >= 2


def test_a_socket_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(StatsSocketError, match="nowhere"):
        StatsSocket(tmp_path / "nowhere" / "stats.sock", {})


@pytest.mark.parametrize("target", ["//[x", "http://[/", "//[::1"])
def test_a_target_that_is_no_url_is_refused(stats_socket: StatsSocket, target: str) -> None:
    assert talk(stats_socket.path, f"GET {target} HTTP/1.0\r\n\r\n".encode())[0] == 400


def test_a_long_path_will_do(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 100)
    directory.mkdir()
    made = StatsSocket(directory / "stats.sock", {})
    made.start()
    assert made.path.is_socket()
    made.stop()


def test_a_mistyped_counter_is_told(instance: Instance, capsys: Text) -> None:
    assert stat.main(["-n", instance.n, "-1", "-f", "MAIN.cache_hti"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "No counter matches MAIN.cache_hti. Did you mean MAIN.cache_hit?\n")
