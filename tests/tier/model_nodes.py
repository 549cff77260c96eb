"""Nodes in one process and on one thread, with clocks of their own: the real request and fetch, a scripted origin.

Whatever asks the engine or the origin can be interrupted there by something else that happens on either node; so an
object can be asked for before a purge and arrive after it, and everything in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.builders import make_worker
from tests.request.request_harness import Answer, Cache, Client, Origin
from tests.tier.memory_store import MemoryStore
from varnishpy import stats
from varnishpy.base import clock
from varnishpy.request.client import run_request
from varnishpy.request.request import Request, Step
from varnishpy.tier.clockwork import Clockwork
from varnishpy.tier.invalidating import Outcome
from varnishpy.tier.node import Tier

VCL = """
import xkey;
sub vcl_recv {
    if (req.method == "PURGE") { return (purge); }
    if (req.http.key) { return (synth(200, "" + xkey.purge(req.http.key))); }
    return (hash);
}
sub vcl_backend_response { set beresp.grace = 0s; set beresp.keep = 0s; }
"""
SKEW = 5.0  # seconds that the second node's clock is ahead of the first one's
TTL = 30
URLS = ("/a", "/b")

Action = Callable[[], None]


class Asked:
    """A request on its way: what its answer must not be older than."""

    def __init__(self, node: ModelNode, url: str, at_home: int, anywhere: int, judged: bool = True) -> None:
        self.node = node
        self.judged = judged
        self.url = url
        self.at_home = at_home
        self.anywhere = anywhere


class InTurn(Client):
    """A client whose request is run on the thread that sends it, and if it was on a waiting list, by the world."""

    def __init__(self, cache: Cache, world: ModelWorld, asked: Asked) -> None:
        super().__init__(cache)
        self.world = world
        self.asked = asked

    def run(self, req: Request) -> None:
        self.req = req
        wrk = make_worker()
        if run_request(wrk, req) is Step.DONE:
            self._end(wrk, req)
            try:
                self.world.judge(self)
            except AssertionError as error:  # in the middle of something, where it would be contained
                self.world.wrong.append(error)

    def reembark(self, req: Request) -> None:
        self.world.woken.append(lambda: self.go_on(req))

    def go_on(self, req: Request) -> None:
        with self.world.acting(self.asked.node):
            self.run(req)


class ModelOrigin(Origin):
    """Answers with the version of the page at the moment it is asked, however long the answer takes to arrive."""

    world: ModelWorld

    def get_response(self, wrk: Any, bo: Any) -> None:
        world = self.world
        url = bo.bereq.url
        world.answers.append((world.versions[url], world.time()))
        body = b"%d" % (len(world.answers) - 1)
        headers = {"Cache-Control": f"max-age={TTL}", "xkey": f"key{url}", "X-Page": url}
        self.on(url, Answer(body, headers=headers))
        world.interrupted()
        super().get_response(wrk, bo)


class ModelNode:
    """One node; its cache is emptied for each history."""

    def __init__(self, name: str, skew: float) -> None:
        self.name = name
        self.skew = skew
        self.cache = Cache()
        self.origin = self.cache.origin = ModelOrigin()
        self.cache.vcl(VCL)
        self.counters = stats.new_segment(stats.TIER, f"model.{name}")

    def join(self, world: ModelWorld) -> None:
        """Begin a history."""
        cache = self.cache
        cache.clients.clear()
        cache.env.hash.spreading = cache.env.hash.bans.spreading = cache.env.hash.keys.spreading = None
        cache.env.hash.forget_all()
        while cache.env.expiry.pending():
            cache.env.expiry.step()
        cache.env.bans.clean_tail()
        self.origin.world = world
        self.origin.requests.clear()
        self.origin.bodies.clear()
        self.must = dict.fromkeys(URLS, 0)  # versions that answers from the node's own cache have at least
        self.queued: list[tuple[str, int]] = []
        self.tier = Tier(
            world.store,
            cache.env.hash,
            self.counters,
            name=self.name,
            times=Clockwork(clock.now, clock.now),
            settle=0.0,
        )
        cache.env.tier = self.tier
        cache.env.hash.spreading = cache.env.hash.bans.spreading = cache.env.hash.keys.spreading = self.tier.invalidator


class ModelWorld:
    """All nodes, the engine, the origin, and what has been acknowledged.

    :ivar must: versions that answers from the engine or the origin have at least
    :ivar plans: how many interruptions to let pass, and what happens in the next one
    """

    def __init__(self, nodes: list[ModelNode]) -> None:
        self.nodes = nodes
        self.store = MemoryStore(self.time)
        self.store.before = lambda name: self.interrupted()
        self.versions = dict.fromkeys(URLS, 1)
        self.answers: list[tuple[int, float]] = []
        self.must = dict.fromkeys(URLS, 0)
        self.logged: list[tuple[str, int]] = []
        self.plans: list[tuple[int, Action]] = []
        self.woken: list[Action] = []
        self.skew = 0.0
        self.depth = 0
        self.judged = 0
        self.wrong: list[AssertionError] = []
        for node in nodes:
            with self.acting(node):
                node.join(self)
                node.tier.follower.round(0.0)

    # -- time ------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        """By the clock that is right."""
        return clock.now() - self.skew

    @contextmanager
    def acting(self, node: ModelNode) -> Iterator[None]:
        """By that node's clock."""
        before = self.skew
        clock.travel(node.skew - before)
        self.skew = node.skew
        try:
            yield
        finally:
            clock.travel(before - node.skew)
            self.skew = before

    # -- what happens ------------------------------------------------------------------------------------------------

    def interrupted(self) -> None:
        """Somebody waits: something else may happen first."""
        if not self.plans or self.depth >= 3:
            return
        skip, action = self.plans[-1]
        if skip:
            self.plans[-1] = (skip - 1, action)
            return
        self.plans.pop()
        self.depth += 1
        try:
            action()
        finally:
            self.depth -= 1

    def settle(self) -> None:
        """Let those go on that have been woken; then nothing may have been wrong."""
        while self.woken:
            self.woken.pop(0)()
        if self.wrong:
            raise self.wrong[0]

    def get(self, node: ModelNode, url: str) -> None:
        asked = Asked(node, url, node.must[url], max(node.must[url], self.must[url]))
        self._send(node, asked, "GET", {})
        if not self.depth:
            self.settle()

    def _send(self, node: ModelNode, asked: Asked, method: str, headers: dict[str, str]) -> InTurn:
        with self.acting(node):
            _, req = node.cache.request(asked.url, method, headers)
            client = InTurn(node.cache, self, asked)
            req.transport = client  # type: ignore[assignment]
            req.t_first = req.t_prev = req.t_req = clock.now()
            client.run(req)
        return client

    def judge(self, client: InTurn) -> None:
        """No answer older than an acknowledged purge, and none beyond its lifetime."""
        asked = client.asked
        if not asked.judged:
            return
        assert client.status == 200, client.status
        version, moment = self.answers[int(client.body)]
        hit = len(client.headers["x-varnish"].split()) == 2
        least = asked.at_home if hit else asked.anywhere
        where = "its cache" if hit else "the engine or the origin"
        assert version >= least, f"{asked.node.name} gave version {version} of {asked.url} from {where}, not {least}"
        age = self.time() - moment
        assert age <= TTL + 1.0, f"{asked.node.name} gave an answer {age} s old"
        told = int(client.headers["age"])
        assert abs(told - age) <= 1.5, f"{asked.node.name} says Age: {told} after {age} s"
        self.judged += 1

    def invalidate(self, node: ModelNode, url: str, how: str) -> None:
        """The page changes, and is purged."""
        self.versions[url] += 1
        version = self.versions[url]
        with self.acting(node):
            if how == "ban":
                error = node.cache.env.bans.ban_words(("obj.http.x-page", "==", url))
                assert error is None
            else:
                asked = Asked(node, url, 0, 0, judged=False)
                method, headers = ("PURGE", {}) if how == "purge" else ("GET", {"key": f"key{url}"})
                client = self._send(node, asked, method, headers)
                assert client.status in (200, 202)
            outcome = node.tier.invalidator.outcome
        node.must[url] = max(node.must[url], version)
        if outcome is Outcome.QUEUED:
            node.queued.append((url, version))
        else:
            self.acknowledged([(url, version)])
        self.check_queue(node)

    def acknowledged(self, purges: list[tuple[str, int]]) -> None:
        for url, version in purges:
            self.must[url] = max(self.must[url], version)
        self.logged += purges

    def check_queue(self, node: ModelNode) -> None:
        """What waited for the engine is acknowledged once nothing waits any more."""
        if node.queued and not node.tier.invalidator.pending:
            self.acknowledged(node.queued)
            node.queued = []

    def follow(self, node: ModelNode) -> None:
        logged = list(self.logged)
        with self.acting(node):
            node.tier.follower._next_chores = 0.0
            fine = node.tier.follower.round(0.0)
        if fine:
            for url, version in logged:
                node.must[url] = max(node.must[url], version)
        self.check_queue(node)

    def write(self, node: ModelNode) -> None:
        with self.acting(node):
            node.tier.writer.work_off()

    def lose(self, content: Any) -> None:
        """The engine comes back empty or with old data; the nodes notice before anything else happens."""
        self.plans.clear()
        self.store.restart(content)
        for _ in range(2):
            for node in self.nodes:
                self.follow(node)
        self.later(0.001)  # what became stale just now may still be given in this very moment

    def later(self, seconds: float) -> None:
        clock.travel(seconds)
