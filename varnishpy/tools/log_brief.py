"""A line for each client's request: when, how it was handled, how it ended, how long it took, and what its fetches did.

Made for people at a terminal: ``varnishpy ncsa`` has formats for programs.
"""

from __future__ import annotations

import time
from typing import Final

from varnishpy.log.grouping import Transaction
from varnishpy.log.selection import Selection
from varnishpy.tools.log_json import Digest, digest_of

#: handling -> colour on a terminal (ECMA-48, SGR)
_COLOURS: Final = {"hit": "32", "streaming-hit": "32", "miss": "33", "pass": "35", "pipe": "35"}
_FAILED: Final = "31"


def _milliseconds(digest: Digest) -> str:
    times = digest.times().values()
    return f"{(max(times) - min(times)) * 1000:.1f} ms" if times else "- ms"


def _printable(text: str) -> str:
    """Without what would do something to a terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


class BriefForm:
    """A line a request; the groups are those of ``-g request``.

    :param coloured: how a request was handled shows as a colour, too
    """

    def __init__(self, coloured: bool) -> None:
        self._coloured = coloured

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def tail(self) -> bytes:
        """Nothing."""
        return b""

    def render(self, group: list[Transaction], selection: Selection) -> bytes:
        """The line of a group; nothing if it does not begin with a client's request."""
        top, *rest = group
        if top.kind != "req":
            return b""
        digest = digest_of(top, selection)
        made = digest.made()
        request, response = digest.request, digest.response
        status = response.get("status", "-")
        handling = str(made["handling"])
        started = min(digest.times().values(), default=0.0)
        clock = time.strftime("%H:%M:%S", time.localtime(started)) + f".{int(started % 1 * 1000):03d}"
        host = next((value for name, value in digest.request_fields() if name.lower() == "host"), "")
        what = _printable(f"{request.get('method', '-')} {host}{request.get('url', '')}")
        line = f"{clock}  {self._paint(handling, status)}  {status}  {_milliseconds(digest):>11}  "
        line += f"{response.get('bodyBytes', 0):>9} B  {what}{self._fetches(rest, selection)}"
        return line.encode() + b"\n"

    def _paint(self, handling: str, status: object) -> str:
        shown = f"{handling:<13}"
        colour = _FAILED if isinstance(status, int) and status >= 500 else _COLOURS.get(handling, "")
        return f"\x1b[{colour}m{shown}\x1b[0m" if self._coloured and colour else shown

    @staticmethod
    def _fetches(rest: list[Transaction], selection: Selection) -> str:
        told = ""
        for transaction in rest:
            if transaction.kind != "bereq":
                continue
            digest = digest_of(transaction, selection)
            backend = digest.made().get("backend")
            name = backend["name"] if isinstance(backend, dict) else "no backend"
            told += f"   {name} {digest.response.get('status', '-')} {_milliseconds(digest)}"
        return told
