from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cache.cache_parts import Cache
from varnishpy.params import table


@pytest.fixture
def cache() -> Iterator[Cache]:
    yield Cache()
    for name in ("rush_exponent", "ban_any_variant", "ban_dups", "ban_cutoff", "ban_lurker_age", "http_gzip_support"):
        table.reset(name)
