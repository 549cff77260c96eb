"""The PROXY listener: reads one PROXY header and hands the connection to HTTP/1.

It is the outermost of the transports and serves no requests. The header must be complete within timeout_idle of the
accept. What came behind it is the beginning of HTTP.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from varnishpy.base import clock
from varnishpy.http import proxy_wire
from varnishpy.http.proxy_wire import ProxyError, ProxyHeader, ProxyOverflow
from varnishpy.http1.connection import Connection, Fill
from varnishpy.http1.transport import Http1Transport
from varnishpy.log.tag_numbers import PROXY as _PROXY
from varnishpy.log.tag_numbers import PROXY_GARBAGE
from varnishpy.log.tasklog import vsl
from varnishpy.params import params
from varnishpy.session.address import SockAddr
from varnishpy.session.handshake import HandshakeTransport

if TYPE_CHECKING:
    from varnishpy.session.session import Session
    from varnishpy.threads.worker import Worker


class ProxyTransport(HandshakeTransport):
    """See the module text."""

    name = "PROXY"

    def new_session(self, wrk: Worker, sess: Session) -> None:
        """Task: read the header of a fresh connection and go on with HTTP."""
        sess.transport = self
        conn = Connection(sess)
        sess.transport_priv = conn
        self._receive(sess, conn, wrk)

    def _go_on(self, wrk: Worker, sess: Session, conn: Connection, header: ProxyHeader) -> None:
        """Serve HTTP behind a header."""
        sess.proxy = header
        if header.garbage:
            vsl(PROXY_GARBAGE, sess.vxid, header.garbage)
        if header.log:
            vsl(_PROXY, sess.vxid, header.log)
        if header.client is not None and header.server is not None:
            sess.client_ip = SockAddr(*header.client)
            sess.server_ip = SockAddr(*header.server)
        http = self.env.transports["HTTP1"]
        assert isinstance(http, Http1Transport)
        http.new_session(wrk, sess, bytes(conn.buf))

    def _receive(self, sess: Session, conn: Connection, wrk: Worker) -> None:
        """Task: read a header; the session rests until there is a whole one."""
        wrk.subject = sess
        buf = conn.buf
        due = conn.t_quiet + params.timeout_idle
        reason = None
        try:
            while True:
                result = conn.fill(proxy_wire.MAX_PAYLOAD + 16)
                if result is Fill.EOF:
                    reason = "REM_CLOSE"
                    break
                if result is Fill.DATA:
                    end = proxy_wire.find_end(buf)
                    if end:
                        header = proxy_wire.parse(bytes(buf[:end]))
                        del buf[:end]
                        break
                    if not conn.dry:
                        continue
                if clock.mono() >= due:
                    reason = "RX_TIMEOUT"
                    break
                if sess.watch(partial(self._receive, sess, conn)).rest(due):
                    return
        except ProxyOverflow:
            reason = "RX_OVERFLOW"
        except ProxyError as error:
            if str(error):
                vsl(PROXY_GARBAGE, sess.vxid, str(error))
            reason = "RX_JUNK"
        except OSError:
            reason = "PIPE_OVERFLOW"  # the watch did not take the session
        if reason is None:
            self._go_on(wrk, sess, conn, header)
        else:
            wrk.stats.sess_closed += 1
            sess.delete(reason)
