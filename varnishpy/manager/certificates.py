"""What the manager remembers of ``tls.cert.*``, so that a new child serves the certificates that the last one had.

The child does the work and judges it; here is only kept what it agreed to. Staged changes die with the child.

A child in a jail may not be able to read keys: the manager reads them (`read_files`, `hand_over`).
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from varnishpy.base.endpoint import ListenEndpoint
from varnishpy.cli.protocol import OK
from varnishpy.manager.complain import complain
from varnishpy.session.tls_settings import CertificateSpec, parse_load

Ask = Callable[[list[str]], tuple[int, str]]


def of_listeners(specs: Iterable[ListenEndpoint]) -> list[CertificateSpec]:
    """The certificates that ``-a`` brings."""
    return [
        CertificateSpec(spec.options["cert"], spec.options.get("key", ""), frontend=spec.name)
        for spec in specs
        if spec.proto == "HTTPS" and "cert" in spec.options
    ]


def read_files(specs: Iterable[CertificateSpec]) -> dict[str, bytes]:
    """What can be read of the certificates' files; of the rest the child will say what is wrong."""
    found: dict[str, bytes] = {}
    for path in _files(specs):
        with contextlib.suppress(OSError):
            found[path] = Path(path).read_bytes()
    return found


def _files(specs: Iterable[CertificateSpec]) -> set[str]:
    return {path for spec in specs for path in (spec.cert_file, spec.key_file, spec.dh_file) if path}


def hand_over(ask: Ask, specs: Iterable[CertificateSpec]) -> None:
    """Give the child what these certificates' files hold now; what cannot be read any more it shall not have either."""
    known = list(specs)
    found = read_files(known)
    for path in _files(known):
        data = found.get(path)
        ask(["tls.file", path, *([base64.b64encode(data).decode("ascii")] if data is not None else [])])


class CertificateMemory:
    """Certificates that were loaded by the CLI and committed, and those of ``-a`` that were discarded."""

    def __init__(self) -> None:
        self.nameless = 0  # certificates without a name so far: the next one is cert<number>
        self._loaded: dict[str, list[str]] = {}  # id -> the arguments of tls.cert.load
        self._discarded: set[str] = set()  # of -a: the child makes them anew
        self._staged_loads: dict[str, list[str]] = {}
        self._staged_discards: set[str] = set()

    def __bool__(self) -> bool:
        """Is there a certificate that the next child will be told of?"""
        return bool(self._loaded)

    def with_name(self, words: list[str]) -> list[str]:
        """The arguments of ``tls.cert.load``, the certificate's name among them."""
        if len(words) > 1 and not words[1].startswith("-"):
            return words
        self.nameless += 1
        return [f"cert{self.nameless - 1}", *words]

    def specs(self) -> list[CertificateSpec]:
        """Those that were loaded by the CLI."""
        return [parse_load(words) for words in (*self._loaded.values(), *self._staged_loads.values())]

    def heard(self, command: str, arguments: list[str]) -> None:
        """The child has carried out a ``tls.cert.*`` command."""
        match command:
            case "tls.cert.load":
                self._staged_loads[arguments[0]] = arguments
            case "tls.cert.discard":
                if self._staged_loads.pop(arguments[0], None) is None:
                    self._staged_discards.add(arguments[0])
            case "tls.cert.commit":
                for ident in self._staged_discards:
                    if self._loaded.pop(ident, None) is None:
                        self._discarded.add(ident)
                self._loaded.update(self._staged_loads)
                self._forget_staged()
            case "tls.cert.rollback":
                self._forget_staged()

    def tell(self, ask: Ask) -> None:
        """Bring a new child to the state of the last one. What it does not take any more is complained of."""
        self._forget_staged()
        commands = [["tls.cert.discard", ident] for ident in self._discarded]
        commands += [["tls.cert.load", *arguments] for arguments in self._loaded.values()]
        if not commands:
            return
        for words in [*commands, ["tls.cert.commit"]]:
            status, text = ask(words)
            if status != OK:
                complain("Error", f"The new child refused {' '.join(words)}: {text}")

    def _forget_staged(self) -> None:
        self._staged_loads = {}
        self._staged_discards = set()
