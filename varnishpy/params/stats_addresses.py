"""What ``stats_socket`` and ``stats_listen`` may be."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:]+)\]|(?P<v4>[^:/\[\]]+)):(?P<port>[0-9]{1,5})\Z")


def wrong_stats_path(text: str) -> str:
    """Why this is no path for ``stats_socket``; empty if it is one."""
    if _ADDRESS.match(text):
        return f"stats_socket is the path of a Unix socket; for browsers there is stats_listen={text}"
    if text not in ("", "none") and not text.startswith("/"):
        return f"stats_socket must be an absolute path ({text})"
    return ""


def wrong_stats_address(text: str) -> str:
    """Why ``stats_listen`` cannot be this; empty if it can."""
    if text == "none":
        return ""
    found = _ADDRESS.match(text)
    if found is None or int(found["port"]) > 65535:
        return f"stats_listen is ADDRESS:PORT, such as 127.0.0.1:7071 ({text})"
    return ""


def wrong_token_path(text: str) -> str:
    """Why ``stats_token_file`` cannot be this; empty if it can."""
    return "" if not text or text.startswith("/") else f"stats_token_file must be an absolute path ({text})"
