"""Values of VCL types that Python has no ready type for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from varnishpy.http.message import Message
    from varnishpy.vcl.context import Ctx


class SockAddr(NamedTuple):
    """An IP address in text form and a port: the type IP of VCL. Unix domain sockets are ``0.0.0.0`` port 0.

    Sessions have addresses of their own of the same shape; VCL takes anything with ``ip`` and ``port``.
    """

    ip: str
    port: int = 0

    def __str__(self) -> str:
        """The address without the port, as VCL turns it into a string."""
        return self.ip


class HeaderRef:
    """A header of a message: the type HEADER, as VMODs get it. ``where`` is req, resp, bereq, beresp, obj, ..."""

    __slots__ = ("lname", "name", "where")

    def __init__(self, where: str, name: str) -> None:
        self.where = where
        self.name = name
        self.lname = name.lower()

    def message(self, ctx: Ctx) -> Message:
        """The message it stands in, in this context."""
        return ctx.message(self.where)

    def get(self, ctx: Ctx) -> str | None:
        return self.message(ctx).get(self.lname)

    def set(self, ctx: Ctx, value: str) -> None:
        self.message(ctx).set(self.name, value)

    def unset(self, ctx: Ctx) -> None:
        self.message(ctx).unset(self.lname)

    def __repr__(self) -> str:
        return f"HeaderRef({self.where!r}, {self.name!r})"
