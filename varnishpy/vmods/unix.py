"""VMOD unix: who is at the other end of a Unix domain socket (vmod_unix(3))."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct

from varnishpy.log.tags import Tag
from varnishpy.vmods.api import INT, STRING, Ctx, VclFailure, restrict

_ERROR = int(Tag.VCL_Error)
_CREDENTIALS = struct.Struct("iII")  # struct ucred, unix(7)


def _peer(ctx: Ctx, function: str) -> tuple[int, int] | None:
    """User and group id of the client, or ``None`` with a record of the reason."""
    if ctx.sess is None:
        raise VclFailure(f"unix.{function}() may only be called during client or backend VCL")
    if not ctx.sess.listen.is_uds:
        ctx.log(_ERROR, "vmod unix error: not listening on a Unix domain socket")
        return None
    try:
        with socket.socket(fileno=os.dup(ctx.sess.fd)) as connection:
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError as error:
        ctx.log(_ERROR, f"vmod unix error: could not get peer credentials: {error.strerror}")
        return None
    _pid, uid, gid = _CREDENTIALS.unpack(raw)
    return uid, gid


@restrict("client backend")
def user(ctx: Ctx) -> STRING:
    peer = _peer(ctx, "user")
    try:
        return None if peer is None else pwd.getpwuid(peer[0]).pw_name
    except KeyError:
        ctx.log(_ERROR, f"vmod unix error: could not find user id {peer[0] if peer else -1}")
        return None


@restrict("client backend")
def group(ctx: Ctx) -> STRING:
    peer = _peer(ctx, "group")
    try:
        return None if peer is None else grp.getgrgid(peer[1]).gr_name
    except KeyError:
        ctx.log(_ERROR, f"vmod unix error: could not find group id {peer[1] if peer else -1}")
        return None


@restrict("client backend")
def uid(ctx: Ctx) -> INT:
    peer = _peer(ctx, "uid")
    return -1 if peer is None else peer[0]


@restrict("client backend")
def gid(ctx: Ctx) -> INT:
    peer = _peer(ctx, "gid")
    return -1 if peer is None else peer[1]
