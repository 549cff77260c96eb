"""Certificates of HTTPS listeners, and their management (``tls.cert.*`` of the CLI).

A certificate belongs to one listener (by its ``-a`` name) or to all. Changes are *staged* and take effect together with
`CertStore.commit`, or are forgotten with `CertStore.rollback`. What is in force is one immutable table, replaced as a
whole, so that handshakes read it without a lock.

A client is given the certificate whose names match the server name it sends (RFC 6066): exact names first, then
``*.example.com`` for one label. Without a match, or without a name, it gets the default: the first one loaded.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from dataclasses import dataclass, field, replace
from typing import Final

from varnishpy.base import x509
from varnishpy.params import params
from varnishpy.session.handed_files import HandedFiles
from varnishpy.session.tls_settings import CertificateSpec, FrontendPolicy, restrict
from varnishpy.session.tls_socket import CertifiedContext, NamedSocket

_POLICY: Final = FrontendPolicy()


class CertError(Exception):
    """A certificate cannot be used; the text says which file and why."""


@dataclass(slots=True, frozen=True)
class Certificate:
    """One loaded certificate with its private key.

    ``facts`` are those of the certificate itself, its names among them.
    """

    spec: CertificateSpec
    facts: x509.Certificate
    contexts: tuple[ssl.SSLContext, ssl.SSLContext]  # without and with h2 in ALPN

    @property
    def ident(self) -> str:
        """Its name."""
        return self.spec.ident

    @property
    def names(self) -> tuple[str, ...]:
        """DNS names that it is for, in lower case."""
        return self.facts.names

    @property
    def frontend(self) -> str:
        """The listener that it belongs to; empty: to all."""
        return self.spec.frontend


@dataclass(slots=True, frozen=True)
class _Table:
    """Certificates in force, in order of loading."""

    certificates: tuple[Certificate, ...] = ()
    by_name: dict[tuple[str, str], Certificate] = field(default_factory=dict)

    def named(self, frontend: str, server_name: str, match_global: bool) -> Certificate | None:
        """The certificate of a listener for the name that a client asked for."""
        name = server_name.lower().rstrip(".")
        wildcard = "*." + name.partition(".")[2]
        for owner in (frontend, "") if match_global else (frontend,):
            for key in ((owner, name), (owner, wildcard)):
                found = self.by_name.get(key)
                if found is not None:
                    return found
        return None

    def default(self, frontend: str) -> Certificate | None:
        """The certificate of a listener for who asked for no name: its own before those of all, and the last that was
        made the default, or else the first."""
        for owner in (frontend, ""):
            owned = [certificate for certificate in self.certificates if certificate.frontend == owner]
            chosen = [certificate for certificate in owned if certificate.spec.default]
            if owned:
                return chosen[-1] if chosen else owned[0]
        return None


def _table(certificates: tuple[Certificate, ...]) -> _Table:
    by_name: dict[tuple[str, str], Certificate] = {}
    for certificate in certificates:
        for name in certificate.names:
            by_name.setdefault((certificate.frontend, name), certificate)
    return _Table(certificates, by_name)


class CertStore:
    """All certificates of the process. Thread safe; file access happens outside the lock."""

    def __init__(self, policies: dict[str, FrontendPolicy] | None = None, files: HandedFiles | None = None) -> None:
        self._policies = policies or {}
        self.files = files or HandedFiles({})
        self._restricted: dict[tuple[str, bool], tuple[Certificate, ssl.SSLContext]] = {}  # by frontend and http2
        self._lock = threading.Lock()
        self._table = _Table()
        self._loaded: dict[str, Certificate] = {}  # staged, by id
        self._discarded: set[str] = set()  # staged
        self._serial = 0

    # -- for handshakes --------------------------------------------------------------------------------------------

    def context(self, frontend: str, http2: bool) -> ssl.SSLContext | None:
        """The context to start a handshake with, or ``None`` when there is no certificate at all.

        The certificate that the client gets is chosen when it has named a server, see `_choose`.
        """
        default = self._table.default(frontend)
        if default is None:
            return None
        versions = self._policy(frontend).versions
        if not versions or versions == default.spec.versions:
            return default.contexts[http2]
        # a listener's own versions: what the handshake begins with decides, whichever certificate is chosen then
        made = self._restricted.get((frontend, http2))
        if made is None or made[0] is not default:
            made = default, self._context(replace(default.spec, versions=versions), default.facts, http2)
            self._restricted[frontend, http2] = made
        return made[1]

    def _policy(self, frontend: str) -> FrontendPolicy:
        return self._policies.get(frontend, _POLICY)

    def _choose(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
        """OpenSSL asks: the client has named a server, or none."""
        assert isinstance(tls, NamedSocket)
        tls.server_name = name or ""
        if not name:
            return None
        policy = self._policy(tls.frontend)
        found = self._table.named(tls.frontend, name, policy.match_global)
        if found is None:
            if policy.abort:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            found = self._table.default(tls.frontend)
        if found is not None:
            tls.context = found.contexts[tls.http2]
        return None

    # -- tls.cert.* ------------------------------------------------------------------------------------------------

    def load(self, spec: CertificateSpec) -> str:
        """Stage a certificate, under a name that is made up if the spec has none.

        :returns: its id
        :raises CertError:
        """
        loaded = self._load(spec)
        with self._lock:
            if not spec.ident:
                loaded = replace(loaded, spec=replace(spec, ident=f"cert{self._serial}"))
                self._serial += 1
            ident = loaded.ident
            if ident in self._loaded or (ident not in self._discarded and self._has(ident)):
                raise CertError(f'Id: "{ident}" already exists')
            if params.tls_err_dup_servername:
                self._refuse_twins(loaded)
            self._loaded[ident] = loaded
        return ident

    def _has(self, ident: str) -> bool:
        return any(known.ident == ident for known in self._table.certificates)

    def _refuse_twins(self, loaded: Certificate) -> None:
        """``tls_err_dup_servername``: no two certificates of one listener may be for the same name."""
        for name in loaded.names:
            if (loaded.frontend, name) in self._table.by_name:
                raise CertError(f"'{name}' already loaded.")
            if any(other.frontend == loaded.frontend and name in other.names for other in self._loaded.values()):
                raise CertError(f"'{name}' already staged.")

    def discard(self, ident: str) -> None:
        """Stage the removal of a certificate; one that is only staged is forgotten at once.

        :raises CertError: there is none of that name
        """
        with self._lock:
            if self._loaded.pop(ident, None) is not None:
                return
            if all(known.ident != ident for known in self._table.certificates) or ident in self._discarded:
                raise CertError(f"Certificate '{ident}' not found")
            self._discarded.add(ident)

    def commit(self) -> None:
        """Put staged changes in force. Connections that are open keep what they have."""
        with self._lock:
            kept = tuple(known for known in self._table.certificates if known.ident not in self._discarded)
            self._table = _table((*kept, *self._loaded.values()))
            self._loaded = {}
            self._discarded = set()

    def rollback(self) -> None:
        """Forget staged changes."""
        with self._lock:
            self._loaded = {}
            self._discarded = set()

    def reload(self) -> None:
        """Read all certificates in force from their files again; all change, or none.

        :raises CertError: a file cannot be used any more, or there are staged changes
        """
        with self._lock:
            if self._loaded or self._discarded:
                raise CertError("There are uncommitted changes; commit or rollback first.")
            old = self._table
        fresh = tuple(self._load(known.spec) for known in old.certificates)
        with self._lock:
            if self._table is not old or self._loaded or self._discarded:
                raise CertError("Certificates were changed during the reload.")
            self._table = _table(fresh)

    def _load(self, spec: CertificateSpec) -> Certificate:
        facts = _facts(spec.cert_file, self.files)
        contexts = self._context(spec, facts, False), self._context(spec, facts, True)
        if not facts.names:
            raise CertError(f"Could not find valid SAN or CN in certificate {spec.cert_file}")
        return Certificate(spec, facts, contexts)

    def _context(self, spec: CertificateSpec, facts: x509.Certificate, http2: bool) -> ssl.SSLContext:
        context = _context(spec, http2, self.files)
        context.certificate = facts
        context.sni_callback = self._choose
        return context

    def list(self, only_staged: bool = False) -> list[dict[str, str]]:
        """Rows with ``frontend``, ``id``, ``status`` (active, staged, discard) and ``subject`` (the names)."""
        with self._lock:
            rows = [
                (known, "discard" if known.ident in self._discarded else "active") for known in self._table.certificates
            ]
            rows += [(known, "staged") for known in self._loaded.values()]
        return [
            {
                "frontend": known.frontend or "default",
                "id": known.ident,
                "status": status,
                "subject": " ".join(known.names),
            }
            for known, status in rows
            if status != "active" or not only_staged
        ]


def _context(spec: CertificateSpec, http2: bool, files: HandedFiles) -> CertifiedContext:
    context = CertifiedContext(ssl.PROTOCOL_TLS_SERVER)
    restrict(context, spec.versions)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if spec.server_order:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.sslsocket_class = NamedSocket
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    try:
        if spec.ciphers:
            _set_ciphers(context, spec.ciphers)
        with contextlib.ExitStack() as stack:
            cert_file, key_file, dh_file = (
                stack.enter_context(files.openable(name)) if name else None
                for name in (spec.cert_file, spec.key_file, spec.dh_file)
            )
            assert cert_file is not None
            context.load_cert_chain(cert_file, key_file, password="")  # an encrypted key fails; nobody can type
            if dh_file is not None:
                context.load_dh_params(dh_file)
        if spec.curve:
            context.set_ecdh_curve(spec.curve)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise CertError(f"Error loading certificate {spec.cert_file}: {reason}") from None
    except OSError as error:
        raise CertError(f"Error loading certificate {spec.cert_file}: {error.strerror}") from None
    except ValueError as error:
        raise CertError(f"Error loading certificate {spec.cert_file}: {error}") from None
    return context


def _set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:  # one that says nothing
        raise CertError(f"Invalid cipher list: '{ciphers}'") from None


def _facts(cert_file: str, files: HandedFiles) -> x509.Certificate:
    """Of the first certificate in a PEM file."""
    try:
        text = files.read(cert_file).decode("latin-1")
    except OSError as error:
        raise CertError(f"Error loading certificate {cert_file}: {error.strerror}") from None
    begin = text.find("-----BEGIN CERTIFICATE-----")
    end = text.find("-----END CERTIFICATE-----", begin)
    if begin < 0 or end < 0:
        raise CertError(f"Error loading certificate {cert_file}: no certificate in it")
    try:
        return x509.read(ssl.PEM_cert_to_DER_cert(text[begin : end + len("-----END CERTIFICATE-----")]))
    except x509.X509Error as error:
        raise CertError(f"Error loading certificate {cert_file}: {error}") from None
