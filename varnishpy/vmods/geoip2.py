"""VMOD geoip2: anything that a database of addresses knows, with the functions of libvmod-geoip2.

Needs the extra ``geoip``. A newer file is taken when the VCL is loaded again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from varnishpy.log.tag_numbers import DEBUG, ERROR
from varnishpy.vmods._geo import Database, at
from varnishpy.vmods.api import BOOL, IP, STRING, Ctx, VclFailure

if TYPE_CHECKING:
    from maxminddb.types import Record

_MOST_PARTS: Final = 9
_MOST_OCTETS: Final = 100


class geoip2:
    """A database; one that cannot be opened fails the VCL as it is loaded."""

    def __init__(self, ctx: Ctx, vcl_name: str, filename: STRING) -> None:
        try:
            self._database = Database(filename)
        except VclFailure as failure:
            raise VclFailure(f"geoip2.geoip2: {failure}") from None

    def vmod_fini(self, ctx: Ctx) -> None:
        """The VCL goes."""
        self._database.close()

    def lookup(self, ctx: Ctx, path: STRING, addr: IP, json: BOOL = False) -> STRING:
        """What stands at a path like ``city/names/en`` for an address, as text; null, and why in the log, if nothing.

        *json*: strings and octets are put into quotes.
        """
        parts = (path or "").split("/")
        if not path or len(path) >= _MOST_OCTETS or len(parts) > _MOST_PARTS:
            ctx.log(ERROR, f"geoip2.lookup: invalid or missing path ({path})")
            return None
        if addr is None:
            ctx.log(ERROR, "geoip2.lookup: missing address")
            return None
        record = self._database.record(addr)
        if record is None:
            ctx.log(DEBUG, f"geoip2.lookup: no data for this address ({addr.ip})")
            return None
        text = _text(at(record, parts), json)
        if text is None:
            ctx.log(DEBUG, f"geoip2.lookup: no such data in this database ({path})")
            return None
        return ctx.account(text)


def _text(value: Record | None, json: bool) -> str | None:
    """A value as text; ``None`` of what is none, such as maps."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:f}"
    if isinstance(value, (bytes, bytearray)):
        text = value.hex().upper()
    elif isinstance(value, str):
        text = value.encode().decode("latin-1")
        if json:
            text = text.replace("\\", "\\\\").replace('"', '\\"')
    else:
        return None
    return f'"{text}"' if json else text
