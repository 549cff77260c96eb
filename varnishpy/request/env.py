"""The parts of the cache process that a request can reach; put together once, in ``child/``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from varnishpy.cache.search_rules import SearchRules

if TYPE_CHECKING:
    from varnishpy.cache.ban import Bans
    from varnishpy.cache.expire import Expiry
    from varnishpy.cache.hash import Hash
    from varnishpy.request.request import Request, Step
    from varnishpy.request.transport import Transport
    from varnishpy.storage.stevedore import Stevedore
    from varnishpy.threads.poolset import PoolSet
    from varnishpy.threads.waiter import Waiter
    from varnishpy.threads.worker import Worker
    from varnishpy.tier.node import Tier
    from varnishpy.vcl.registry import VclRegistry


@dataclass(slots=True)
class Env:
    """Shared, thread-safe parts of the child. Attributes are set during start-up and then only read."""

    pools: PoolSet
    waiter: Waiter
    hash: Hash
    expiry: Expiry
    bans: Bans
    stevedores: dict[str, Stevedore] = field(default_factory=dict)  # by name, in order of -s; has "Transient"
    default_stevedore: Stevedore | None = None
    transient: Stevedore | None = None
    next_stevedore: Callable[[], Stevedore] | None = None  # StorageSet.next: each in turn
    vcls: VclRegistry | None = None
    # of client.py and finish.py: what ESI includes are run with, where they cannot be imported
    run_request: Callable[[Worker, Request], Step] | None = None
    finish_request: Callable[[Worker, Request], None] | None = None
    search: SearchRules = field(default_factory=SearchRules)
    tier: Tier | None = None  # what is shared with other nodes, if anything is
    identity: str = ""  # -i
    hostname: str = ""
    transports: dict[str, Transport] = field(default_factory=dict)  # "HTTP1", "HTTP2", ...
    draining: bool = False  # traffic.stop: answers carry Connection: close, sessions get GOAWAY
