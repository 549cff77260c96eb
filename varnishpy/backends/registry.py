"""All backends of the process: what makes them, and what they share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from varnishpy import stats
from varnishpy.backends.backend import Backend
from varnishpy.backends.conn_pool import ConnPools, Endpoint, TlsSettings
from varnishpy.backends.director import Director, resolve
from varnishpy.backends.probe import Probe, Prober
from varnishpy.http import proxy_wire

if TYPE_CHECKING:
    from varnishpy.backends.specs import BackendSpec, ProbeSpec
    from varnishpy.threads.poolset import PoolSet
    from varnishpy.threads.waiter import Waiter


class BackendError(Exception):
    """A backend cannot be made; the text is for the CLI's answer to ``vcl.load``."""


class Backends:
    """Makes backends from what VCL says of them (the fields of ``vcl/specs.py`` BackendSpec).

    :param waiter: watches idle connections
    :param pools: run the probes
    """

    def __init__(self, waiter: Waiter, pools: PoolSet) -> None:
        self.conn_pools = ConnPools(waiter)
        self.prober = Prober(pools)
        self._lock = threading.Lock()
        self._backends: list[Backend] = []

    def start(self) -> None:
        """Start the thread that schedules probes."""
        self.prober.start()

    def stop(self) -> None:
        """Stop probing, and close idle connections as backends are released."""
        self.prober.stop()
        for backend in self.all():
            backend.release()

    def new(
        self, spec: BackendSpec, vcl: str, via: Director | None = None, default_probe: ProbeSpec | None = None
    ) -> Backend:
        """Make a backend; it is cold: `Backend.warm` starts its probe.

        :param spec: a BackendSpec
        :param vcl: name of the VCL
        :param via: the backend to connect through, which learns the destination from a PROXY header
        :param default_probe: the ProbeSpec of ``probe default``, if the VCL has one
        :raises BackendError:
        """
        endpoint = self._endpoint(spec)
        through: Backend | None = None
        if via is not None:
            through = self._resolve_via(spec, via)
            endpoint = self._through(endpoint, through, spec.authority)
        pool = self.conn_pools.ref(endpoint)
        backend = Backend(self, spec, vcl, pool)
        if through is not None:
            for name in ("connect_timeout", "first_byte_timeout", "between_bytes_timeout"):
                if getattr(backend, name) is None:
                    setattr(backend, name, getattr(through, name))
        probe_spec = spec.probe or default_probe
        if probe_spec is not None:
            backend.probe = Probe(self.prober, backend, probe_spec)
        with self._lock:
            self._backends.append(backend)
        stats.main.inc("n_backend")
        return backend

    @staticmethod
    def _endpoint(spec: BackendSpec) -> Endpoint:
        if spec.path is None and spec.ipv4 is None and spec.ipv6 is None:
            raise BackendError(f"backend {spec.vcl_name}: Illegal IP")
        tls = None
        if spec.ssl:
            name = spec.host or spec.host_header
            tls = TlsSettings(name, spec.ssl_sni, spec.ssl_verify_peer, spec.ssl_verify_host)
        return Endpoint(spec.ipv4, spec.ipv6, spec.path, spec.preamble, tls)

    @staticmethod
    def _resolve_via(spec: BackendSpec, via: Director) -> Backend:
        if spec.path is not None:
            raise BackendError("Via is only supported for IP addresses")
        found = resolve(via, None)
        if found is None:
            raise BackendError("Via resolution failed")
        if not isinstance(found, Backend):
            raise BackendError("Via does not resolve to a backend")
        return found

    @staticmethod
    def _through(endpoint: Endpoint, via: Backend, authority: str | None) -> Endpoint:
        target = endpoint.first_ip()
        client = ("::", 0) if ":" in target[0] else ("0.0.0.0", 0)
        preamble = proxy_wire.format_v2(client, target, authority or "")
        outer = via.pool.endpoint
        return Endpoint(outer.ipv4, outer.ipv6, outer.path, outer.preamble + preamble, outer.tls)

    def forget(self, backend: Backend) -> None:
        """A backend was released."""
        with self._lock:
            if backend in self._backends:
                self._backends.remove(backend)
        stats.main.dec("n_backend")
        self.conn_pools.release(backend.pool)

    def describe(self) -> dict[str, dict[str, object]]:
        """What ``/backends`` shows: each as ``backend.list -j`` has it, and whether it is probed."""
        return {
            backend.cli_name: {**backend.list(), "probed": backend.probe is not None}
            for backend in self.all()
            if backend.admin_health != "deleted"
        }

    def all(self) -> list[Backend]:
        """All backends that exist."""
        with self._lock:
            return list(self._backends)
