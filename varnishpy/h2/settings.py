"""Settings: what we announce, and what the peer's make us do (RFC 9113 section 6.5).

A setting that makes us do something has a function in `EFFECTS`. It is called once for each SETTINGS frame that names
the setting, with all values that the frame gives it, in order: the last one holds, but the decoder of a peer that
shrinks its table for a moment must hear of the smallest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from varnishpy.h2.frames import setting_iter
from varnishpy.h2.hpack import DEFAULT_TABLE_SIZE
from varnishpy.h2.tables import CE, CLOSED, MAX_WINDOW, SETTINGS, H2Error
from varnishpy.log.tag_numbers import DEBUG
from varnishpy.params import params

if TYPE_CHECKING:
    from varnishpy.h2.connection import Connection

Effect = Callable[["Connection", list[int]], "H2Error | None"]


def announced() -> dict[int, int]:
    """Our settings by number, from the parameters as they are now."""
    return {row.number: int(getattr(params, row.parameter)) for row in SETTINGS.values() if row.parameter is not None}


def settings_payload(local: dict[int, int]) -> list[tuple[int, int]]:
    """What our SETTINGS must say: values that differ from the protocol's defaults."""
    return [(number, value) for number, value in local.items() if value != SETTINGS[number].default]


def apply_settings(h2: Connection, payload: bytes) -> H2Error | None:
    """Take the peer's settings, of a SETTINGS frame or an HTTP2-Settings header; whole six-byte settings."""
    named: dict[str, list[int]] = {}
    for key, value in setting_iter(payload):
        row = SETTINGS.get(key)
        if row is None:
            h2.log.put(DEBUG, f"H2SETTING unknown setting 0x{key:04x}={value:08x} (ignored)")
            continue
        if not row.low <= value <= row.high:
            h2.log.put(DEBUG, f"H2SETTING invalid {row.name.lower()}=0x{value:08x}")
            if row.error is not None and not h2.nocheck:
                return row.error
        h2.log.put(DEBUG, f"H2SETTING {row.name.lower()}=0x{value:08x}")
        h2.remote_settings[key] = value
        named.setdefault(row.name, []).append(value)
    for name, values in named.items():
        effect = EFFECTS.get(name)
        error = effect(h2, values) if effect is not None else None
        if error is not None:
            return error
    return None


def _header_table_size(h2: Connection, values: list[int]) -> H2Error | None:
    if min(values) < DEFAULT_TABLE_SIZE and not h2.table_shrunk:
        h2.table_shrunk = True  # our encoder's table is empty from now on, whatever else they allow
        h2.transmitter.shrink_table = True
    return None


def _initial_window_size(h2: Connection, values: list[int]) -> H2Error | None:
    """The window of every live stream changes by the difference (RFC 9113 section 6.9.2)."""
    windows = h2.windows
    change = values[-1] - windows.initial_tx
    if not change:
        return None
    windows.initial_tx = values[-1]
    for stream in h2.streams.values():
        if stream.state is CLOSED:
            continue
        stream.tx_window += change
        if stream.tx_window > MAX_WINDOW:
            return CE.FLOW_CONTROL_ERROR
        if stream.tx_window > 0:
            h2.transmitter.unstick(stream)
    return None


def _max_frame_size(h2: Connection, values: list[int]) -> H2Error | None:
    h2.max_frame = values[-1]
    return None


EFFECTS: Final[dict[str, Effect]] = {
    "HEADER_TABLE_SIZE": _header_table_size,
    "INITIAL_WINDOW_SIZE": _initial_window_size,
    "MAX_FRAME_SIZE": _max_frame_size,
}
