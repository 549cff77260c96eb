"""Parameters of the tier that nodes share (``-s tier=...``)."""

from __future__ import annotations

from varnishpy.params.spec import Flag, Spec, row

ROWS: list[Spec] = [
    row(
        "tier_bans",
        "uint",
        "1000",
        "Bans that the shared tier keeps to hold against stored objects. Objects older than the latest one that was "
        "dropped are not found any more.",
        low="1",
        units="bans",
    ),
    row(
        "tier_breaker_errors",
        "uint",
        "5",
        "Failures in a row after which the engine of the shared tier is left alone for tier_breaker_pause.",
        low="1",
        units="failures",
    ),
    row(
        "tier_breaker_pause",
        "duration",
        "1",
        "How long the engine of the shared tier is left alone after tier_breaker_errors failures in a row.",
        low="0.01",
        high="1h",
    ),
    row(
        "tier_gap_purge",
        "bool",
        "on",
        "Make all objects stale when invalidations have been missed: the log was trimmed before this node had read it, "
        "or the engine has lost it.",
    ),
    row(
        "tier_lease",
        "duration",
        "5",
        "How long a node that fetches an object for all keeps others waiting (see tier_wait), should it never finish.",
        low="0.1",
        high="1h",
    ),
    row(
        "tier_log_length",
        "uint",
        "100000",
        "Invalidations that the shared log holds. A node that was away for longer makes all its objects stale.",
        low="100",
        units="records",
    ),
    row(
        "tier_max_lag",
        "duration",
        "10",
        "How long a node that cannot read the shared log of invalidations trusts what it has. Then its objects are "
        "stale, and so are, this long after their fetch, those it fetches before it can read the log again.",
        low="1",
        high="1d",
    ),
    row(
        "tier_max_life",
        "duration",
        "7d",
        "Longest time that the shared tier keeps an object, whatever its ttl, grace and keep.",
        low="1",
        high="90d",
        flags=Flag.OBJ_STICKY,
    ),
    row(
        "tier_max_object",
        "bytes",
        "16m",
        "Largest body that is stored in the shared tier.",
        low="0b",
    ),
    row(
        "tier_purge_wait",
        "duration",
        "1",
        "With -s tier=...,wait=all: how long a purge waits for all live nodes to have applied it.",
        low="0.01",
        high="1m",
    ),
    row(
        "tier_queue",
        "bytes",
        "64m",
        "Octets of objects that wait to be stored in the shared tier. Beyond that the oldest are not stored.",
        low="1m",
    ),
    row(
        "tier_timeout",
        "duration",
        "0.050",
        "How long the engine of the shared tier may take for each answer.",
        low="0.001",
        high="10",
    ),
    row("tier_variants", "uint", "32", "Variants of one object that the shared tier keeps.", low="1", high="1024"),
    row(
        "tier_wait",
        "duration",
        "0",
        "How long a miss waits for another node that fetches the same object for all. 0: each node fetches itself.",
        low="0",
        high="1m",
    ),
]
