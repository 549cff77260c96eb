"""A backend: one endpoint that answers requests, with its settings, its health and its counters.

Timeouts come from the request (``bo.connect_timeout``, ...), else from the backend, else from the parameter of the same
name. At most ``max_connections`` exchanges run at once; beyond it a fetch fails as *busy*, or queues where
backend_wait_limit and backend_wait_timeout allow it.

A request that failed on a *reused* connection before anything was received is sent once more on a fresh one, if its
body allows: the backend may have closed the idle connection in the moment we took it.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final

from varnishpy import stats
from varnishpy.backends.body import can_rewind
from varnishpy.backends.conn_pool import HELD_DOWN, ConnectError, ConnPool
from varnishpy.backends.connection import Connection
from varnishpy.backends.director import Director
from varnishpy.backends.errors import FetchError
from varnishpy.backends.http1_client import ExchangeError, receive_response, send_request
from varnishpy.base import clock
from varnishpy.base.locks import make_condition, make_lock
from varnishpy.http import proxy_wire
from varnishpy.log.tag_numbers import BACKEND_CLOSE, BACKEND_OPEN, BACKEND_SSL, FETCH_ERROR
from varnishpy.params import params

if TYPE_CHECKING:
    from varnishpy.backends.exchange import Exchange
    from varnishpy.backends.probe import Probe
    from varnishpy.backends.registry import Backends
    from varnishpy.backends.specs import BackendSpec
    from varnishpy.threads.worker import Worker
    from varnishpy.vcl.context import Ctx

_CONNECTION_ROOM: Final = 136  # octets of workspace_backend: what the reference keeps of a connection there

_ERRNO_COUNTERS: Final[dict[int, stats.VbeName]] = {
    errno.EACCES: "fail_eacces",
    errno.EPERM: "fail_eacces",
    errno.EADDRNOTAVAIL: "fail_eaddrnotavail",
    errno.ECONNREFUSED: "fail_econnrefused",
    errno.ENETUNREACH: "fail_enetunreach",
    errno.ETIMEDOUT: "fail_etimedout",
}


class Backend(Director):
    """A director that fetches. Made by `Backends.new`."""

    type: ClassVar[str] = "backend"

    def __init__(self, owner: Backends, spec: BackendSpec, vcl: str, pool: ConnPool) -> None:
        super().__init__(spec.vcl_name, vcl)
        self.pool = pool
        self.host_header: str = spec.host_header or pool.endpoint.first_ip()[0]
        self.connect_timeout: float | None = spec.connect_timeout
        self.first_byte_timeout: float | None = spec.first_byte_timeout
        self.between_bytes_timeout: float | None = spec.between_bytes_timeout
        self.wait_timeout: float | None = spec.wait_timeout
        self.wait_limit: int | None = spec.wait_limit
        self.max_connections: int = spec.max_connections or 0
        self.proxy_header: int = spec.proxy_header
        self.authority: str | None = spec.authority
        self.probe: Probe | None = None
        self.sick = False  # set by the probe
        self.changed = clock.now()
        self.vsc = stats.new_segment(stats.VBE, self.cli_name)
        self.vsc.hide()
        self.n_conn = 0
        self._owner = owner
        self._lock = make_lock("director")
        self._waiting: deque[threading.Condition] = deque()  # conditions of fetches that wait for a connection
        self._released = False

    # -- health ----------------------------------------------------------------------------------------------------

    def assess(self, ctx: Ctx | None) -> tuple[bool, float]:
        return not self.sick, self.changed

    def health_event(self) -> None:
        """Those who wait for a connection give up if it turned sick."""
        if not self.healthy(None)[0]:
            with self._lock:
                for condition in self._waiting:
                    condition.notify()

    def warm(self) -> None:
        self.vsc.show()
        if self.probe is not None:
            self.probe.start()

    def cool(self) -> None:
        if self.probe is not None:
            self.probe.stop()
        self.vsc.hide()

    def release(self) -> None:
        """Not used by any VCL any more; fetches that run go on."""
        with self._lock:
            if self._released:
                return
            self._released = True
        super().release()
        if self.probe is not None:
            self.probe.remove()
        self._owner.forget(self)
        self.vsc.destroy()

    # -- connections -----------------------------------------------------------------------------------------------

    def _busy(self) -> bool:
        return self.max_connections > 0 and self.n_conn >= self.max_connections

    def _admit(self, wrk: Worker) -> bool:
        """Count this exchange in, waiting for its turn if that is allowed; False when the backend is busy."""
        with self._lock:
            if not self._busy() and not self._waiting:
                self.n_conn += 1
                return True
            limit = params.backend_wait_limit if self.wait_limit is None else self.wait_limit
            timeout = params.backend_wait_timeout if self.wait_timeout is None else self.wait_timeout
            if len(self._waiting) >= limit or timeout <= 0:
                return False
            condition = make_condition("director", self._lock)
            self._waiting.append(condition)
            wrk.stats.backend_wait += 1
            deadline = clock.mono() + timeout
            wrk.will_block()
            while self._busy() or self._waiting[0] is not condition:
                left = deadline - clock.mono()
                if left <= 0 or not self.healthy(None)[0]:
                    break
                condition.wait(None if left == clock.NEVER else left)
            self._waiting.remove(condition)
            admitted = not self._busy() and self.healthy(None)[0]
            if admitted:
                self.n_conn += 1
            else:
                wrk.stats.backend_wait_fail += 1
            self._next_in_line()
        wrk.unblocked()
        return admitted

    def _next_in_line(self) -> None:
        """With the lock held: let the first of those who wait look again."""
        if self._waiting and not self._busy():
            self._waiting[0].notify()

    def _leave(self) -> None:
        with self._lock:
            self.n_conn -= 1
            self._next_in_line()

    def _fail(self, bo: Exchange, text: str) -> FetchError:
        text = f"backend {self.vcl_name}: {text}"
        bo.log.put(FETCH_ERROR, text)
        return FetchError(text)

    def _connect(self, wrk: Worker, bo: Exchange, fresh: bool) -> Connection:
        """A connection for this fetch, as ``bo.backend_conn``. :raises FetchError: logged and counted"""
        if not self.healthy(None)[0]:
            self.vsc.inc("unhealthy")
            wrk.stats.backend_unhealthy += 1
            raise self._fail(bo, "unhealthy")
        if not self._admit(wrk):
            self.vsc.inc("busy")
            wrk.stats.backend_busy += 1
            raise self._fail(bo, "busy")
        bo.doclose = None
        timeout = _choose(bo.connect_timeout, self.connect_timeout, params.connect_timeout)
        try:
            idle = None if fresh else self.pool.reuse()
            if idle is not None:
                conn = idle
            else:
                with wrk.blocking():
                    conn = self.pool.connect(timeout)
        except ConnectError as exc:
            self._leave()
            self.count_failure(exc.errno)
            wrk.stats.backend_fail += 1
            if exc.distrust:
                bo.log.put(BACKEND_SSL, f"Server verification failed: {exc.distrust}")
            raise self._fail(bo, f"fail errno {exc.errno} ({exc.text})") from None
        except BaseException:
            self._leave()
            raise
        if conn.reused:
            wrk.stats.backend_reuse += 1
        else:
            wrk.stats.backend_conn += 1
        acct = bo.acct
        conn.charged = (acct.bereq_hdrbytes, acct.bereq_bodybytes, acct.beresp_hdrbytes)
        now = clock.now()
        bo.log.timestamp("Connected", now)
        bo.t_prev = now
        try:
            if self.proxy_header and not conn.reused:
                header = self._proxy_header(bo)
                with wrk.blocking():
                    conn.send_all(header, timeout)
                bo.acct.bereq_hdrbytes += len(header)
        except OSError as error:
            self.pool.close(conn)
            self._leave()
            wrk.stats.backend_fail += 1
            number = error.errno or errno.ETIMEDOUT
            raise self._fail(bo, f"proxy write errno {number} ({os.strerror(number)})") from None
        except BaseException:
            self.pool.close(conn)
            self._leave()
            raise
        self.vsc.inc_all((("conn", 1), ("req", 1)))
        how = f"reuse {clock.mono() - conn.created:.6f} {conn.reused}" if conn.reused else "connect"
        remote, local = conn.remote, conn.local
        bo.log.put(BACKEND_OPEN, f"{conn.fd} {self.vcl_name} {remote[0]} {remote[1]} {local[0]} {local[1]} {how}")
        bo.backend_conn = conn
        return conn

    def count_failure(self, number: int) -> None:
        """Count a connection that could not be made, by its errno."""
        if number == HELD_DOWN:
            self.vsc.inc("helddown")
        else:
            self.vsc.inc(_ERRNO_COUNTERS.get(number, "fail_other"))
        self.vsc.inc("fail")

    def _proxy_header(self, bo: Exchange) -> bytes:
        """The PROXY header that tells for whom we connect: the client, and the address it connected to."""
        client, server = bo.ends()
        if (":" in client[0]) != (":" in server[0]):
            server = ("::", 0) if ":" in client[0] else ("0.0.0.0", 0)
        if self.proxy_header == 1:
            return proxy_wire.format_v1(client, server)
        return proxy_wire.format_v2(client, server)

    # -- fetching --------------------------------------------------------------------------------------------------

    def get_response(self, wrk: Worker, bo: Exchange) -> None:
        if bo.bereq.get("host") is None:
            bo.bereq.add("Host", self.host_header)
        bo.body_reader = None
        fresh = False
        while True:
            if not bo.ws.account(_CONNECTION_ROOM):
                bo.log.put(FETCH_ERROR, "out of workspace")
                raise FetchError("out of workspace")
            conn = self._connect(wrk, bo, fresh)
            try:
                first = _choose(bo.first_byte_timeout, self.first_byte_timeout, params.first_byte_timeout)
                between = _choose(bo.between_bytes_timeout, self.between_bytes_timeout, params.between_bytes_timeout)
                send_request(wrk, bo, conn, first)
                receive_response(wrk, bo, conn, first, between)
                return
            except ExchangeError as exc:
                again = exc.nothing and conn.reused > 0 and not fresh and self._may_resend(bo)
                self.finish(wrk, bo)
                if not again:
                    raise
            except BaseException:
                bo.doclose = bo.doclose or "TX_ERROR"
                self.finish(wrk, bo)
                raise
            wrk.stats.backend_retry += 1
            fresh = True

    @staticmethod
    def _may_resend(bo: Exchange) -> bool:
        """May the request be sent once more: does VCL allow it, and can its body, rewound here, be sent again?"""
        if bo.no_retry is not None:
            return False
        body = bo.bereq_body
        if body is not None:
            if not can_rewind(body):
                return False
            body.rewind()  # type: ignore[attr-defined]  # asked for by can_rewind
        return True

    def finish(self, wrk: Worker, bo: Exchange) -> None:
        conn = bo.backend_conn
        if conn is None:
            return
        bo.backend_conn = None
        reader = bo.body_reader
        if bo.doclose is None and reader is not None and not reader.complete and not reader.skip_buffered():
            bo.doclose = reader.why_close or "RX_BODY"
        if bo.doclose is not None or reader is None or self.proxy_header:
            reason = bo.doclose or "null"
            bo.log.put(BACKEND_CLOSE, f"{conn.fd} {self.vcl_name} close {reason}")
            self.pool.close(conn)
        else:
            bo.log.put(BACKEND_CLOSE, f"{conn.fd} {self.vcl_name} recycle")
            if self.pool.recycle(conn):
                wrk.stats.backend_recycle += 1
        self._leave()
        acct, before = bo.acct, conn.charged
        self.vsc.inc_all((
            ("conn", -1),
            ("bereq_hdrbytes", acct.bereq_hdrbytes - before[0]),
            ("bereq_bodybytes", acct.bereq_bodybytes - before[1]),
            ("beresp_hdrbytes", acct.beresp_hdrbytes - before[2]),
            ("beresp_bodybytes", reader.octets if reader is not None else 0),
        ))  # fmt: skip

    def open_pipe(self, wrk: Worker, bo: Exchange) -> Connection:
        """Connect and send the head; the caller moves octets both ways on ``.sock`` and ends with `finish`.

        The caller sets ``bo.doclose`` before `finish`, and reports its octets with `charge_pipe`.
        """
        bo.body_reader = None
        conn = self._connect(wrk, bo, False)
        timeout = _choose(bo.first_byte_timeout, self.first_byte_timeout, params.first_byte_timeout)
        try:
            send_request(wrk, bo, conn, timeout, piped=True)
        except BaseException:
            bo.doclose = bo.doclose or "TX_ERROR"
            self.finish(wrk, bo)
            raise
        return conn

    def charge_pipe(self, hdrbytes: int, octets_out: int, octets_in: int) -> None:
        """Count what went through a pipe: request head, body to the backend, everything from it."""
        self.vsc.inc("pipe_hdrbytes", hdrbytes)
        self.vsc.inc("pipe_out", octets_out)
        self.vsc.inc("pipe_in", octets_in)

    def get_ip(self, bo: Exchange) -> tuple[str, int] | None:
        conn = bo.backend_conn
        if conn is None:
            return None
        return conn.remote[0], int(conn.remote[1])

    # -- showing ---------------------------------------------------------------------------------------------------

    def probe_summary(self, ctx: Ctx | None) -> tuple[int, int, str]:
        if self.probe is None:
            return 0, 0, "healthy"
        return self.probe.good, self.probe.window, "sick" if self.sick else "healthy"

    def details_text(self) -> str:
        return self.probe.details_text() if self.probe is not None else ""

    def details(self) -> dict[str, object]:
        result: dict[str, object] = {"probe_details": self.probe.details() if self.probe is not None else {}}
        endpoint = self.pool.endpoint
        if endpoint.ipv4 is not None:
            result["ipv4"] = endpoint.ipv4[0]
        if endpoint.ipv6 is not None:
            result["ipv6"] = endpoint.ipv6[0]
        return result


def _choose(*values: float | None) -> float:
    """The first of the timeouts that is given: the request's, the backend's, the parameter's."""
    for value in values:
        if value is not None and value >= 0:
            return value
    return clock.NEVER
