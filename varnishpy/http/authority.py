"""The authority of a request: what ``Host`` and ``:authority`` may hold (RFC 9110 section 7.2, RFC 3986 section 3.2).

Two programs in a row that read ``Host: a/b`` or ``Host: a@b`` differently send a request to different places, and a
cache stores one's answer under the other's name. So whatever the grammar does not know is refused.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

_NAME_CHARS: Final = r"A-Za-z0-9\-._~!$&'()*+,;="  # unreserved and sub-delims
_HOST_PORT: Final = re.compile(
    rf"(?:\[(?:(?P<v6>[0-9A-Fa-f:.]+)|v[0-9A-Fa-f]+\.[{_NAME_CHARS}:]+)\]|(?P<name>(?:[{_NAME_CHARS}]|%[0-9A-Fa-f]{{2}})*))"
    r"(?::[0-9]*)?"
)
_REMEMBERED: Final = 1024


@lru_cache(_REMEMBERED)
def valid_authority(text: str, empty: bool = False) -> bool:
    """Is it ``uri-host [ ":" port ]``, without user information?

    :param empty: an empty text is valid too: ``Host`` of a target without authority (RFC 9112 section 3.2)
    """
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        return False
    address = found["v6"]
    if address is not None:
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            return False
    return bool(text and found["name"] != "") or (empty and not text)
