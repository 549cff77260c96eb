"""VMOD tcp: the client's TCP connection, with the functions of varnish-modules' VMOD of that name. Linux only."""

from __future__ import annotations

import socket
import struct
from typing import Final

from varnishpy.log.tag_numbers import VCL_ERROR, VCL_LOG
from varnishpy.vmods.api import INT, REAL, STRING, Ctx

_SO_MAX_PACING_RATE: Final = 47  # asm-generic/socket.h
# struct tcp_info of linux/tcp.h: eight octets, then 24 words
_INFO: Final = struct.Struct("=8x24I")
_FIELDS: Final = (
    *("rto", "ato", "snd_mss", "rcv_mss", "unacked", "sacked", "lost", "retrans", "fackets"),
    *("last_data_sent", "last_ack_sent", "last_data_recv", "last_ack_recv"),
    *("pmtu", "rcv_ssthresh", "rtt", "rttvar", "snd_ssthresh", "snd_cwnd", "advmss", "reordering"),
    *("rcv_rtt", "rcv_space", "total_retrans"),
)


def _connection(ctx: Ctx) -> socket.socket | None:
    """The client's connection under a descriptor of our own; none, and why in the log, if it is no TCP connection."""
    sess = ctx.sess
    if ctx.req is None or sess is None:
        ctx.log(VCL_ERROR, "vmod-tcp: only usable in client subroutines")
        return None
    if sess.listen.is_uds:
        ctx.log(VCL_ERROR, "vmod-tcp: the client did not come by TCP")
        return None
    return socket.socket(fileno=socket.dup(sess.fd))


def congestion_algorithm(ctx: Ctx, algorithm: STRING) -> INT:
    """Have the kernel use a congestion control algorithm (tcp(7), TCP_CONGESTION); 0, or -1 if it will not."""
    connection = _connection(ctx)
    if connection is None:
        return -1
    with connection:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, (algorithm or "").encode("latin-1"))
        except OSError as error:
            ctx.log(VCL_ERROR, f"TCP_CONGESTION setsockopt failed: {error.strerror}")
            return -1
    return 0


def _info(ctx: Ctx) -> dict[str, int] | None:
    connection = _connection(ctx)
    if connection is None:
        return None
    with connection:
        try:
            raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        except OSError as error:
            ctx.log(VCL_ERROR, f"TCP_INFO getsockopt failed: {error.strerror}")
            return None
    return dict(zip(_FIELDS, _INFO.unpack(raw), strict=True))


def dump_info(ctx: Ctx) -> None:
    """Log what the kernel knows of the connection, as two VCL_Log records."""
    info = _info(ctx)
    if info is None:
        return
    for head, names in (
        ("tcpi", ("snd_mss", "rcv_mss", "lost", "retrans")),
        ("tcpi2", ("pmtu", "rtt", "rttvar", "snd_cwnd", "advmss", "reordering")),
    ):
        ctx.log(VCL_LOG, f"{head}: " + " ".join(f"{name}={info[name]}" for name in names))


def get_estimated_rtt(ctx: Ctx) -> REAL:
    """The smoothed time of a round trip, in whole milliseconds; -1 if it is not known."""
    info = _info(ctx)
    return -1.0 if info is None else float(info["rtt"] // 1000)


def set_socket_pace(ctx: Ctx, pace: INT, /) -> None:
    """Send to this client no faster than so many kilobytes a second (socket(7), SO_MAX_PACING_RATE)."""
    connection = _connection(ctx)
    if connection is None:
        return
    with connection:
        try:
            connection.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, max(pace, 0) * 1024)
            rate = connection.getsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE)
        except OSError as error:
            ctx.log(VCL_ERROR, f"set_socket_pace(): Error setting pacing: {error.strerror}")
            return
    ctx.log(VCL_LOG, f"vmod-tcp: Socket paced to {rate // 1024} KB/s.")
