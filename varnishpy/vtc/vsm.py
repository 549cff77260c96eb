"""``vsm``: attaches to a daemon's shared memory and expects a status of it."""

from __future__ import annotations

from pathlib import Path

from varnishpy.shm.reader import SetReader, VsmError

from .context import Test
from .errors import ScriptError
from .party import Party
from .table import Call, Command, Opt
from .text import Text

FLAGS = ("mgt-running", "mgt-changed", "mgt-restarted", "wrk-running", "wrk-changed", "wrk-restarted")
ATTACH_PATIENCE = 5.0


class _Side:
    """What is known of one process' index, to tell what changed since the last look."""

    def __init__(self, directory: Path) -> None:
        self._index = directory / "_.index"
        self._text: str | None = None
        self._writer = ""

    def look(self) -> tuple[bool, bool]:
        """Whether the index changed, and whether another process wrote it, since the last look."""
        try:
            text = self._index.read_text(encoding="latin-1")
        except OSError:
            text = ""
        writer = text.partition("\n")[0]
        changed, restarted = text != self._text, writer != self._writer
        self._text, self._writer = text, writer
        return changed, restarted


class Vsm(Party):
    def __init__(self, test: Test, name: str) -> None:
        super().__init__(test, name)
        self.directory = "${v1_name}"
        self._reader: SetReader | None = None
        self._sides: dict[str, _Side] = {}

    def attach(self) -> SetReader:
        if self._reader is not None:
            self.detach()
        path = Path(self.test.expand(self.voice, self.directory))
        self.voice.say(3, f"Attaching to VSM: {path}")
        reader = SetReader(path)
        try:
            reader.attach(ATTACH_PATIENCE)
        except VsmError as error:
            self.voice.fatal(f"VSM_Attach: {error}")
        self._reader = reader
        self._sides = {"mgt": _Side(path / "_.vsm_mgt"), "wrk": _Side(path / "_.vsm_child")}
        return reader

    def detach(self) -> None:
        if self._reader is None:
            self.voice.fatal("Cannot detach unattached VSM")
        self.voice.say(3, "Detaching from VSM")
        self._reader = None

    def status(self) -> list[str]:
        reader = self._reader or self.attach()
        reader.refresh()
        running = {"mgt": reader.manager_running, "wrk": reader.child_running}
        found: list[str] = []
        for side, state in self._sides.items():
            changed, restarted = state.look()
            if running[side]:
                found.append(f"{side}-running")
            if changed:
                found.append(f"{side}-changed")
            if restarted:
                found.append(f"{side}-restarted")
        return found

    def expect(self, wanted: Text) -> None:
        flags = [flag.strip().lower() for flag in wanted.split(",") if flag.strip()]
        for flag in flags:
            if flag not in FLAGS:
                raise ScriptError(f"Unknown status bit: {flag} (expected of: {' '.join(FLAGS)})", wanted.locate())
        got = self.status()
        if set(got) != set(flags):
            self.voice.fatal(f"Expected VSM status '{wanted}' got '{','.join(got)}'")
        self.voice.say(4, "Found expected VSM status")

    def reset(self) -> None:
        if self._reader is not None:
            self.detach()


def _vsm(test: Test, call: Call) -> None:
    vsm = test.party(Vsm, str(call.plain[0]))
    for item in call.items[1:]:
        match item.option:
            case "-attach":
                vsm.attach()
            case "-detach":
                vsm.detach()
            case "-expect-status":
                vsm.expect(item.args[0])
            case "-n":
                vsm.directory = str(item.args[0])


VSM = Command(
    "vsm",
    _vsm,
    "NAME",
    {
        "-n": Opt("DIRECTORY", "of {0}"),
        "-attach": Opt("", "attach"),
        "-detach": Opt("", "detach"),
        "-expect-status": Opt("FLAGS", "expect the status {0}"),
    },
    "shared memory reader {0}",
    named="m",
)
