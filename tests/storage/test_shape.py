from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from varnishpy.http.message import Message
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.object import StoredObject
from varnishpy.storage.prepared import Prepared, PreparedHeads
from varnishpy.storage.shape import pack


def head(*fields: tuple[str, str], status: int = 200) -> Message:
    message = Message()
    message.status, message.reason = status, "Fine"
    for name, value in fields:
        message.add(name, value)
    return message


def same(one: Message, other: Message) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in ("proto", "status", "reason", "headers"))


names = st.sampled_from(["ETag", "etag", "Set-Cookie", "X-a", "Vary"])
values = st.text(st.characters(max_codepoint=255), max_size=20)


@given(st.lists(st.tuples(names, values), max_size=8))
def test_what_is_packed_comes_back(fields: list[tuple[str, str]]) -> None:
    message = head(*fields)
    packed = pack(message)
    if packed is None:
        assert any("\n" in value for _, value in fields)
        return
    shape, octets = packed
    assert same(shape.unpack(octets), message)
    for lname in ("etag", "set-cookie", "x-a", "vary", "none"):
        assert shape.first(octets, lname) == message.get(lname)


def test_objects_share_their_shapes() -> None:
    first = pack(head(("ETag", "1"), ("Age", "0")))
    second = pack(head(("ETag", "2"), ("Age", "0")))
    third = pack(head(("ETag", "2"), ("Age", "0"), status=404))
    assert first is not None and second is not None and third is not None
    assert first[0] is second[0]
    assert first[0] is not third[0]


def test_an_object_at_rest_says_what_it_said() -> None:
    for value in ("plain", "two\nlines"):
        stobj = StoredObject(MallocStevedore("t0"))
        stobj.headers = head(("X", value), status=203)
        stobj.extend(b"abc")
        stobj.settle()
        assert same(stobj.headers, head(("X", value), status=203))
        assert (stobj.header("x"), stobj.header("y"), stobj.status) == (value, None, 203)
        assert list(stobj.chunks) == [b"abc"]
        assert not stobj.attrs


def test_what_was_hit_last_is_kept() -> None:
    stevedore = MallocStevedore("t0")
    objects = [StoredObject(stevedore) for _ in range(3000)]
    heads = PreparedHeads()
    for stobj in objects:
        stobj.settle()
        heads.keep(stobj, Prepared(stobj.headers), 0)
    kept = [stobj.prepared is not None for stobj in objects]
    assert kept[-1000:] == [True] * 1000
    assert sum(kept) == 1024
    for stobj in objects:
        heads.keep(stobj, Prepared(stobj.headers), 16_000)
    assert sum(stobj.prepared is not None for stobj in objects) == 2000
