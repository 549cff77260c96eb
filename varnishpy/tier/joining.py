"""Making the tier that the command line asks for. Only then is the client package imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from varnishpy import stats
from varnishpy.tier.node import Tier

if TYPE_CHECKING:
    from varnishpy.cache.hash import Hash
    from varnishpy.tier.config import TierSpec


def new_tier(spec: TierSpec, password: str | None, hash_: Hash, workdir: Path, identity: str) -> Tier:
    """A tier, not yet started.

    :param password: what `TierSpec.password` said, while its file could be read
    """
    from varnishpy.tier.engine import EngineStore

    counters = stats.new_segment(stats.TIER)
    store = EngineStore(spec, counters, password)
    return Tier(store, hash_, counters, spec.address, workdir, spec.wait_all, identity)
