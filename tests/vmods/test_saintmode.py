"""VMOD saintmode; tests/vtc/vmod_saintmode.vtc is the same on Debian's varnishd."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy.base import clock
from varnishpy.vcl.loader import VclLoadError

INIT = "import saintmode; sub vcl_init {{ new s = saintmode.saintmode(b, {}); }}"


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one that a test may change."""
    moment = [100.0]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    return moment


def fetch(bench: Bench, digest: bytes) -> Any:
    bo = bench.fetch()
    bo.digest = digest
    bo.director_resp = bench.host.backends["b"]
    return bo


def ask(bench: Bench, digest: bytes) -> str | None:
    """Healthy, and how many are denied, as a fetch for an object sees it."""
    bo = fetch(bench, digest)
    bench.run("backend_fetch", bo)
    return bo.bereq.get("out")  # type: ignore[no-any-return]


def make(threshold: int) -> Bench:
    text = "sub vcl_backend_fetch { set bereq.http.out = s.is_healthy() + s.denylist_count(); }"
    return Bench(INIT.format(threshold) + text + "sub vcl_backend_response { saintmode.denylist(10s); }")


def deny(bench: Bench, digest: bytes) -> None:
    bench.run("backend_response", fetch(bench, digest))


def test_an_object_is_denied_for_its_time(now: list[float]) -> None:
    bench = make(5)
    deny(bench, b"one")
    assert ask(bench, b"one") == "false1"
    assert ask(bench, b"two") == "true1"
    assert bench.log.texts("VCL_Log") == [
        "saintmode: object put on denylist for backend b for 10.00 seconds",
        "saintmode: unhealthy: object denylisted for backend b",
    ]
    now[0] = 111.0
    assert ask(bench, b"one") == "true0"


def test_too_many_objects_make_it_sick() -> None:
    bench = make(2)
    deny(bench, b"one")
    deny(bench, b"two")
    assert ask(bench, b"three") == "false2"
    assert bench.log.texts("VCL_Log")[-1] == "saintmode: unhealthy: hit threshold for backend b"


def test_a_threshold_of_zero_switches_it_off() -> None:
    bench = make(0)
    deny(bench, b"one")
    assert ask(bench, b"one") == "true1"


def test_a_sick_backend_stays_sick() -> None:
    bench = make(2)
    bench.host.backends["b"].is_healthy = False
    assert ask(bench, b"one") == "false0"


@pytest.mark.parametrize(
    ("vcl", "method", "message"),
    [
        ("import saintmode; sub vcl_recv { saintmode.denylist(1s); }", "recv", "called outside of"),
        (
            "import saintmode; sub vcl_backend_response { saintmode.blacklist(1s); }",
            "backend_response",
            "is not config",
        ),
        (
            INIT.format(1) + "sub vcl_backend_response { saintmode.denylist(1s); }",
            "backend_response",
            "for this backend",
        ),
    ],
)
def test_what_cannot_be_denied(vcl: str, method: str, message: str) -> None:
    bench = Bench(vcl)
    if method == "recv":
        bench.run(method, bench.request())
    else:
        task = fetch(bench, b"one")
        task.director_resp = None
        bench.run(method, task)
    assert message in bench.log.texts("VCL_Error")[0]


def test_status_and_the_director() -> None:
    bench = Bench(
        INIT.format(3) + "sub vcl_recv { set req.http.out = saintmode.status(); set req.backend_hint = s.backend(); }"
    )
    req = bench.recv()
    row = {"name": "s", "backend": "b", "count": "0", "threshold": "3"}
    assert json.loads(req.http.get("out") or "") == {"saintmode": [row]}
    assert [director.vcl_name for director in bench.vcl.directors()] == ["b", "s"]
    director = req.director_hint
    assert director is not None and director.type == "saintmode"
    assert director.resolve(bench.ctx) is bench.host.backends["b"]
    bench.host.backends["b"].is_healthy = False
    assert director.resolve(bench.ctx) is None


def test_it_needs_a_backend() -> None:
    with pytest.raises(VclLoadError, match="a backend is needed"):
        Bench("import saintmode; backend n none; sub vcl_init { new s = saintmode.saintmode(n, 1); }")
