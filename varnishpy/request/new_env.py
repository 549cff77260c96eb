"""Putting an `Env` together out of the parts of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.request.client import run_request
from varnishpy.request.env import Env
from varnishpy.request.finish import finish_request

if TYPE_CHECKING:
    from varnishpy.cache.hash import Hash
    from varnishpy.storage.config import StorageSet
    from varnishpy.threads.poolset import PoolSet
    from varnishpy.threads.waiter import Waiter


def new_env(cache: Hash, storage: StorageSet, pools: PoolSet, waiter: Waiter, *, identity: str, hostname: str) -> Env:
    """What requests can reach; transports and VCL programs are still to come.

    :param storage: open
    """
    return Env(
        pools=pools,
        waiter=waiter,
        hash=cache,
        expiry=cache.expiry,
        bans=cache.bans,
        stevedores=dict(storage.by_name),
        default_stevedore=storage.default,
        transient=storage.transient,
        next_stevedore=storage.next,
        run_request=run_request,
        finish_request=finish_request,
        identity=identity,
        hostname=hostname,
    )
