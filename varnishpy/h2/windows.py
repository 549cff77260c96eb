"""Flow control of the connection (RFC 9113 section 5.2 and 6.9). A stream keeps its own two windows."""

from __future__ import annotations

from typing import Final

from varnishpy.h2.tables import MAX_WINDOW
from varnishpy.params import params

#: octets either side may send before anybody says more; not subject to SETTINGS (RFC 9113 section 6.9.2)
CONNECTION_WINDOW: Final = 65535


class Windows:
    """Windows in octets: ``rx`` for what the peer sends, ``tx`` for what we send.

    :param initial_rx: the receive window of a new stream, as we announce it
    """

    __slots__ = ("initial_rx", "initial_tx", "rx", "t_dry", "tx")

    def __init__(self, initial_rx: int) -> None:
        self.rx = CONNECTION_WINDOW
        self.tx = CONNECTION_WINDOW
        self.initial_rx = initial_rx
        self.initial_tx = 65535  # of a new stream, until the peer's SETTINGS say otherwise
        self.t_dry = 0.0  # since when a response waits because ``tx`` is empty; 0: none does

    def received(self, size: int) -> int:
        """A DATA frame of that size came; by how much to open the receive window, 0: there is enough left."""
        self.rx -= size
        if self.rx < params.h2_rx_window_low_water:
            increment: int = params.h2_rx_window_increment
            if self.rx + increment <= MAX_WINDOW and size:
                self.rx += increment
                return increment
        return 0
