"""The cache process put together: which part is made of which, in what order they start and end."""

from __future__ import annotations

import dataclasses
import os
import socket

from varnishpy import log
from varnishpy.backends.registry import Backends
from varnishpy.base import clock
from varnishpy.base.locks import new_orders, watch
from varnishpy.base.perturb import perturb
from varnishpy.base.regex import set_limits
from varnishpy.base.workspace import set_emulator
from varnishpy.cache.ban import Bans
from varnishpy.cache.cold import ColdObjects
from varnishpy.cache.expire import Expiry
from varnishpy.cache.hash import Hash
from varnishpy.child import panic_sections, process_figures
from varnishpy.child.heritage import STATE, Heritage
from varnishpy.child.host import Host
from varnishpy.child.preload import preload
from varnishpy.child.stats_port import StatsPort, read_token
from varnishpy.child.stats_socket import Provider, StatsSocket
from varnishpy.http1.transport import Http1Transport
from varnishpy.http2.transport import Http2Transport
from varnishpy.log.tags import Tag
from varnishpy.params import params
from varnishpy.params import table as params_table
from varnishpy.params.buckets import parse_buckets
from varnishpy.request.groups import GroupIndex
from varnishpy.request.new_env import new_env
from varnishpy.session.acceptor import Acceptors
from varnishpy.session.certificates import CertStore
from varnishpy.session.handed_files import HandedFiles
from varnishpy.session.proxy import ProxyTransport
from varnishpy.session.tls import TlsTransport
from varnishpy.shm.process import ChildShm
from varnishpy.shm.writer import CHILD_SET
from varnishpy.stats.latency import Latencies, set_bounds
from varnishpy.storage.config import StorageSet, parse_storage
from varnishpy.storage.heap import HeapKeeper
from varnishpy.storage.malloc import MallocStevedore
from varnishpy.threads.cores import CoreKeeper
from varnishpy.threads.poolset import PoolSet
from varnishpy.threads.waiter import Waiter
from varnishpy.tier.joining import new_tier
from varnishpy.tier.node import Tier
from varnishpy.vcl.registry import VclRegistry
from varnishpy.vcl.vmodfind import find_vmod

_MOST_QUEUED = 100  # queued tasks that the scoreboard shows of each pool


