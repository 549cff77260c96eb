"""The counters of varnishpy, as data: one :class:`CounterClass` per kind of segment.

Names, kinds and levels are Varnish's (varnish-counters(7)), so that its tools and whatever reads them feel at home. The
JSON documents in shared memory, help texts and the documentation are derived from these rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.stats.columns import Column, CounterClass, counter, gauge
from varnishpy.stats.main_table import MAIN_COLUMNS

if TYPE_CHECKING:
    from varnishpy.stats.names import (
        DebugName,
        LckName,
        MainName,
        MempoolName,
        MgtName,
        SmaName,
        SmfName,
        SmpName,
        TierName,
        VbeName,
        VcpName,
        WaiterName,
        XkeyName,
    )

_MGT = (
    counter("uptime", "Age of the manager", "Seconds since the manager started.", format="duration"),
    counter("child_start", "Cache process started", "", "diag"),
    counter("child_exit", "Cache process ended as asked", "", "diag"),
    counter("child_stop", "Cache process ended unasked", "It exited with a status other than 0.", "diag"),
    counter("child_died", "Cache process died of a signal", "", "diag"),
    counter("child_dump", "Cache process dumped core", "", "diag"),
    counter("child_panic", "Cache process panicked", "See the command panic.show.", "diag"),
)

_MEMPOOL = (
    gauge("live", "In use", "", "debug"),
    gauge("pool", "In the pool", "", "debug"),
    gauge("sz_wanted", "Size asked for", "", "debug", "bytes"),
    gauge("sz_actual", "Size given", "", "debug", "bytes"),
    counter("allocs", "Allocations", "", "debug"),
    counter("frees", "Frees", "", "debug"),
    counter("recycle", "Taken from the pool", "", "debug"),
    counter("timeout", "Dropped from the pool for age", "", "debug"),
    counter("toosmall", "Too small to keep", "", "debug"),
    counter("surplus", "Too many to keep", "", "debug"),
    counter("randry", "Pool was empty", "", "debug"),
)

_STEVEDORE = (
    counter("c_req", "Allocations asked for", "Times this storage was asked for space."),
    counter("c_fail", "Allocations refused", "Times this storage had no space."),
    counter("c_bytes", "Octets given out", "All octets ever given out.", format="bytes"),
    counter("c_freed", "Octets given back", "All octets ever given back.", format="bytes"),
    gauge("g_alloc", "Allocations now", "Allocations not yet given back."),
    gauge("g_bytes", "Octets in use", "Octets not yet given back.", format="bytes"),
    gauge("g_space", "Octets free", "Octets that are left.", format="bytes"),
)

_SMF = (
    *_STEVEDORE,
    gauge("g_smf", "Extents", "Pieces the file is divided into."),
    gauge("g_smf_frag", "Small free extents", ""),
    gauge("g_smf_large", "Large free extents", ""),
)

_SMP = (
    *_STEVEDORE,
    gauge("g_cold", "Objects not looked at", "Objects from before the start that nobody has asked for yet."),
    gauge("g_backlog", "Octets to be written", "Octets that wait for the writer.", format="bytes"),
    counter("c_late", "Objects refused: writer behind", "Objects not stored because too much waited for the writer."),
    counter("c_error", "Disk errors", "Times that the disk has refused something."),
    counter("c_damaged", "Damage found", "Objects, and whole storages, that were not as they had been written."),
    counter(
        "c_unlogged",
        "Journal lines refused by the disk",
        "What was purged, banned or replaced just then may come back if the process dies before the index has it.",
    ),
    counter("c_commit", "Commits", "Transactions of the index.", "diag"),
    counter("c_written", "Octets written", "Octets written to the data file.", "diag", "bytes"),
)

_VBE = (
    Column(
        "happy",
        "Latest probes",
        "One bit for each of the last 64 probes, the latest lowest.",
        "bitmap",
        "info",
        "bitmap",
    ),
    counter("bereq_hdrbytes", "Request header octets", "Sent to the backend.", format="bytes"),
    counter("bereq_bodybytes", "Request body octets", "Sent to the backend.", format="bytes"),
    counter("beresp_hdrbytes", "Response header octets", "Received from the backend.", format="bytes"),
    counter("beresp_bodybytes", "Response body octets", "Received from the backend.", format="bytes"),
    counter("pipe_hdrbytes", "Pipe request octets", "Request heads of piped requests.", format="bytes"),
    counter("pipe_out", "Piped octets to the backend", "", format="bytes"),
    counter("pipe_in", "Piped octets from the backend", "", format="bytes"),
    gauge("conn", "Concurrent connections used", "Connections that serve a request now."),
    counter("req", "Requests", "Requests sent to the backend."),
    counter("unhealthy", "Fetches refused: sick", "Fetches not tried because the backend was sick."),
    counter("busy", "Fetches refused: busy", "Fetches not tried because max_connections was reached."),
    counter("fail", "Connections failed", "The sum of the fail_* rows."),
    counter("fail_eacces", "Connections failed: not permitted", "EACCES or EPERM.", "diag"),
    counter(
        "fail_eaddrnotavail", "Connections failed: no local address", "EADDRNOTAVAIL: local ports ran out.", "diag"
    ),
    counter("fail_econnrefused", "Connections failed: refused", "ECONNREFUSED: nobody listens.", "diag"),
    counter("fail_enetunreach", "Connections failed: no route", "ENETUNREACH.", "diag"),
    counter("fail_etimedout", "Connections failed: too slow", "ETIMEDOUT: connect_timeout passed.", "diag"),
    counter("fail_other", "Connections failed: other", "", "diag"),
    counter("helddown", "Connections not tried", "Not tried because the last attempt had just failed.", "diag"),
)

_LCK = (
    counter("creat", "Locks created", "", "debug"),
    counter("destroy", "Locks destroyed", "", "debug"),
    counter("locks", "Lock operations", "Counted with debug=+lck only.", "debug"),
    counter("dbg_busy", "Contended lock operations", "Counted with debug=+lck only.", "debug"),
    counter("dbg_try_fail", "Contended attempts to lock", "Counted with debug=+lck only.", "debug"),
)

_WAITER = (
    gauge("conns", "Idle connections", "Connections being watched.", "debug"),
    counter("remclose", "Closed by the peer while idle", "", "debug"),
    counter("timeout", "Idle for too long", "", "debug"),
    counter("action", "Became readable", "", "debug"),
)

_VCP = (
    counter("ref_hit", "Pools shared", "Backends that found a connection pool for their endpoint.", "debug"),
    counter("ref_miss", "Pools made", "Backends that needed a new connection pool.", "debug"),
)

_DEBUG = (counter("count", "Counts", "What VMOD debug was told to count.", "debug"),)

_XKEY = (
    gauge("g_keys", "Keys", "Keys that objects of the cache have."),
    gauge("g_bytes", "Bytes for keys", "What the index of keys takes, about.", format="bytes"),
    gauge("g_hashhead_bytes", "Bytes for the keys themselves", "", "debug", "bytes"),
    gauge("g_ochead_bytes", "Bytes for objects that have keys", "", "debug", "bytes"),
    gauge("g_oc_bytes", "Bytes for which object has which key", "", "debug", "bytes"),
)

_TIER = (
    counter("hit", "Tier hits", "Fetches answered by the shared tier: the origin was not asked."),
    counter("miss", "Tier misses", "Fetches for which the shared tier had nothing that could be used."),
    counter("stale", "Tier: stale objects", "Misses for which it had an object that made the request conditional."),
    counter("invalid", "Tier misses: invalidated", "An object was there, but purged or banned; also in miss.", "diag"),
    counter(
        "behind", "Tier misses: log not read", "A ban was there that this node had not read; also in miss.", "diag"
    ),
    counter("corrupt", "Tier misses: unreadable", "What the engine held was not what we wrote; also in miss.", "diag"),
    counter("put", "Objects stored", "Objects stored in the shared tier."),
    counter("put_refused", "Objects not stored: purged", "Purged between the request to the origin and the storing."),
    counter("put_failed", "Objects not stored: errors", "The engine could not do it."),
    counter("dropped", "Objects not stored: queue full", "The oldest of the queue, see the parameter tier_queue."),
    counter("error", "Engine errors", "Calls that the engine refused or broke off."),
    counter("timeout", "Engine timeouts", "Calls that it did not answer within tier_timeout."),
    counter("late", "Engine late", "Calls that took longer than tier_timeout in all.", "diag"),
    counter("opened", "Breaker opened", "Times that the engine was left alone after failures in a row.", "diag"),
    counter("octets_in", "Octets read", "Octets of objects received from the engine.", format="bytes"),
    counter("octets_out", "Octets written", "Octets of objects sent to the engine.", format="bytes"),
    counter("waited", "Waited for another node", "Fetches that waited for another node's; see tier_wait."),
    counter("sent", "Invalidations sent", "Purges, bans and key purges of this node that the log has acknowledged."),
    counter("queued", "Invalidations queued", "Those that had to wait for the engine to come back."),
    counter("applied", "Invalidations applied", "Those read from the log and applied here."),
    counter("gaps", "Gaps in the log", "Times that invalidations had been missed; see tier_gap_purge."),
    counter("blind", "Log unreadable", "Times that the log could not be read for tier_max_lag."),
    counter("limits", "Shared limits asked", "Calls of VMOD vsthrottle that the engine has answered."),
    counter("limits_local", "Shared limits, local", "Those that it has not: this node's own limit held."),
    gauge("queue", "Objects waiting", "Objects that wait to be stored."),
    gauge("queue_octets", "Octets waiting", "Octets of those.", format="bytes"),
    gauge("pending", "Invalidations waiting", "Invalidations of this node that the log does not have yet."),
    gauge("lag", "Lag, milliseconds", "Since the log was last read to its end."),
    gauge("open", "Breaker is open", "1: the engine is left alone."),
)

MAIN: CounterClass[MainName] = CounterClass("MAIN", "The cache process", 10, MAIN_COLUMNS)
MGT: CounterClass[MgtName] = CounterClass("MGT", "The manager", 20, _MGT)
MEMPOOL: CounterClass[MempoolName] = CounterClass("MEMPOOL", "Pools of memory", 30, _MEMPOOL)
SMA: CounterClass[SmaName] = CounterClass("SMA", "Storage of kind malloc", 40, _STEVEDORE)
SMF: CounterClass[SmfName] = CounterClass("SMF", "Storage of kind file", 50, _SMF)
SMP: CounterClass[SmpName] = CounterClass("SMP", "Storage of kind persistent", 55, _SMP)
VBE: CounterClass[VbeName] = CounterClass("VBE", "Backends", 60, _VBE)
LCK: CounterClass[LckName] = CounterClass("LCK", "Locks", 70, _LCK)
WAITER: CounterClass[WaiterName] = CounterClass("WAITER", "Waiters", 80, _WAITER)
VCP: CounterClass[VcpName] = CounterClass("VCP", "Pools of backend connections", 80, _VCP)
XKEY: CounterClass[XkeyName] = CounterClass("XKEY", "Surrogate keys", 85, _XKEY)
TIER: CounterClass[TierName] = CounterClass("TIER", "The tier that nodes share", 87, _TIER)
DEBUG: CounterClass[DebugName] = CounterClass("DEBUG", "VMOD debug", 90, _DEBUG)

_ALL: tuple[CounterClass[str], ...] = (MAIN, MGT, MEMPOOL, SMA, SMF, SMP, VBE, LCK, WAITER, VCP, XKEY, TIER, DEBUG)
CLASSES: dict[str, CounterClass[str]] = {klass.name: klass for klass in _ALL}
