"""Hints that the compiler adds to the reference's messages: names near to one that nobody knows, braces left open."""

from __future__ import annotations

from collections.abc import Iterable

from varnishpy.base.near import nearest
from varnishpy.vcl.source import EOI, ID, Source, Token

# what VCL called things before version 4
_FORMER = {
    "vcl_fetch": ("vcl_backend_response",),
    "vcl_error": ("vcl_synth", "vcl_backend_error"),
    "remove": ("unset",),
    "req.request": ("req.method",),
    "bereq.request": ("bereq.method",),
    "req.backend": ("req.backend_hint",),
}
_NEAR = 0.66  # of difflib's measure; less makes strange guesses for short names
_WITH_BRACES = frozenset(("acl", "backend", "probe", "sub"))


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """``Did you mean x?`` as a line, or nothing if no known name is near; two names if they are about as near.

    :param prefix: what stands before every known name, and is shown but not compared
    """
    former = _FORMER.get(name.lower())
    if former:
        return _question(former)
    return _question([prefix + each for each in nearest(name, known, _NEAR)])


def did_you_mean_sub(name: str, known: Iterable[str]) -> str:
    """The same for a ``vcl_*`` subroutine."""
    if name.lower() in _FORMER:
        return did_you_mean(name, ())
    return did_you_mean(name[4:], (each[4:] for each in known), "vcl_")


def _question(names: Iterable[str]) -> str:
    text = " or ".join(names)
    return f"Did you mean {text}?\n" if text else ""


def left_open(start: Token, brace: Token, stumble: Token, after: Token) -> bool:
    """Was a declaration's brace left open, seen from the token over which the compiler stumbled?

    It was if the author's text has come to its end, or if something begins that cannot stand inside braces: then the
    mistake is not where the compiler stands, which may even be in the builtin VCL.

    :param start: the first token of the declaration, ``brace`` its ``{``
    :param after: what follows the token stumbled over
    """
    if start.text not in _WITH_BRACES or brace.kind != "{" or brace.index > stumble.index or _builtin(brace.source):
        return False
    ended = stumble.kind == EOI or _builtin(stumble.source)
    return ended or (stumble.kind == after.kind == ID and stumble.text in _WITH_BRACES)


def _builtin(source: Source) -> bool:
    return source.kind == "builtin"
