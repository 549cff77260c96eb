"""Octets of a connection that belong to no request: the session's ``ReqAcct``, and what the log says of it."""

from __future__ import annotations

from varnishpy.h2.tables import FRAME_HEADER


class Overhead:
    """Counts of octets, frames and writes."""

    __slots__ = ("frames_rx", "frames_tx", "rx_body", "tx", "tx_control", "writes")

    def __init__(self) -> None:
        self.frames_rx = 0
        self.frames_tx = 0
        self.writes = 0  # system calls that took frames
        self.rx_body = 0  # payloads of frames that belong to no request
        self.tx = 0  # frames' headers, and whole control frames
        self.tx_control = 0  # of these, what was behind the headers

    @property
    def rx_header(self) -> int:
        """Headers of all frames received."""
        return self.frames_rx * FRAME_HEADER

    @property
    def tx_header(self) -> int:
        """Headers of all frames sent."""
        return self.tx - self.tx_control

    def sent_control(self, size: int) -> None:
        """A control frame of that size, header and all, is on its way."""
        self.tx += size
        self.tx_control += max(0, size - FRAME_HEADER)
