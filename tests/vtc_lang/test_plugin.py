"""The pytest plugin: scripts as tests, and caches and origins for tests in Python."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from varnishpy.vtc.fixtures import ScriptFailed, Stage


def pytest_on(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", *arguments, str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder.parent)},
    )
    return done.returncode, done.stdout


def test_scripts_are_collected_and_fail_at_their_line(tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "good.vtc").write_text('vtest "a good one"\nshell true\n')
    (folder / "bad.vtc").write_text('vtest "a bad one"\nshell true\nshell -exit 3 {exit ${code}}\n')
    (folder / "skipped.vtc").write_text('vtest "not here"\nfeature cmd false\n')
    status, output = pytest_on(folder, "--vtc-define", "code=4")
    assert status == 1
    assert "1 failed, 1 passed, 1 skipped" in output
    assert ">    3  shell -exit 3 {exit ${code}}" in output
    assert "shell_exit not as expected: got 0x0004 wanted 0x0003" in output
    assert "bad.vtc:3:1: a bad one" in output
    assert "*    top   RESETTING" not in output
    assert "*    top   RESETTING" in pytest_on(folder, "--vtc-define", "code=4", "-v")[1]
    assert "lacking feature: cmd" in output


@pytest.fixture
def stage(tmp_path: Path) -> Any:
    made = Stage(tmp_path)
    yield made
    if not made.test.ended:
        made.close()


def test_origin_and_client(stage: Stage) -> None:
    origin = stage.origin("rxreq\nexpect req.url == /x\ntxresp -body hello")
    stage.client('txreq -url /x\nrxresp\nexpect resp.body == "hello"', connect=origin.address)
    origin.wait()
    assert "EXPECT req.url (/x)" in stage.log


def test_a_failing_origin_is_told(stage: Stage) -> None:
    origin = stage.origin("rxreq\nexpect req.url == /other\ntxresp")
    with pytest.raises(ScriptFailed, match=r"origin s1:2:1: EXPECT req.url"):
        stage.client("txreq\nrxresp", connect=origin.address)
    with pytest.raises(ScriptFailed):
        stage.close()


def test_a_cache_from_python(varnishpy: Any, origin: Any) -> None:
    site = origin('rxreq\nexpect req.http.cookie == <undef>\ntxresp -hdr "X: y" -body "hello"')
    cache = varnishpy("sub vcl_recv { unset req.http.cookie; }", {"default_ttl": 77})
    answer = cache.get("/page", headers={"Cookie": "a=b"})
    assert (answer.status, answer.body, answer.headers["x"]) == (200, b"hello", "y")
    site.wait()
    assert cache.get("/page").headers["x-varnish"].count(" ") == 1
    cache.wait_counter("cache_hit", 1)
    assert cache.counter("MAIN.cache_miss") == 1
    assert "77.000" in cache.cli("param.show default_ttl")
    groups = cache.transactions(query="ReqURL eq '/page' and VCL_call eq HIT")
    assert len(groups) == 1
    with pytest.raises(ScriptFailed, match=r"106 .*nothing"):
        cache.cli("vcl.use nothing")
    with pytest.raises(ScriptFailed, match=r"req\.flavour"):
        cache.load_vcl('sub vcl_recv { set req.flavour = "x"; }')
    assert cache.get("/page").status == 200
