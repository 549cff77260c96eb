"""What two ends of a TLS connection have agreed on."""

from __future__ import annotations

from dataclasses import dataclass

from varnishpy.base.x509 import Certificate


@dataclass(slots=True, frozen=True)
class TlsInfo:
    """What was agreed on with the peer; VCL and ``ReqStart`` want to know.

    :ivar sni: the server's name, as the client gave it (RFC 6066 section 3); empty if it gave none
    """

    version: str
    cipher: str
    alpn: str
    sni: str
    certificate: Certificate | None = None  # shown by the server, whichever end that is
    ja3: str = ""  # fingerprint of the client's ClientHello, if the parameter tls_ja3 asked for it
