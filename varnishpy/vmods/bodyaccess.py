"""VMOD bodyaccess: a look at the request's body, with the functions of varnish-modules' VMOD of that name.

The body must have been kept with ``std.cache_req_body()`` before.
"""

from __future__ import annotations

from varnishpy.base.regex import RegexMatchError
from varnishpy.log.tag_numbers import DEBUG, HASH, VCL_ERROR
from varnishpy.vmods.api import INT, REGEX, STRING, Ctx


def _pieces(ctx: Ctx, function: str, method: str) -> list[bytes] | None:
    """The kept body; none, and why in the log, if there is none or this is not the place for the function."""
    if ctx.req is None or (method and ctx.method != method):
        place = f"vcl_{method}" if method else "client subroutines"
        ctx.log(VCL_ERROR, f"bodyaccess.{function}() can only be used in {place}")
        return None
    stored = ctx.req.body_oc
    if stored is None:
        ctx.log(VCL_ERROR, "Unbuffered req.body")
        return None
    return [bytes(piece) for piece in stored.chunks]


def rematch_req_body(ctx: Ctx, re: REGEX) -> INT:
    """Does a regular expression match the body? 1 or 0, -1 if that cannot be told; in vcl_recv."""
    pieces = _pieces(ctx, "rematch_req_body", "recv")
    if pieces is None:
        return -1
    try:
        return 1 if re.search(b"".join(pieces).decode("latin-1")) else 0
    except RegexMatchError as error:
        ctx.log(VCL_ERROR, f"Regexp matching failed: {error}")
        return -1


def hash_req_body(ctx: Ctx) -> None:
    """Make the body part of what the object is looked up by; in vcl_hash."""
    pieces = _pieces(ctx, "hash_req_body", "hash")
    if pieces is not None:
        text = b"".join(pieces).decode("latin-1")
        ctx.request().hash_parts.append(text)
        ctx.log(HASH, text)


def len_req_body(ctx: Ctx) -> INT:
    """Octets of the body, -1 if that cannot be told; in vcl_recv."""
    pieces = _pieces(ctx, "len_req_body", "recv")
    return -1 if pieces is None else sum(map(len, pieces))


def log_req_body(ctx: Ctx, prefix: STRING = "", length: INT = 200) -> None:
    """Log the body as Debug records of so many octets each, with a prefix.

    *length* 0: as large as the pieces it is stored in.
    """
    for piece in _pieces(ctx, "log_req_body", "") or ():
        step = length if length > 0 else max(len(piece), 1)
        for at in range(0, len(piece), step):
            ctx.log(DEBUG, (prefix or "") + piece[at : at + step].decode("latin-1"))
