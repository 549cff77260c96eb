"""How we name ourselves, and our clients, to others."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from varnishpy.http.message import Field
from varnishpy.params import params
from varnishpy.request.header_rules import append

if TYPE_CHECKING:
    from varnishpy.http.message import Message
    from varnishpy.request.env import Env

#: the release whose behaviour is implemented, as Varnish puts it into ``Via``
PRODUCT: Final = "Varnish/7.1"
SERVER: Final = Field("Server", "Varnish", constant=True)  # of the responses that VCL makes


def add_via(message: Message, env: Env, proto: str, present: bool) -> None:
    """Say in ``Via`` (RFC 9110 section 7.6.3) that the message came through here; ``-i`` sets the name.

    :param proto: the protocol in which it was received
    :param present: it has a Via already
    """
    version = _VERSIONS.get(proto, "1.1")
    field = _via_field(env.identity, "1.1" if version != "1.1" and params.feature.cache_compat else version)
    if present:
        append(message, "Via", field.header[2])
    else:
        message.add_field(field)


# Varnish always says 1.1
_VERSIONS: Final = {"HTTP/1.0": "1.0", "HTTP/2.0": "2"}


@lru_cache(16)
def _via_field(identity: str, version: str) -> Field:
    return Field("Via", f"{version} {identity or 'varnishpy'} ({PRODUCT})")


@lru_cache(4096)
def forwarded_field(client: str) -> Field:
    """``X-Forwarded-For`` for a request that has none, by the client's address."""
    return Field("X-Forwarded-For", client)
