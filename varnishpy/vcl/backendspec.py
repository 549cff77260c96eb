"""Backends and probes: their fields, one parser each (vcl-backend(7), vcl-probe(7))."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from varnishpy.base import endpoint
from varnishpy.vcl import addresses
from varnishpy.vcl.nearby import did_you_mean
from varnishpy.vcl.source import CBLOB, CSTR, ID, CompileStop, Token
from varnishpy.vcl.specs import BackendSpec, ProbeSpec
from varnishpy.vcl.symbols import Symbol
from varnishpy.vcl.types import BACKEND, PROBE, VclType
from varnishpy.vcl.unit import Unit

Value = str | float | bytes | None
Reader = Callable[[Unit], Value]
T = TypeVar("T")
_WINDOW_MOST = 64  # the bits of a 64-bit history


class _Fields(dict[str, Value]):
    """What a declaration says, by field."""

    def _of(self, field: str, kind: type[T]) -> T | None:
        value = self.get(field)
        assert value is None or isinstance(value, kind)
        return value

    def text(self, field: str) -> str | None:
        return self._of(field, str)

    def number(self, field: str) -> int | None:
        return self._of(field, int)

    def octets(self, field: str) -> bytes:
        return self._of(field, bytes) or b""

    def seconds(self, field: str) -> float | None:
        return self._of(field, float)


def _text(unit: Unit) -> str:
    token = unit.expect(CSTR)
    unit.next()
    return token.value


def _lines(unit: Unit) -> str:
    """The strings of ``.request``, each a line, and the empty line at the end."""
    unit.expect(CSTR)
    out = []
    while unit.token.kind == CSTR:
        out.append(unit.next().value + "\r\n")
    return "".join(out) + "\r\n"


def _blob(unit: Unit) -> bytes:
    token = unit.expect(CBLOB)
    unit.next()
    return token.blob


def _status(unit: Unit) -> int:
    value = unit.unsigned()
    if not 100 <= value <= 999:
        unit.report.fail("Must specify .expected_response with exactly three digits (100 <= x <= 999)\n", unit.token)
    return value


def _proxy(unit: Unit) -> int:
    token = unit.token
    value = unit.unsigned()
    if value not in (1, 2):
        unit.report.fail(".proxy_header must be 1 or 2\n", token)
    return value


_PROBE_FIELDS: dict[str, Reader] = {
    "url": _text,
    "request": _lines,
    "expected_response": _status,
    "timeout": Unit.duration,
    "interval": Unit.duration,
    "window": Unit.unsigned,
    "threshold": Unit.unsigned,
    "initial": Unit.unsigned,
    "expect_close": Unit.boolean,
}
_BACKEND_FIELDS: dict[str, Reader] = {
    "host": _text,
    "port": _text,
    "path": _text,
    "host_header": _text,
    "connect_timeout": Unit.duration,
    "first_byte_timeout": Unit.duration,
    "between_bytes_timeout": Unit.duration,
    "probe": lambda unit: None,  # read by parse_backend
    "max_connections": Unit.unsigned,
    "proxy_header": _proxy,
    "preamble": _blob,
    "via": lambda unit: None,  # read by parse_backend
    "authority": _text,
    "wait_timeout": Unit.duration,
    "wait_limit": Unit.unsigned,
    "ssl": Unit.unsigned,
    "ssl_sni": Unit.unsigned,
    "ssl_nosni": Unit.unsigned,
    "ssl_noverify": Unit.unsigned,
    "ssl_verify_peer": Unit.unsigned,
    "ssl_verify_host": Unit.unsigned,
}
# two ways of saying one thing: field -> (what it says, whether it says the opposite)
_OPPOSITES = {
    "ssl_sni": ("sni", False),
    "ssl_nosni": ("sni", True),
    "ssl_verify_peer": ("verify", False),
    "ssl_noverify": ("verify", True),
}


def _field(unit: Unit, fields: dict[str, Reader], seen: dict[str, Token]) -> Token:
    """``.name =``"""
    unit.skip(".")
    token = unit.expect(ID)
    name = token.text
    if name not in fields:
        unit.report.add(f"Unknown field: '{name}' at\n")
        unit.report.where(token)
        unit.report.fail(did_you_mean(name, fields, "."))
    if name in seen:
        unit.report.add(f"Field '{name}' redefined at:\n")
        unit.report.where(token)
        unit.report.fail("\nFirst defined at:\n", seen[name])
    seen[name] = token
    unit.next()
    unit.skip("=")
    return token


def _exclusive(unit: Unit, what: str, seen: dict[str, Token], pair: tuple[str, str]) -> None:
    """Two fields of which there can be only one."""
    if pair[0] in seen and pair[1] in seen:
        later, earlier = sorted((seen[pair[0]], seen[pair[1]]), key=lambda token: -token.index)
        unit.report.add(f"{what} redefinition at:\n")
        unit.report.where(later)
        unit.report.fail("Previous definition:\n", earlier)


# -- probes ------------------------------------------------------------------------------------------------------------


def _probe_spec(unit: Unit, name: str) -> ProbeSpec:
    unit.skip("{")
    seen: dict[str, Token] = {}
    places: dict[str, Token] = {}
    values = _Fields()
    while unit.token.kind != "}":
        token = _field(unit, _PROBE_FIELDS, seen)
        _exclusive(unit, "Probe request", seen, ("url", "request"))
        places[token.text] = unit.token
        values[token.text] = _PROBE_FIELDS[token.text](unit)
        unit.skip(";")
    _check_window(unit, places, values)
    unit.skip("}")
    return ProbeSpec(
        name,
        url=values.text("url"),
        request=values.text("request"),
        timeout=values.seconds("timeout"),
        interval=values.seconds("interval"),
        expected_response=values.number("expected_response"),
        window=values.number("window"),
        threshold=values.number("threshold"),
        initial=values.number("initial"),
        expect_close=values.get("expect_close", True) is True,
    )


def _check_window(unit: Unit, places: dict[str, Token], values: _Fields) -> None:
    threshold, window = values.number("threshold"), values.number("window")
    if threshold is None:
        if window is not None:
            unit.report.fail("Must specify .threshold with .window\n", places["window"])
    elif window is None:
        if threshold > _WINDOW_MOST:
            unit.report.fail("Threshold must be 64 or less.\n", places["threshold"])
        values["window"] = threshold + 1
    elif window > _WINDOW_MOST:
        unit.report.fail("Window must be 64 or less.\n", places["window"])
    elif threshold > window:
        unit.report.add("Threshold cannot be greater than window.\n")
        unit.report.where(places["threshold"])
        unit.report.fail("", places["window"])


def parse_probe(unit: Unit) -> None:
    """``probe name { ... }``."""
    unit.next()
    token = unit.expect_name("backend probe")
    symbol = _define(unit, PROBE)
    spec = _probe_spec(unit, token.text)
    unit.probes.append((symbol, spec))
    if token.text == "default":
        unit.default_probe = symbol


def _define(unit: Unit, kind: VclType) -> Symbol:
    """A backend or probe; the one called ``default`` stands beside the reserved word."""
    token = unit.token
    if token.text != "default":
        return unit.symbols.define(kind)
    unit.next()
    symbol = Symbol("default", kind.handle, kind, unchecked=True, code=f"{kind.handle}_default")
    symbol.definition = token
    symbol.defined = 1
    return symbol


# -- backends ----------------------------------------------------------------------------------------------------------


def parse_backend(unit: Unit) -> None:
    """``backend name { ... }`` or ``backend name none;``."""
    first = unit.next()
    token = unit.expect_name("backend")
    symbol = _define(unit, BACKEND)
    if token.text == "default":
        if unit.first_backend is not None:
            unit.first_backend.unchecked = False
            unit.first_backend = unit.default_backend = None
        if unit.default_backend is not None:
            unit.report.fail("Only one default director possible.\n", first)
        unit.default_backend = symbol
    elif unit.default_backend is None:
        unit.first_backend = unit.default_backend = symbol
        symbol.unchecked = True
    mark = len(unit.report.parts)
    try:
        spec, via = _host(unit, symbol, token)
    except CompileStop:
        if len(unit.report.parts) > mark:
            unit.report.add(f"\nIn {first.text} specification starting at:\n")
            unit.report.where(first)
        raise
    unit.backends.append((symbol, spec, via))


def _host(unit: Unit, symbol: Symbol, name: Token) -> tuple[BackendSpec, Symbol | None]:
    if unit.token.kind == ID and unit.token.text in ("none", "None"):
        unit.next()
        unit.skip(";")
        return BackendSpec(name.text, none=True), None
    unit.skip("{")
    if unit.token.is_id("set"):
        unit.report.add('NB: Backend Syntax has changed:\nRemove "set" and "backend" in front of backend fields.\n')
        unit.report.fail(f"{unit.token.describe()} at ", unit.token)
    seen: dict[str, Token] = {}
    places: dict[str, Token] = {}
    values = _Fields()
    said: dict[str, tuple[bool, Token]] = {}
    probe: ProbeSpec | None = None
    via: Symbol | None = None
    while unit.token.kind != "}":
        token = _field(unit, _BACKEND_FIELDS, seen)
        field = token.text
        places[field] = unit.token
        if field == "path" and unit.syntax < 41:
            unit.report.fail(
                "Unix socket backends only supported in VCL4.1 and higher.\n" + unit.token.describe() + " at ",
                unit.token,
            )
        _exclusive(unit, "Address", seen, ("host", "path"))
        if field == "probe":
            probe = _backend_probe(unit)
            if unit.before(unit.token).kind == "}":
                continue
        elif field == "via":
            via = unit.symbols.want("backend")
            unit.symbols.refer(via, token)
            if via.goes_via:
                unit.report.fail("Cannot stack .via backends at\n", unit.token)
            symbol.goes_via = True
        else:
            values[field] = _BACKEND_FIELDS[field](unit)
            _contradiction(unit, said, token, values[field])
        unit.skip(";")
    if "host" not in values and "path" not in values:
        unit.report.fail("Expected .host or .path.\n", name)
    if via is not None and "path" in values:
        unit.report.fail("Cannot set both .via and .path.\n", name)
    spec = _finish(unit, name, places, values, said, probe, via)
    unit.skip("}")
    stands_in = name.text in unit.options.stand_ins or "*" in unit.options.stand_ins
    return spec, None if stands_in else via


def _contradiction(unit: Unit, said: dict[str, tuple[bool, Token]], token: Token, value: Value) -> None:
    if token.text not in _OPPOSITES:
        return
    what, negated = _OPPOSITES[token.text]
    meaning = bool(value) is not negated
    if what in said and said[what][0] is not meaning:
        other = said[what][1]
        unit.report.add(f"Setting of field '{token.text}' conflicts with field '{other.text}'.\n")
        unit.report.where(token)
        unit.report.fail("Previously defined here:\n", other)
    said[what] = (meaning, token)


def _backend_probe(unit: Unit) -> ProbeSpec | None:
    token = unit.token
    if token.kind == "{":
        return _probe_spec(unit, f"vgc_probe__{len(unit.probes)}")
    if token.kind != ID:
        unit.report.fail(f"Expected '{{' or name of probe, got {token.describe()} at\n", token)
    if token.text == "default":
        unit.next()
        if unit.default_probe is None:
            unit.report.fail(f"No default probe defined\n{token.describe()} at\n", token)
        symbol = unit.default_probe
    else:
        symbol = unit.symbols.want("probe")
        unit.symbols.refer(symbol, token)
    for known, spec in unit.probes:
        if known is symbol:
            return spec
    return None


def _finish(
    unit: Unit,
    name: Token,
    places: dict[str, Token],
    values: _Fields,
    said: dict[str, tuple[bool, Token]],
    probe: ProbeSpec | None,
    via: Symbol | None,
) -> BackendSpec:
    host, path = values.text("host"), values.text("path")
    ssl = bool(values.get("ssl"))
    if ssl and path is not None:
        unit.report.fail(".ssl can not be used with .path.\n", places["ssl"])
    ipv4 = ipv6 = None
    stand_in = unit.options.stand_ins.get(name.text, unit.options.stand_ins.get("*"))
    if stand_in is not None:
        return _stand_in(unit, name, values, stand_in)
    if path is not None:
        _check_path(unit, places["path"], path)
    else:
        assert host is not None
        # as with the C program, an empty host is every address of this machine, and an empty port is port 0
        empty = [field for field in ("host", "port") if values.get(field) == ""]
        for field in empty:
            unit.report.add(f"Warning: backend {name.text} has an empty .{field}\n")
        port = "80" if "port" not in values else values.text("port") or "0"
        hosts = ("0.0.0.0", "[::]") if "host" in empty else (host,)
        for found in addresses.resolve_all(unit, places["host"], hosts, port, "Backend host"):
            if ":" in found[0]:
                ipv6 = found
            else:
                ipv4 = found
    host_header = _host_header(values)
    authority = _authority(unit, places, values) if via is not None else None
    return BackendSpec(
        name.text,
        host=host,
        port=values.text("port"),
        path=path,
        ipv4=ipv4,
        ipv6=ipv6,
        host_header=host_header,
        connect_timeout=values.seconds("connect_timeout"),
        first_byte_timeout=values.seconds("first_byte_timeout"),
        between_bytes_timeout=values.seconds("between_bytes_timeout"),
        wait_timeout=values.seconds("wait_timeout"),
        wait_limit=values.number("wait_limit"),
        max_connections=values.number("max_connections"),
        proxy_header=values.number("proxy_header") or 0,
        preamble=values.octets("preamble"),
        authority=authority,
        probe=probe,
        ssl=ssl,
        ssl_sni=said["sni"][0] if "sni" in said else True,
        ssl_verify_peer=said["verify"][0] if "verify" in said else True,
        ssl_verify_host=bool(values.get("ssl_verify_host")),
    )


def _stand_in(unit: Unit, name: Token, values: _Fields, address: str) -> BackendSpec:
    """The backend at another address, see `CompileOptions.stand_ins`: what it says of times and limits holds."""
    said = BackendSpec(
        name.text,
        host_header=_host_header(values),
        connect_timeout=values.seconds("connect_timeout"),
        first_byte_timeout=values.seconds("first_byte_timeout"),
        between_bytes_timeout=values.seconds("between_bytes_timeout"),
        wait_timeout=values.seconds("wait_timeout"),
        wait_limit=values.number("wait_limit"),
        max_connections=values.number("max_connections"),
    )
    if address.startswith(("/", "@")):
        return replace(said, path=address)
    found = addresses.resolve(unit, name, address, "80", "Stand-in", 2)
    ipv4 = next((each for each in found if ":" not in each[0]), None)
    ipv6 = next((each for each in found if ":" in each[0]), None)
    return replace(said, host=address, ipv4=ipv4, ipv6=ipv6)


def _host_header(values: _Fields) -> str:
    """What the Host header says where the request has none."""
    if "host_header" in values:
        return values.text("host_header") or ""
    return values.text("host") or "" if "host" in values else "0.0.0.0"


def _authority(unit: Unit, places: dict[str, Token], values: _Fields) -> str:
    field = next(name for name in ("authority", "host_header", "host") if name in values)
    text = values.text(field) or ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return text.partition(":")[0]
    if field == "authority":
        unit.report.fail(".authority can not be an ip address with .via.\n", places[field])
    raise unit.report.error(
        f".{field} used as authority can not be an ip address with .via.\nHint: configure .authority explicitly\n",
        places[field],
    )


@contextlib.contextmanager
def _identity(other: tuple[int, int, tuple[int, ...]] | None) -> Iterator[None]:
    """Be somebody else for a moment, so that files look as they will to who runs the program."""
    if other is None:
        yield
        return
    user, group, groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(other[2])
    os.setegid(other[1])
    os.seteuid(other[0])
    try:
        yield
    finally:
        os.seteuid(user)
        os.setegid(group)
        os.setgroups(groups)


def _check_path(unit: Unit, token: Token, path: str) -> None:
    what = "Backend path"
    if not path.startswith(("/", "@")):
        unit.report.fail(f"{what}: Must be a valid path or abstract socket:\n", token)
    if len(path) > endpoint.LONGEST_PATH:
        unit.report.fail(f"{what}: {endpoint.PATH_TOO_LONG}\n", token)
    if path == "@":
        unit.report.fail(f"{what}: {endpoint.NO_ABSTRACT_NAME}\n", token)
    if path.startswith("@"):
        return
    try:
        with _identity(unit.options.runs_as):
            mode = os.stat(path).st_mode
    except (FileNotFoundError, PermissionError) as error:
        unit.report.add(f"{what}: Cannot stat: {error.strerror}\n")
        unit.report.where(token)
        unit.report.warning()
        return
    except OSError as error:
        unit.report.fail(f"{what}: Cannot stat: {error.strerror}\n", token)
    if not stat.S_ISSOCK(mode):
        unit.report.fail(f"{what}: Not a socket:\n", token)
