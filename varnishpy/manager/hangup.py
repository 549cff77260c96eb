"""SIGHUP: the file of the active VCL is loaded anew, as ``varnishpy reload`` does it from outside."""

from __future__ import annotations

from varnishpy.cli.dispatch import CliSession, Dispatcher
from varnishpy.cli.protocol import CANT, join
from varnishpy.cli.reloading import ReloadError, reload
from varnishpy.manager.complain import complain


def hang_up(dispatcher: Dispatcher) -> None:
    """Reload, and tell how it went; what is wrong with the file changes nothing."""

    def ask(words: list[str]) -> tuple[int, str]:
        answers: list[tuple[int, str]] = []

        def audit(_: CliSession, line: str, status: int | None, answer: str) -> None:
            if status is not None:
                answers.append((status, answer))

        session = CliSession(dispatcher, True, "SIGHUP")
        session.audit = audit
        session.feed(join(words).encode("utf-8", "surrogateescape") + b"\n")
        return answers[-1] if answers else (CANT, "")

    try:
        name, file = reload(ask)
    except ReloadError as error:
        complain("Error", f"SIGHUP: {error}")
    else:
        complain("Info", f"SIGHUP: {name}: {file} is in use")
