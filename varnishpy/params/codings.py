"""What ``http_codings`` may be: content codings beside gzip, each with the package that knows it."""

from __future__ import annotations

import importlib.util
from typing import Final

#: RFC 7932, RFC 8878
PACKAGES: Final = {"br": "brotli", "zstd": "zstandard"}


def parse_codings(text: str) -> tuple[str, ...]:
    """The names in a list with blanks or commas between."""
    return tuple(text.replace(",", " ").split())


def wrong_codings(text: str) -> str:
    """Why this is no value of ``http_codings``; empty if it is one."""
    for coding in parse_codings(text):
        package = PACKAGES.get(coding)
        if package is None:
            return f"http_codings are of {', '.join(PACKAGES)}; gzip is always there ({coding})"
        if importlib.util.find_spec(package) is None:
            return f"http_codings: {coding} needs the package {package} (pip install 'varnishpy[codings]')"
    return ""
