"""VMODs maxminddb and geoip2, on a database that is written here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vcl.vcl_bench import Bench
from tests.vmods import mmdb
from varnishpy.vcl.loader import VclLoadError

OSLO = {
    "continent": {"code": "EU"},
    "country": {"iso_code": "NO", "is_in_european_union": False, "names": {"en": "Norway", "de": "Nörwegen"}},
    "subdivisions": [{"iso_code": "03", "names": {"en": 'Os"lo'}}],
    "city": {"names": {"en": "Oslo"}},
    "postal": {"code": "0150"},
    "location": {"latitude": 59.9127, "longitude": -100.0},
    "traits": {"big": 12345678901, "raw": b"\x01\xff"},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("geo") / "test.mmdb"
    return mmdb.write(place, {"192.0.2.0/24": OSLO, "198.51.100.0/25": {"country": {"iso_code": 7}}})


def ask(path: Path, vmod: str, expression: str) -> tuple[str | None, Bench]:
    init = f'maxminddb.init_db("{path}");' if vmod == "maxminddb" else f'new g = geoip2.geoip2("{path}");'
    text = (
        f'import {vmod}; import std; sub vcl_init {{ {init} }} sub vcl_recv {{ set req.http.out = {expression} + ""; }}'
    )
    bench = Bench(text)
    value = bench.recv().http.get("out")
    bench.vcl.discard()
    return value, bench


@pytest.mark.parametrize(
    ("function", "result"),
    [
        ("query", "NO"),
        ("query_continent", "EU"),
        ("query_country", "NO"),
        ("query_state", "03"),
        ("query_city", "Oslo"),
        ("query_postalcode", "0150"),
        ("query_latitude", "59.9127"),
        ("query_longitude", "-100.0000"),
    ],
)
def test_maxminddb(path: Path, function: str, result: str) -> None:
    assert ask(path, "maxminddb", f"maxminddb.{function}(client.ip)")[0] == result
    nothing = "0" if function.endswith("tude") else "-"
    for unknown in ("203.0.113.1", "198.51.100.1", "2001:db8::1"):
        assert ask(path, "maxminddb", f'maxminddb.{function}(std.ip("{unknown}"))')[0] == nothing


def test_without_a_database() -> None:
    bench = Bench("import maxminddb; sub vcl_recv { set req.http.out = maxminddb.query(client.ip); }")
    assert bench.recv().http.get("out") == "-"


def test_a_second_database_takes_the_place_of_the_first(path: Path, tmp_path: Path) -> None:
    other = mmdb.write(tmp_path / "other.mmdb", {"192.0.2.0/24": {"country": {"iso_code": "SE"}}})
    init = f'maxminddb.init_db("{path}"); maxminddb.init_db("{other}");'
    bench = Bench(
        f"import maxminddb; sub vcl_init {{ {init} }} sub vcl_recv {{ set req.url = maxminddb.query(client.ip); }}"
    )
    assert bench.recv().http.url == "SE"


@pytest.mark.parametrize("statement", ['maxminddb.init_db("{}");', 'new g = geoip2.geoip2("{}");'])
def test_what_is_no_database_fails_the_program(statement: str, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    for place in ("/nonexistent.mmdb", tmp_path / "junk"):
        with pytest.raises(VclLoadError, match=f"cannot open the database {place}"):
            Bench(f"import maxminddb; import geoip2; sub vcl_init {{ {statement.format(place)} }}")


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ('"country/iso_code", client.ip', "NO"),
        ('"country/names/de", client.ip', "N\xc3\xb6rwegen"),
        ('"country/is_in_european_union", client.ip', "false"),
        ('"subdivisions/0/names/en", client.ip', 'Os"lo'),
        ('"subdivisions/0/names/en", client.ip, true', '"Os\\"lo"'),
        ('"traits/big", client.ip, true', "12345678901"),
        ('"traits/raw", client.ip', "01FF"),
        ('"traits/raw", client.ip, true', '"01FF"'),
        ('"location/latitude", client.ip', "59.912700"),
    ],
)
def test_geoip2(path: Path, call: str, result: str) -> None:
    assert ask(path, "geoip2", f"g.lookup({call})")[0] == result


@pytest.mark.parametrize(
    ("call", "tag", "message"),
    [
        ('"country/none", client.ip', "Debug", "no such data in this database (country/none)"),
        ('"country", client.ip', "Debug", "no such data in this database (country)"),
        ('"subdivisions/1/iso_code", client.ip', "Debug", "no such data in this database (subdivisions/1/iso_code)"),
        ('"country/iso_code", std.ip("203.0.113.1")', "Debug", "no data for this address (203.0.113.1)"),
        ('"", client.ip', "Error", "invalid or missing path ()"),
        ('"a/b/c/d/e/f/g/h/i/j", client.ip', "Error", "invalid or missing path (a/b/c/d/e/f/g/h/i/j)"),
    ],
)
def test_geoip2_says_what_is_wrong(path: Path, call: str, tag: str, message: str) -> None:
    value, bench = ask(path, "geoip2", f'g.lookup({call}) + "-"')
    assert value == "-"
    assert bench.log.texts(tag) == [f"geoip2.lookup: {message}"]
