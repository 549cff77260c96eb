"""What every delivery of a stored object begins with, made anew or, for what was hit last, kept with the object.

It takes several times what the object's head takes at rest. So a storage keeps it for some of its objects only: those
that came first go first, and are made again at their next hit.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from varnishpy.base.locks import make_lock
from varnishpy.http.message import HEADER, PROTOCOL, REASON, STATUS, Message
from varnishpy.log.tag_numbers import RESP_METHOD
from varnishpy.log.tasklog import Records, Row

if TYPE_CHECKING:
    from varnishpy.storage.object import StoredObject

_RESP_PROTOCOL: Final = RESP_METHOD + PROTOCOL
_RESP_STATUS: Final = RESP_METHOD + STATUS
_RESP_REASON: Final = RESP_METHOD + REASON
_RESP_HEADER: Final = RESP_METHOD + HEADER

_LEAST: Final = 1024  # objects that a storage may keep it for, however few it has
_SHARE: Final = 8  # else: one in so many


class Prepared:
    """The response head of a stored object, whose headers never change again.

    Threads that deliver the object first at the same time may each make one; they are equal, and one of them stays.
    """

    __slots__ = ("has_ranges", "has_via", "headers", "hpack", "proto", "reason", "records", "size", "status", "stored")

    def __init__(self, stored: Message) -> None:
        self.stored = stored
        self.proto = stored.proto
        self.status = stored.status
        self.reason = stored.reason
        self.headers = stored.headers
        self.hpack: bytes | None = None  # the headers as HTTP/2 sends them: empty if they cannot be sent like that
        self.has_via = stored.has("via")
        self.has_ranges = stored.has("accept-ranges")
        self.size = 16 + stored.size()  # octets of workspace that a response made of it takes
        self.records = Records(partial(_rows, stored))


def _rows(stored: Message) -> list[Row]:
    """What is logged when a response begins with a stored head."""
    rows = [
        (_RESP_PROTOCOL, stored.proto),
        (_RESP_STATUS, f"{stored.status % 1000:03d}"),
        (_RESP_REASON, stored.reason),
        *((_RESP_HEADER, f"{name}: {value}") for _, name, value in stored.headers),
    ]
    if stored.proto != "HTTP/1.1":
        rows.append((_RESP_PROTOCOL, "HTTP/1.1"))
    return rows


class PreparedHeads:
    """The objects of a storage that have a `Prepared` with them. Thread safe."""

    def __init__(self) -> None:
        self._lock = make_lock("prepared")
        self._ring: list[StoredObject] = []
        self._next = 0

    def keep(self, stobj: StoredObject, prepared: Prepared, objects: int) -> None:
        """Keep it with its object, in place of another's if need be.

        :param objects: how many there are
        """
        with self._lock:
            ring = self._ring
            if len(ring) < max(_LEAST, objects // _SHARE):
                ring.append(stobj)
            else:
                at = self._next = (self._next + 1) % len(ring)
                ring[at].prepared = None
                ring[at] = stobj
            stobj.prepared = prepared
