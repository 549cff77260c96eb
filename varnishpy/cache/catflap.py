"""How a VMOD may have a say in which object a lookup finds (``req.catflap``)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from varnishpy.cache.objcore import ObjectCore


class Verdict(IntEnum):
    """What a `Catflap` says of an object."""

    DEFAULT = 0  # judge it by its times, as ever
    HIT = 1  # it is the one
    MISS = 2  # none is: look no further
    CONTINUE = 3  # not this one


class Catflap(Protocol):
    """Asked by one lookup, under the object head's lock."""

    def judge(self, oc: ObjectCore) -> Verdict:
        """Of a stored object that matches the request, whatever its age; the newest comes first."""

    def choose(self, oc: ObjectCore | None) -> ObjectCore | None:
        """The last word, once all have been judged: what is given, or one that was judged."""
