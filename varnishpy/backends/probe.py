"""Health probes (vcl-probe(7)).

A probe asks its backend for something every ``interval`` seconds on a fresh connection. The outcomes of the latest 64
are kept as bitmaps; the backend is healthy while at least ``threshold`` of the last ``window`` were good. One thread,
the `Prober`, knows when each probe is due; the probing itself is a task of the worker pools.

A probe begins with ``initial`` outcomes counted as good, each time its VCL becomes warm.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import os
import re
import socket
import threading
from typing import TYPE_CHECKING, Final

from varnishpy.backends.conn_pool import ConnectError
from varnishpy.base import clock
from varnishpy.base.locks import make_condition, make_lock
from varnishpy.http import proxy_wire
from varnishpy.log import vsl
from varnishpy.log.tag_numbers import BACKEND_HEALTH
from varnishpy.threads.pool import Priority
from varnishpy.threads.worker import TaskInfo

if TYPE_CHECKING:
    from varnishpy.backends.backend import Backend
    from varnishpy.backends.connection import Connection
    from varnishpy.backends.specs import ProbeSpec
    from varnishpy.base.dumptext import DumpText
    from varnishpy.threads.poolset import PoolSet
    from varnishpy.threads.worker import Worker

_MASK: Final = 0xFFFFFFFFFFFFFFFF
_AVERAGE_RATE: Final = 4.0  # the average leans on about so many probes
_KEPT: Final = 127  # octets of the response that are kept for the status line
_STATUS: Final = re.compile(r"HTTP/[0-9.]+ ([0-9]+)")
_PROXY_LOCAL: Final = proxy_wire.SIGNATURE_2 + b"\x20\x00\x00\x00"  # version 2, LOCAL: the proxy speaks for itself

# letter in the log, name, description; in the order of the log's column
BITMAPS: Final = (
    ("4", "good_ipv4", "Good IPv4"),
    ("6", "good_ipv6", "Good IPv6"),
    ("U", "good_unix", "Good UNIX"),
    ("x", "err_xmit", "Error Xmit"),
    ("X", "good_xmit", "Good Xmit"),
    ("r", "err_recv", "Error Recv"),
    ("R", "good_recv", "Good Recv"),
    ("H", "happy", "Happy"),
)


class Probe:
    """The probe of one backend.

    :param spec: a ProbeSpec; what it leaves out gets the defaults of vcl-probe(7)
    """

    def __init__(self, prober: Prober, backend: Backend, spec: ProbeSpec) -> None:
        self._prober = prober
        self._backend = backend
        self.timeout: float = spec.timeout or 2.0
        self.interval: float = spec.interval or 5.0
        self.window: int = spec.window or 8
        self.threshold: int = spec.threshold or 3
        self.expected: int = spec.expected_response or 200
        self.initial = min(self.threshold - 1 if spec.initial is None else spec.initial, self.threshold)
        self.expect_close: bool = spec.expect_close
        if spec.request is not None:
            request = str(spec.request)
        else:
            request = f"GET {spec.url or '/'} HTTP/1.1\r\nHost: {backend.host_header}\r\nConnection: close\r\n\r\n"
        self.request = request.encode("latin-1")
        self.bits = dict.fromkeys((name for _, name, _ in BITMAPS), 0)
        self.good = 0
        self.average = 0.0
        self.last = 0.0
        self.response = ""
        self._rate = 0.0
        self._t_run = 0.0  # monotonic time at which the last probe began
        self.running = False  # started; guarded by the prober's lock
        self.serial = 0  # of its place in the prober's heap
        self._published = False
        self._reset()
        self._publish()  # a first time, whether or not it is to run now

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to probe, at once."""
        self._reset()
        self._publish()
        self._prober.add(self)

    def stop(self) -> None:
        """Probe no more; a probe that runs is finished but not repeated."""
        self._prober.drop(self)
        self._reset()
        self._publish()

    def remove(self) -> None:
        """The backend goes away."""
        self._prober.drop(self)
        self._backend.sick = True

    def _reset(self) -> None:
        self.average = self._rate = 0.0
        for name in self.bits:
            self.bits[name] = 0
        for _ in range(self.initial):
            self._begin()
            self.bits["happy"] |= 1
            self._count()
        if not self.initial:
            self._count()

    # -- one probe -------------------------------------------------------------------------------------------------

    def run(self, wrk: Worker) -> None:
        """Task: probe once."""
        wrk.subject = self
        self._t_run = clock.mono()
        try:
            self._begin()
            with wrk.blocking():
                self._poke()
            self._count()
            if self._prober.is_running(self):
                self._publish()
        finally:
            self._prober.done(self)

    def task_info(self) -> TaskInfo:
        """For the scoreboard."""
        return TaskInfo("probe", "poke", clock.mono() - self._t_run, request=self._backend.cli_name)

    def panic_dump(self, out: DumpText) -> None:
        """For the panic dump."""
        out.line(f"backend = {self._backend.cli_name}, good = {self.good}, response = {self.response!r},")

    def _begin(self) -> None:
        for name in self.bits:
            self.bits[name] = self.bits[name] << 1 & _MASK
        self.last = 0.0
        self.response = ""

    def _count(self) -> None:
        if self.bits["happy"] & 1:
            if self._rate < _AVERAGE_RATE:
                self._rate += 1.0
            self.average += (self.last - self.average) / self._rate
        self.good = (self.bits["happy"] & (1 << self.window) - 1).bit_count()

    def _poke(self) -> None:
        start = clock.mono()
        deadline = start + self.timeout
        pool = self._backend.pool
        try:
            conn = pool.connect(self.timeout)
        except ConnectError as exc:
            self.response = f"Open error {exc.errno} ({exc.text})"
            self._backend.count_failure(exc.errno)
            return
        try:
            data = self._converse(conn, deadline)
        finally:
            pool.close(conn)
        if data is None:
            return
        if not data:
            self.response = "Empty response"
            return
        self.last = clock.mono() - start
        self.bits["good_recv"] |= 1
        self.response = re.split("[\r\n\0]", data.decode("latin-1"), maxsplit=1)[0]
        match = _STATUS.match(self.response)
        if match is not None and int(match[1]) == self.expected:
            self.bits["happy"] |= 1

    def _converse(self, conn: Connection, deadline: float) -> bytes | None:
        """Send the request and receive to the end: the beginning of the response, or ``None`` after a failure."""
        family = {socket.AF_UNIX: "good_unix", socket.AF_INET: "good_ipv4"}.get(conn.sock.family, "good_ipv6")
        self.bits[family] |= 1
        left = deadline - clock.mono()
        if left <= 0:
            self.response = f"Open timeout {self.timeout:.3f}s exceeded by {-left:.3f}s"
            return None
        try:
            conn.send_all(self._proxy_header(conn) + self.request, left)
        except OSError as exc:
            self.bits["err_xmit"] |= 1
            number = exc.errno or errno.ETIMEDOUT
            self.response = f"Write error {number} ({os.strerror(number)})"
            return None
        self.bits["good_xmit"] |= 1
        kept = b""
        while True:
            left = deadline - clock.mono()
            if left <= 0:
                if not self.expect_close and kept:
                    return kept
                self.bits["err_recv"] |= 1
                self.response = f"Poll timeout {self.timeout:.3f}s exceeded by {-left:.3f}s"
                return None
            try:
                data = conn.receive(8192, left)
            except OSError as exc:
                if isinstance(exc, TimeoutError) and not self.expect_close:
                    return kept
                self.bits["err_recv"] |= 1
                number = exc.errno or errno.ETIMEDOUT
                kind = "Poll" if isinstance(exc, TimeoutError) else "Read"
                self.response = f"{kind} error {number} ({os.strerror(number)})"
                return None
            if not data:
                return kept
            if len(kept) < _KEPT:
                kept = (kept + data)[:_KEPT]

    def _proxy_header(self, conn: Connection) -> bytes:
        if self._backend.proxy_header == 2:
            return _PROXY_LOCAL
        if self._backend.proxy_header == 1:
            if conn.sock.family == socket.AF_UNIX:
                return b"PROXY UNKNOWN\r\n"
            local = (conn.local[0], int(conn.local[1]))
            return proxy_wire.format_v1(local, local)
        return b""

    def _publish(self) -> None:
        """Tell the backend and the log."""
        backend = self._backend
        sick = self.good < self.threshold
        changed = sick if not self._published else sick != backend.sick  # the log takes a new backend for a healthy one
        self._published = True
        backend.sick = sick
        bits = "".join(letter if self.bits[name] & 1 else "-" for letter, name, _ in BITMAPS)
        vsl(
            BACKEND_HEALTH,
            0,
            f"{backend.vcl_name} {'Went' if changed else 'Still'} {'sick' if sick else 'healthy'} {bits} "
            f'{self.good} {self.threshold} {self.window} {self.last:.6f} {self.average:.6f} "{self.response}"',
        )
        backend.vsc.set("happy", self.bits["happy"])
        if changed:
            backend.changed = backend.health_changed = clock.now()
            backend.health_event()

    # -- showing ---------------------------------------------------------------------------------------------------

    def details_text(self) -> str:
        """The block that ``backend.list -p`` adds."""
        lines = [
            f" Current states  good: {self.good:2d} threshold: {self.threshold:2d} window: {self.window:2d}",
            f"  Average response time of good probes: {self.average:.6f}",
            "  Oldest ================================================== Newest",
        ]
        for letter, name, title in BITMAPS:
            bits = self.bits[name]
            if bits or name == "happy":
                row = f"{bits:064b}".replace("0", "-").replace("1", letter)
                lines.append(f"  {row} {title}")
        return "\n".join(lines) + "\n"

    def details(self) -> dict[str, object]:
        """The same for ``-j``."""
        result: dict[str, object] = {f"bits_{letter}": self.bits[name] for letter, name, _ in BITMAPS}
        return {**result, "good": self.good, "threshold": self.threshold, "window": self.window}


