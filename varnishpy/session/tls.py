"""TLS in front of HTTP: the handshake of ``HTTPS`` listeners.

The handshake is bounded by tls_handshake_timeout, with a certificate chosen by the name the client asks for. While the
client has to say something the session rests in its pool's watch and holds no worker. ALPN offers ``h2`` where HTTP/2
is switched on; the HTTP/1 transport then finds the HTTP/2 preface and hands over.
"""

from __future__ import annotations

import select
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING

from varnishpy.base import clock
from varnishpy.base.tls_info import TlsInfo
from varnishpy.log.tag_numbers import TLS as _TLS
from varnishpy.log.tasklog import vsl
from varnishpy.params import params
from varnishpy.session.handshake import HandshakeTransport
from varnishpy.session.ja3 import LONGEST, fingerprint
from varnishpy.session.tls_socket import TlsSocket

if TYPE_CHECKING:
    from varnishpy.request.env import Env
    from varnishpy.session.certificates import CertStore
    from varnishpy.session.session import Session
    from varnishpy.threads import Worker


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
        try:
            sock = TlsSocket(plain, context, sess.listen.name, http2)
        except OSError as error:
            self._failed(wrk, sess, error)
            return
        sess.sock = sock
        deadline = clock.mono() + params.tls_handshake_timeout
        if params.tls_ja3:
            self._look(sess, sock, deadline, wrk)
        else:
            self._shake(sess, sock, deadline, "", wrk)

    def _look(self, sess: Session, sock: TlsSocket, deadline: float, wrk: Worker) -> None:
        """Task: look at the ClientHello before OpenSSL takes it, once the whole of it is there."""
        wrk.subject = sess
        while True:
            try:
                octets = sock.peek(LONGEST)
                found = None if octets is None else fingerprint(octets) if octets else ""
                watched = sess.watch(partial(self._look, sess, sock, deadline))
            except OSError as error:
                self._failed(wrk, sess, error)
                return
            if found is not None or watched.hangup:
                self._shake(sess, sock, deadline, found or "", wrk)
                return
            if clock.mono() >= deadline:
                self._end(wrk, sess, "RX_TIMEOUT")
                return
            if watched.rest(deadline):
                return

    def _shake(self, sess: Session, sock: TlsSocket, deadline: float, ja3: str, wrk: Worker) -> None:
        """Task: go on with the handshake."""
        wrk.subject = sess
        try:
            while events := sock.handshake():
                if clock.mono() >= deadline:
                    self._end(wrk, sess, "RX_TIMEOUT")
                    return
                watched = sess.watch(partial(self._shake, sess, sock, deadline, ja3))
                if events == select.POLLOUT:
                    watched.expect_room()
                if watched.rest(deadline):
                    return
        except OSError as error:
            self._failed(wrk, sess, error)
            return
        sess.tls = TlsInfo(sock.version, sock.cipher, sock.alpn, sock.server_name, sock.certificate, ja3)
        vsl(_TLS, sess.vxid, f"{sock.version} {sock.cipher} alpn={sock.alpn or '-'} sni={sess.tls.sni or '-'}")
        sess.t_idle = clock.now()
        http = self.env.transports["HTTP1"]
        http.new_session(wrk, sess)

    def _failed(self, wrk: Worker, sess: Session, error: OSError) -> None:
        """No handshake will come of it."""
        if isinstance(error, ssl.SSLError):
            vsl(_TLS, sess.vxid, f"TLS handshake failed: {error.reason or error.args[-1]}")
            self._end(wrk, sess, "RX_BAD")
        else:
            vsl(_TLS, sess.vxid, f"TLS handshake failed: {error.strerror or error}")
            self._end(wrk, sess, "REM_CLOSE")

    @staticmethod
    def _end(wrk: Worker, sess: Session, reason: str) -> None:
        wrk.stats.sess_closed += 1
        sess.delete(reason)
