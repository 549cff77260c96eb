"""What all storages count alike: the columns that their classes of counters share."""

from __future__ import annotations

from varnishpy import stats


def publish(
    counters: stats.Counters[stats.SmaName] | stats.Counters[stats.SmfName] | stats.Counters[stats.SmpName],
    *,
    requests: int,
    failures: int,
    used: int,
    freed: int,
    allocations: int,
) -> None:
    """Set the shared columns.

    :param used: octets not given back yet
    :param freed: octets ever given back
    :param allocations: how many are not given back yet
    """
    counters.set("c_req", requests)
    counters.set("c_fail", failures)
    counters.set("c_bytes", used + freed)
    counters.set("c_freed", freed)
    counters.set("g_alloc", allocations)
    counters.set("g_bytes", used)
