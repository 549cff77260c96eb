# ruff: noqa: E501 (scripts are clearer on one line)
"""Whole scripts in processes of their own: verdicts, places, logs, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_for
from varnishpy.vtc.fixtures import ScriptFailed, Stage
from varnishpy.vtc.job import Verdict, time_out
from varnishpy.vtc.runner import Finished, Options, Runner
from varnishpy.vtc.text import Source, Text


def run(tmp_path: Path, script: str, **settings: Any) -> Finished:
    options = Options(tmpdir=str(tmp_path))
    for name, value in settings.items():
        setattr(options.settings, name, value)
    (finished,) = Runner(options).run([Source("t.vtc", 'vtest "t"\n' + script)])
    assert list(tmp_path.iterdir()) == []
    return finished


def verdict(tmp_path: Path, script: str, **settings: float) -> tuple[Verdict, int, str]:
    outcome = run(tmp_path, script, **settings).outcome
    return outcome.verdict, outcome.line, outcome.reason


TALK = """server s1 {{
	rxreq
	{server}
}} -start
client c1 -connect ${{s1_sock}} {{
	{client}
}} -run
server s1 -wait
"""


def talk(server: str, client: str) -> str:
    return TALK.format(server=server, client=client)


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("expect req.url == /x\n txresp -body foo", "txreq -url /x\n rxresp\n expect resp.body == foo"),
        ("txresp -status 404 -reason {Not Here}", "txreq\n rxresp\n expect resp.reason == {Not Here}"),
        ('expect req.http.a == b\n txresp -hdr "X: y"', 'txreq -hdr "A: b"\n rxresp\n expect resp.http.x == y'),
        ("expect req.bodylen == 1000\n txresp", "txreq -bodylen 1000\n rxresp\n expect resp.bodylen == 0"),
        ("expect req.http.host == <undef>\n txresp", "txreq -nohost\n rxresp"),
        ("expect req.http.foo ~ 43210$\n txresp", "txreq -hdrlen foo 15\n rxresp"),
        (
            'txresp -nolen -hdr "Transfer-encoding: chunked"\n chunked abc\n chunkedlen 10\n chunkedlen 0',
            "txreq\n rxresp\n expect resp.body == abc0123456701\n expect resp.bodylen == 13",
        ),
        (
            'txresp -nolen -hdr "Transfer-encoding: chunked"\n chunkedlen 20\n chunkedlen 0',
            "txreq\n rxresphdrs\n rxchunk\n expect resp.chunklen == 20\n rxchunk\n expect_pattern",
        ),
        ("txresp -gzipbody hello", "txreq\n rxresp\n expect resp.http.content-encoding == gzip\n gunzip\n expect resp.body == hello"),
        ("txresp -gziplevel 9 -gziplen 4000", "txreq\n rxresp\n gunzip\n expect resp.bodylen == 4000"),
        ("txresp -nolen -body abc\n close", "txreq\n rxresp\n expect resp.bodylen == 3\n expect_close"),
        ("txresp -hdr {Content-Length: 5}\n send abcde", "txreq -method HEAD\n rxresp\n recv 5"),
        ('send "HTTP/1.1 200 \\r\\n\\r\\n"\n close', "txreq\n rxresp\n expect resp.reason == {}"),
        ("txresp -bodylen 100", "txreq\n rxresphdrs\n rxrespbody -max 40\n expect resp.bodylen == 40\n rxrespbody\n expect resp.bodylen == 100"),
        ("expect req.method == POST\n expect req.body == a\n txresp", 'send "POST / HTTP/1.1\\r\\nContent-Length: 1\\r\\n\\r\\na"\n rxresp'),
        ("txresp", 'sendhex "474554202f20485454502f312e310d0a0d0a"\n rxresp'),
        ("expect remote.ip == ${localhost}\n txresp\n accept\n rxreq\n txresp", "txreq\n rxresp\n expect_close\n shell true"),
        ("non_fatal\n rxreq\n expect req.method == <undef>", "txreq"),
        ("txresp -bodyfrom ${tmpdir}/INFO", "txreq\n rxresp\n write_body ${tmpdir}/copy\n shell {cmp INFO copy}"),
        ("txresp", "txreq\n rxresp\n expect resp.status -ge 200\n expect resp.status < 300\n expect resp.http.nope == <undef>"),
    ],
)  # fmt: skip
def test_http1(tmp_path: Path, server: str, client: str) -> None:
    if "accept" in server:
        server, client = server.replace("\n accept\n rxreq\n txresp", ""), client.replace("\n expect_close", "")
    finished = run(tmp_path, talk(server, client))
    assert finished.outcome.verdict is Verdict.PASSED, finished.log.decode("latin-1")


@pytest.mark.parametrize(
    ("server", "client"),
    [
        ("rxreq\n txresp -body x", "txreq -url /a -hdr foo bar\n rxresp\n expect resp.status == 200\n expect resp.body == x"),
        ("rxreq\n expect req.url == /y\n expect req.http.a == b\n txresp -status 404", "txreq -url /y -litHdr inc huf a plain b\n rxresp\n expect resp.status == 404\n expect tbl.enc[1].key == a"),
        ("rxhdrs\n rxdata -all\n expect req.bodylen == 30\n txresp", "txreq -nostrend\n txdata -datalen 10 -nostrend\n txdata -datalen 20\n rxresp"),
        ("rxreq\n txresp -nohdrend\n txcont -hdr x y", "txreq\n rxhdrs -all\n expect resp.http.x == y"),
        ("rxreq\n txrst -err CANCEL", "txreq\n rxrst\n expect rst.err == CANCEL\n expect rst.err == 8"),
        ("rxprio\n expect prio.weight == 7\n expect prio.stream == 3\n expect prio.exclusive == true", "txprio -stream 3 -weight 7 -ex"),
        ("rxwinup\n expect winup.size == 77\n expect stream.peer_window == 65612", "txwinup -size 77"),
        ("rxreq\n expect frame.padding == 5\n txresp -pad abc -body x", "txreq -padlen 5\n rxhdrs\n expect frame.padding == 3\n rxdata"),
        ("rxreq\n txpush -promised 2 -url /p -hdr a b\n txresp", "txreq\n rxpush\n expect push.id == 2\n expect req.url == /p\n rxresp"),
        ("rxreq\n txresp -gzipbody hello", "txreq\n rxresp\n gunzip\n expect resp.body == hello"),
        ('sendhex "000000 04 00 00000001"', "rxframe\n expect frame.type == 4\n expect frame.size == 0"),
    ],
)  # fmt: skip
def test_http2(tmp_path: Path, server: str, client: str) -> None:
    script = (
        f"server s1 {{\nnon_fatal\nstream 1 {{\n{server}\n}} -run\n}} -start\n"
        f"client c1 -connect ${{s1_sock}} {{\nstream 1 {{\n{client}\n}} -run\n}} -run\nserver s1 -wait\n"
    )
    finished = run(tmp_path, script)
    if "frame.type" in client:
        assert finished.outcome.verdict is Verdict.FAILED  # SETTINGS may not be sent on a stream
        return
    assert finished.outcome.verdict is Verdict.PASSED, finished.log.decode("latin-1")


@pytest.mark.parametrize(
    ("script", "wanted", "line", "word"),
    [
        ("shell false", Verdict.FAILED, 2, "shell_exit"),
        ("shell -exit 3 {exit 3}\nshell -err false\nshell -expect b {echo abc}\nshell -match b.$ {echo abc}", Verdict.PASSED, 0, ""),
        ("err_shell oops {echo oops >&2; false}", Verdict.PASSED, 0, ""),
        ("shell -expect x {echo y}", Verdict.FAILED, 2, "shell_expect"),
        ("feature cmd false", Verdict.SKIPPED, 0, "lacking feature: cmd"),
        ("feature !64bit", Verdict.SKIPPED, 0, "conflicting feature: 64bit"),
        ("feature 64bit ipv4 {cmd} true !topbuild {vtest_cmd} tunnel", Verdict.PASSED, 0, ""),
        ("flurb", Verdict.ERROR, 2, "Unknown command"),
        ("shell ${none}", Verdict.ERROR, 2, "none"),
        ("shell true\nclient c1 -connect ${bad_backend} { txreq } -run", Verdict.FAILED, 3, "Failed to open"),
        ("client c1 {\n txresp\n} -connect 127.0.0.1:1 -start -wait", Verdict.FAILED, 2, "Failed to open"),
        ("client c1 -wait", Verdict.FAILED, 2, "Client not -started"),
        ("shell -err -exit 2 {exit 3}", Verdict.FAILED, 2, "wanted 0x0002"),
        ("shell -exit 2 -err {exit 3}\nshell -exit -1 {exit 3}\nshell true # fine", Verdict.PASSED, 0, ""),
        ("shell {false; true}", Verdict.FAILED, 2, "shell_exit"),
        ("filewrite f ${pkg_branch}\nshell {grep -q '^[0-9]*[.][0-9]*$' f}", Verdict.PASSED, 0, ""),
        (talk("expect req.url == /nope\n txresp", "txreq\n rxresp"), Verdict.FAILED, 4, "EXPECT req.url"),
        (talk("txresp", "txreq\n rxresp\n expect resp.status == 404"), Verdict.FAILED, 9, "EXPECT resp.status"),
        ("delay 0.01\nsetenv A b\nshell {test $A = b}\nsetenv -ifunset A c\nshell {test $A = b}", Verdict.PASSED, 0, ""),
        ('filewrite f "a" "b\\n"\nfilewrite -a f c\nshell {printf "ab\\nc" | cmp - f}', Verdict.PASSED, 0, ""),
        ('filewrite i "shell true\\n"\ninclude i', Verdict.PASSED, 0, ""),
        ("include nowhere", Verdict.ERROR, 2, "Unable to read"),
        ("loop 3 {\n shell {echo x >> f}\n}\nshell {test `wc -l < f` = 3}", Verdict.PASSED, 0, ""),
        ("barrier b1 cond 1", Verdict.FAILED, 2, "wrong expectation"),
        ("barrier b1", Verdict.ERROR, 2, "expected cond, sock, sync or -cyclic"),
        ("barrier b1 sync", Verdict.FAILED, 2, "not initialized"),
        ("process p1 {echo $TERM; exit 3} -expect-exit 3 -run\nshell {grep -q xterm ${p1_out}}", Verdict.PASSED, 0, ""),
        ("process p1 {exit 3} -run", Verdict.FAILED, 0, "Bad exit status"),
        ("process p1 {cat} -start -writeln hello -expect-text 2 1 hello -kill TERM -wait", Verdict.PASSED, 0, ""),
        ('process p1 {stty raw -echo; printf "\\033[3;4Hx"; cat} -start -expect-text 3 4 x -expect-cursor 3 5 -stop', Verdict.PASSED, 0, ""),
        ("shell {test -d ${tmpdir} && test `pwd` = ${tmpdir}}", Verdict.PASSED, 0, ""),
    ],
)  # fmt: skip
def test_verdicts(tmp_path: Path, script: str, wanted: Verdict, line: int, word: str) -> None:
    finished = run(tmp_path, script)
    log = finished.log.decode("latin-1")
    assert finished.outcome.verdict is wanted, log
    assert word in finished.outcome.reason
    if line:
        assert finished.outcome.line == line, log


@pytest.mark.parametrize(
    ("version", "sender"),
    [("varnish-7.1.1", False), ("varnish-7.4.0", True), ("varnish-trunk", True), ("varnishpy-0.1.0", True)],
)
def test_scripts_are_read_in_the_language_of_the_daemon(tmp_path: Path, version: str, sender: bool) -> None:
    """Up to 7.3 messages did not say who sends them."""
    program = tmp_path / "varnishd"
    program.write_text(f"#!/bin/sh\necho 'varnishd ({version} revision 0)' >&2\n")
    program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    expected = ("c1", "s1") if sender else ("<undef>", "<undef>")
    script = talk(
        f"expect req.http.user-agent == {expected[0]}\n txresp",
        f"txreq\n rxresp\n expect resp.http.server == {expected[1]}",
    )
    finished = run(work, script, macros={"varnishd": str(program)})
    assert finished.outcome.verdict is Verdict.PASSED, finished.log.decode("latin-1")
    assert f"pkg_version={version.partition('-')[2]}\n" in finished.log.decode("latin-1")


def test_dispatched_servers_have_names(tmp_path: Path) -> None:
    ask = "client c1 -connect ${s0_sock} {\n txreq\n rxresp\n} -run\n"
    script = f"server s0 {{\n rxreq\n txresp\n}} -dispatch\n{ask}server s1 -wait\n{ask}server s2 -wait\n"
    assert verdict(tmp_path, script)[0] is Verdict.PASSED
    assert verdict(tmp_path, script + "server s3 -wait")[2] == "Server not -started"


def test_barriers_meet(tmp_path: Path) -> None:
    script = (
        "barrier b1 cond 3 -cyclic\nbarrier b2 sock 2\n"
        + "".join(f"server s{n} {{\nrxreq\nbarrier b1 sync\nbarrier b1 sync\ntxresp\n}} -start\n" for n in (1, 2))
        + "".join(
            f"client c{n} -connect ${{s{n}_sock}} {{\ntxreq\nrxresp\nbarrier b2 sync\n}} -start\n" for n in (1, 2)
        )
        + "barrier b1 sync\nbarrier b1 sync\nclient c1 -wait\nclient c2 -wait\n"
    )
    finished = run(tmp_path, script)
    assert finished.outcome.verdict is Verdict.PASSED, finished.log.decode("latin-1")


def test_a_tunnel_holds_bytes_back(tmp_path: Path) -> None:
    script = """
