"""VMOD var: variables of a task, and global ones, with the functions of varnish-modules' VMOD of that name.

The variables of a task (a client request or a fetch) go with it. A key has the type with which it was last set; asking
for another gives null, or 0. Global variables are strings, shared by all VCLs for as long as the process lives.
"""

from __future__ import annotations

from typing import TypeVar

from varnishpy.backends.director import Director
from varnishpy.vmods.api import BACKEND, DURATION, INT, IP, PRIV_TASK, REAL, STRING, Ctx, SockAddr

_global: dict[str, str | None] = {}  # single operations on it are atomic

T = TypeVar("T")
U = TypeVar("U")


def _put(ctx: Ctx, priv: PRIV_TASK, kind: str, key: STRING, value: object) -> None:
    if key is not None:
        priv[ctx.account(key)] = (kind, value)


def _take(priv: PRIV_TASK, kind: str, key: STRING, python: type[T], absent: U) -> T | U:
    stored, value = priv.find(key, tuple) or ("", None)
    return value if stored == kind and isinstance(value, python) else absent


def set_(ctx: Ctx, priv: PRIV_TASK, key: STRING, value: STRING) -> None:
    """Set a string; null is stored as an empty one."""
    set_string(ctx, priv, key, value)


def get(ctx: Ctx, priv: PRIV_TASK, key: STRING, /) -> STRING:
    """The string of that key, or null."""
    return get_string(ctx, priv, key)


def set_string(ctx: Ctx, priv: PRIV_TASK, key: STRING, value: STRING) -> None:
    """Set a string; null is stored as an empty one."""
    _put(ctx, priv, "STRING", key, ctx.account(value or ""))


def get_string(ctx: Ctx, priv: PRIV_TASK, key: STRING) -> STRING:
    """The string of that key, or null."""
    return _take(priv, "STRING", key, str, None)


def set_int(ctx: Ctx, priv: PRIV_TASK, key: STRING, value: INT) -> None:
    """Set a whole number."""
    _put(ctx, priv, "INT", key, value)


def get_int(ctx: Ctx, priv: PRIV_TASK, key: STRING) -> INT:
    """The whole number of that key, or 0."""
    return _take(priv, "INT", key, int, 0)


def set_real(ctx: Ctx, priv: PRIV_TASK, key: STRING, value: REAL) -> None:
    """Set a number."""
    _put(ctx, priv, "REAL", key, value)


def get_real(ctx: Ctx, priv: PRIV_TASK, key: STRING) -> REAL:
    """The number of that key, or 0."""
    return _take(priv, "REAL", key, float, 0.0)


def set_duration(ctx: Ctx, priv: PRIV_TASK, key: STRING, value: DURATION) -> None:
    """Set a duration."""
    _put(ctx, priv, "DURATION", key, value)


def get_duration(ctx: Ctx, priv: PRIV_TASK, key: STRING) -> DURATION:
    """The duration of that key, or 0 s."""
    return _take(priv, "DURATION", key, float, 0.0)


def set_ip(ctx: Ctx, priv: PRIV_TASK, key: STRING, value: IP) -> None:
    """Set an address."""
    _put(ctx, priv, "IP", key, value)


def get_ip(ctx: Ctx, priv: PRIV_TASK, key: STRING) -> IP:
    """The address of that key, or null."""
    return _take(priv, "IP", key, SockAddr, None)


def set_backend(ctx: Ctx, priv: PRIV_TASK, key: STRING, value: BACKEND) -> None:
    """Set a backend or director."""
    _put(ctx, priv, "BACKEND", key, value)


def get_backend(ctx: Ctx, priv: PRIV_TASK, key: STRING) -> BACKEND:
    """The backend of that key, or none."""
    return _take(priv, "BACKEND", key, Director, None)


def clear(ctx: Ctx, priv: PRIV_TASK) -> None:
    """Forget the variables of this task."""
    priv.clear()


def global_set(ctx: Ctx, key: STRING, value: STRING, /) -> None:
    """Set a global string, or forget it: null."""
    if key is not None:
        _global[key] = value


def global_get(ctx: Ctx, key: STRING, /) -> STRING:
    """The global string of that key, or null."""
    return None if key is None else _global.get(key)
