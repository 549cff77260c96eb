"""docs/examples: units, the container and the rotation are what the programs that read them understand."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.waiting import wait_for
from varnishpy.manager import options
from varnishpy.tools.ncsa import main as ncsa

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
UNITS = sorted((EXAMPLES / "systemd").iterdir())
PROGRAM = "/opt/varnishpy/bin/varnishpy"
Program = Callable[[str], str]


def commands(unit: Path) -> list[list[str]]:
    """What a unit runs of ours, word by word."""
    lines = re.findall(r"^Exec\w+=(.*)$", unit.read_text(), re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines if line.startswith(PROGRAM)]


def test_systemd_takes_the_units(tmp_path: Path, program: Program) -> None:
    for unit in UNITS:
        name = unit.name.replace("@.", "@a.")
        (tmp_path / name).write_text(unit.read_text().replace(PROGRAM, sys.executable))
    files = [str(path) for path in tmp_path.iterdir()]
    done = subprocess.run([program("systemd-analyze"), "verify", *files], capture_output=True, text=True, timeout=60)
    own = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "varnishpy" in line]
    assert done.returncode == 0 and not own, done.stderr


@pytest.mark.parametrize("unit", [path for path in UNITS if path.suffix == ".service"], ids=lambda path: str(path.name))
def test_the_units_run_what_exists(unit: Path) -> None:
    found = commands(unit)
    assert found
    for words in found:
        if words[0] == "ncsa":
            with pytest.raises(SystemExit) as ended:
                ncsa([*words[1:], "-V"])
            assert ended.value.code == 0
        elif words[0] == "reload":
            assert words[1] == "-n"
        else:
            parsed = options.parse(words)
            assert parsed.foreground and parsed.listen == ["fd@varnishpy.socket"]
            socket_unit = EXAMPLES / "systemd" / parsed.listen[0].removeprefix("fd@")
            assert socket_unit.exists()


def test_logrotate_takes_the_example(tmp_path: Path, program: Program) -> None:
    command = [program("logrotate"), "-d", "-s", str(tmp_path / "state"), str(EXAMPLES / "logrotate")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "error" not in done.stderr
    assert "rotating pattern: /var/log/varnishpy/*.log" in done.stderr
    (unit,) = re.findall(r"systemctl reload (\S+)", (EXAMPLES / "logrotate").read_text())
    assert "ExecReload=/bin/kill -HUP" in (EXAMPLES / "systemd" / unit).read_text()


def test_the_container_serves_and_is_healthy(short_tmp: Path) -> None:
    """There may be no container runtime: what its file runs is run as it stands, with the folders put elsewhere."""
    text = (EXAMPLES / "container" / "Containerfile").read_text().replace("\\\n", " ")
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    (command,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    (health,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    vcl = short_tmp / "default.vcl"
    vcl.write_text((EXAMPLES / "container" / "default.vcl").read_text().replace('"app"', '"127.0.0.1"'))

    def here(words: str) -> list[str]:
        placed = words.replace("/run/varnishpy", str(short_tmp / "v")).replace("/etc/varnishpy", str(short_tmp))
        found: list[str] = json.loads(placed.replace('":8080"', '"127.0.0.1:0"'))
        return found

    run = [sys.executable, "-m"]
    assert subprocess.run([*run, *here(health)], capture_output=True, timeout=60).returncode != 0
    with subprocess.Popen([*run, *here(entry), *here(command)], stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        assert any("Child launched OK" in line for line in daemon.stderr)
        done = subprocess.run([*run, *here(health)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "PONG" in done.stdout
        daemon.terminate()
        daemon.stderr.read()
        wait_for(lambda: daemon.poll() is not None, "the end")
    assert daemon.returncode == 0
    user, port = re.findall(r"^(?:USER|EXPOSE) (\d+)$", text, re.MULTILINE)
    compose = (EXAMPLES / "container" / "compose.yaml").read_text()
    assert f"uid={user}" in compose and f":{port}" in compose
    for name in re.findall(r"dockerfile: (\S+)|- \./([^:\s]+):", compose):
        assert (EXAMPLES / "container" / "".join(name)).exists()
