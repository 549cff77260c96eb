"""``varnishpy log``: the log as varnishlog(1) shows it, as varnishlog-json(1) (``--json``), or as HAR (``--har``)."""

from __future__ import annotations

import io
import os
import sys
from typing import Protocol

from varnishpy.log.cursor import FILE_IDS
from varnishpy.log.grouping import Transaction
from varnishpy.log.printing import print_group
from varnishpy.log.record import encode
from varnishpy.log.selection import Selection
from varnishpy.tools.follow import Follower, pick
from varnishpy.tools.log_brief import BriefForm
from varnishpy.tools.log_har import HarForm
from varnishpy.tools.log_json import GROUPINGS, JsonForm
from varnishpy.tools.output import OUTPUT_OPTIONS, Output, check_output, open_output
from varnishpy.tools.usage import Option, ToolError, parse, tool

PROGRAM = "varnishpy log"
OPTIONS = pick(
    "bcCdDEghiIkLnPQqrRtTvVxX",
    *OUTPUT_OPTIONS,
    Option("A", "[-A]", "Text output"),
    Option("B", "[-B]", "A line for each client's request, for people", "brief"),
    Option("H", "[-H]", "HAR output: a document for browsers' developer tools", "har"),
    Option("j", "[-j]", "JSON output, one object a line; -g: probe, request or vxid", "json"),
    Option("O:", "[-O <url>]", "Send traces to an OpenTelemetry collector, e.g. http://127.0.0.1:4318", "otlp"),
    Option("p", "[-p]", "Pretty-print JSON output"),
    Option("u", "[-u]", "Unbuffered output"),
)

# what says how the output looks: no two of them go together
_FORMS = {"A": "-A", "v": "-v", "B": "--brief", "H": "--har", "j": "--json"}


class Form(Protocol):
    """How groups are written."""

    def head(self) -> bytes:
        """What stands at the beginning of the output."""

    def render(self, group: list[Transaction], selection: Selection) -> bytes:
        """A group."""

    def tail(self) -> bytes:
        """What stands at the end."""


class _Text:
    """As varnishlog prints."""

    def head(self) -> bytes:
        return b""

    def render(self, group: list[Transaction], selection: Selection) -> bytes:
        text = io.StringIO()
        print_group(group, selection, text)
        return text.getvalue().encode("latin-1", "replace")

    def tail(self) -> bytes:
        return b""


