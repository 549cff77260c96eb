"""``tls_config`` and ``tls_handshake`` of clients and servers, and what ``expect`` finds in ``tls.*``.

Python's TLS has no OCSP stapling, and keeps sessions to itself: ``sess_out`` writes the name of a session that
``sess_in`` of another client of the same test finds again.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .kinds import Kind
from .table import Call, Command, Handler, table
from .tls_socket import TlsSocket

if TYPE_CHECKING:
    from .http1 import Http

BUILTIN = Path(__file__).with_name("example.com.pem")
VERSIONS = {
    "sslv3": ssl.TLSVersion.SSLv3,
    "tlsv1.0": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
_VERIFY = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_CERT = re.compile(r"tls\.cert([0-9]*)\.(subject|issuer|subject_alt_names)")
_ALERT = re.compile(r"ALERT_(\w+)")
_ALT_NAMES = {"IP Address": "IP"}


@dataclass(slots=True)
class TlsState:
    """What a client or server has configured, and what came of its handshakes."""

    server: bool
    context: ssl.SSLContext
    has_certificate: bool = False
    server_name: str = ""
    session_out: str = ""
    session_in: str = ""
    conn: TlsSocket | None = None
    alert: str | None = None
    asked_for: dict[ssl.SSLObject, str] = field(default_factory=dict)

    @classmethod
    def new(cls, server: bool) -> TlsState:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        state = cls(server, context)
        if server:
            context.sni_callback = state._note_name
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_default_verify_paths()
        return state

    def _note_name(self, conn: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        self.asked_for[conn] = name or ""

    # What expect asks for

    def value(self, word: str) -> str | None:
        """What a ``tls.*`` word stands for.  KeyError if there is no such thing."""
        conn = self.conn
        if conn is None:
            return None
        certificate = _CERT.fullmatch(word)
        if certificate is not None:
            return self._certificate(conn, int(certificate.group(1) or 0), certificate.group(2))
        return FIELDS[word](self, conn)

    @staticmethod
    def _certificate(conn: TlsSocket, number: int, what: str) -> str | None:
        # Public since Python 3.13; what is behind it has been there since 3.10, and tells what is in a certificate.
        chain = conn.ssl._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]
        if number >= len(chain):
            return None
        info = chain[number].get_info()
        if what == "subject_alt_names":
            return ", ".join(f"{_ALT_NAMES.get(kind, kind)}:{name}" for kind, name in info.get("subjectAltName", ()))
        names = dict(pair for rdn in info.get(what, ()) for pair in rdn)
        return names.get("commonName")


def _cipher(conn: TlsSocket) -> str | None:
    cipher = conn.ssl.cipher()
    return cipher[0] if cipher else None


def _truth(value: object) -> str:
    return "true" if value else "false"


FIELDS: dict[str, Callable[[TlsState, TlsSocket], str | None]] = {
    "tls.failed": lambda _, conn: _truth(conn.failed),
    "tls.version": lambda _, conn: conn.ssl.version(),
    "tls.cipher": lambda _, conn: _cipher(conn),
    "tls.servername": lambda state, conn: state.asked_for.get(conn.ssl) if state.server else state.server_name or None,
    "tls.alpn": lambda _, conn: conn.ssl.selected_alpn_protocol(),
    "tls.alert": lambda state, _: state.alert,
    "tls.sess_reused": lambda _, conn: _truth(conn.ssl.session_reused),
}
CERTIFICATE_FIELDS = ("tls.certN.subject", "tls.certN.issuer", "tls.certN.subject_alt_names")


def is_field(word: str) -> bool:
    return word in FIELDS or _CERT.fullmatch(word) is not None


def resolve(http: Http, word: str) -> str | None:
    if http.tls is None or http.tls.conn is None:
        http.voice.fatal(f"{word}: no TLS handshake has been tried")
    try:
        return http.tls.value(word)
    except KeyError:
        http.voice.fatal(f"unknown operand '{word}'")


# The configuration


def _words(call: Call) -> list[str]:
    return [str(word) for word in call.plain[1:]]


def _file(call: Call, load: Callable[[str], object]) -> None:
    (name,) = _words(call)
    try:
        load(name)
    except (OSError, ValueError) as error:
        call.voice.fatal(f"{call.command.name}: {name}: {error}")


def _cert(state: TlsState, call: Call) -> None:
    _file(call, state.context.load_cert_chain)
    state.has_certificate = True


def _version(state: TlsState, call: Call) -> None:
    least, *rest = (VERSIONS[word.lower()] for word in _words(call))
    most = rest[0] if rest else least
    if least > most:
        call.voice.fatal("TLS version min greater than max")
    state.context.minimum_version, state.context.maximum_version = least, most


def _cipher_list(state: TlsState, call: Call) -> None:
    try:
        state.context.set_ciphers(_words(call)[0])
    except ssl.SSLError:
        call.voice.fatal(f"invalid 'cipher_list' configuration '{_words(call)[0]}'")


def _alpn(state: TlsState, call: Call) -> None:
    state.context.set_alpn_protocols(_words(call))


def _client_only(state: TlsState, call: Call) -> None:
    if state.server:
        call.voice.fatal(f'"{call.command.name}" only possible in client')


def _server_only(state: TlsState, call: Call) -> None:
    if not state.server:
        call.voice.fatal(f'"{call.command.name}" only possible in server')


def _servername(state: TlsState, call: Call) -> None:
    _client_only(state, call)
    state.server_name = _words(call)[0]


def _verify_peer(state: TlsState, call: Call) -> None:
    _client_only(state, call)
    state.context.verify_mode = ssl.CERT_REQUIRED if _words(call)[0].lower() == "true" else ssl.CERT_NONE


def _session(state: TlsState, call: Call) -> None:
    _client_only(state, call)
    (name,) = _words(call)
    if call.command.name == "sess_out":
        state.session_out = name
    else:
        state.session_in = name


def _client_vfy(state: TlsState, call: Call) -> None:
    _server_only(state, call)
    state.context.verify_mode = _VERIFY[_words(call)[0]]


def _client_vfy_ca(state: TlsState, call: Call) -> None:
    _server_only(state, call)
    _file(call, state.context.load_verify_locations)


def _listed(choices: Sequence[str]) -> Kind:
    expected = f"one of: {' '.join(choices)}"
    return lambda word: "" if word.lower() in choices else expected


def _equals(word: str) -> str:
    return "" if word == "=" else "'='"


_KINDS: dict[str, Kind] = {
    "EQUALS": _equals,
    "VERSION": lambda word: "" if word.lower() in VERSIONS else "SSLv3, TLSv1.0, TLSv1.1, TLSv1.2 or TLSv1.3",
    "BOOLEAN": _listed(("true", "false")),
    "VERIFY": _listed(tuple(_VERIFY)),
}


def _setting(name: str, run: Handler, args: str, text: str) -> Command:
    return Command(name, run, f"EQUALS {args}", text=text, mixed=False, kinds=_KINDS)


TLS = table(
    _setting("cert", _cert, "FILE", "certificate and key from {1}"),
    _setting("version", _version, "VERSION [VERSION]", "from {1} to {2}"),
    _setting("cipher_list", _cipher_list, "CIPHERS", "ciphers {1} up to TLS 1.2"),
    _setting("alpn", _alpn, "PROTOCOL [PROTOCOL...]", "protocols to agree on: {1} {2}"),
    _setting("servername", _servername, "HOST", "asking for {1}"),
    _setting("verify_peer", _verify_peer, "BOOLEAN", "verify the server's certificate: {1}"),
    _setting("sess_out", _session, "FILE", "keep the session as {1}"),
    _setting("sess_in", _session, "FILE", "take up the session {1}"),
    _setting("client_vfy", _client_vfy, "VERIFY", "certificates of clients: {1}"),
    _setting("client_vfy_ca", _client_vfy_ca, "FILE", "verified by those in {1}"),
)


def configure(http: Http, call: Call) -> None:
    """``tls_config SPEC``"""
    if http.tls is not None and http.tls.conn is not None:
        call.voice.fatal("Cannot reconfigure TLS with an ongoing session")
    state = TlsState.new(http.is_server)
    call.test.interpreter(call.voice, "tls", state).run(call.plain[0])
    http.tls = state


def handshake(http: Http, call: Call) -> None:
    """``tls_handshake``: from here on the connection speaks TLS, or has failed to."""
    sock = http.sock
    if not isinstance(sock, socket.socket):
        call.voice.fatal("the connection is closed" if sock is None else "TLS is spoken already")
    state = http.tls = http.tls or TlsState.new(http.is_server)
    if state.server and not state.has_certificate:
        state.context.load_cert_chain(BUILTIN)
        state.has_certificate = True
    kept = call.test.tls_sessions.get(state.session_in) if state.session_in else None
    if state.session_in and kept is None:
        call.voice.fatal(f"sess_in: no session was kept as '{state.session_in}'")
    context = kept.context if kept is not None else state.context
    conn = TlsSocket(call.test, sock, context, state.server, state.server_name, http.waker)
    if kept is not None:
        conn.ssl.session = kept.session
    state.conn = conn
    http.sock = conn
    state.alert = None
    try:
        if not conn.handshake(http.timeout):
            call.voice.fatal("TLS handshake timeout")
    except OSError as error:
        found = _ALERT.search(getattr(error, "reason", None) or "")
        state.alert = found.group(1).lower() if found else None
        call.voice.say(3, f"TLS handshake failed: {error}")
        return
    call.voice.say(3, f"TLS handshake complete: {conn.ssl.version()} {_cipher(conn)}")


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session ``sess_out`` has kept.  It is good with the context it was made with."""

    session: ssl.SSLSession
    context: ssl.SSLContext


def leave(http: Http) -> None:
    """The connection is about to end: keep its session if asked to."""
    state = http.tls
    if state is None or state.conn is None:
        return
    session = state.conn.ssl.session if state.session_out and not state.conn.failed else None
    if session is not None:
        http.test.tls_sessions[state.session_out] = KeptSession(session, state.context)
        shown = base64.b64encode(session.id).decode()
        label = "SSL SESSION PARAMETERS"
        Path(state.session_out).write_text(f"-----BEGIN {label}-----\n{shown}\n-----END {label}-----\n")
    state.conn = None
