"""VMOD dynamic: backends from names that are looked up again and again, with the functions of libvmod-dynamic.

Names are looked up by the system's resolver (getaddrinfo(3)), in threads of their own: no worker waits for one but for
the first answer of a name nobody has asked for before. What only a DNS client could tell (times to live, services) is
not there. Lookups run while the VCL is warm.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal

from varnishpy.backends.director import Director
from varnishpy.base import clock
from varnishpy.base.locks import make_condition
from varnishpy.log import vsl
from varnishpy.log.tag_numbers import ERROR, VCL_LOG
from varnishpy.threads import current_worker
from varnishpy.vcl.specs import BackendSpec
from varnishpy.vmods.api import (
    ACL,
    BACKEND,
    BLOB,
    BOOL,
    DURATION,
    INT,
    PRIV_VCL,
    PROBE,
    STRING,
    Ctx,
    SockAddr,
    VclFailure,
)

if TYPE_CHECKING:
    from varnishpy.vcl.loader import Vcl, VclHold

_LOOKUPS: Final = 8  # at a time, for each object
_MOST_NAMES: Final = 1000  # of each object
_LEAST: Final = 0.5  # seconds between two lookups of a name

Share = Literal["DEFAULT", "DIRECTOR", "HOST"]
TtlFrom = Literal["cfg", "dns", "min", "max"]
Place = tuple[str, int]


def _resolve(host: str, port: str) -> list[Place]:
    """The addresses of a name; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((str(address[0]), int(address[1])) for *_, address in found))


class _Domain(Director):
    """A name, and the backends at its addresses in turn. What is changed is changed under the object's lock."""

    type = "dynamic"

    def __init__(self, owner: director, host: str, port: str, authority: str | None) -> None:
        super().__init__(f"{owner.name}({host}:{port})", owner.vcl.name)
        self.owner = owner
        self.host = host
        self.port = port
        self.authority = authority
        self.members: dict[Place, Director] = {}
        self.missing: dict[Place, int] = {}  # updates since an address was last among the answers
        self.answered = False
        self.looking = False
        self.due = 0.0
        self.used = clock.mono()
        self._turn = 0

    def resolve(self, ctx: Ctx | None) -> Director | None:
        owner = self.owner
        with owner.changed:
            self.used = clock.mono()
            if not self.answered:
                self._await_first()
            members = list(self.members.values())
            self._turn += 1
            turn = self._turn
        ordered = [members[(turn + at) % len(members)] for at in range(len(members))]
        return next((member for member in ordered if member.healthy(ctx)[0]), ordered[0] if ordered else None)

    def _await_first(self) -> None:
        """Wait for the first answer; the lock is held, and let go of meanwhile."""
        deadline = self.used + self.owner.first_lookup_timeout
        worker = current_worker()
        if worker is not None:
            worker.will_block()
        while not self.answered and self.owner.running and (left := deadline - clock.mono()) > 0:
            self.owner.changed.wait(left)
        if worker is not None:
            worker.unblocked()

    def assess(self, ctx: Ctx | None) -> tuple[bool, float]:
        with self.owner.changed:
            members = list(self.members.values())
        states = [member.healthy(ctx) for member in members]
        return any(healthy for healthy, _ in states) or not self.answered, max(
            (when for _, when in states), default=0.0
        )

    def probe_summary(self, ctx: Ctx | None) -> tuple[int, int, str]:
        with self.owner.changed:
            members = list(self.members.values())
        good = sum(1 for member in members if member.healthy(ctx)[0])
        return good, len(members), "healthy" if good else "sick"


class _Directors(list["director"]):
    """Those of a VCL."""


def vmod_event(ctx: Ctx, priv: PRIV_VCL, event: str) -> None:
    """Lookups run while the VCL is warm."""
    for one in priv.of(_Directors):
        if event == "warm":
            one.start()
        elif event == "cold":
            one.stop()
    priv["warm"] = event == "warm"


