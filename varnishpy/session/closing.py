"""Why a connection was closed: one row per reason (``SessClose`` in vsl(7), ``sc_*`` in varnish-counters(7))."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from varnishpy.stats import MainName


@dataclass(frozen=True, slots=True)
class CloseReason:
    """``name`` stands in the log, ``counter`` in the statistics; errors also count in ``sess_closed_err``."""

    name: str
    counter: MainName
    is_error: bool
    text: str


_ROWS: Final = (
    CloseReason("REM_CLOSE", "sc_rem_close", False, "the client closed"),
    CloseReason("REQ_CLOSE", "sc_req_close", False, "the client asked for it"),
    CloseReason("REQ_HTTP10", "sc_req_http10", True, "HTTP/1.0 without keep-alive"),
    CloseReason("RX_BAD", "sc_rx_bad", True, "a request that makes no sense"),
    CloseReason("RX_BODY", "sc_rx_body", True, "the request body could not be read"),
    CloseReason("RX_JUNK", "sc_rx_junk", True, "what came is no HTTP"),
    CloseReason("RX_OVERFLOW", "sc_rx_overflow", True, "a request head larger than allowed"),
    CloseReason("RX_TIMEOUT", "sc_rx_timeout", True, "a request head that did not arrive in time"),
    CloseReason("RX_CLOSE_IDLE", "sc_rx_close_idle", False, "idle for timeout_idle"),
    CloseReason("TX_PIPE", "sc_tx_pipe", False, "the end of a pipe"),
    CloseReason("TX_ERROR", "sc_tx_error", True, "the response could not be sent"),
    CloseReason("TX_EOF", "sc_tx_eof", False, "the response ends with the connection"),
    CloseReason("RESP_CLOSE", "sc_resp_close", False, "VCL or the origin asked for it"),
    CloseReason("OVERLOAD", "sc_overload", True, "out of some resource"),
    CloseReason("PIPE_OVERFLOW", "sc_pipe_overflow", True, "the waiter did not take the session"),
    CloseReason("RANGE_SHORT", "sc_range_short", True, "less data than the range promised"),
    CloseReason("REQ_HTTP20", "sc_req_http20", True, "HTTP/2 is switched off"),
    CloseReason("VCL_FAILURE", "sc_vcl_failure", True, "VCL failed"),
    CloseReason("RAPID_RESET", "sc_rapid_reset", True, "HTTP/2 rapid reset"),
    CloseReason("BANKRUPT", "sc_bankrupt", True, "HTTP/2 windows stayed empty"),
)

REASONS: Final[dict[str, CloseReason]] = {row.name: row for row in _ROWS}