class _Binary:
    """The records as they are in the log, in the layout that it has."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    @staticmethod
    def keep_frames(selection: Selection) -> None:
        """Records that transactions are put together by stay, whatever the options leave out."""
        selection.option("x", "Link")  # not all others, should no option have been given
        for name in ("Link", "Begin", "End"):
            selection.option("i", name)

    def head(self) -> bytes:
        return FILE_IDS[self._follower.layout]

    def render(self, group: list[Transaction], selection: Selection) -> bytes:
        layout = self._follower.layout
        records = (record for transaction in group for record in transaction.records)
        return b"".join(encode(record, layout) for record in records if selection.matches(record))

    def tail(self) -> bytes:
        return b""


class _Writer:
    """Writes groups in a form: its head with the first of them, its tail when the output ends or is rotated away."""

    def __init__(self, form: Form, output: Output, selection: Selection, unbuffered: bool) -> None:
        self._form = form
        self._output = output
        self._selection = selection
        self._unbuffered = unbuffered
        self._begun = False

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            if self._output.fresh:
                self._output.write(self._form.head())

    def group(self, group: list[Transaction]) -> None:
        """Write one group."""
        self._begin()
        self._output.write(self._form.render(group, self._selection))
        if self._unbuffered:
            self._output.flush()

    def reopen(self) -> None:
        """After the file was rotated away."""
        self._end()
        self._output.reopen()

    def _end(self) -> None:
        if tail := self._form.tail():  # a document is one even if it has nothing to show
            self._begin()
            self._output.write(tail)
        self._begun = False

    def close(self) -> None:
        """End what is written."""
        self._end()
        self._output.close()


def _json_form(given: list[tuple[str, str]], follower: Follower) -> JsonForm:
    """How JSON is written; of single transactions only clients' are shown unless sides are given.

    :raises ToolError: for a grouping that it does not have
    """
    letters = {letter for letter, _ in given}
    grouping = [value.lower() for letter, value in given if letter == "g"][-1:] or ["vxid"]
    if grouping[0] not in GROUPINGS:
        raise ToolError(f"Unknown grouping type for --json: {grouping[0]}")
    follower.option("g", GROUPINGS[grouping[0]])
    if grouping[0] == "vxid" and not letters & set("bcE"):
        follower.selection.client = True
    return JsonForm(grouping[0], "p" in letters)


def _form(given: list[tuple[str, str]], follower: Follower) -> Form:
    """How groups are written. :raises ToolError: for options that do not go together"""
    letters = {letter for letter, _ in given}
    chosen = [name for letter, name in _FORMS.items() if letter in letters]
    if letters & set("BHj") and len(chosen) > 1:
        raise ToolError(f"{chosen[0]} does not go with {chosen[1]}")
    if "p" in letters and "j" not in letters:
        raise ToolError("-p goes only with --json")
    if "j" in letters:
        return _json_form(given, follower)
    if "B" in letters:
        if "g" in letters:
            raise ToolError("-g does not go with --brief, which shows whole requests")
        follower.mode = "request"
        return BriefForm("w" not in letters and sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    if "H" in letters:
        for letter, name in (("a", "-a"), ("S", "-S")):
            if letter in letters:
                raise ToolError(f"{name} does not go with --har: that is one document")
        if not letters & set("bcEg"):
            follower.selection.client = True
        return HarForm()
    return _Binary(follower) if "w" in letters and "A" not in letters else _Text()


def _export(given: list[tuple[str, str]], follower: Follower) -> None:
    """``--otlp``: send spans in place of writing. :raises ToolError:"""
    surplus = sorted(letter for letter, _ in given if letter in "aABHjpSuvw")
    if surplus:
        raise ToolError(f"-{surplus[0]} does not go with --otlp, which writes nothing")
    url = dict(given)["O"]
    if not url.startswith(("http://", "https://")):
        raise ToolError(f"--otlp takes the URL of a collector, such as http://127.0.0.1:4318 ({url})")
    if follower.mode != "request" and any(letter == "g" for letter, _ in given):
        raise ToolError("--otlp needs whole requests: -g request, or no -g")
    follower.mode = "request"
    try:
        from varnishpy.tools.otlp import OtlpExport
    except ImportError as error:
        raise ToolError(f"--otlp needs an extra: pip install 'varnishpy[otel]' ({error})") from None
    follower.setup()
    export = OtlpExport(url, follower.instance or "varnishpy", follower.selection)
    follower.on_group = export.group
    try:
        follower.run()
    finally:
        export.close()


def _run(argv: list[str]) -> None:
    follower = Follower()
    given = parse(PROGRAM, OPTIONS, argv)
    if any(letter == "O" for letter, _ in given):
        for letter, value in given:
            if letter != "O":
                follower.option(letter, value)
        _export(given, follower)
        return
    form = _form(given, follower)
    for letter, value in given:
        if letter != "g" or not isinstance(form, JsonForm):
            follower.option(letter, value)
    check_output(given, follower)
    if isinstance(form, _Binary):
        form.keep_frames(follower.selection)
    writer = _Writer(form, open_output(given, follower, PROGRAM), follower.selection, ("u", "") in given)
    follower.setup()
    follower.on_group = writer.group
    if follower.on_hup is not None:
        follower.on_hup = writer.reopen
    try:
        follower.run()
    finally:
        writer.close()


main = tool(_run)
