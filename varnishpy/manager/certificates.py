"""What the manager remembers of ``tls.cert.*``, so that a new child serves the certificates that the last one had.

The child does the work and judges it; here is only kept what it agreed to. Staged changes die with the child.
"""

from __future__ import annotations

from collections.abc import Callable

from varnishpy.cli.protocol import OK
from varnishpy.manager.complain import complain

Ask = Callable[[list[str]], tuple[int, str]]


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
