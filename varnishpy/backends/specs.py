"""What VCL says of a backend and of its probe, as plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """vcl-probe(7). Durations in seconds; None where the program says nothing."""

    vcl_name: str
    url: str | None = None
    request: str | None = None  # complete, with CRLFs
    timeout: float | None = None
    interval: float | None = None
    expected_response: int | None = None
    window: int | None = None
    threshold: int | None = None
    initial: int | None = None
    expect_close: bool = True


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """vcl-backend(7). ``ipv4``/``ipv6`` are what ``host`` resolved to when the program was compiled."""

    vcl_name: str
    host: str | None = None
    port: str | None = None
    path: str | None = None  # Unix domain socket; "@name" is abstract
    ipv4: tuple[str, int] | None = None
    ipv6: tuple[str, int] | None = None
    host_header: str = "0.0.0.0"
    connect_timeout: float | None = None
    first_byte_timeout: float | None = None
    between_bytes_timeout: float | None = None
    wait_timeout: float | None = None
    wait_limit: int | None = None
    max_connections: int | None = None
    proxy_header: int = 0  # 0: none, else PROXY protocol 1 or 2
    preamble: bytes = b""
    authority: str | None = None  # with a via backend: the TLV of the PROXY header, "" for none
    probe: ProbeSpec | None = None
    ssl: bool = False
    ssl_sni: bool = True
    ssl_verify_peer: bool = True
    ssl_verify_host: bool = False
    none: bool = False  # "backend x none;"
