"""Certificates are made with the package `cryptography`, which knows them better than we do."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509 as made
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from varnishpy.base import x509

BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
RSA_KEY = rsa.generate_private_key(65537, 1024)


def certificate(
    key: object, digest: hashes.HashAlgorithm | None, common_name: str = "cn.example", *names: str
) -> bytes:
    subject = made.Name([made.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = made.CertificateBuilder().subject_name(subject).issuer_name(subject).serial_number(7)
    builder = builder.public_key(key.public_key()).not_valid_before(BEGIN)  # type: ignore[attr-defined]
    builder = builder.not_valid_after(BEGIN + datetime.timedelta(days=1))
    if names:
        alternatives = made.SubjectAlternativeName([made.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    signed = builder.sign(key, digest)  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("key", "digest", "signature", "kind"),
    [
        (RSA_KEY, hashes.SHA256(), "RSA-SHA256", "RSA1024"),
        (RSA_KEY, hashes.SHA512(), "RSA-SHA512", "RSA1024"),
        (ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), "ecdsa-with-SHA256", "EC256"),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA384(), "ecdsa-with-SHA384", "EC521"),
        (ed25519.Ed25519PrivateKey.generate(), None, "ED25519", "n/a256"),
        (dsa.generate_private_key(1024), hashes.SHA256(), "2.16.840.1.101.3.4.3.2", "DSA1024"),
    ],
)
def test_how_it_was_signed_and_its_key(
    key: object, digest: hashes.HashAlgorithm | None, signature: str, kind: str
) -> None:
    read = x509.read(certificate(key, digest))
    assert (read.signature, read.key) == (signature, kind)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ("cn.example",)),
        (("A.example", "b.example", "a.example"), ("a.example", "b.example")),
    ],
)
def test_its_names(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert x509.read(certificate(RSA_KEY, hashes.SHA256(), "CN.example", *names)).names == expected


def test_what_is_no_certificate() -> None:
    der = certificate(RSA_KEY, hashes.SHA256())
    for octets in (b"", b"\x30", b"hello", der[:100], b"\x30\x03\x02\x01\x01"):
        with pytest.raises(x509.X509Error):
            x509.read(octets)
