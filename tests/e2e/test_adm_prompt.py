"""The prompt of ``varnishpy adm``: completion by what the instance has, and history from one time to the next."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import DEADLINE, Cache, running
from tests.e2e.screen import Screen
from varnishpy.cli import protocol
from varnishpy.tools.adm import ask, connect
from varnishpy.tools.adm_line import Completer, history_file


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    vcl = tmp_path_factory.mktemp("vcl") / "two.vcl"
    vcl.write_text('vcl 4.1; backend first { .host = "127.0.0.1"; } backend second { .host = "127.0.0.2"; }\n'
                   "sub vcl_recv { set req.backend_hint = first; set req.backend_hint = second; }\n")  # fmt: skip
    with running(tmp_path_factory.mktemp("adm") / "v", "-f", str(vcl)) as made:
        made.cli("vcl.load other " + str(vcl))
        yield made


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vcl.us", ["vcl.use"]),
        ("param.r", ["param.reset"]),
        ("param.set thread_pool_t", ["thread_pool_timeout", "thread_pool_track"]),
        ("param.set thread_pool_track o", []),
        ("vcl.use ", ["boot", "other"]),
        ("vcl.use b", ["boot"]),
        ("vcl.state boot ", ["auto", "cold", "warm"]),
        ("backend.set_health boot.", ["boot.first", "boot.second"]),
        ("backend.set_health boot.first s", ["sick"]),
        ("help vcl.disc", ["vcl.discard"]),
        ("ban req.u", ["req.url"]),
        ("no.such x", []),
    ],
)
def test_what_a_word_may_become(cache: Cache, line: str, expected: list[str]) -> None:
    before, blank, word = line.rpartition(" ")
    with connect(str(cache.workdir), None, None, DEADLINE) as sock:
        assert Completer(lambda text: ask(sock, text)).matches(before + blank, word) == expected


def test_an_instance_that_refuses(cache: Cache) -> None:
    completer = Completer(lambda text: (protocol.CANT, "no"))
    assert completer.matches("", "vcl") == [] and completer.matches("vcl.use ", "") == []


def test_at_a_terminal(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    words = (sys.executable, "-m", "varnishpy", "adm", "-n", str(cache.workdir))
    with Screen(*words) as shown:
        shown.wait_for(lambda text: text.rstrip().endswith("varnish>"), "the prompt")
        shown.type("param.sho\tthread_pool_tr\t\n")
        text = shown.wait_for(lambda text: "Value is: on" in text, "an answer")
        assert "varnish> param.show thread_pool_track" in text
        shown.type("auth 0123456789abcdef\n")  # not now: the instance hangs up
        assert shown.process.wait(10) == 0
    kept = history_file()
    assert kept.read_text() == "param.show thread_pool_track \n", "no secrets"
    assert os.stat(kept).st_mode & 0o777 == 0o600

    with Screen(*words) as shown:
        shown.wait_for(lambda text: text.rstrip().endswith("varnish>"), "the prompt")
        shown.type("\x1b[A\n")
        shown.wait_for(lambda text: "Value is: on" in text, "the command of the last time")
        shown.end("\x04")
