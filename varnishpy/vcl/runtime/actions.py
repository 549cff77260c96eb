"""Statements: what a subroutine does and how it ends."""

from __future__ import annotations

from varnishpy.backends.director import Director
from varnishpy.backends.director import resolve as follow
from varnishpy.http.status import reason as reason_phrase
from varnishpy.log.tag_numbers import HASH, VCL_ERROR, VCL_TRACE
from varnishpy.vcl.context import Ctx, Method, VclFailure, VclSub


def sub(name: str, function: Method, allowed: list[str]) -> VclSub:
    return VclSub(name, function, frozenset(allowed))


def trace(ctx: Ctx, number: int) -> None:
    """A VCL_trace record: the program, and which point of it was passed."""
    source, line, column = ctx.vcl.references[number - 1]
    ctx.log(VCL_TRACE, f"{ctx.vcl.name} {number} {source}.{line}.{column}")


def synth(ctx: Ctx, status: int, reason: str | None) -> None:
    """``return (synth(...))``, ``return (error(...))``."""
    if not 0 <= status <= 65535:
        raise VclFailure(f"return(synth()) status code ({status}) {'is negative' if status < 0 else '> 65535'}")
    if status % 1000 < 100:
        raise VclFailure(f"illegal return(synth()) status code ({status}) (..0##)")
    task = ctx.fetch() if ctx.req is None else ctx.req
    task.err_code = status
    task.err_reason = reason if reason is not None else reason_phrase(status % 1000)


def select(ctx: Ctx, label: str) -> None:
    """``return (vcl(label))``: the state machine does the rest."""
    ctx.selected = (ctx.vcl.labels[label], label)


def hash_data(ctx: Ctx, *texts: str | None) -> None:
    req, log = ctx.req, ctx.vsl
    assert req is not None and log is not None  # as vcl_hash has them; `present` would cost two calls for each request
    parts = req.hash_parts
    for text in texts:
        if text is None:
            parts.append("\0")  # what is not there differs from what is empty
        else:
            parts.append(text)
            log.put(HASH, text)
    parts.append("\0")


def ban(ctx: Ctx, spec: str | None) -> str | None:
    """Add a ban; what is wrong with it is logged, and returned."""
    error = "Null argument" if spec is None else ctx.vcl.host.ban(spec)
    if error is not None:
        ctx.log(VCL_ERROR, f"ban(): {error}")
    return error


def resolve(ctx: Ctx, director: Director | None) -> Director | None:
    """The backend that a director chooses now, through all directors between them."""
    return None if director is None else follow(director, ctx)


def call_sub(ctx: Ctx, value: VclSub | None, reference: int) -> None:
    if value is None:
        source, line, _column = ctx.vcl.references[reference - 1]
        raise VclFailure(f"Tried to call NULL SUB near source {source} line {line}")
    value.call(ctx)
