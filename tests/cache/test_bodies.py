"""When a body may go: see the text of ``varnishpy/cache/objcore.py``. Every order in which its holders may leave."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from tests.cache.cache_parts import HFM, HFP, Cache
from varnishpy.cache.objcore import ObjectCore

BODY = b"for one reader"


def streaming(cache: Cache, oc: ObjectCore, flags: int) -> None:
    """A fetch that has stored its head and body and is not over; it has a reference beside the reader's."""
    cache.fetch(cache.request("/"), oc, flags=flags, finish=False)
    assert oc.boc is not None
    oc.boc.extend(BODY)
    cache.hash.ref(oc)


def body(oc: ObjectCore) -> bytes:
    assert oc.stobj is not None
    return bytes(b"".join(bytes(oc.stobj.piece(n) or b"") for n in range(len(oc.stobj.chunks) + 1)))


@pytest.mark.parametrize("flags", [0, HFM, HFP], ids=["pass", "pass that became hfm", "pass that became hfp"])
@pytest.mark.parametrize("fetch_first", [True, False])
def test_a_passed_body_stays_until_reader_and_fetch_are_gone(cache: Cache, flags: int, fetch_first: bool) -> None:
    oc = cache.hash.insert_private(cache.wrk)
    streaming(cache, oc, flags)
    if fetch_first:
        cache.finish(oc)
        assert body(oc) == BODY
        assert cache.hash.deref(cache.wrk, oc) == 0
    else:
        assert cache.hash.deref(cache.wrk, oc) == 1
        assert body(oc) == BODY
        cache.finish(oc)
    assert oc.stobj is None
    cache.clear()


@pytest.mark.parametrize("flags", [HFM, HFP])
@pytest.mark.parametrize("order", list(permutations(["fetch", "reader", "purge", "ban lurker"])), ids=" ".join)
def test_the_body_of_a_marker_stays_for_its_reader_alone(cache: Cache, flags: int, order: tuple[str, ...]) -> None:
    """Whoever else comes and goes: the purge takes the expiry's reference, the lurker has one for a moment."""
    oc = cache.insert("/", flags=0, finish=False)
    oc.flags |= flags
    assert oc.boc is not None
    oc.boc.extend(BODY)
    cache.hash.ref(oc)  # the reader's
    cache.settle()

    def purge() -> None:
        cache.hash.purge(cache.wrk, oc.objhead.digest, 0.0)
        cache.settle()

    def lurk() -> None:
        cache.hash.ref(oc)
        cache.hash.deref(cache.wrk, oc)

    leave: dict[str, Callable[[], object]] = {
        "fetch": lambda: cache.finish(oc),
        "reader": lambda: cache.hash.deref(cache.wrk, oc),
        "purge": purge,
        "ban lurker": lurk,
    }
    for index, who in enumerate(order):
        if who == "ban lurker" and not {"fetch", "reader"} - set(order[:index]) and "purge" in order[:index]:
            continue  # freed: nothing is left to lurk on
        leave[who]()
        gone = set(order[: index + 1])
        if "reader" not in gone:
            assert body(oc) == BODY, f"lost when {who} left"
        elif {"reader", "fetch"} <= gone:
            assert oc.stobj is None or body(oc) == b"", f"kept for nobody when {who} left"
    assert oc.stobj is None
    assert cache.stevedore.used_space == 0
    cache.clear()


def test_a_background_fetch_of_a_marker_leaves_no_body(cache: Cache) -> None:
    oc = cache.insert("/", flags=HFM, body=BODY)
    cache.settle()
    assert oc.refcount == 1 and oc.stobj is not None
    assert body(oc) == b""
    cache.clear()


def test_a_cached_body_is_not_touched_by_whoever_leaves(cache: Cache) -> None:
    oc = cache.insert("/", body=BODY)
    cache.settle()
    cache.hash.ref(oc)
    cache.hash.deref(cache.wrk, oc)
    assert oc.boc is None and oc.refcount == 1
    assert body(oc) == BODY
    cache.clear()


def test_the_state_of_a_marker_is_over_only_with_its_fetch(cache: Cache) -> None:
    oc = cache.insert("/", flags=HFM, finish=False)
    assert not oc.is_bare_marker
    cache.hash.ref(oc)
    cache.finish(oc)
    assert oc.is_bare_marker
    cache.deref(oc)
    cache.clear()
