"""What is asked about a certificate (RFC 5280): its names, its key, who signed how. As much of DER as that takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_INTEGER: Final = 0x02
_BITS: Final = 0x03
_OCTETS: Final = 0x04
_OID: Final = 0x06
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_DNS_NAME: Final = 0x82

_SUBJECT_ALT_NAME: Final = "2.5.29.17"
_COMMON_NAME: Final = "2.5.4.3"

# Short names of signature algorithms, as OpenSSL prints them (RFC 8017, RFC 5758, RFC 8410).
_SIGNATURES: Final = {
    "1.2.840.113549.1.1.4": "RSA-MD5",
    "1.2.840.113549.1.1.5": "RSA-SHA1",
    "1.2.840.113549.1.1.10": "RSASSA-PSS",
    "1.2.840.113549.1.1.11": "RSA-SHA256",
    "1.2.840.113549.1.1.12": "RSA-SHA384",
    "1.2.840.113549.1.1.13": "RSA-SHA512",
    "1.2.840.113549.1.1.14": "RSA-SHA224",
    "1.2.840.10045.4.1": "ecdsa-with-SHA1",
    "1.2.840.10045.4.3.1": "ecdsa-with-SHA224",
    "1.2.840.10045.4.3.2": "ecdsa-with-SHA256",
    "1.2.840.10045.4.3.3": "ecdsa-with-SHA384",
    "1.2.840.10045.4.3.4": "ecdsa-with-SHA512",
    "1.3.101.112": "ED25519",
    "1.3.101.113": "ED448",
}
_RSA_KEY: Final = "1.2.840.113549.1.1.1"
_DSA_KEY: Final = "1.2.840.10040.4.1"
_EC_KEY: Final = "1.2.840.10045.2.1"
# Bits of the named curves (RFC 5480), and of keys whose algorithm has but one size.
_CURVES: Final = {
    "1.2.840.10045.3.1.1": 192,
    "1.2.840.10045.3.1.7": 256,
    "1.3.132.0.10": 256,
    "1.3.132.0.33": 224,
    "1.3.132.0.34": 384,
    "1.3.132.0.35": 521,
}
_FIXED: Final = {"1.3.101.112": 256, "1.3.101.113": 456}


class X509Error(Exception):
    """The octets are no certificate."""


@dataclass(slots=True, frozen=True)
class Certificate:
    """``names`` are DNS names in lower case: those of subjectAltName or, where there are none, the common name.

    ``signature`` is the short name of the signature's algorithm (``RSA-SHA256``), ``key`` the key's algorithm and size
    in bits (``RSA2048``, ``EC256``).
    """

    names: tuple[str, ...]
    signature: str
    key: str


def read(der: bytes) -> Certificate:
    """:raises X509Error:"""
    try:
        _, certificate = next(_elements(der))
        (_, body), (_, algorithm), *_ = _elements(certificate)
        # [version,] serial, signature, issuer, validity, subject, key, optional fields
        fields = [(tag, value) for tag, value in _elements(body) if tag != _VERSION]
        subject, key = fields[4][1], fields[5][1]
        names = _alternative_names(fields[6:]) or _common_names(subject)
        oid = _oid(algorithm)
        return Certificate(tuple(dict.fromkeys(names)), _SIGNATURES.get(oid, oid), _key(key))
    except (IndexError, StopIteration, ValueError):
        raise X509Error("malformed certificate") from None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            octets = size & 0x7F
            size = int.from_bytes(data[at : at + octets], "big")
            at += octets
        if at + size > len(data):
            raise IndexError
        yield tag, data[at : at + size]
        at += size


def _oid(data: bytes) -> str:
    """The object identifier that *data* begins with, as numbers and dots; empty if it begins with something else."""
    tag, value = next(_elements(data))
    if tag != _OID:
        return ""
    numbers = [0]
    for octet in value:
        numbers[-1] = numbers[-1] << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(0)
    first = min(numbers[0] // 40, 2)
    return ".".join(str(number) for number in (first, numbers[0] - 40 * first, *numbers[1:-1]))


def _alternative_names(fields: list[tuple[int, bytes]]) -> list[str]:
    names: list[str] = []
    for tag, value in fields:
        if tag != _EXTENSIONS:
            continue
        _, extensions = next(_elements(value))
        for _, extension in _elements(extensions):
            kind, content = list(_elements(extension))[-1]
            if _oid(extension) == _SUBJECT_ALT_NAME and kind == _OCTETS:
                _, general_names = next(_elements(content))
                names += [name.decode("latin-1") for kind, name in _elements(general_names) if kind == _DNS_NAME]
    return [name.lower() for name in names]


def _common_names(subject: bytes) -> list[str]:
    names = []
    for _, relative in _elements(subject):
        for _, pair in _elements(relative):
            if _oid(pair) == _COMMON_NAME:
                names.append(list(_elements(pair))[1][1].decode("latin-1").lower())
    return names


def _key(info: bytes) -> str:
    """Of a SubjectPublicKeyInfo: the algorithm and how many bits."""
    (_, algorithm), (kind, bits) = _elements(info)
    if kind != _BITS:
        raise ValueError
    oid = _oid(algorithm)
    parameters = algorithm[algorithm[1] + 2 :]
    if oid == _RSA_KEY:
        _, pair = next(_elements(bits[1:]))
        return f"RSA{_bits_of(pair)}"
    if oid == _DSA_KEY:
        _, triple = next(_elements(parameters))
        return f"DSA{_bits_of(triple)}"
    if oid == _EC_KEY:
        return f"EC{_CURVES.get(_oid(parameters), 8 * (len(bits) // 2 - 1))}"
    return f"n/a{_FIXED.get(oid, 8 * (len(bits) - 1))}"


def _bits_of(numbers: bytes) -> int:
    """Size of the first of some numbers."""
    kind, number = next(_elements(numbers))
    if kind != _INTEGER:
        raise ValueError
    return int.from_bytes(number, "big").bit_length()
