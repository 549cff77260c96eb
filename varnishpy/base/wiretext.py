"""Between text as users write and read it, and wire strings, which have a character for each octet.

Users' text is UTF-8 on the line; what is no UTF-8 there comes and goes as it is.
"""

from __future__ import annotations


def to_wire(text: str) -> str:
    """What a user has written, as messages and the log have it."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def from_wire(text: str) -> str:
    """A wire string for users to read."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")
