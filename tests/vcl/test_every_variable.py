"""Every row of the table of variables, as generated code has it, against a real request or fetch.

The table holds pieces of Python that name attributes of `Request` and `BusyObject`; this is where a name that is not
there is found. A row is evaluated in each built-in subroutine in which it may be read, set or unset.
"""

from __future__ import annotations

import pytest

from tests.vcl.vcl_bench import Bench
from varnishpy.http.message import Message
from varnishpy.params import params
from varnishpy.request import bodystatus
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.storage.object import StoredObject
from varnishpy.vcl import runtime
from varnishpy.vcl.context import Ctx
from varnishpy.vcl.methods import METHODS
from varnishpy.vcl.values import SockAddr
from varnishpy.vcl.variables import LOCALS, VARIABLES, Variable

TAKES = {
    "BOOL": (bool,),
    "INT": (int,),
    "BYTES": (int,),
    "REAL": (float, int),
    "DURATION": (float, int),
    "TIME": (float, int),
    "STRING": (str,),
    "BLOB": (bytes,),
    "HEADER": (Message,),
    "HTTP": (Message,),
}
MAY_BE_NOTHING = {"BACKEND", "PROBE", "STEVEDORE", "IP", "DIRECTOR"}
VALUES: dict[str, list[object]] = {
    "BOOL": [True, False],
    "INT": [204],
    "BYTES": [4096],
    "REAL": [1.5],
    "DURATION": [1.5],
    "TIME": [1000.0],
    "STRING": ["/text"],
    "BACKEND": [None],
    "STEVEDORE": [None],
    "BODY": [b"octets"],
    "HEADER": ["text"],
}
ROWS = [pytest.param(row, id=f"{row.name}-{row.until}") for row in VARIABLES]


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench("")


def context(bench: Bench, method: str) -> Ctx:
    """What a method finds: request and object on the client side, fetch, new and stale object on the other."""
    stobj = StoredObject(MallocStevedore("test"))
    if METHODS[method].side == "H":
        ctx = Ctx.for_cli(bench.vcl)
    elif METHODS[method].side == "B":
        bo = bench.fetch()
        assert bo.objcore is not None
        bo.objcore.adopt(stobj)
        bo.stale_oc = bo.objcore
        ctx = Ctx.for_fetch(bo)
    else:
        bo = bench.fetch()
        req = bench.request()
        req.body_status = bodystatus.LENGTH  # req.filters wants a body that is still to come
        req.objcore = bo.objcore
        assert req.objcore is not None
        req.objcore.adopt(stobj)
        ctx = Ctx.for_pipe(req, bo) if method == "pipe" else Ctx.for_request(req)
    ctx.method = method
    return ctx


def names(ctx: Ctx, used: str) -> dict[str, object]:
    """The local names of a subroutine: those that a piece of code uses."""
    found: dict[str, object] = {"ctx": ctx, "rt": runtime, "params": params}
    for name, source in LOCALS.items():
        if f"{{{name}}}" in used:
            found[name] = eval(source, {"ctx": ctx})
    return found


def code_of(piece: str, value: str = "") -> str:
    return piece.format_map({**{name: name for name in LOCALS}, "value": value})


def where(mask: int) -> list[str]:
    return [method.name for method in METHODS.values() if method.bit & mask]


@pytest.mark.parametrize("row", ROWS)
def test_it_is_read(row: Variable, bench: Bench) -> None:
    assert bool(row.read) >= bool(row.readable)
    for method in where(row.readable):
        ctx = context(bench, method)
        value = eval(code_of(row.read), names(ctx, row.read))
        if value is None:
            assert row.type.name in MAY_BE_NOTHING or row.read_may_be_null, f"{method}: nothing"
        elif row.type.name == "IP":
            assert isinstance(value.ip, str) and isinstance(value.port, int)
            assert isinstance(value, SockAddr) or type(value).__name__ == "SockAddr"
        elif row.type.name in TAKES:
            assert isinstance(value, TAKES[row.type.name]), f"{method}: {value!r}"


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0].writable])  # type: ignore[union-attr]
def test_it_is_set(row: Variable, bench: Bench) -> None:
    for method in where(row.writable):
        for value in VALUES[row.type.name]:
            ctx = context(bench, method)
            if row.type.name in ("HEADER", "BODY"):
                target = eval(code_of(row.write), names(ctx, row.write))
                if row.type.name == "HEADER":
                    runtime.set_header(ctx, target, "X-Name", "text")
                    assert target.get("x-name") == "text"
                else:
                    runtime.set_body(target, b"octets")
                    assert target == [b"octets"]
                continue
            exec(code_of(row.write, repr(value)), names(ctx, row.write))
            if method in where(row.readable) and row.name not in TOLD_OTHERWISE:
                got = eval(code_of(row.read), names(ctx, row.read))
                assert got == (pytest.approx(value) if isinstance(value, float) else value), method


#: what reads back as something else than was set, and why
TOLD_OTHERWISE = {
    "beresp.uncacheable",  # cannot be taken back
    "beresp.transit_buffer",  # for what is uncacheable only
    "beresp.storage_hint",  # names of storages that there are
}


@pytest.mark.parametrize("row", [row for row in ROWS if row.values[0].unsettable])  # type: ignore[union-attr]
def test_it_is_unset(row: Variable, bench: Bench) -> None:
    for method in where(row.unsettable):
        ctx = context(bench, method)
        if row.type.name == "HEADER":
            message = eval(code_of(row.unset), names(ctx, row.unset))
            assert isinstance(message, Message)
            message.assign("X-Name", "text")
            message.unset("x-name")
            assert not message.has("x-name")
        else:
            exec(code_of(row.unset), names(ctx, row.unset))


def test_every_local_name_is_used() -> None:
    text = "".join(row.read + row.write + row.unset for row in VARIABLES)
    assert [name for name in LOCALS if f"{{{name}}}" not in text] == []
