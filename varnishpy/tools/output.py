"""Where the log tools write to: standard output, a file that may be rotated away, or a syslog."""

from __future__ import annotations

import sys
from typing import BinaryIO, Protocol

from varnishpy.tools.follow import Follower
from varnishpy.tools.syslog_output import SyslogOutput, parse_syslog
from varnishpy.tools.usage import Option, ToolError

#: the options of `open_output`
OUTPUT_OPTIONS = (
    Option("a", "[-a]", "Append to file"),
    Option(
        "S:",
        "[-S <where>[,<option>=<value>]]",
        "Write to a syslog: local, /path or udp://host[:port]; options: facility, level, tag",
        "syslog",
    ),
    Option("w:", "[-w <filename>]", "Output filename"),
)


class Output(Protocol):
    """Takes octets, whole lines where it is text."""

    fresh: bool  # nothing has been written yet, not before we came either

    def write(self, octets: bytes) -> None:
        """Write; may be buffered."""

    def flush(self) -> None:
        """Write out what is buffered."""

    def reopen(self) -> None:
        """The file was rotated away: begin another."""

    def close(self) -> None:
        """Flush, and close what is ours."""


class FileOutput:
    """A file, or standard output (``None`` or ``-``).

    :raises ToolError: it cannot be opened
    """

    def __init__(self, path: str | None, append: bool, program: str = "") -> None:
        self._cannot = "Can't" if program == "varnishpy ncsa" else "Cannot"  # as the tools of Varnish say it
        self._path = None if path == "-" else path
        self._file = self._open(append)
        self.fresh = self._is_empty()

    def _open(self, append: bool) -> BinaryIO:
        if self._path is None:
            return sys.stdout.buffer
        try:
            return open(self._path, "ab" if append else "wb")
        except OSError as error:
            raise ToolError(f"{self._cannot} open output file ({error.strerror}): {self._path}") from None

    def _is_empty(self) -> bool:
        return self._path is None or not self._file.tell()

    def write(self, octets: bytes) -> None:
        """See `Output`."""
        self._file.write(octets)
        self.fresh = False

    def flush(self) -> None:
        """See `Output`."""
        self._file.flush()

    def reopen(self) -> None:
        """See `Output`. :raises ToolError:"""
        if self._path is not None:
            self._file.close()
            self._file = self._open(True)
            self.fresh = self._is_empty()

    def close(self) -> None:
        """See `Output`."""
        self._file.flush()
        if self._path is not None:
            self._file.close()


def open_output(given: list[tuple[str, str]], follower: Follower, program: str) -> Output:
    """Open what the options ask for, and have SIGHUP reopen it if it is a file.

    Call it when `check_output` has passed. A syslog keeps its connection when the follower goes to the background.

    :raises ToolError: it cannot be opened
    """
    chosen = dict(given)
    output: Output
    if "S" in chosen:
        output = SyslogOutput(parse_syslog(chosen["S"], program.replace(" ", "-")), follower.on_notice)
    else:
        output = FileOutput(chosen.get("w"), "a" in chosen, program)
        if chosen.get("w", "-") != "-":
            follower.on_hup = output.reopen
    follower.on_idle = output.flush
    return output


def check_output(given: list[tuple[str, str]], follower: Follower) -> None:
    """Judge the options before anything is opened. :raises ToolError:"""
    chosen = dict(given)
    if "S" in chosen:
        parse_syslog(chosen["S"], "")
        if "w" in chosen:
            raise ToolError("Only one of -w and -S may be used")
    elif follower.daemon and "w" not in chosen:
        raise ToolError("Missing -w option")
    elif follower.daemon and chosen["w"] == "-":
        raise ToolError("Daemon cannot write to stdout")
