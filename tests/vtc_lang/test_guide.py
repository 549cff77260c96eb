"""The examples of docs/testing.md and the README work as they stand there."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]


def examples(page: str) -> list[tuple[str, str]]:
    """Language and text of each example."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def run(folder: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def program(page: str) -> str:
    """The VCL of a page."""
    (text,) = [text for language, text in examples(page) if language == "vcl" and text.startswith(("vcl", "# default"))]
    return text


def test_the_examples_of_the_guide_pass(tmp_path: Path) -> None:
    blocks = examples("docs/testing.md")
    (script,) = [text for _, text in blocks if text.startswith("vtest ")]
    python = [text for language, text in blocks if language == "python"]
    for number, text in enumerate(python):
        (tmp_path / f"test_example{number}.py").write_text(text)
    (tmp_path / "example.vtc").write_text(script)
    (tmp_path / "default.vcl").write_text(program("docs/testing.md"))
    assert f"{len(python) + 1} passed" in run(tmp_path)


def test_the_example_of_the_readme_passes(tmp_path: Path) -> None:
    (python,) = [text for language, text in examples("README.md") if language == "python"]
    (tmp_path / "test_example.py").write_text(python)
    (tmp_path / "default.vcl").write_text(program("docs/testing.md"))
    assert "2 passed" in run(tmp_path)


def test_the_tutorial_can_be_followed(tmp_path: Path) -> None:
    """Every block with a name is written, every command but those that install or stay is run."""
    commands: list[str] = []
    for language, text in examples("docs/tutorial.md"):
        named = re.match(r"# (\S+\.\w+)\n", text)
        if named is not None:
            (tmp_path / named[1]).write_text(text)
        elif language == "sh":
            commands += [line for line in text.splitlines() if "pytest" in line or "explain" in line]
    ran = 0
    for line in commands:
        if "pip install" in line:
            continue
        words = shlex.split(line)
        module = {"pytest": ["-m", "pytest", "-p", "no:cacheprovider"], "varnishpy": ["-m", "varnishpy"]}
        command = [sys.executable, *module[Path(words[0]).name], *words[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        ran += 1
        if "explain" in line:
            assert re.search(r"default\.vcl:15 +unset req\.http\.Cookie;", done.stdout), done.stdout
        else:
            assert "6 passed" in done.stdout
        if "--vcl-cov" in line:
            assert re.search(r"default\.vcl +9 +0 +6 +0 +100%", done.stdout), done.stdout
    assert ran == 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_the_tutorial_ends_in_a_hit(tmp_path: Path) -> None:
    """Its last step, on other ports: the application, the cache in front of it, the same page twice."""
    ports = {"8000": str(free_port()), "6081": str(free_port()), "/tmp/shop": str(tmp_path / "n")}

    def moved(text: str) -> str:
        for old, new in ports.items():
            text = text.replace(old, new)
        return text

    starts: list[list[str]] = []
    for language, text in examples("docs/tutorial.md"):
        named = re.match(r"# (\S+\.\w+)\n", text)
        if named is not None:
            (tmp_path / named[1]).write_text(moved(text))
        elif language == "sh" and ("shop.py" in text or " -F" in text):
            words = shlex.split(moved(text.replace("$PWD", str(tmp_path))))
            starts.append([sys.executable, *(["-m", "varnishpy"] if "varnishpy" in words[0] else []), *words[1:]])
    running = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) for command in starts]

    def x_cache() -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports['6081']}/shoes", timeout=10) as answer:
                return str(answer.headers["X-Cache"])
        except (urllib.error.URLError, ConnectionError):
            return None

    try:
        assert len(running) == 2
        assert wait_for(x_cache, "an answer") == "miss"
        assert x_cache() == "hit"
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(30)
