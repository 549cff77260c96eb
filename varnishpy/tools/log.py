"""``varnishpy log``: show the log as varnishlog(1) does, or with ``--json`` as varnishlog-json(1)."""

from __future__ import annotations

import io
import sys
from typing import BinaryIO

from varnishpy.log.cursor import FILE_IDS
from varnishpy.log.grouping import Transaction
from varnishpy.log.printing import print_group
from varnishpy.log.record import encode
from varnishpy.tools.follow import Follower, pick
from varnishpy.tools.log_json import GROUPINGS, JsonForm
from varnishpy.tools.usage import Option, ToolError, parse, tool

PROGRAM = "varnishpy log"
OPTIONS = pick(
    "bcCdDEghiIkLnPQqrRtTvVxX",
    Option("a", "[-a]", "Append to file"),
    Option("A", "[-A]", "Text output"),
    Option("j", "[-j]", "JSON output, one object a line; -g: probe, request or vxid", "json"),
    Option("p", "[-p]", "Pretty-print JSON output"),
    Option("u", "[-u]", "Unbuffered output"),
    Option("w:", "[-w <filename>]", "Output filename"),
)


class _Output:
    """Where groups go: text or JSON to stdout or a file, or records in binary form to a file."""

    def __init__(self, follower: Follower, path: str | None, append: bool, form: JsonForm | None) -> None:
        self._follower = follower
        self._path = path
        self._form = form
        self.text = path is None
        self.unbuffered = False
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
        if self._form is not None:
            self._file.write(self._form.render(group, selection))
        elif self.text:
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
        if self.unbuffered:
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


def _json_form(given: list[tuple[str, str]], follower: Follower) -> JsonForm | None:
    """How JSON is written, if it is asked for; of single transactions only clients' are shown unless sides are given.

    :raises ToolError: for options that do not go together
    """
    letters = {letter for letter, _ in given}
    if "j" not in letters:
        if "p" in letters:
            raise ToolError("-p goes only with --json")
        return None
    for letter in "Av":
        if letter in letters:
            raise ToolError(f"-{letter} does not go with --json")
    grouping = [value.lower() for letter, value in given if letter == "g"][-1:] or ["vxid"]
    if grouping[0] not in GROUPINGS:
        raise ToolError(f"Unknown grouping type for --json: {grouping[0]}")
    follower.option("g", GROUPINGS[grouping[0]])
    if grouping[0] == "vxid" and not letters & set("bcE"):
        follower.selection.client = True
    return JsonForm(grouping[0], "p" in letters)


def _run(argv: list[str]) -> None:
    follower = Follower()
    path: str | None = None
    given = parse(PROGRAM, OPTIONS, argv)
    form = _json_form(given, follower)
    for letter, value in given:
        if letter == "w":
            path = value
        elif form is None or letter != "g":
            follower.option(letter, value)
    if follower.daemon and path is None:
        raise ToolError("Missing -w option")
    if follower.daemon and path == "-":
        raise ToolError("Daemon cannot write to stdout")
    follower.setup()
    letters = {letter for letter, _ in given}
    output = _Output(follower, path, "a" in letters, form)
    output.text |= "A" in letters
    output.unbuffered = "u" in letters
    follower.on_group = output.group
    follower.on_idle = output.flush
    if path not in (None, "-") and follower.daemon:
        follower.on_hup = output.reopen
    try:
        follower.run()
    finally:
        output.close()


main = tool(_run)
