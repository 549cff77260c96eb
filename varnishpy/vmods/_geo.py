"""Databases of addresses in MaxMind's format, for VMODs maxminddb and geoip2; read by the package ``maxminddb``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.vmods.api import SockAddr, VclFailure

try:
    import maxminddb
except ImportError:
    raise ImportError("this VMOD needs the Python package maxminddb: pip install 'varnishpy[geoip]'") from None

if TYPE_CHECKING:
    from maxminddb.types import Record


class Database:
    """An open database. Any thread may look things up."""

    def __init__(self, path: str | None) -> None:
        """Open a file; raises `VclFailure` with the reason why it cannot be used."""
        try:
            self._reader = maxminddb.open_database((path or "").encode("latin-1").decode())
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            raise VclFailure(f"cannot open the database {path}: {error}") from None

    def record(self, address: SockAddr | None) -> Record | None:
        """What the database has for an address; ``None`` if nothing, or it cannot be read."""
        if address is None:
            return None
        try:
            return self._reader.get(address.ip.partition("%")[0])
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None  # an IPv6 address in a database of IPv4 ones, or a damaged file

    def close(self) -> None:
        """Give the file back."""
        self._reader.close()


def at(record: Record | None, path: list[str]) -> Record | None:
    """What stands at a path of keys and places in a record; ``None`` if nothing."""
    found = record
    for part in path:
        if isinstance(found, dict):
            found = found.get(part)
        elif isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found