barrier b1 cond 2
server s1 { rxreq
 expect req.url == /through
 txresp } -start
tunnel t1 -connect ${s1_sock} {
	send 10
	barrier b1 sync
	resume
} -start+pause
client c1 -connect ${t1_sock} { txreq -url /through
 barrier b1 sync
 rxresp } -run
server s1 -wait
tunnel t1 -wait
"""
    finished = run(tmp_path, script)
    assert finished.outcome.verdict is Verdict.PASSED, finished.log.decode("latin-1")
    assert b"Sending 10 bytes" in finished.log


def test_syslog(tmp_path: Path) -> None:
    script = """
syslog S1 -level info {
	recv
	expect ~ hello
	recv err
	expect !~ hello
} -start
shell {python3 -c "import socket; s = socket.socket(2, 2); [s.sendto(m, ('${S1_addr}', ${S1_port})) for m in (b'<11>no', b'<14>hello', b'<3>bye')]"}
syslog S1 -wait
"""
    finished = run(tmp_path, script)
    assert finished.outcome.verdict is Verdict.PASSED, finished.log.decode("latin-1")


def test_a_server_that_never_gets_its_request(tmp_path: Path) -> None:
    got, line, reason = verdict(tmp_path, "server s1 {\n rxreq\n} -start\nserver s1 -wait", max_duration=1.0)
    assert got is Verdict.FAILED
    assert line
    assert reason.startswith("TEST TIMED OUT after 1 s")


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("server s1 { rxreq } -start", r"s1 waiting for a connection to 127.0.0.1:\d+"),
        ("barrier b1 cond 2\nserver s1 { barrier b1 sync } -start\nclient c1 -connect ${s1_sock} { rxresp } -start", r"barrier b1 \(1 of 2\)"),
        ("server s1 { rxreq } -start\nclient c1 -connect ${s1_sock} { rxresp } -start", "c1 waiting for data from its peer"),
        ("server s1 { rxpri\n stream 1 { rxreq } -run } -start\nclient c1 -connect ${s1_sock} { txpri\n expect_close } -start", "s1.1 waiting for a frame on stream 1"),
        ("process p1 {echo abc; cat} -start", "p1 waiting for output of its program"),
    ],
)  # fmt: skip
def test_a_test_whose_time_is_up_says_what_it_waited_for(tmp_path: Path, script: str, wanted: str) -> None:
    stage = Stage(tmp_path)
    test = stage.test
    test.interpreter(test.top, "top", test).run(Text(script))

    def waiting() -> bool:
        waits = dict(test.waits)
        return any(re.search(wanted, f"{thread.name} waiting for {what}") for thread, what in waits.items())

    wait_for(waiting, wanted)
    time_out(test)
    assert re.search(wanted, test.failure[1])
    with pytest.raises(ScriptFailed):
        stage.close()


def test_a_failing_server_stops_a_waiting_client_at_once(tmp_path: Path) -> None:
    finished = run(tmp_path, talk("expect req.url == /no", "txreq\n rxresp"))
    assert finished.outcome.verdict is Verdict.FAILED
    assert finished.duration < 5


def test_nothing_keeps_running(tmp_path: Path) -> None:
    mark = f"3{os.getpid()}.25"
    for script in (
        f"shell {{sleep {mark} > /dev/null 2>&1 &}}",
        f"shell {{setsid sleep {mark} > /dev/null 2>&1 &}}\nshell false",
        f"process p1 {{sleep {mark}}} -start",
        f"process p1 {{trap '' TERM; sleep {mark}; sleep {mark}}} -start\ndelay 0.1\nshell false",
        f"shell {{sleep {mark}}}",
    ):
        run(tmp_path, script, max_duration=0.7)
        listed = subprocess.run(["ps", "-axo", "args"], capture_output=True, text=True, check=True).stdout
        assert mark not in listed, script


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    script = tmp_path / "t.vtc"
    mark = f"4{os.getpid()}.25"
    script.write_text(f'vtest "t"\nshell {{sleep {mark}}}\n')
    work = tmp_path / "work"
    work.mkdir()
    runner = subprocess.Popen(
        [sys.executable, "-m", "varnishpy", "test", str(script)],
        env={**os.environ, "TMPDIR": str(work)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listed() -> str:
        return subprocess.run(["ps", "-axo", "args"], capture_output=True, text=True, check=True).stdout

    wait_for(lambda: f"sleep {mark}" in listed(), "the script to be at work")
    runner.send_signal(signal.SIGINT)
    assert runner.wait(20) == 130
    assert f"sleep {mark}" not in listed()
    assert list(work.iterdir()) == []


def test_in_parallel_and_many_times(tmp_path: Path) -> None:
    options = Options(tmpdir=str(tmp_path), jobs=4, iterations=5)
    sources = [Source(f"{n}.vtc", 'vtest "t"\n' + talk("txresp", "txreq\n rxresp")) for n in range(3)]
    finished = list(Runner(options).run(sources))
    assert [done.outcome.verdict for done in finished] == [Verdict.PASSED] * 15


def test_directories_are_kept_when_asked(tmp_path: Path) -> None:
    options = Options(tmpdir=str(tmp_path), keep_on_failure=True)
    bad, good = (Source(name, f'vtest "t"\nshell {name}\n') for name in ("false", "true"))
    finished = list(Runner(options).run([bad, good]))
    kept = [done.directory for done in finished]
    assert kept[1] == ""
    assert b"shell_exit" in Path(kept[0], "LOG").read_bytes()
    assert [str(path) for path in tmp_path.iterdir()] == [kept[0]]


def test_the_log_has_the_shape_of_the_c_program(tmp_path: Path) -> None:
    log = run(tmp_path, talk("txresp", "txreq\n rxresp\n expect resp.status == 500")).log.decode()
    rows = log.splitlines()
    assert rows[0].startswith("**** dT    0.0")
    assert rows[1] == "*    top   TEST t.vtc starting"
    assert "**   c1    === rxresp" in rows
    assert "**** c1    txreq|GET / HTTP/1.1\\r" in rows
    assert '---- c1    EXPECT resp.status (200) == "500" failed' in rows
    assert "*    top   TEST t.vtc FAILED" in rows


def test_programs_have_varnishs_names(tmp_path: Path) -> None:
    """Where our daemon is tested, scripts find our tools, whatever else is installed."""
    script = """
