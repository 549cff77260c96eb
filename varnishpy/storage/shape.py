"""Response heads at rest: what many objects share is kept once, what is each one's own is one string.

The objects of a site have few different sets of header names. Such a set, with the status line, is a *shape*, and
shapes are shared; of an object there remain a reference to its shape and its values in one string. A head of ten
fields takes 300 octets like that, and 1,800 as a message with a list of tuples.
"""

from __future__ import annotations

from typing import Final

from varnishpy.http.message import Header, Message

_MOST: Final = 4096  # shapes that are shared; made-up names cannot fill memory, they only share nothing
_BETWEEN: Final = "\n"


class Shape:
    """First line and names of a response head. Immutable, shared between threads.

    :param names: as received
    """

    __slots__ = ("fields", "proto", "reason", "status")

    def __init__(self, proto: str, status: int, reason: str, names: tuple[str, ...]) -> None:
        self.proto = proto
        self.status = status
        self.reason = reason
        self.fields = tuple([(name.lower(), name) for name in names])

    def unpack(self, values: str) -> Message:
        """The message that `pack` was given, as a copy of its own."""
        message = Message()
        message.proto = self.proto
        message.status = self.status
        message.reason = self.reason
        if self.fields:
            headers: list[Header] = [
                (lname, name, value) for (lname, name), value in zip(self.fields, values.split(_BETWEEN), strict=True)
            ]
            message.headers = headers
        return message

    def first(self, values: str, lname: str) -> str | None:
        """The first value of a header, as `Message.get` of the whole head."""
        for at, field in enumerate(self.fields):
            if field[0] == lname:
                return values.split(_BETWEEN, at + 1)[at]
        return None


# Only ever a memo: entries are immutable, each operation on it is a single one.
_shapes: dict[tuple[str, int, str, tuple[str, ...]], Shape] = {}


def pack(message: Message) -> tuple[Shape, str] | None:
    """Shape and values of a head; ``None`` if it cannot be kept like that, for what VCL has put into a value."""
    headers = message.headers
    values = _BETWEEN.join([header[2] for header in headers])
    if values.count(_BETWEEN) != max(0, len(headers) - 1):
        return None
    key = (message.proto, message.status, message.reason, tuple([header[1] for header in headers]))
    shape = _shapes.get(key)
    if shape is None:
        shape = Shape(*key)
        if len(_shapes) < _MOST:
            _shapes[key] = shape
    return shape, values
