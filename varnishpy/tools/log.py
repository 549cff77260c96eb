"""``varnishpy log``: show the log as varnishlog(1) does."""

from __future__ import annotations

import io
import sys
from typing import BinaryIO

from varnishpy.log.cursor import FILE_IDS
from varnishpy.log.grouping import Transaction
from varnishpy.log.printing import print_group
from varnishpy.log.record import encode
from varnishpy.tools.follow import Follower, pick
from varnishpy.tools.usage import Option, ToolError, parse, tool

PROGRAM = "varnishpy log"
OPTIONS = pick(
    "bcCdDEghiIkLnPQqrRtTvVxX",
    Option("a", "[-a]", "Append to file"),
    Option("A", "[-A]", "Text output"),
    Option("u", "[-u]", "Unbuffered output"),
    Option("w:", "[-w <filename>]", "Output filename"),
)


class _Output:
    """Where groups go: text to stdout or a file, or records in binary form to a file."""

    def __init__(self, follower: Follower, path: str | None, append: bool, text: bool, unbuffered: bool) -> None:
        self._follower = follower
        self._path = path
        self._text = text or path is None
        self._unbuffered = unbuffered
        self._file: BinaryIO = self._open(append)
        self._headed = False

    def _open(self, append: bool) -> BinaryIO:
        if self._path is None or self._path == "-":
            return sys.stdout.buffer
        try:
            return open(self._path, "ab" if append else "wb")
        except OSError as error:
            raise ToolError(f"Cannot open output file ({error.strerror})") from None

    def group(self, group: list[Transaction]) -> None:
        """Write one group."""
        selection = self._follower.selection
        if self._text:
            text = io.StringIO()
            print_group(group, selection, text)
            self._file.write(text.getvalue().encode("latin-1", "replace"))
        else:
            layout = self._follower.layout
            if not self._headed:
                self._headed = True
                if self._file is sys.stdout.buffer or not self._file.tell():
                    self._file.write(FILE_IDS[layout])
            for transaction in group:
                for record in transaction.records:
                    if selection.matches(record):
                        self._file.write(encode(record, layout))
        if self._unbuffered:
            self._file.flush()

    def flush(self) -> None:
        """Write out what is buffered."""
        self._file.flush()

    def reopen(self) -> None:
        """After the file was rotated away."""
        if self._file is not sys.stdout.buffer:
            self._file.close()
            self._file = self._open(True)
            self._headed = False

    def close(self) -> None:
        """Flush and close."""
        self._file.flush()
        if self._file is not sys.stdout.buffer:
            self._file.close()


def _run(argv: list[str]) -> None:
    follower = Follower()
    append = text = unbuffered = False
    path: str | None = None
    for letter, value in parse(PROGRAM, OPTIONS, argv):
        if letter == "a":
            append = True
        elif letter == "A":
            text = True
        elif letter == "u":
            unbuffered = True
        elif letter == "w":
            path = value
        else:
            follower.option(letter, value)
    if follower.daemon and path is None:
        raise ToolError("Missing -w option")
    if follower.daemon and path == "-":
        raise ToolError("Daemon cannot write to stdout")
    follower.setup()
    output = _Output(follower, path, append, text, unbuffered)
    follower.on_group = output.group
    follower.on_idle = output.flush
    if path not in (None, "-") and follower.daemon:
        follower.on_hup = output.reopen
    try:
        follower.run()
    finally:
        output.close()


main = tool(_run)
