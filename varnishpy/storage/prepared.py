"""What every delivery of a stored object begins with, made when it is first delivered and kept with the object."""

from __future__ import annotations

from typing import Final

from varnishpy.http.message import HEADER, PROTOCOL, REASON, STATUS, Message
from varnishpy.log.tag_numbers import RESP_METHOD
from varnishpy.log.tasklog import Records

_RESP_PROTOCOL: Final = RESP_METHOD + PROTOCOL
_RESP_STATUS: Final = RESP_METHOD + STATUS
_RESP_REASON: Final = RESP_METHOD + REASON
_RESP_HEADER: Final = RESP_METHOD + HEADER


class Prepared:
    """The response head of a stored object, whose headers never change again.

    Threads that deliver the object first at the same time may each make one; they are equal, and one of them stays.
    """

    __slots__ = ("has_ranges", "has_via", "headers", "hpack", "reason", "records", "size", "status")

    def __init__(self, stored: Message) -> None:
        self.status = stored.status
        self.reason = stored.reason
        self.headers = stored.headers
        self.hpack: bytes | None = None  # the headers as HTTP/2 sends them: empty if they cannot be sent like that
        self.has_via = stored.has("via")
        self.has_ranges = stored.has("accept-ranges")
        self.size = 16 + stored.size()  # octets of workspace that a response made of it takes
        rows = [
            (_RESP_PROTOCOL, stored.proto),
            (_RESP_STATUS, f"{stored.status % 1000:03d}"),
            (_RESP_REASON, stored.reason),
            *((_RESP_HEADER, f"{name}: {value}") for _, name, value in stored.headers),
        ]
        if stored.proto != "HTTP/1.1":
            rows.append((_RESP_PROTOCOL, "HTTP/1.1"))
        self.records = Records(rows)