class director:
    """Makes backends of names. What *ttl_from* and *resolver* could ask of a DNS client fails the VCL.

    A name is looked up again *ttl* after an answer, *retry_after* after none; addresses that are gone are kept for
    *keep* more answers. Only addresses in *whitelist* are used. A name that nobody used for *domain_usage_timeout* is
    forgotten. *share* HOST: each name has backends of its own, under its own Host header.
    """

    def __init__(
        self,
        ctx: Ctx,
        vcl_name: str,
        priv: PRIV_VCL,
        port: STRING = "http",
        host_header: STRING = None,
        share: Share = "DEFAULT",
        probe: PROBE = None,
        whitelist: ACL = None,
        ttl: DURATION = 3600.0,
        connect_timeout: DURATION = -1.0,
        first_byte_timeout: DURATION = -1.0,
        between_bytes_timeout: DURATION = -1.0,
        domain_usage_timeout: DURATION = 7200.0,
        first_lookup_timeout: DURATION = 10.0,
        max_connections: INT = 0,
        proxy_header: INT = 0,
        resolver: BLOB = None,
        ttl_from: TtlFrom = "cfg",
        retry_after: DURATION = 30.0,
        via: BACKEND = None,
        keep: INT = 3,
        authority: STRING = None,
        wait_timeout: DURATION = -1.0,
        wait_limit: INT = 0,
    ) -> None:
        if resolver is not None or ttl_from != "cfg":
            raise VclFailure(f"dynamic {vcl_name}: names are looked up by the system, which tells no ttl: no resolver")
        self.name = vcl_name
        self.vcl: Vcl = ctx.vcl
        self.changed = make_condition("vmod_dynamic")
        self.running = False
        self.first_lookup_timeout = first_lookup_timeout
        self._port = port or "http"
        self._host_header = host_header
        self._by_host = share == "HOST" or (share == "DEFAULT" and via is not None)
        self._allowed = whitelist
        self._ttl = max(ttl, _LEAST)
        self._retry_after = max(retry_after, _LEAST)
        self._usage = domain_usage_timeout
        self._keep = keep
        self._via = via
        self._authority = authority
        times = {
            "connect_timeout": connect_timeout,
            "first_byte_timeout": first_byte_timeout,
            "between_bytes_timeout": between_bytes_timeout,
            "wait_timeout": wait_timeout,
        }
        self._times = {name: value for name, value in times.items() if value >= 0}
        self._settings = {"max_connections": max_connections or None, "wait_limit": wait_limit or None}
        self._proxy_header = proxy_header
        self._probe = probe
        self._domains: dict[tuple[str, str, str | None], _Domain] = {}
        self._shared: dict[Place, tuple[Director, int]] = {}  # backends of share DIRECTOR, and by how many names
        self._lookups: ThreadPoolExecutor | None = None
        self._hold: VclHold | None = None
        self._debug = False
        priv.of(_Directors).append(self)

    # -- VCL -----------------------------------------------------------------------------------------------------------

    def backend(self, ctx: Ctx, host: STRING = "", port: STRING = "", authority: STRING = None) -> BACKEND:
        """The director of a name; without one that of the Host header. It is looked up from now on."""
        name = host or ""
        if not name:
            message = ctx.http_bereq if ctx.http_bereq is not None else ctx.http_req
            name = "" if message is None else message.get("host") or ""
            if not name.startswith("["):
                name = name.partition(":")[0]
        name = name.strip("[]").lower()
        if not name:
            raise VclFailure(f"dynamic {self.name}.backend(): there is no host")
        key = (name, port or self._port, authority or self._authority)
        with self.changed:
            found = self._domains.get(key)
            if found is None:
                if len(self._domains) >= _MOST_NAMES:
                    raise VclFailure(f"dynamic {self.name}: more than {_MOST_NAMES} names")
                found = self._domains[key] = _Domain(self, *key)
                self.vcl.add_director(found)
                self.changed.notify_all()
            found.used = clock.mono()
        return found

    def service(self, ctx: Ctx, service: STRING) -> BACKEND:
        """Services (SRV records) need a resolver: this fails the VCL."""
        raise VclFailure(f"dynamic {self.name}.service(): services need a resolver, which is not there")

    def debug(self, ctx: Ctx, enable: BOOL) -> None:
        """Have the log tell of every lookup."""
        self._debug = enable

    def vmod_fini(self, ctx: Ctx) -> None:
        """The VCL goes."""
        with self.changed:
            for domain in list(self._domains.values()):
                self._forget(domain)

    # -- lookups -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The VCL is warm."""
        with self.changed:
            self.running = True
            self._hold = self.vcl.hold(f"vmod_dynamic {self.name}")
            self._lookups = ThreadPoolExecutor(_LOOKUPS, f"vmod-dynamic-{self.name}")
        threading.Thread(target=self._run, args=(self._lookups, self._hold), name="vmod-dynamic", daemon=True).start()

    def stop(self) -> None:
        """The VCL is not warm any more; lookups that run are waited for by it."""
        with self.changed:
            self.running = False
            self.changed.notify_all()

    def _run(self, lookups: ThreadPoolExecutor, hold: VclHold) -> None:
        with self.changed:
            while self.running:
                now = clock.mono()
                for domain in list(self._domains.values()):
                    if now - domain.used > self._usage and not domain.looking:
                        self._forget(domain)
                    elif now >= domain.due and not domain.looking:
                        domain.looking = True
                        lookups.submit(self._look_up, domain)
                waiting = [domain.due for domain in self._domains.values() if not domain.looking]
                self.changed.wait(max(0.01, min([*waiting, now + _LEAST * 20]) - now))
        lookups.shutdown(wait=True, cancel_futures=True)
        hold.release()

    def _look_up(self, domain: _Domain) -> None:
        wait = self._retry_after
        try:
            places = _resolve(domain.host, domain.port)
            if self._debug:
                self._tell(VCL_LOG, domain, f"lookup {' '.join(ip for ip, _port in places)}")
            if self._allowed is not None:
                ctx = Ctx.for_cli(self.vcl)
                places = [place for place in places if self._allowed.match(ctx, SockAddr(*place))]
            with self.changed:
                self._update(domain, places)
            wait = self._ttl
        except (OSError, UnicodeError) as error:
            self._tell(ERROR, domain, f"lookup {error}")
        except VclFailure as error:  # the VCL is cooling
            self._tell(ERROR, domain, f"update {error}")
        finally:
            with self.changed:
                domain.answered = True
                domain.looking = False
                domain.due = clock.mono() + wait
                self.changed.notify_all()

    def _update(self, domain: _Domain, places: Iterable[Place]) -> None:
        """The lock is held."""
        answer = set(places)
        for place in places:
            domain.missing[place] = 0
            if place not in domain.members and self.running:
                domain.members[place] = self._new(domain, place)
                self._tell(VCL_LOG, domain, f"add-backend {place[0]}:{place[1]}")
        for place in set(domain.members) - answer:
            domain.missing[place] += 1
            if domain.missing[place] > self._keep:
                self._drop(domain, place)
                self._tell(VCL_LOG, domain, f"del-backend {place[0]}:{place[1]}")

    def _new(self, domain: _Domain, place: Place) -> Director:
        shared = self._shared.get(place)
        if shared is not None and not self._by_host:
            self._shared[place] = (shared[0], shared[1] + 1)
            return shared[0]
        ip, port = place
        name = f"{self.name}({f'{domain.host}.' if self._by_host else ''}{ip}:{port})"
        spec = BackendSpec(
            name,
            ipv6=place if ":" in ip else None,
            ipv4=None if ":" in ip else place,
            host_header=self._host_header or (domain.host if self._by_host else ip),
            authority=domain.authority or self._host_header or domain.host,
            proxy_header=self._proxy_header,
            probe=self._probe,
            connect_timeout=self._times.get("connect_timeout"),
            first_byte_timeout=self._times.get("first_byte_timeout"),
            between_bytes_timeout=self._times.get("between_bytes_timeout"),
            wait_timeout=self._times.get("wait_timeout"),
            max_connections=self._settings["max_connections"],
            wait_limit=self._settings["wait_limit"],
        )
        made: Director = self.vcl.host.new_backend(self.vcl, spec, self._via)
        try:
            self.vcl.add_director(made)
        except VclFailure:
            made.release()
            raise
        if not self._by_host:
            self._shared[place] = (made, 1)
        return made

    def _drop(self, domain: _Domain, place: Place) -> None:
        """The lock is held. Fetches that use the backend go on."""
        member = domain.members.pop(place)
        del domain.missing[place]
        if not self._by_host:
            _member, users = self._shared[place]
            if users > 1:
                self._shared[place] = (member, users - 1)
                return
            del self._shared[place]
        self.vcl.remove_director(member)
        member.release()

    def _forget(self, domain: _Domain) -> None:
        """The lock is held."""
        self._domains.pop((domain.host, domain.port, domain.authority), None)
        for place in list(domain.members):
            self._drop(domain, place)
        self.vcl.remove_director(domain)
        domain.release()

    def _tell(self, tag: int, domain: _Domain, text: str) -> None:
        vsl(tag, 0, f"vmod-dynamic {self.vcl.name} {self.name} {domain.host}:{domain.port} {text}")
