"""Backends that VCL makes, and replaces, while it runs; a director that fails."""

from __future__ import annotations

import os
import stat

from varnishpy.backends.director import Director
from varnishpy.backends.specs import ProbeSpec
from varnishpy.vcl import addresses
from varnishpy.vcl.specs import BackendSpec
from varnishpy.vmods.api import BACKEND, PROBE, STRING, Ctx, VclFailure


class _Replaceable:
    """One backend, of which there may be another the next moment. Fetches that use the old one go on."""

    def __init__(self, ctx: Ctx, spec: BackendSpec, via: Director | None = None) -> None:
        self.current: Director | None = None
        self.replace(ctx, spec, via)

    def replace(self, ctx: Ctx, spec: BackendSpec, via: Director | None = None) -> None:
        vcl = ctx.vcl
        fresh = vcl.host.new_backend(vcl, spec, via)
        vcl.add_director(fresh)
        old, self.current = self.current, fresh
        if old is not None:
            vcl.remove_director(old)
            old.release()


def _network_spec(name: str, addr: str | None, port: str | None, probe: ProbeSpec | None) -> BackendSpec:
    if not addr or not port:
        raise VclFailure("Missing dynamic backend address or port")
    try:
        found = addresses.lookup(f"[{addr}]" if ":" in addr else addr, port)[0]
    except addresses.AddressError as error:
        raise VclFailure(f"Cannot resolve {addr}: {error}") from None
    six = ":" in found[0]
    return BackendSpec(
        name,
        ipv4=None if six else found,
        ipv6=found if six else None,
        host_header=addr,
        authority=addr,
        probe=probe,
    )


class dyn:
    """A backend at an address."""

    def __init__(
        self, ctx: Ctx, vcl_name: str, addr: STRING, port: STRING, probe: PROBE = None, via: BACKEND = None
    ) -> None:
        self._name = vcl_name
        self._backend = _Replaceable(ctx, _network_spec(vcl_name, addr, port, probe), via)

    def backend(self, ctx: Ctx) -> BACKEND:
        return self._backend.current

    def refresh(self, ctx: Ctx, addr: STRING, port: STRING, probe: PROBE = None, via: BACKEND = None) -> None:
        self._backend.replace(ctx, _network_spec(self._name, addr, port, probe), via)


def _socket_spec(name: str, path: str | None) -> BackendSpec:
    if path is None:
        raise VclFailure("path is NULL")
    if not path.startswith(("/", "@")):
        raise VclFailure(f"path must be an absolute path: {path}")
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise VclFailure(f"Cannot stat path {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise VclFailure(f"{path} is not a socket")
    return BackendSpec(name, path=path, host_header="localhost")


class dyn_uds:
    """A backend at a Unix domain socket."""

    def __init__(self, ctx: Ctx, vcl_name: str, path: STRING) -> None:
        self._name = vcl_name
        self._backend = _Replaceable(ctx, _socket_spec(vcl_name, path))

    def backend(self, ctx: Ctx) -> BACKEND:
        return self._backend.current

    def refresh(self, ctx: Ctx, path: STRING) -> None:
        self._backend.replace(ctx, _socket_spec(self._name, path))


class _Failing(Director):
    """Fails whatever it is asked."""

    type = "debug.director"

    def resolve(self, ctx: Ctx | None) -> Director | None:
        raise VclFailure("fail")

    def assess(self, ctx: Ctx | None) -> tuple[bool, float]:
        if ctx is None:
            return True, self.health_changed
        raise VclFailure("fail")


class director:
    """Gives a director that fails the VCL."""

    def __init__(self, ctx: Ctx, vcl_name: str) -> None:
        self._director = _Failing(vcl_name, ctx.vcl.name)
        ctx.vcl.add_director(self._director)

    def fail(self, ctx: Ctx) -> BACKEND:
        return self._director
