"""VMOD maxminddb: where an address is, with the functions of libvmod_maxminddb.

Needs the extra ``geoip``. One database for each VCL; it is read into memory as needed, and a newer file is taken when
the VCL is loaded again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from varnishpy.vmods._geo import Database, at
from varnishpy.vmods.api import IP, PRIV_VCL, STRING, Ctx, VclFailure, restrict

if TYPE_CHECKING:
    from maxminddb.types import Record


def vmod_event(ctx: Ctx, priv: PRIV_VCL, event: str) -> None:
    """The database goes with its VCL."""
    database = priv.find("database", Database)
    if event == "discard" and database is not None:
        database.close()


@restrict("vcl_init")
def init_db(ctx: Ctx, priv: PRIV_VCL, filename: STRING, /) -> None:
    """Open the database; one that cannot be opened fails the VCL as it is loaded."""
    try:
        fresh = Database(filename)
    except VclFailure as failure:
        raise VclFailure(f"maxminddb.init_db(): {failure}") from None
    old, priv["database"] = priv.find("database", Database), fresh
    if old is not None:
        old.close()


def _find(priv: PRIV_VCL, address: IP, path: str) -> Record | None:
    database = priv.find("database", Database)
    return None if database is None else at(database.record(address), path.split("/"))


def _text(ctx: Ctx, priv: PRIV_VCL, address: IP, path: str) -> STRING:
    found = _find(priv, address, path)
    return ctx.account(found.encode().decode("latin-1")) if isinstance(found, str) else "-"


def _coordinate(ctx: Ctx, priv: PRIV_VCL, address: IP, name: str) -> STRING:
    found = _find(priv, address, f"location/{name}")
    return ctx.account(f"{found:.4f}") if isinstance(found, (int, float)) else "0"


def query(ctx: Ctx, priv: PRIV_VCL, ip: IP, /) -> STRING:
    """As `query_country`."""
    return query_country(ctx, priv, ip)


def query_continent(ctx: Ctx, priv: PRIV_VCL, ip: IP, /) -> STRING:
    """The continent's code; ``-`` where it is not known."""
    return _text(ctx, priv, ip, "continent/code")


def query_country(ctx: Ctx, priv: PRIV_VCL, ip: IP, /) -> STRING:
    """The country's code (ISO 3166-1); ``-`` where it is not known."""
    return _text(ctx, priv, ip, "country/iso_code")


def query_state(ctx: Ctx, priv: PRIV_VCL, ip: IP, /) -> STRING:
    """The code of the country's part (ISO 3166-2); ``-`` where it is not known."""
    return _text(ctx, priv, ip, "subdivisions/0/iso_code")


def query_city(ctx: Ctx, priv: PRIV_VCL, ip: IP, /) -> STRING:
    """The city's English name; ``-`` where it is not known."""
    return _text(ctx, priv, ip, "city/names/en")


def query_postalcode(ctx: Ctx, priv: PRIV_VCL, ip: IP, /) -> STRING:
    """The postal code; ``-`` where it is not known."""
    return _text(ctx, priv, ip, "postal/code")


def query_latitude(ctx: Ctx, priv: PRIV_VCL, ip: IP, /) -> STRING:
    """Degrees north, with four decimals; ``0`` where it is not known."""
    return _coordinate(ctx, priv, ip, "latitude")


def query_longitude(ctx: Ctx, priv: PRIV_VCL, ip: IP, /) -> STRING:
    """Degrees east, with four decimals; ``0`` where it is not known."""
    return _coordinate(ctx, priv, ip, "longitude")