class Prober:
    """The thread that sets probes going when they are due."""

    def __init__(self, pools: PoolSet) -> None:
        self._pools = pools
        self._lock = make_lock("probe")
        self._changed = make_condition("probe", self._lock)
        self._heap: list[tuple[float, int, Probe]] = []
        self._serials = itertools.count(1)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="backend-probe-scheduler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopping = True
            self._heap.clear()
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def add(self, probe: Probe) -> None:
        """Probe from now on."""
        with self._changed:
            if not probe.running:
                probe.running = True
                self._push(probe, clock.mono())

    def drop(self, probe: Probe) -> None:
        """Probe no more."""
        with self._lock:
            probe.running = False
            probe.serial = 0

    def is_running(self, probe: Probe) -> bool:
        """Was the probe not dropped meanwhile?"""
        with self._lock:
            return probe.running

    def done(self, probe: Probe) -> None:
        """A probe was made, or could not be: the next is due an interval later."""
        with self._changed:
            if probe.running and not self._stopping:
                self._push(probe, clock.mono() + probe.interval)

    def _push(self, probe: Probe, due: float) -> None:
        probe.serial = next(self._serials)
        heapq.heappush(self._heap, (due, probe.serial, probe))
        if self._heap[0][1] == probe.serial:
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                if not self._heap:
                    self._changed.wait()
                    continue
                due, serial, probe = self._heap[0]
                if probe.serial != serial:  # dropped, or started anew
                    heapq.heappop(self._heap)
                    continue
                left = due - clock.mono()
                if left > 0:
                    self._changed.wait(left)
                    continue
                heapq.heappop(self._heap)
            if not self._pools.any().schedule(probe.run, Priority.REQ):
                self.done(probe)
