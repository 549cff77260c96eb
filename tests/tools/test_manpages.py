"""The man pages: what groff says of them, and that each option is there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from varnishpy.__main__ import SUBCOMMANDS
from varnishpy.tools.surface import Command, daemon, subcommands

MAN = Path(__file__).resolve().parents[2] / "docs" / "man"
COMMANDS = [daemon(), *subcommands()]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name) or "daemon")
def test_a_page_shows_every_option(command: Command, program: Callable[[str], str]) -> None:
    page = MAN / (f"varnishpy-{command.name}.1" if command.name else "varnishpy.1")
    command_line = [program("groff"), "-man", "-ww", "-Tascii", "-P-cbou", "-rHY=0", "-rLL=300n", str(page)]
    done = subprocess.run(command_line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    assert f"varnishpy {command.name}".rstrip() in done.stdout
    for flag in command.flags:
        names = re.escape(", ".join(flag.names))
        assert re.search(rf"^ +{names}", done.stdout, re.MULTILINE), flag
        assert " ".join(flag.text.split()[:4]) in " ".join(done.stdout.split()), flag
    if not command.name:
        assert all(re.search(rf"^ +{name}\b", done.stdout, re.MULTILINE) for name in SUBCOMMANDS)


def test_there_are_no_others() -> None:
    assert len(list(MAN.glob("*.1"))) == len(COMMANDS)
