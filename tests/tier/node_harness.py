"""Nodes of one tier: real daemons on loopback, in front of one origin, with one engine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from tests.e2e.harness import Cache, Origin, Response, running

VCL = """
vcl 4.1;
import std;
import xkey;
backend default { .host = "127.0.0.1"; .port = "%d"; }
sub vcl_recv {
    if (req.method == "PURGE") { return (purge); }
    if (req.http.xkey-purge) { return (synth(200, "gone " + xkey.purge(req.http.xkey-purge))); }
    if (req.http.xkey-soft) { return (synth(200, "soft " + xkey.softpurge(req.http.xkey-soft))); }
    if (req.http.always-miss) { set req.hash_always_miss = true; }
    unset req.http.cookie;
    return (hash);
}
sub vcl_backend_response {
    if (beresp.http.keep-to-yourself) { set beresp.tier = false; }
    if (beresp.http.share) { set beresp.tier = true; }
    set beresp.http.told-tier = beresp.tier;
}
"""


class Status(TypedDict):
    """What ``tier.status -j`` tells, as far as tests look."""

    breaker: str
    blind: bool
    lag: float
    applied: str
    pending: int
    queue: int
    nodes: list[dict[str, object]]
    counters: dict[str, int]


class Node:
    """One daemon."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache

    def get(self, path: str, method: str = "GET", **headers: str) -> Response:
        """A request for a site that has the same name on all nodes."""
        return self.cache.get(path, method, None, Host="site", **headers)

    def status(self) -> Status:
        found: Status = json.loads(self.cache.cli("tier.status -j"))[3]
        return found

    def settled(self) -> bool:
        """Is there nothing left to be stored?"""
        return not self.status()["queue"] and self.counter("put") + self.counter("put_failed") > 0

    def counter(self, name: str) -> int:
        return self.cache.counter(f"TIER.{name}")


@contextlib.contextmanager
def running_node(directory: Path, origin: Origin, engine: str, *options: str, status: int = 0) -> Iterator[Node]:
    """A node whose tier is at that address (with options of its own)."""
    program = directory.with_suffix(".vcl")
    program.write_text(VCL % origin.port)
    arguments = (
        "-f",
        str(program),
        "-s",
        "malloc,100m",
        "-s",
        f"tier=valkey,{engine}",
        "-p",
        "tier_timeout=5",
        *options,
    )
    with running(directory, *arguments, status=status) as cache:
        yield Node(cache)
