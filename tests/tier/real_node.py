"""The state machines in this process with a store on a real engine, and no threads: the test does what they do."""

from __future__ import annotations

from tests.request.request_harness import Answer, Cache
from tests.tier.faulty_proxy import Fault, FaultyProxy
from tests.tier.in_turn import ask
from tests.waiting import wait_for
from varnishpy import stats
from varnishpy.tier.config import TierSpec
from varnishpy.tier.engine import EngineStore
from varnishpy.tier.node import Tier

VCL = """
import xkey;
sub vcl_recv { if (req.method == "PURGE") { return (purge); } return (hash); }
sub vcl_backend_response { set beresp.do_stream = false; set beresp.grace = 0s; }
"""
CHUNK = 4096  # for the length of these tests, see putting.py
LARGE = b"0123456789abcdef" * (5 * CHUNK // 16)  # read and written in more than one go


class RealNode:
    """See the module text."""

    def __init__(self, spec: TierSpec, name: str, password: str | None = None) -> None:
        self.cache = Cache()
        self.cache.vcl(VCL)
        self.counters = stats.new_segment(stats.TIER, f"real.{name}")
        self.store = EngineStore(spec, self.counters, password)
        self.tier = Tier(self.store, self.cache.env.hash, self.counters, name=name, settle=0.0)
        self.cache.env.tier = self.tier
        hash_ = self.cache.env.hash
        hash_.spreading = hash_.keys.spreading = hash_.bans.spreading = self.tier.invalidator

    def get(self, url: str, method: str = "GET") -> tuple[int, bytes]:
        client = ask(self.cache, url, method)
        assert client.error is None, f"the body was cut off: {client.error}"
        return client.status, client.body

    def followed(self) -> bool:
        """Has it read the log, and sent what has been waiting?"""
        self.tier.follower._next_chores = 0.0
        return self.tier.follower.round(0.0) and not self.tier.invalidator.pending

    def troubles(self) -> int:
        """Calls of the engine that failed."""
        return self.counters.get("error") + self.counters.get("timeout")

    def close(self) -> None:
        self.cache.env.pools.stop(1.0)
        self.store.close()
        self.counters.destroy()


def one_round(nodes: list[RealNode], page: str) -> None:
    """Fetched by one, found by the other, purged, fetched anew: every answer is right, whatever the engine does."""
    first, second = nodes
    old, new = b"old " + LARGE, b"new " + LARGE
    for node in nodes:
        node.cache.origin.on(page, Answer(old, headers={"Cache-Control": "max-age=100", "xkey": "k"}))
        node.tier.follower.round(0.0)
    assert first.get(page) == (200, old)
    first.tier.writer.work_off()
    assert second.get(page) == (200, old)
    second.tier.writer.work_off()
    for node in nodes:
        node.cache.origin.on(page, Answer(new, headers={"Cache-Control": "max-age=100", "xkey": "k"}))
    status, _ = first.get(page, "PURGE")
    assert status in (200, 202)
    assert first.get(page) == (200, new)
    first.tier.writer.work_off()
    if status == 200 and second.followed():
        assert second.get(page) == (200, new)
    assert second.get(page)[0] == 200


def fail_each(proxy: FaultyProxy, nodes: list[RealNode], fault: Fault, name: str) -> int:
    """Rounds in which the first command fails, then the second, and so on; how many commands a round has."""
    one_round(nodes, "/warm")
    commands = 0
    for attempt in range(200):
        proxy.arm(fault, commands)
        before = sum(node.troubles() for node in nodes)
        one_round(nodes, f"/{name}/{attempt}")
        for node in nodes:
            wait_for(node.followed, "what waited to be sent")
        if proxy.done:
            commands += 1
        elif sum(node.troubles() for node in nodes) == before:  # else a busy machine has cut this round short
            proxy.disarm()
            return commands
    raise AssertionError("there is no end of commands")
