"""VMOD re: regular expressions with groups that can be asked for, over strings and bodies (after libvmod-re).

A match is remembered for its object and task, whatever else is matched meanwhile; `regex.backref` gives its groups. An
object made with *forbody* also matches bodies, and is a filter under its own name: ``set beresp.filters = "name"`` (or
``resp.filters``) has its matches in the body replaced by what `regex.substitute_match` says.

Limits are those of the parameters pcre2_match_limit and pcre2_depth_limit, or lower ones given here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final, Literal

from varnishpy.base.regex import Regex, RegexError, RegexMatchError
from varnishpy.log.tag_numbers import VCL_ERROR
from varnishpy.vcl.context import VclSub
from varnishpy.vmods._substitute import Substitutions, matches, register
from varnishpy.vmods.api import BOOL, INT, PRIV_TASK, STRING, SUB, Ctx, VclFailure

_FAILED: Final = "**BACKREF METHOD FAILED**"
_FAILED_DYN: Final = "**BACKREF FUNCTION FAILED**"
_DYNAMIC: Final = "dynamic"  # where the last match of match_dyn() is kept

Body = Literal["req_body", "bereq_body", "resp_body"]
Groups = Sequence[str | None]


@functools.lru_cache(maxsize=512)
def _compile(pattern: str, limit: int, depth: int) -> Regex:
    """A pattern with limits of its own; 0: those of the parameters alone."""
    limits = (f"(*LIMIT_MATCH={limit})" if limit > 0 else "") + (f"(*LIMIT_DEPTH={depth})" if depth > 0 else "")
    return Regex(limits + pattern)


def _search(ctx: Ctx, regex: Regex, text: str) -> Groups | None:
    """The groups of the first match; an error is logged, and is no match."""
    try:
        found = regex.groups(text)
    except RegexMatchError as error:
        ctx.log(VCL_ERROR, f"vmod re: regex match returned {error}")
        return None
    return None if found is None else found[1]


def _backref(ctx: Ctx, groups: object, number: int, fallback: STRING) -> STRING:
    if groups is None:
        ctx.log(VCL_ERROR, "vmod re: backref called without prior match")
        return fallback
    if isinstance(groups, bool):  # the match failed
        return fallback
    assert isinstance(groups, Sequence)
    if not 0 <= number < len(groups):
        ctx.log(VCL_ERROR, f"vmod re: backref {number} out of range")
        return fallback
    found: str | None = groups[number]
    return fallback if found is None else ctx.account(found)


def _body(ctx: Ctx, which: str) -> str:
    """A body that is at hand; raises `VclFailure`."""
    stored = None
    if which == "req_body":
        stored = None if ctx.req is None else ctx.req.body_oc
    elif which == "bereq_body":
        stored = None if ctx.bo is None else ctx.bo.request_body()
    elif ctx.req is not None and ctx.req.objcore is not None and ctx.req.objcore.boc is None:
        stored = ctx.req.objcore.stobj
    if stored is None:
        raise VclFailure(f"vmod re: {which} is not at hand here")
    return b"".join(bytes(piece) for piece in stored.chunks).decode("latin-1")


class regex:
    """A pattern; a wrong one fails the VCL as it is loaded."""

    def __init__(
        self,
        ctx: Ctx,
        vcl_name: str,
        pattern: STRING,
        limit: INT = 0,
        limit_recursion: INT = 0,
        forbody: BOOL = False,
    ) -> None:
        self._name = vcl_name
        self._pattern = pattern or ""
        self._limits = (limit, limit_recursion)
        self._forbody = forbody
        try:
            self._regex = _compile(self._pattern, limit, limit_recursion)
        except RegexError as error:
            raise VclFailure(f"vmod re: Cannot compile '{pattern}' in {vcl_name}: {error}") from None
        self._substitutions = Substitutions()
        if forbody:
            register(ctx, vcl_name, self._regex, self._substitutions)

    def _for(self, limit: int, limit_recursion: int) -> Regex:
        if not limit and not limit_recursion:
            return self._regex
        return _compile(self._pattern, limit or self._limits[0], limit_recursion or self._limits[1])

    def _match(self, ctx: Ctx, priv: PRIV_TASK, regex: Regex, text: str) -> bool:
        groups = _search(ctx, regex, text)
        priv[self] = False if groups is None else groups
        return groups is not None

    def _bodies_only(self, function: str) -> None:
        if not self._forbody:
            raise VclFailure(f"vmod re: {self._name}.{function}() needs an object made with forbody = true")

    def match(self, ctx: Ctx, priv: PRIV_TASK, subject: STRING, limit: INT = 0, limit_recursion: INT = 0) -> BOOL:
        """Does it match? Null is an empty string. Where a limit is passed the log says so, and it is no match."""
        return self._match(ctx, priv, self._for(limit, limit_recursion), subject or "")

    def backref(self, ctx: Ctx, priv: PRIV_TASK, refnum: INT, fallback: STRING = _FAILED) -> STRING:
        """A group of this object's last match in this task, 0 being all of it; else the fallback.

        That there was no match, or is no such group, is told in the log.
        """
        return _backref(ctx, priv.get(self), refnum, fallback)

    def foreach(
        self, ctx: Ctx, priv: PRIV_TASK, subject: STRING, sub: SUB, limit: INT = 0, limit_recursion: INT = 0
    ) -> BOOL:
        """Call a subroutine for each match, in which `backref` gives the groups of that one; true if there was any."""
        return self._each(ctx, priv, self._for(limit, limit_recursion), subject or "", sub)

    def match_body(self, ctx: Ctx, priv: PRIV_TASK, which: Body, limit: INT = 0, limit_recursion: INT = 0) -> BOOL:
        """As `match`, over a body that is at hand: a kept one of the request, or a whole one in the cache."""
        self._bodies_only("match_body")
        return self._match(ctx, priv, self._for(limit, limit_recursion), _body(ctx, which))

    def foreach_body(
        self, ctx: Ctx, priv: PRIV_TASK, which: Body, sub: SUB, limit: INT = 0, limit_recursion: INT = 0
    ) -> BOOL:
        """As `foreach`, over a body that is at hand."""
        self._bodies_only("foreach_body")
        return self._each(ctx, priv, self._for(limit, limit_recursion), _body(ctx, which), sub)

    def _each(self, ctx: Ctx, priv: PRIV_TASK, regex: Regex, text: str, sub: VclSub) -> bool:
        any_found = False
        try:
            for _span, groups in matches(regex, text):
                any_found = True
                priv[self] = groups
                sub.call(ctx)
                if ctx.handling is not None:
                    break
        except RegexMatchError as error:
            ctx.log(VCL_ERROR, f"vmod re: regex match returned {error}")
        if not any_found:
            priv[self] = False
        return any_found

    def substitute_match(self, ctx: Ctx, n: INT, string: STRING) -> None:
        r"""What the filter puts in the place of the *n*-th match, or (0) of all others; ``\1`` stands for a group."""
        self._bodies_only("substitute_match")
        self._substitutions.set(ctx, n, ctx.account(string or ""))

    def clear_substitutions(self, ctx: Ctx) -> None:
        """Undo all `substitute_match` of this task."""
        self._bodies_only("clear_substitutions")
        self._substitutions.clear(ctx)


def match_dyn(
    ctx: Ctx,
    priv: PRIV_TASK,
    pattern: STRING,
    subject: STRING,
    limit: INT = 0,
    limit_recursion: INT = 0,
) -> BOOL:
    """Does a pattern that is made up now match? A wrong one is told in the log, and matches nothing."""
    priv[_DYNAMIC] = False
    try:
        compiled = _compile(pattern or "", limit, limit_recursion)
    except RegexError as error:
        ctx.log(VCL_ERROR, f"vmod re: Cannot compile '{pattern}': {error}")
        priv[_DYNAMIC] = None
        return False
    groups = _search(ctx, compiled, subject or "")
    if groups is not None:
        priv[_DYNAMIC] = groups
    return groups is not None


def backref_dyn(ctx: Ctx, priv: PRIV_TASK, refnum: INT, fallback: STRING = _FAILED_DYN) -> STRING:
    """A group of the last `match_dyn` of this task, as `regex.backref` gives them."""
    return _backref(ctx, priv.get(_DYNAMIC), refnum, fallback)


def version(ctx: Ctx) -> STRING:
    """Which implementation this is."""
    return "varnishpy re 2.0"
