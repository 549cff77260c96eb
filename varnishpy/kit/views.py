"""What VCL holds, as a test reads it: ``r.req.url``, ``r.beresp.ttl``, ``r.req.http["X-Device"]``.

A `Scope` reads the variables of VCL by the table that the compiler has (``vcl/variables.py``), so that every variable
is there and none means anything else than in VCL. Values come as plain Python: durations and times in seconds,
addresses as text, backends and storages by name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, MutableMapping
from types import CodeType
from typing import TYPE_CHECKING, Final

from varnishpy.backends.director import Director
from varnishpy.base.near import nearest
from varnishpy.params import params
from varnishpy.session.address import SockAddr as Address
from varnishpy.storage.stevedore import Stevedore
from varnishpy.vcl import runtime
from varnishpy.vcl.context import VclFailure
from varnishpy.vcl.values import SockAddr
from varnishpy.vcl.variables import LOCALS, VARIABLES

if TYPE_CHECKING:
    from varnishpy.http.message import Message
    from varnishpy.vcl.context import Ctx

_READS: Final = {row.name: row.read for row in VARIABLES if row.read and not row.wildcard}
_NAMES: Final = {"rt": runtime, "params": params}


@functools.cache
def _code(name: str) -> CodeType:
    text = _READS[name]
    for local, where in LOCALS.items():
        text = text.replace("{" + local + "}", where)
    return compile(text, f"<{name}>", "eval")


def _plain(value: object) -> object:
    if isinstance(value, (SockAddr, Address)):
        return value.ip
    if isinstance(value, Director):
        return value.vcl_name
    if isinstance(value, Stevedore):
        return value.name
    return value


class Headers(MutableMapping[str, str]):
    """The headers of a message by name, whatever the case. Of several of one name, reading gives the first."""

    def __init__(self, message: Message) -> None:
        self._message = message

    def __getitem__(self, name: str) -> str:
        value = self._message.get(name.lower())
        if value is None:
            raise KeyError(f"there is no header {name}; there are: {', '.join(self) or 'none'}")
        return value

    def __setitem__(self, name: str, value: str) -> None:
        self._message.unset(name.lower())
        self._message.add(name, value)

    def __delitem__(self, name: str) -> None:
        self[name]
        self._message.unset(name.lower())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for _, name, _ in self._message.headers))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._message.has(name.lower())

    def getall(self, name: str) -> list[str]:
        """All values of a name, in order."""
        return self._message.values(name.lower())

    def __repr__(self) -> str:
        return repr([(name, value) for _, name, value in self._message.headers])


class Scope:
    """The variables behind a prefix (``req``, ``beresp`` ...), as attributes.

    :raises AttributeError: VCL has no such variable, or it means nothing where the subroutine ran
    """

    def __init__(self, prefix: str, ctx: Ctx) -> None:
        self._prefix = prefix
        self._ctx = ctx

    @property
    def http(self) -> Headers:
        """The headers of the message."""
        try:
            return Headers(self._ctx.message(self._prefix))
        except (VclFailure, AttributeError):
            raise AttributeError from None  # and Python asks __getattr__, which says why

    def __getattr__(self, attribute: str) -> object:
        name = f"{self._prefix}.{attribute}"
        if attribute == "http":
            raise AttributeError(f"there is no {name} in vcl_{self._ctx.method}")
        if name not in _READS:
            if any(each.startswith(f"{name}.") for each in _READS):
                return Scope(name, self._ctx)
            near = nearest(name, _READS, 0.6)
            raise AttributeError(f"VCL has no variable {name}" + (f"; did you mean {near[0]}?" if near else ""))
        try:
            return _plain(eval(_code(name), {"ctx": self._ctx, **_NAMES}))
        except (AttributeError, TypeError, VclFailure) as error:  # compiled code has a TypeError for what is not there
            raise AttributeError(f"{name} means nothing in vcl_{self._ctx.method}: {error}") from None


class Messages:
    """All scopes of a context: what a mocked subroutine is given."""

    def __init__(self, ctx: Ctx) -> None:
        self.req = Scope("req", ctx)
        self.bereq = Scope("bereq", ctx)
        self.beresp = Scope("beresp", ctx)
        self.resp = Scope("resp", ctx)
        self.obj = Scope("obj", ctx)
