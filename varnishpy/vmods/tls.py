"""VMOD tls: the TLS of the client's connection, where it ends here, and of a backend's."""

from __future__ import annotations

from typing import Any

from varnishpy.vmods.api import BOOL, STRING, Ctx, VclFailure, restrict

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


@restrict(_WHERE)
def cert_sign(ctx: Ctx) -> STRING:
    """How the certificate was signed (``RSA-SHA256``): the one shown to the client or, in the backend's, by it."""
    certificate = getattr(_connection(ctx), "certificate", None)
    return None if certificate is None else str(certificate.signature)


@restrict(_WHERE)
def cert_key(ctx: Ctx) -> STRING:
    """The certificate's key: algorithm and bits (``RSA2048``)."""
    certificate = getattr(_connection(ctx), "certificate", None)
    return None if certificate is None else str(certificate.key)


def ja3(ctx: Ctx) -> STRING:
    """The fingerprint of the client's ClientHello, if the parameter tls_ja3 was on when it connected."""
    if ctx.bo is not None and ctx.method != "pipe":
        raise VclFailure("tls.ja3() can only be used in client context")
    return _info(ctx, "ja3")
