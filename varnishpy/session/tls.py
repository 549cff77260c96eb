"""TLS in front of HTTP: the handshake of ``HTTPS`` listeners.

The handshake runs on a worker, bounded by tls_handshake_timeout, with a certificate chosen by the name the client asks
for. ALPN offers ``h2`` where HTTP/2 is switched on; the HTTP/1 transport then finds the HTTP/2 preface and hands over.
"""

from __future__ import annotations

import select
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from varnishpy.base import clock
from varnishpy.log.tags import Tag
from varnishpy.log.tasklog import vsl
from varnishpy.params import params
from varnishpy.session.handshake import HandshakeTransport
from varnishpy.session.session import TlsInfo
from varnishpy.session.tls_socket import TlsSocket

if TYPE_CHECKING:
    from varnishpy.request.env import Env
    from varnishpy.session.certificates import CertStore
    from varnishpy.session.session import Session
    from varnishpy.threads import Worker

_TLS: Final = int(Tag.TLS)


class TlsTransport(HandshakeTransport):
    """See the module text."""

    name = "TLS"

    def __init__(self, env: Env, certificates: CertStore) -> None:
        super().__init__(env)
        self.certificates = certificates

    def new_session(self, wrk: Worker, sess: Session) -> None:
        """Task: shake hands on a fresh connection and go on with HTTP."""
        wrk.subject = sess
        sess.transport = self
        http2 = bool(params.feature.http2)
        context = self.certificates.context(sess.listen.name, http2)
        if context is None:
            vsl(_TLS, sess.vxid, "No certificates loaded")
            self._end(wrk, sess, "RX_BAD")
            return
        plain = sess.sock
        assert isinstance(plain, socket.socket)
        reason = None
        try:
            sock = TlsSocket(plain, context, sess.listen.name, http2)
            sess.sock = sock
            reason = self._shake(wrk, sock)
        except ssl.SSLError as error:
            vsl(_TLS, sess.vxid, f"TLS handshake failed: {error.reason or error.args[-1]}")
            reason = "RX_BAD"
        except OSError as error:
            vsl(_TLS, sess.vxid, f"TLS handshake failed: {error.strerror or error}")
            reason = "REM_CLOSE"
        if reason is not None:
            self._end(wrk, sess, reason)
            return
        sess.tls = TlsInfo(sock.version, sock.cipher, sock.alpn, sock.server_name)
        vsl(_TLS, sess.vxid, f"{sock.version} {sock.cipher} alpn={sock.alpn or '-'} sni={sess.tls.sni or '-'}")
        sess.t_idle = clock.now()
        http: Any = self.env.transports["HTTP1"]
        http.new_session(wrk, sess)

    @staticmethod
    def _shake(wrk: Worker, sock: TlsSocket) -> str | None:
        deadline = clock.mono() + params.tls_handshake_timeout
        while events := sock.handshake():
            left = deadline - clock.mono()
            poll = select.poll()
            poll.register(sock.fileno(), events)
            with wrk.blocking():
                if left <= 0 or not poll.poll(left * 1000):
                    return "RX_TIMEOUT"
        return None

    @staticmethod
    def _end(wrk: Worker, sess: Session, reason: str) -> None:
        wrk.stats.sess_closed += 1
        sess.delete(reason)
