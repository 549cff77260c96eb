"""VMOD tls: the TLS of the client's connection, where it ends here, and of a backend's."""

from __future__ import annotations

from typing import Any

from varnishpy.vmods.api import BOOL, STRING, Ctx, restrict

_WHERE = "client vcl_backend_response vcl_pipe"


def _connection(ctx: Ctx) -> Any:
    """What is known of the TLS of the client's connection or, on the backend side, of the backend's."""
    owner = ctx.sess if ctx.bo is None or ctx.method == "pipe" else ctx.bo.backend_conn
    return getattr(owner, "tls", None)


def _info(ctx: Ctx, name: str) -> str | None:
    value = getattr(_connection(ctx), name, None)
    return str(value) if value else None


@restrict(_WHERE)
def is_tls(ctx: Ctx) -> BOOL:
    return _connection(ctx) is not None


@restrict(_WHERE)
def version(ctx: Ctx) -> STRING:
    return _info(ctx, "version")


@restrict(_WHERE)
def cipher(ctx: Ctx) -> STRING:
    return _info(ctx, "cipher")


@restrict(_WHERE)
def authority(ctx: Ctx) -> STRING:
    return _info(ctx, "sni")


@restrict(_WHERE)
def alpn(ctx: Ctx) -> STRING:
    return _info(ctx, "alpn")
