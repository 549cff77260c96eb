"""VMOD proxy: what a PROXY header of version 2 tells of the client's TLS (vmod_proxy(3))."""

from __future__ import annotations

from varnishpy.http.proxy_wire import (
    TLV_ALPN,
    TLV_AUTHORITY,
    TLV_SSL_CIPHER,
    TLV_SSL_CN,
    TLV_SSL_KEY_ALG,
    TLV_SSL_SIG_ALG,
    TLV_SSL_VERSION,
    ProxyHeader,
)
from varnishpy.vmods.api import BOOL, INT, STRING, Ctx, restrict

_TLS, _CERT_CONNECTION, _CERT_SESSION = 1, 2, 4


def _header(ctx: Ctx) -> ProxyHeader | None:
    return ctx.session().proxy


def _text(ctx: Ctx, kind: int) -> str | None:
    header = _header(ctx)
    value = header.tlv(kind) if header is not None else None
    return None if value is None else value.decode("latin-1")


def _flag(ctx: Ctx, bit: int) -> bool:
    header = _header(ctx)
    return header is not None and bool(header.ssl_flags & bit)


@restrict("client")
def alpn(ctx: Ctx) -> STRING:
    return _text(ctx, TLV_ALPN)


@restrict("client")
def authority(ctx: Ctx) -> STRING:
    return _text(ctx, TLV_AUTHORITY)


@restrict("client")
def is_ssl(ctx: Ctx) -> BOOL:
    return _flag(ctx, _TLS)


@restrict("client")
def client_has_cert_sess(ctx: Ctx) -> BOOL:
    return _flag(ctx, _CERT_SESSION)


@restrict("client")
def client_has_cert_conn(ctx: Ctx) -> BOOL:
    return _flag(ctx, _CERT_CONNECTION)


@restrict("client")
def ssl_verify_result(ctx: Ctx) -> INT:
    header = _header(ctx)
    return 0 if header is None else int(header.ssl_verify_result)


@restrict("client")
def ssl_version(ctx: Ctx) -> STRING:
    return _text(ctx, TLV_SSL_VERSION)


@restrict("client")
def client_cert_cn(ctx: Ctx) -> STRING:
    return _text(ctx, TLV_SSL_CN)


@restrict("client")
def ssl_cipher(ctx: Ctx) -> STRING:
    return _text(ctx, TLV_SSL_CIPHER)


@restrict("client")
def cert_sign(ctx: Ctx) -> STRING:
    return _text(ctx, TLV_SSL_SIG_ALG)


@restrict("client")
def cert_key(ctx: Ctx) -> STRING:
    return _text(ctx, TLV_SSL_KEY_ALG)
