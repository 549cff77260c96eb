"""VMOD vsthrottle, by a clock of the test's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy.base import clock
from varnishpy.cache.limits import Bucket
from varnishpy.vmods import vsthrottle


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moment = Clock()
    monkeypatch.setattr(clock, "mono", moment)
    return moment


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench("import vsthrottle; sub vcl_recv { set req.http.out = vsthrottle.is_denied(req.url, 3, 10s); }")
    yield bench
    bench.vcl.discard()


def count() -> int:
    return sum(len(part.buckets) for part in vsthrottle._parts)


def ask(bench: Bench, times: int, url: str = "/") -> list[str | None]:
    return [bench.recv(url).http.get("out") for _ in range(times)]


def evaluate(expression: str, before: str = "") -> str | None:
    bench = Bench(f"import vsthrottle; sub vcl_recv {{ {before} set req.http.out = {expression}; }}")
    try:
        return bench.recv().http.get("out")
    finally:
        bench.vcl.discard()


def test_a_bucket_is_full_at_first_and_refilled_evenly(bench: Bench, time: Clock) -> None:
    assert ask(bench, 4) == ["false", "false", "false", "true"]
    assert ask(bench, 1, "/other") == ["false"]
    time.now += 3.4  # one token, and a fifth of the next, which is lost as it is taken
    assert ask(bench, 2) == ["false", "true"]
    time.now += 3.4
    assert ask(bench, 2) == ["false", "true"]
    time.now += 100
    assert ask(bench, 4) == ["false", "false", "false", "true"]


def test_refused_calls_do_not_keep_a_bucket_from_filling(bench: Bench, time: Clock) -> None:
    ask(bench, 3)
    for _ in range(8):
        time.now += 0.4
        assert ask(bench, 1) == ["true"]
    time.now += 0.2
    assert ask(bench, 2) == ["false", "true"]


def test_block(time: Clock) -> None:
    text = 'import vsthrottle; sub vcl_recv { set req.http.out = vsthrottle.is_denied("k", 1, 1s, 10s); }'
    bench = Bench(text + 'sub vcl_miss { set req.http.left = vsthrottle.blocked("k", 1, 1s, 10s); }')
    assert ask(bench, 2) == ["false", "true"]
    time.now += 9  # full again, and yet
    assert ask(bench, 1) == ["true"]
    req = bench.request()
    bench.run("miss", req)
    assert req.http.get("left") == "1.000"
    time.now += 2
    assert ask(bench, 1) == ["false"]
    bench.vcl.discard()


@pytest.mark.parametrize(
    ("before", "expression", "result"),
    [
        ("", 'vsthrottle.remaining("r", 5, 1s)', "5"),
        ('if (vsthrottle.is_denied("r", 5, 1s)) { }', 'vsthrottle.remaining("r", 5, 1s)', "4"),
        ('vsthrottle.return_token("r", 5, 1s);', 'vsthrottle.is_denied("r", 5, 1s)', "false"),
        ('if (vsthrottle.is_denied("r", 1, 1s)) { } vsthrottle.remove_bucket("r", 1, 1s);',
         'vsthrottle.remaining("r", 1, 1s)', "1"),
        ("", 'vsthrottle.is_denied("r", 0, 1s)', "true"),
        ("", "vsthrottle.is_denied(req.http.none, 5, 1s)", "true"),
        ("", "vsthrottle.remaining(req.http.none, 5, 1s)", "-1"),
        ("", "vsthrottle.blocked(req.http.none, 5, 1s, 1s)", "-1.000"),
        ("", 'vsthrottle.blocked("r", 5, 1s, 1s)', "0.000"),
        ("vsthrottle.return_token(req.http.none, 5, 1s); vsthrottle.remove_bucket(req.http.none, 5, 1s);",
         'vsthrottle.is_denied("r", 5, 1s)', "false"),
    ],
)  # fmt: skip
def test_answers(before: str, expression: str, result: str) -> None:
    assert evaluate(expression, before) == result


def test_a_returned_token_makes_it_a_limit_of_what_happens_at_a_time(bench: Bench, time: Clock) -> None:
    ask(bench, 3)
    giving = Bench("import vsthrottle; sub vcl_recv { vsthrottle.return_token(req.url, 3, 10s); }")
    giving.recv()
    assert ask(bench, 2) == ["false", "true"]
    giving.vcl.discard()


def test_idle_buckets_are_dropped(bench: Bench, time: Clock) -> None:
    ask(bench, 1, "/once")
    assert count() == 1
    time.now += 11
    ask(bench, 20_000, "/often")
    ask(bench, 1, "/once")
    part = vsthrottle._part(("/once", 3, 10.0, 0.0))
    with part.lock:
        part._drop_idle(time.now + 11)
        assert not part.buckets


def test_buckets_go_with_the_last_program(bench: Bench, time: Clock) -> None:
    ask(bench, 1)
    other = Bench("import vsthrottle; sub vcl_recv { set req.http.out = vsthrottle.remaining(req.url, 3, 10s); }")
    bench.vcl.discard()
    assert ask(other, 1) == ["2"]
    other.vcl.discard()
    assert count() == 0


# -- shared by the nodes of a tier -------------------------------------------------------------------------------------


SHARED = """
import vsthrottle;
sub vcl_recv {
    if (req.http.back) { vsthrottle.return_token(req.url, 2, 10s, shared = true); }
    set req.http.left = vsthrottle.remaining(req.url, 2, 10s, shared = true);
    set req.http.blocked = vsthrottle.blocked(req.url, 2, 10s, 5s, shared = true);
    set req.http.out = vsthrottle.is_denied(req.url, 2, 10s, shared = true);
}
"""


class Away:
    """Buckets of an engine that can be away; they are never refilled."""

    def __init__(self) -> None:
        self.away = False
        self.taken: Counter[bytes] = Counter()

    def bucket(self, name: bytes, limit: int, period: float, block: float, amount: int) -> Bucket | None:
        if self.away:
            return None
        denied = amount > 0 and self.taken[name] >= limit
        self.taken[name] += 0 if denied else amount
        return Bucket(denied, limit - self.taken[name], 0.0)


def test_a_shared_limit_is_one_for_all_nodes(time: Clock) -> None:
    limits = Away()
    nodes = [Bench(SHARED), Bench(SHARED)]
    for node in nodes:
        node.host.limits = limits
    assert [ask(node, 1)[0] for node in (*nodes, *nodes)] == ["false", "false", "true", "true"]
    assert nodes[1].recv().http.get("left") == "0"
    assert nodes[0].recv(back="1").http.get("out") == "false", "a token was given back"
    for node in nodes:
        node.vcl.discard()


def test_without_the_engine_each_node_has_a_limit_of_its_own(time: Clock) -> None:
    limits = Away()
    bench = Bench(SHARED)
    assert ask(bench, 3) == ["false", "false", "true"], "there is no tier"
    bench.host.limits = limits
    assert ask(bench, 1) == ["false"]
    limits.away = True
    assert ask(bench, 1) == ["true"], "what was taken here before counts"
    limits.away = False
    assert ask(bench, 2) == ["false", "true"]
    bench.vcl.discard()
