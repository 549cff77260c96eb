"""Typed variables as VCL objects: what VMODs taskvar, topvar, globalvar and constant are made of (varnish-objvar).

Each of them has a class for every type below. Classes are made from the table: what differs between ``taskvar.int`` and
``taskvar.string`` is the annotation, which is the type VCL sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from varnishpy.base.locks import make_lock
from varnishpy.vcl import runtime
from varnishpy.vmods.api import (
    ACL,
    BACKEND,
    BLOB,
    BOOL,
    BYTES,
    DURATION,
    HEADER,
    INT,
    IP,
    NOT_GIVEN,
    PROBE,
    REAL,
    STEVEDORE,
    STRING,
    TIME,
    Ctx,
    PrivateData,
    VclFailure,
)

#: name of the class, its VCL type, and what an undefined variable is
TYPES: Final[dict[str, tuple[object, object]]] = {
    "acl": (ACL, None),
    "backend": (BACKEND, None),
    "blob": (BLOB, None),
    "bool": (BOOL, False),
    "bytes": (BYTES, 0),
    "duration": (DURATION, 0.0),
    "header": (HEADER, None),
    "int": (INT, 0),
    "ip": (IP, None),
    "probe": (PROBE, None),
    "real": (REAL, 0.0),
    "stevedore": (STEVEDORE, None),
    "string": (STRING, None),
    "time": (TIME, 0.0),
}
_PROTECTED: Final = object()


class Variable:
    """Base of all: ``init`` is its value where none was set, if there is one."""

    nil: object = None
    vmod = ""

    def __init__(self, ctx: Ctx, vcl_name: str, init: object = NOT_GIVEN) -> None:
        self._name = vcl_name
        self._init = init

    def _value(self, ctx: Ctx) -> object:
        """The value, or NOT_GIVEN."""
        return self._init


class Stored(Variable):
    """Base of those that can be set; ``_store`` says where the value is kept, under the object as key."""

    def _store(self, ctx: Ctx) -> dict[object, object]:
        raise NotImplementedError

    def _value(self, ctx: Ctx) -> object:
        return self._store(ctx).get(self, self._init)

    def _put(self, ctx: Ctx, value: object) -> None:
        store = self._store(ctx)
        if store.get((self, _PROTECTED)):
            raise VclFailure(f"{self._name}: the variable is protected")
        store[self] = ctx.account(value) if isinstance(value, str) else value


class TaskVariable(Stored):
    """Each client request and each fetch has its own value."""

    def _store(self, ctx: Ctx) -> PrivateData:
        return runtime.priv_task(ctx, "objvar")


class TopVariable(Stored):
    """A request and all that it includes share the value."""

    def _store(self, ctx: Ctx) -> PrivateData:
        if ctx.req is None:
            raise VclFailure(f"{self._name}: topvar objects are for client subroutines")
        return runtime.priv_top(ctx, "objvar")


class GlobalVariable(Stored):
    """One value for the whole VCL."""

    def __init__(self, ctx: Ctx, vcl_name: str, init: object = NOT_GIVEN) -> None:
        super().__init__(ctx, vcl_name, init)
        self._values: dict[object, object] = {}  # single operations on it are atomic
        self._lock = make_lock("vmod_globalvar")

    def _store(self, ctx: Ctx) -> dict[object, object]:
        return self._values

    def _put(self, ctx: Ctx, value: object) -> None:
        with self._lock:  # between the look at the protection and the change
            self._values[self] = value


def classes(vmod: str, base: type[Variable]) -> dict[str, type[Variable]]:
    """The classes of a VMOD: name to class."""
    return {name: _class(vmod, name, base, kind, nil) for name, (kind, nil) in TYPES.items()}


def _class(vmod: str, name: str, base: type[Variable], kind: object, nil: object) -> type[Variable]:
    def init(self: Variable, ctx: Ctx, vcl_name: str, init: object = NOT_GIVEN) -> None:
        base.__init__(self, ctx, vcl_name, init)

    def get(self: Variable, ctx: Ctx, fallback: object = NOT_GIVEN) -> object:
        """The value; where none is defined the fallback, or what stands for nothing in its type."""
        value = self._value(ctx)
        if value is not NOT_GIVEN:
            return value
        return nil if fallback is NOT_GIVEN else fallback

    def defined(self: Variable, ctx: Ctx) -> BOOL:
        """Is there a value?"""
        return self._value(ctx) is not NOT_GIVEN

    def set_(self: Stored, ctx: Ctx, value: object) -> None:
        """Set the value."""
        self._put(ctx, value)

    def undefine(self: Stored, ctx: Ctx) -> None:
        """There is no value from now on."""
        self._put(ctx, NOT_GIVEN)

    def protect(self: Stored, ctx: Ctx) -> None:
        """From now on setting it fails the VCL."""
        self._store(ctx)[self, _PROTECTED] = True

    def protected(self: Stored, ctx: Ctx) -> BOOL:
        """Was it protected?"""
        return bool(self._store(ctx).get((self, _PROTECTED)))

    kinds = {"init": kind, "fallback": kind, "value": kind}
    _annotate(init, **kinds, **{"return": None})
    _annotate(get, **kinds, **{"return": kind})
    _annotate(set_, **kinds)
    methods: dict[str, Callable[..., object]] = {"__init__": init, "get": get, "defined": defined}
    if issubclass(base, Stored):
        methods |= {"set_": set_, "undefine": undefine}
    if issubclass(base, (TaskVariable, TopVariable)):
        methods |= {"protect": protect, "protected": protected}
    return type(name, (base,), {"__module__": f"varnishpy.vmods.{vmod}", "__doc__": base.__doc__, **methods})


def _annotate(function: Callable[..., object], **kinds: object) -> None:
    for name, kind in kinds.items():
        if name in function.__annotations__:
            function.__annotations__[name] = kind