server s1 {
	rxreq
	txresp
} -start
varnish v1 -vcl+backend { } -start
client c1 {
	txreq
	rxresp
} -run
varnish v1 -vsl_catchup
shell -expect "Child in state running" {varnishadm -n ${v1_name} status}
shell -expect "ReqURL" {varnishlog -n ${v1_name} -d -g request -i ReqURL}
shell -expect {"handling":"miss"} {varnishlog-json -n ${v1_name} -d}
shell -expect "MAIN.cache_miss" {varnishstat -n ${v1_name} -1 -f MAIN.cache_miss | tee stat}
shell -expect "+++ stat" {varnishstatdiff stat stat}
shell -match "^127.0.0.1 .*GET" {varnishncsa -n ${v1_name} -d}
shell -match "1.00 ReqURL" {varnishtop -n ${v1_name} -d -1 -i ReqURL}
shell -expect "varnishpy" {varnishd -V}
"""
    outcome = run(tmp_path, script).outcome
    assert (outcome.verdict, outcome.reason) == (Verdict.PASSED, "")


def test_installed_programs_come_first_for_another_daemon(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("installed")
    another = folder / "varnishadm"
    another.write_text("#!/bin/sh\necho another $1\n")
    another.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
    script = """
shell -expect "another one" {varnishadm one}
shell {command -v varnishlog && command -v vtest}
"""
    outcome = run(tmp_path, script, program="/bin/true").outcome
    assert (outcome.verdict, outcome.reason) == (Verdict.PASSED, "")


def test_a_shells_idea_of_its_size_does_not_outrank_the_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """COLUMNS and LINES in the environment would keep curses(3) from following a resize."""
    for name in ("LINES", "COLUMNS", "TERMCAP"):
        monkeypatch.setenv(name, "17")
    script = 'process p1 {echo "[$LINES$COLUMNS$TERMCAP]$TERM $(stty size)"} -run\nprocess p1 -expect-text 1 1 "[]xterm 24 80"'
    assert verdict(tmp_path, script)[0] is Verdict.PASSED
