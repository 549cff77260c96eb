"""A connection as text: for the panic dump, and for ``/sessions`` of the stats socket.

Both look at a connection that may be running on another thread, without locks: what they tell may be a moment old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.base import clock
from varnishpy.h2.tables import SETTINGS, STATE_NAMES, H2Error
from varnishpy.http2.request_desk import request_of

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection
    from varnishpy.h2.stream import Stream


def _name(error: H2Error | None) -> str:
    return error.log_name if error is not None else "(null)"


def _settings(values: dict[int, int]) -> str:
    return ", ".join(f"0x{values.get(number, row.default):x}" for number, row in SETTINGS.items())


def _named(values: dict[int, int]) -> dict[str, int]:
    return {SETTINGS[number].name.lower(): value for number, value in values.items()}


def _stream(stream: Stream) -> list[str]:
    holding = stream.holding
    lines = [
        "stream = {",
        f"  id = {stream.number}, state = {STATE_NAMES[stream.state][0]},",
        f"  scheduled = {holding.busy:d}, holders = {holding.holders}, error = {_name(stream.error)},",
        f"  request = {holding.stage.name}, async_error = {_name(stream.async_error)},",
        f"  t_win_low = {stream.t_window_dry:.6f},",
        f"  tx_window = {stream.tx_window}, rx_window = {stream.rx_window},",
    ]
    out = stream.response
    if out is not None:
        lines.append(f"  tx = {{{out.where.name}, left = {out.left}, urgency = {out.urgency}}},")
    buffer = stream.rx_buffer
    if buffer is not None:
        lines.append(f"  rxbuf = {{size, tail, head}} = {{{buffer.size}, {buffer.tail}, {buffer.head}}},")
    lines.append("},")
    return lines


def panic_text(h2: Connection) -> str:
    """The HTTP/2 part of a panic dump."""
    parser = h2.parser
    lines = [
        "h2_sess = {",
        f"  refcnt = {len(h2.streams)}, bogosity = {h2.bogosities}, error = {_name(h2.error)}",
        f"  open_streams = {h2.open_streams}, highest_stream = {h2.highest_stream},",
        f"  tx_window = {h2.windows.tx}, rx_window = {h2.windows.rx},",
        f"  local_settings = {{{_settings(h2.local_settings)}}},",
        f"  remote_settings = {{{_settings(h2.remote_settings)}}},",
        "  {rxf_len, rxf_type, rxf_flags, rxf_stream} ="
        f" {{{parser.length}, {parser.type}, 0x{parser.flags:x}, {parser.stream}}},",
        f"  inbox = {len(h2.inbox)}, queued = {h2.transmitter.queued}, stuck = {h2.transmitter.stuck},",
    ]
    for stream in list(h2.streams.values()):
        lines.extend("  " + line for line in _stream(stream))
    lines.append("},")
    return "\n".join(lines)


def describe(h2: Connection) -> dict[str, object]:
    """The connection as JSON shows it; windows in octets."""
    streams = []
    for stream in list(h2.streams.values()):
        out = stream.response
        request = request_of(stream) if stream.request is not None else None
        streams.append(
            {
                "id": stream.number,
                "state": STATE_NAMES[stream.state][1],
                "scheduled": stream.holding.busy,
                "held": stream.holding.stage.name.lower(),
                "error": stream.error.name if stream.error is not None else None,
                "vxid": request.vxid if request is not None else 0,
                "url": request.http.url if request is not None else "",
                "tx_window": stream.tx_window,
                "rx_window": stream.rx_window,
                "sending": out.where.name.lower() if out is not None else None,
                "left": out.left if out is not None else 0,
                "urgency": stream.urgency[0],
            }
        )
    return {
        "idle": round(max(0.0, clock.mono() - h2.t_idle), 3) if not h2.streams else 0.0,
        "open_streams": h2.open_streams,
        "highest_stream": h2.highest_stream,
        "tx_window": h2.windows.tx,
        "rx_window": h2.windows.rx,
        "error": h2.error.name if h2.error is not None else None,
        "queued": h2.transmitter.queued,
        "stuck": h2.transmitter.stuck,
        "frames_received": h2.overhead.frames_rx,
        "frames_sent": h2.overhead.frames_tx,
        "writes": h2.overhead.writes,
        "bogosities": h2.bogosities,
        "wakeups": h2.inbox.wakeups,
        "wakeups_spared": h2.inbox.wakeups_spared,
        "local_settings": _named(h2.local_settings),
        "remote_settings": _named(h2.remote_settings),
        "streams": streams,
    }
