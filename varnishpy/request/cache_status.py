"""``Cache-Status``: what this cache did with a request (RFC 9211), with ``feature=+cache_status``.

Each cache on the way appends a member to the list. Ours says whether the response came from the cache (``hit``) or why
not (``fwd``), what the origin answered (``fwd-status``), whether the response is kept (``stored``), for how long it is
or was fresh (``ttl``, negative when it is stale), and what the field has no word for (``detail``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from varnishpy.cache.objcore import OC_HFM, OC_HFP, OC_PRIVATE

if TYPE_CHECKING:
    from varnishpy.cache.objcore import ObjectCore
    from varnishpy.request.request import Request

_is_token: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*").fullmatch
_SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
_UNCACHEABLE: Final = OC_PRIVATE | OC_HFM | OC_HFP


def cache_status(req: Request, oc: ObjectCore) -> str:
    """Our member of the list, for a response made of this object."""
    words = [_name(req.env.identity or "varnishpy")]
    left = int(oc.expires() - req.t_prev)
    if req.is_hit:
        words.append("hit")
        words.append(f"ttl={left}")
        if left < 0:
            words.append("detail=grace")
        return "; ".join(words)
    words.append(f"fwd={_reason(req, oc)}")
    if oc.stobj is not None and not req.was_stale:  # an answer 304 would be unknown here
        words.append(f"fwd-status={oc.stobj.status}")
    if not oc.flags & _UNCACHEABLE:
        words.append("stored")
        words.append(f"ttl={left}")
    detail = "hit-for-pass" if req.is_hitpass else "hit-for-miss" if req.is_hitmiss else ""
    if detail:
        words.append(f"detail={detail}")
    return "; ".join(words)


def _reason(req: Request, oc: ObjectCore) -> str:
    """Section 2.2: why the request was forwarded."""
    if oc.flags & OC_PRIVATE:
        return "method" if req.http0.method not in _SAFE_METHODS else "bypass"
    if req.hash_always_miss:
        return "request"
    if req.was_stale:
        return "stale"
    return "vary-miss" if req.other_variant else "uri-miss"


def _name(identity: str) -> str:
    if _is_token(identity) is not None:
        return identity
    safe = "".join(char if " " <= char <= "~" else "?" for char in identity)
    return '"' + safe.replace("\\", "\\\\").replace('"', '\\"') + '"'
