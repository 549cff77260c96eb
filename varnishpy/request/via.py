"""How we name ourselves, and our clients, to others."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from varnishpy.http.message import Field

if TYPE_CHECKING:
    from varnishpy.request.env import Env

#: the release whose behaviour is implemented, as Varnish puts it into ``Via``
PRODUCT: Final = "Varnish/7.1"
SERVER: Final = Field("Server", "Varnish", constant=True)  # of the responses that VCL makes


def via_value(env: Env) -> str:
    """The value of ``Via`` (RFC 9110 section 7.6.3); ``-i`` sets the name."""
    return via_field(env.identity).header[2]


@lru_cache(16)
def via_field(identity: str) -> Field:
    """``Via`` as a header of its own, for a message that has none."""
    return Field("Via", f"1.1 {identity or 'varnishpy'} ({PRODUCT})")


@lru_cache(4096)
def forwarded_field(client: str) -> Field:
    """``X-Forwarded-For`` for a request that has none, by the client's address."""
    return Field("X-Forwarded-For", client)
