"""VMOD vtc: what test scripts need (vmod_vtc(3)). Not for production."""

from __future__ import annotations

import re
import socket
import struct
import time
from typing import Literal

from varnishpy.base.panic import panic as raise_panic
from varnishpy.base.panic import present
from varnishpy.base.workspace import Workspace
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import vsl as log_record
from varnishpy.threads.worker import current_worker
from varnishpy.vmods.api import (
    BACKEND,
    BLOB,
    BOOL,
    BYTES,
    DURATION,
    INT,
    IP,
    STEVEDORE,
    STRANDS,
    STRING,
    Ctx,
    VclFailure,
    blocking,
)

_DEBUG = int(Tag.Debug)
_DUMP_MOST = 1023
_SIZES = {letter: struct.calcsize(code) for letter, code in zip("cdfijlpsuz", "cdfiqlPhIN", strict=True)} | {"o": 8}
_PROXY2 = b"\r\n\r\n\0\r\nQUIT\n"

Which = Literal["client", "backend", "session", "thread"]
Where = Literal["s", "f", "r"]


def barrier_sync(ctx: Ctx, addr: STRING, timeout: DURATION = 0.0) -> None:
    """Wait at a barrier of the test: connect, and go on when the connection is closed."""
    ctx.log(_DEBUG, f'barrier_sync("{addr}")')
    wait = timeout if timeout > 0 else None
    with blocking():
        _barrier(addr or "", wait)


def _barrier(addr: str, wait: float | None) -> None:
    try:
        connection = _connect(addr)
    except OSError as error:
        raise VclFailure(f"Barrier connection failed: {error.strerror or error}") from None
    with connection:
        connection.settimeout(wait)
        try:
            data = connection.recv(64)
        except OSError as error:
            raise VclFailure(f"Barrier read failed: {error.strerror or error} (errno={error.errno})") from None
    if data:
        raise VclFailure(f"Barrier unexpected data ({len(data)}B)")


def _connect(address: str) -> socket.socket:
    if address.startswith(("/", "@")):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        return connection
    host, _, port = address.replace(" ", ":").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)))


def no_backend(ctx: Ctx) -> BACKEND:
    return None


def no_stevedore(ctx: Ctx) -> STEVEDORE:
    return None


def no_ip(ctx: Ctx) -> IP:
    return None


def panic(ctx: Ctx, text: STRANDS, /) -> None:
    raise_panic(f"Panic from VCL:\n  PANIC:{text}")


def sleep(ctx: Ctx, duration: DURATION, /) -> None:
    with blocking():
        time.sleep(max(duration, 0.0))


# -- workspaces --------------------------------------------------------------------------------------------------------


_snapshots: dict[str, int] = {}  # tests take and use them in different tasks


def _workspace(ctx: Ctx, which: str) -> Workspace:
    if which == "client":
        return present(ctx.ws, "ctx->ws")
    if which == "backend":
        return ctx.fetch().ws
    if which == "session":
        return ctx.request().session().ws
    return present(current_worker(), "a worker").aws


def workspace_alloc(ctx: Ctx, which: Which, /, size: INT) -> None:
    """A negative size leaves that much."""
    workspace = _workspace(ctx, which)
    wanted = size + workspace.free if size < 0 else size
    if wanted <= 0:
        raise VclFailure("Attempted negative WS allocation")
    if workspace.alloc(wanted) is None:
        raise VclFailure("vtc.workspace_alloc")


def workspace_reserve(ctx: Ctx, which: Which, /, size: INT) -> BYTES:
    workspace = _workspace(ctx, which)
    wanted = size + workspace.free if size < 0 else size
    if wanted <= 0:
        raise VclFailure("Attempted negative WS reservation")
    room = workspace.reserve(wanted)
    if room is None:
        return 0
    got = len(room)
    workspace.release(0)
    return got


def workspace_free(ctx: Ctx, which: Which, /) -> INT:
    return int(_workspace(ctx, which).free)


def workspace_snapshot(ctx: Ctx, which: Which, /) -> None:
    _snapshots[which] = _workspace(ctx, which).snapshot()


def workspace_reset(ctx: Ctx, which: Which, /) -> None:
    _workspace(ctx, which).reset(_snapshots.get(which, 0))


def workspace_overflowed(ctx: Ctx, which: Which, /) -> BOOL:
    return bool(_workspace(ctx, which).overflowed)


