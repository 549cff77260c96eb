"""VMOD tls: the TLS of the client's connection, where it ends here, and of a backend's."""

from __future__ import annotations

from varnishpy.base.tls_info import TlsInfo
from varnishpy.base.x509 import Certificate
from varnishpy.vmods.api import BOOL, STRING, Ctx, VclFailure, restrict

_WHERE = "client vcl_backend_response vcl_pipe"


def _connection(ctx: Ctx) -> TlsInfo | None:
    """What is known of the TLS of the client's connection or, on the backend side, of the backend's."""
    if ctx.bo is None or ctx.method == "pipe":
        return ctx.session().tls
    return None if ctx.bo.backend_conn is None else ctx.bo.backend_conn.tls


def _info(ctx: Ctx, name: str) -> str | None:
    value: str = getattr(_connection(ctx), name, "")
    return value or None


def _certificate(ctx: Ctx) -> Certificate | None:
    tls = _connection(ctx)
    return None if tls is None else tls.certificate


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
    certificate = _certificate(ctx)
    return None if certificate is None else certificate.signature


@restrict(_WHERE)
def cert_key(ctx: Ctx) -> STRING:
    """The certificate's key: algorithm and bits (``RSA2048``)."""
    certificate = _certificate(ctx)
    return None if certificate is None else certificate.key


def ja3(ctx: Ctx) -> STRING:
    """The fingerprint of the client's ClientHello, if the parameter tls_ja3 was on when it connected."""
    if ctx.bo is not None and ctx.method != "pipe":
        raise VclFailure("tls.ja3() can only be used in client context")
    return _info(ctx, "ja3")