class Child:
    """Everything that lives in the cache process. Made and ended by its main thread."""

    def __init__(self, heritage: Heritage) -> None:
        self.heritage = heritage
        self.heap: HeapKeeper | None = None
        set_bounds(parse_buckets(params.latency_buckets))
        self.stats_sockets: list[StatsSocket] = []
        if params.stats_socket != "none":
            path = params.stats_socket or heritage.workdir / "stats.sock"
            self.stats_sockets.append(StatsSocket(path, self._providers(), None, self._latencies))
        if params.stats_listen != "none":
            token = read_token(params.stats_token_file)
            self.stats_sockets.append(StatsPort(params.stats_listen, self._providers(), self._latencies, token))
        if heritage.jail.gives_up_rights:
            preload()
        password = heritage.tier.password() if heritage.tier is not None else None
        heritage.jail.enter()  # all that needs the manager's rights is done
        set_emulator(params.debug.workspace_emulator)
        perturb(params.debug.perturb)
        watch(params.debug.lck or params.debug.witness or params.debug.perturb)
        self._param_set("pcre2_match_limit")
        params_table.add_listener(self._param_set)
        self.shm = ChildShm(heritage.workdir / CHILD_SET, params.vsl_layout, params.vsl_space, self._tick)
        self.storage_specs = parse_storage(heritage.storage)
        self.storage = StorageSet(self.storage_specs)
        self.heap = HeapKeeper(self._heap_used, self._heap_stored)
        self.expiry = Expiry()
        self.bans = Bans()
        self.hash = Hash(self.expiry, self.bans)
        self.groups = GroupIndex(self.hash.keys)
        self._follow_groups("feature")
        params_table.add_listener(self._follow_groups)
        self.storage.open(self.hash)
        self.cold = ColdObjects(self.hash, self.storage.persistent) if self.storage.persistent else None
        if self.cold is not None and params.feature.wait_silo:
            self.cold.thaw_all()
        self.waiter = Waiter("backends")  # idle backend connections of all pools
        self.pools = PoolSet()
        self.cores = CoreKeeper()
        self.backends = Backends(self.waiter, self.pools)
        self.env = new_env(
            self.hash,
            self.storage,
            self.pools,
            self.waiter,
            identity=heritage.identity or socket.gethostname(),
            hostname=socket.gethostname(),
        )
        self.tier: Tier | None = None
        if heritage.tier is not None:
            self.tier = self.env.tier = new_tier(
                heritage.tier, password, self.hash, heritage.workdir / STATE, heritage.identity
            )
        for extension in heritage.extensions:
            find_vmod(extension, [])  # loaded now, so that one that fails does so before any traffic
        self.vcls = VclRegistry(Host(self.env, self.backends))
        self.env.vcls = self.vcls
        self.certificates = CertStore(heritage.tls.policies, HandedFiles(heritage.files))
        self._load_certificates()
        self.http2 = Http2Transport(self.env)
        self.env.transports.update(
            HTTP1=Http1Transport(self.env),
            HTTP2=self.http2,
            PROXY=ProxyTransport(self.env),
            TLS=TlsTransport(self.env, self.certificates),
        )
        self.acceptors = Acceptors(self.env, heritage.listen)
        self.accepting = False

    def _heap_used(self) -> int:
        """Octets of bodies on the heap."""
        return sum(stevedore.used_space for stevedore in self._on_heap())

    def _heap_stored(self) -> int:
        """The same, those that are gone again included."""
        return sum(stevedore.stored_ever for stevedore in self._on_heap())

    def _on_heap(self) -> list[MallocStevedore]:
        return [stevedore for stevedore in self.storage.by_name.values() if isinstance(stevedore, MallocStevedore)]

    def _tick(self) -> None:
        """Ten times a second, on the publisher's thread."""
        if self.heap is not None:
            self.heap.look()
        if params.debug.witness:
            for text in new_orders():
                log.vsl(Tag.Witness, 0, text)

    @staticmethod
    def _param_set(name: str) -> None:
        if name.startswith("pcre2_"):
            set_limits(params.pcre2_match_limit, params.pcre2_depth_limit, params.pcre2_jit_compilation)

    def _follow_groups(self, name: str) -> None:
        if name == "feature":
            self.groups.follow(params.feature.cache_groups)

    def _load_certificates(self) -> None:
        for spec in self.heritage.certificates:
            self.certificates.load(spec)
        self.certificates.commit()

    def start(self) -> None:
        """Start the threads."""
        self.expiry.start()
        self.bans.start()
        if self.cold is not None:
            self.cold.start()
        self.waiter.start()
        self.pools.start()
        self.backends.start()
        if self.tier is not None:
            self.tier.start()
        self.cores.start()
        for stats_socket in self.stats_sockets:
            stats_socket.log_memory = self.shm.log_memory
            stats_socket.start()
        panic_sections.install(self)

    def _providers(self) -> dict[str, Provider]:
        return {
            "sessions": lambda: self.acceptors.describe(),
            "backends": lambda: self.backends.describe(),
            "scoreboard": self._scoreboard,
            "workspaces": self._workspaces,
            "pools": lambda: self.pools.describe(),
            "process": lambda: process_figures.measure().as_json(),
            "params": params_table.as_json,
            "tier": lambda: self.tier.status() if self.tier is not None else None,
            "panic": lambda: self.heritage.last_panic,
        }

    def _latencies(self) -> Latencies:
        return self.pools.latencies()

    # -- for the CLI -----------------------------------------------------------------------------------------------

    def start_accepting(self) -> None:
        """Take traffic: the manager has told us what we need to know."""
        if not self.accepting:
            self.accepting = True
            self.acceptors.start()

    def drain(self, refuse: bool) -> None:
        """Stop taking connections and let those that are open end: soon, and politely."""
        self.env.draining = True
        if refuse:
            self.acceptors.refuse()
        else:
            self.acceptors.hold()
        self.http2.drain()

    def resume(self) -> None:
        """Take traffic again."""
        self.env.draining = False
        self.acceptors.resume()

    # -- what others look at ---------------------------------------------------------------------------------------

    def _scoreboard(self) -> dict[str, object]:
        """Running and queued tasks, and how many sessions there are; ``parked`` are those that hold no worker."""
        now = clock.mono()
        sessions = len(self.acceptors.sessions)
        pools = self.pools.pools
        tasks = [
            {"worker": worker, **dataclasses.asdict(info), "age": round(max(info.age, 0.0), 6)}
            for pool in pools
            for worker, info in pool.tasks()
        ]
        queued = [
            {"pool": pool.name, "priority": prio, "age": round(age, 6)}
            for pool in pools
            for prio, age in pool.queued_ages(now)[:_MOST_QUEUED]
        ]
        return {
            "tracked": bool(params.thread_pool_track),
            "tasks": tasks,
            "queued": queued,
            "pools": self.pools.describe(),
            "sessions": sessions,
            "parked": sessions - len({task["session"] for task in tasks if task["session"]}),
        }

    def _workspaces(self) -> list[dict[str, object]]:
        return [
            {"name": sess.ws.name, "owner": f"session {sess.vxid}", "size": sess.ws.size, "used": sess.ws.used,
             "overflowed": sess.ws.overflowed}
            for sess in list(self.acceptors.sessions.values())
        ]  # fmt: skip

    # -- the end ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End what must end in order; what runs in workers ends with the process."""
        self.acceptors.stop(0.5)
        self.cores.stop()
        for stats_socket in self.stats_sockets:
            stats_socket.stop()
        self.backends.prober.stop()
        if self.tier is not None:
            self.tier.stop()
        self.shm.seal()
        self.vcls.discard_all()
        if self.cold is not None:
            self.cold.stop()
        self.expiry.stop()
        self.bans.stop()
        self.storage.close()
        self.shm.close()
        print(f"Child {os.getpid()} ends", flush=True)