def workspace_overflow(ctx: Ctx, which: Which, /) -> None:
    _workspace(ctx, which).mark_overflow()


def workspace_dump(ctx: Ctx, which: Which, where: Where, /, off: BYTES = 0, len_: BYTES = 64) -> BLOB:
    """Octets of a workspace: from its start, from what is free, or of the reservation."""
    if len_ > _DUMP_MOST:
        raise VclFailure(f"workspace_dump: max length is {_DUMP_MOST}")
    workspace = _workspace(ctx, which)
    if where == "r":
        raise VclFailure("workspace_dump: NULL")  # no reservation is open while VCL runs
    start = off + (workspace.used if where == "f" else 0)
    if start + len_ > workspace.size:
        raise VclFailure("workspace_dump: off limit")
    # strings are charged to a workspace but live on the heap; what was written into the arena is shown
    memory = workspace.reserve()
    workspace.release(0)
    held = b"" if memory is None or memory.obj is None else bytes(memory.obj)
    return held[start : start + len_].ljust(len_, b"\0")


# -- the rest ----------------------------------------------------------------------------------------------------------


def typesize(ctx: Ctx, s: STRING, /) -> INT:
    """The size of a C structure whose members have these types; -1 for an unknown one."""
    at = largest = 0
    for letter in s or "":
        size = _SIZES.get(letter)
        if size is None:
            return -1
        largest = max(largest, size)
        at += -at % size + size
    return at + (-at % largest if largest else 0)


def proxy_header(ctx: Ctx, version: Literal["v1", "v2"], client: IP, server: IP, authority: STRING = None) -> BLOB:
    """A PROXY header as one would be sent to a backend."""
    if client is None or server is None:
        raise VclFailure("proxy_header: no address")
    v6 = ":" in client.ip
    if version == "v1":
        family = "TCP6" if v6 else "TCP4"
        return f"PROXY {family} {client.ip} {server.ip} {client.port} {server.port}\r\n".encode("ascii")
    kind = socket.AF_INET6 if v6 else socket.AF_INET
    body = socket.inet_pton(kind, client.ip) + socket.inet_pton(kind, server.ip)
    body += struct.pack("!HH", client.port, server.port)
    if authority:
        name = authority.encode("latin-1")
        body += struct.pack("!BH", 2, len(name)) + name
    return _PROXY2 + struct.pack("!BBH", 0x21, 0x21 if v6 else 0x11, len(body)) + body


def vsl(ctx: Ctx, vxid: INT, tag: STRING, side: Literal["c", "b"], s: STRANDS) -> None:
    """Write a record of any tag."""
    try:
        number = int(Tag[tag or ""])
    except KeyError:
        raise VclFailure(f"No such tag {tag}") from None
    if vxid < 0 and ctx.vsl is not None:
        ctx.vsl.put(number, s)
    else:
        log_record(number, max(vxid, 0), s)


# a record as varnishlog -g raw shows it, with or without what a test program puts in front
_RAW = re.compile(r"(?:\*+\s+\S+\s+vsl\|)?\s*(\d+)\s+([A-Za-z_]\w*)\s+[-bc](?:\s(.*))?$")
_RECORD = re.compile(r"[-*\s\d]*([A-Za-z_]\w*)\s+(?:[bc-]\s)?(.*)")


def vsl_replay(ctx: Ctx, s: STRANDS) -> None:
    """Write the records that lines of varnishlog show; other lines are passed over."""
    for line in s.splitlines():
        raw = _RAW.match(line)
        if raw is not None and raw.group(2) in Tag.__members__:
            log_record(int(Tag[raw.group(2)]), int(raw.group(1)), raw.group(3) or "")
            continue
        found = _RECORD.match(line)
        if found is not None and found.group(1) in Tag.__members__:
            ctx.log(int(Tag[found.group(1)]), found.group(2))


__all__ = [
    "barrier_sync",
    "no_backend",
    "no_ip",
    "no_stevedore",
    "panic",
    "proxy_header",
    "sleep",
    "typesize",
    "vsl",
    "vsl_replay",
    "workspace_alloc",
    "workspace_dump",
    "workspace_free",
    "workspace_overflow",
    "workspace_overflowed",
    "workspace_reserve",
    "workspace_reset",
    "workspace_snapshot",
]
