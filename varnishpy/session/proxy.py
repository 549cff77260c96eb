"""The PROXY listener: reads one PROXY header and hands the connection to HTTP/1.

It is the outermost of the transports and serves no requests. The header must be complete within timeout_idle of the
accept. What came behind it is the beginning of HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from varnishpy.base import clock
from varnishpy.http import proxy_wire
from varnishpy.http.proxy_wire import ProxyError, ProxyHeader, ProxyOverflow
from varnishpy.http1.connection import Connection, Fill
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import vsl
from varnishpy.params import params
from varnishpy.session.address import SockAddr
from varnishpy.session.handshake import HandshakeTransport

if TYPE_CHECKING:
    from varnishpy.session.session import Session
    from varnishpy.threads.worker import Worker

_PROXY: Final = int(Tag.Proxy)
_PROXY_GARBAGE: Final = int(Tag.ProxyGarbage)


class ProxyTransport(HandshakeTransport):
    """See the module text."""

    name = "PROXY"

    def new_session(self, wrk: Worker, sess: Session) -> None:
        """Task: read the header of a fresh connection and go on with HTTP."""
        wrk.subject = sess
        sess.transport = self
        conn = Connection(sess)
        header = self._receive(sess, conn)
        if header is None:
            wrk.stats.sess_closed += 1
            return
        sess.proxy = header
        if header.garbage:
            vsl(_PROXY_GARBAGE, sess.vxid, header.garbage)
        if header.log:
            vsl(_PROXY, sess.vxid, header.log)
        if header.client is not None and header.server is not None:
            sess.client_ip = SockAddr(*header.client)
            sess.server_ip = SockAddr(*header.server)
        http: Any = self.env.transports["HTTP1"]
        http.new_session(wrk, sess, bytes(conn.buf))

    @staticmethod
    def _receive(sess: Session, conn: Connection) -> ProxyHeader | None:
        """Wait for a header; without one the session has ended."""
        buf = conn.buf
        deadline = sess.t_idle + params.timeout_idle
        try:
            while True:
                result = conn.fill(proxy_wire.MAX_PAYLOAD + 16)
                if result is Fill.EOF:
                    sess.delete("REM_CLOSE")
                    return None
                if result is Fill.DATA:
                    end = proxy_wire.find_end(buf)
                    if end:
                        break
                left = deadline - clock.now()
                if left <= 0 or not conn.wait_readable(left):
                    sess.delete("RX_TIMEOUT")
                    return None
            header = proxy_wire.parse(bytes(buf[:end]))
        except ProxyOverflow:
            sess.delete("RX_OVERFLOW")
            return None
        except ProxyError as error:
            if str(error):
                vsl(_PROXY_GARBAGE, sess.vxid, str(error))
            sess.delete("RX_JUNK")
            return None
        del buf[:end]
        return header
