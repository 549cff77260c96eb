"""Storage that gives less than it is asked for."""

from __future__ import annotations

import pytest

from varnishpy.storage.boc import BocState, BusyObjectControl
from varnishpy.storage.config import StorageConfigError, parse_storage
from varnishpy.storage.object import StoredObject
from varnishpy.storage.room import NoSpace


def growing(argument: str) -> tuple[StoredObject, BusyObjectControl]:
    spec = parse_storage([f"s0={argument}"])[0]
    spec.check()
    stobj = StoredObject(spec.make())
    boc = BusyObjectControl()
    boc.adopt(stobj)
    boc.set_state(BocState.STREAM)
    return stobj, boc


def test_one_octet_less_makes_more_pieces() -> None:
    stobj, boc = growing("debug,lessspace")
    boc.extend(b"x" * 10_000)
    assert [len(piece) for piece in stobj.chunks] == [9_999, 1]
    assert stobj.length == boc.fetched_so_far == 10_000


def test_an_object_grows_no_larger_than_the_most() -> None:
    stobj, boc = growing("debug,maxspace=1KB")
    boc.extend(b"x" * 1000)
    boc.ask_room(100)
    with pytest.raises(NoSpace) as caught:
        boc.extend(b"x" * 1000)
    assert (str(caught.value), caught.value.remark) == ("Could not get storage", "-sdebug: max_size=1024 reached")
    assert stobj.length == 1024, "what there was room for is there"
    with pytest.raises(NoSpace):
        boc.ask_room(1)


def test_each_third_request_is_refused() -> None:
    stevedore = parse_storage(["s0=debug,failevery=3"])[0].make()
    assert [stevedore.charge(1) for _ in range(7)] == [True, True, False, True, True, False, True]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["debug", "x=debug"], "Only one -sdebug instance supported"),
        (["debug,lessspace,maxspace=1KB"], "-sdebug conflicting options"),
        (["debug,maxspace=1DJT"], "Unknown BYTES"),
        (["debug,dinit=x"], "dinit=x: Invalid number"),
        (["debug,failevery=x"], "failevery=x: not a number"),
        (["debug,1m,2m"], "too many arguments"),
    ],
)
def test_what_is_wrong_is_told(texts: list[str], message: str) -> None:
    with pytest.raises(StorageConfigError, match=message):
        for spec in parse_storage(texts):
            spec.check()
