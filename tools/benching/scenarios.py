"""What is measured, as data: one row per scenario.

A scenario with ``tool="h2load"`` is driven by h2load; one with ``tool="fair"`` by our own client, which can ask for
another URL each time and counts answers per connection; ``start`` and ``memory`` are measured without a load.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Protocol = Literal["h1", "h2", "tls"]
Tool = Literal["h2load", "fair", "start", "memory"]

CACHES = ("varnishd", "nginx", "haproxy")
SERVERS = ("hypercorn", "granian")


@dataclass(frozen=True)
class Target:
    """A ratio of ours to a peer's: at least (rates) or at most (times, memory) this much."""

    peer: str
    compiled: float | None
    pure: float | None


@dataclass(frozen=True)
class Scenario:
    """One row. ``path``: ``{}`` becomes a number that no other request has. ``peers``: who can take part besides us."""

    name: str
    text: str
    protocol: Protocol
    path: str = "/1k"
    tool: Tool = "h2load"
    connections: int = 10
    streams: int = 1
    headers: tuple[str, ...] = ()
    peers: tuple[str, ...] = (*CACHES, *SERVERS)
    quick: bool = False
    targets: tuple[Target, ...] = field(default=())

    @property
    def unit(self) -> str:
        """What the figure is."""
        return {"start": "s", "memory": "octets per object"}.get(self.tool, "requests/s")

    @property
    def less_is_better(self) -> bool:
        """Times and memory, not rates."""
        return self.tool in ("start", "memory")


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "h2 hit c10 m10", "HTTP/2, cached 1 KB, 10 connections of 10 streams", "h2", streams=10, quick=True,
        targets=(Target("varnishd", 1.5, 0.5), Target("hypercorn", 13, 4.5), Target("granian", 0.9, None)),
    ),
    Scenario(
        "h2 hit c10 m100", "HTTP/2, cached 1 KB, 10 connections of 100 streams", "h2", streams=100,
        targets=(Target("varnishd", 2.0, 1.0),),
    ),
    Scenario(
        "h2 hit c100 m10", "HTTP/2, cached 1 KB, 100 connections of 10 streams", "h2", connections=100, streams=10,
        targets=(Target("varnishd", 1.5, 0.6),),
    ),
    Scenario(
        "h2 hit c1 m1", "HTTP/2, cached 1 KB, one request at a time", "h2", connections=1,
        targets=(Target("varnishd", 0.8, 0.5),),
    ),
    Scenario("h1 hit c1", "HTTP/1.1, cached 1 KB, one connection", "h1", connections=1),
    Scenario(
        "h1 hit c10", "HTTP/1.1, cached 1 KB, 10 connections", "h1", quick=True,
        targets=(Target("varnishd", 0.4, 0.13),),
    ),
    Scenario(
        "h1 hit c100", "HTTP/1.1, cached 1 KB, 100 connections", "h1", connections=100,
        targets=(Target("varnishd", 0.4, 0.13),),
    ),
    Scenario(
        "h1 fairness c100", "HTTP/1.1, cached 1 KB, 100 connections, answers counted for each", "h1", tool="fair",
        connections=100,
    ),
    Scenario(
        "h1 miss", "HTTP/1.1, another 1 KB object with every request", "h1", path="/miss/{}", tool="fair",
        peers=CACHES, quick=True, targets=(Target("varnishd", 0.45, 0.25),),
    ),
    Scenario("h1 pass", "HTTP/1.1, 1 KB that is never cached", "h1", path="/pass", tool="fair", peers=CACHES),
    Scenario(
        "h1 hit 1 MB", "HTTP/1.1, cached 1 MB, 10 connections", "h1", path="/1m",
        targets=(Target("varnishd", 1.0, 0.8),),
    ),
    Scenario(
        "h2 hit 1 MB", "HTTP/2, cached 1 MB, 10 connections", "h2", path="/1m", streams=2,
        targets=(Target("varnishd", 1.0, 0.8),),
    ),
    Scenario(
        "h2 tls hit c10 m10", "HTTP/2 over TLS, cached 1 KB, 10 connections of 10 streams", "tls", streams=10,
        peers=("nginx", "haproxy", *SERVERS),
    ),
    Scenario("h2 esi", "HTTP/2, a page with five included fragments", "h2", path="/esi", streams=10,
             peers=("varnishd",)),
    Scenario("h2 gzip", "HTTP/2, cached gzip of 8 KB for a client that takes it", "h2", path="/gzip", streams=10,
             headers=("accept-encoding: gzip",), peers=("varnishd",)),
    Scenario("h2 gunzip", "HTTP/2, the same for a client that does not", "h2", path="/gzip", streams=10,
             peers=("varnishd",)),
    Scenario(
        "memory", "memory for each cached 1 KB object", "h1", path="/miss/{}", tool="memory", peers=("varnishd",),
        targets=(Target("varnishd", 1.3, 1.3),),
    ),
    Scenario(
        "start", "start to first answer", "h1", tool="start", peers=("varnishd", "nginx", "haproxy", *SERVERS),
        targets=(Target("varnishd", 1.2, 1.2),),
    ),
)  # fmt: skip


def choose(names: str | None, quick: bool) -> list[Scenario]:
    """The rows that are asked for: by comma-separated parts of names, else the quick ones or all.

    :raises ValueError: a part is in no name
    """
    if names is None:
        return [each for each in SCENARIOS if each.quick or not quick]
    chosen: list[Scenario] = []
    for part in names.split(","):
        found = [each for each in SCENARIOS if part.strip() in each.name]
        if not found:
            raise ValueError(f"no scenario is named like {part!r}; there are: {', '.join(s.name for s in SCENARIOS)}")
        chosen += [each for each in found if each not in chosen]
    return chosen
