"""docs/listening.md: the programs in front take their configuration, and the way to https is what it says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS, blocks

BLOCKS = blocks(DOCS / "listening.md")
PEM = Path(__file__).resolve().parents[2] / "varnishpy" / "vtc" / "example.com.pem"


@pytest.mark.parametrize(
    ("name", "command"),
    [("haproxy.cfg", ["haproxy", "-c", "-f"]), ("hitch.conf", ["hitch", "--test", "--user=nobody", "--config"])],
)
def test_configurations(name: str, command: list[str], short_tmp: Path, program: Callable[[str], str]) -> None:
    (text,) = [block.text for block in BLOCKS if block.name == name]
    pem = short_tmp / "site.pem"
    pem.write_bytes(PEM.read_bytes())
    file = short_tmp / name
    file.write_text(text.replace("site.pem", str(pem)))
    done = subprocess.run(
        [program(command[0]), *command[1:], str(file)], cwd=short_tmp, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6086" in text and "-a 127.0.0.1:6086,PROXY" in (DOCS / "listening.md").read_text()


def test_the_way_to_https(vcl: Any, tmp_path: Path) -> None:
    (text,) = [block.text for block in BLOCKS if "local.socket" in block.text and block.language == "vcl"]
    (tmp_path / "default.vcl").write_text(text)
    unit = vcl.unit(tmp_path / "default.vcl")
    assert unit.recv(url="/").req.http["X-Forwarded-Proto"] == "https"  # a listener of another name
    moved = unit.synth(status=301, reason="https://shop.example/").resp
    assert (moved.http["Location"], moved.reason) == ("https://shop.example/", "Moved Permanently")
