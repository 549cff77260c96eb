"""The pages as a reader takes them: VCL compiles, commands run, options exist.

Blocks of ``sh`` are run, from the top of a page to its end, in a folder of their own. A block of ``console`` needs what
a test has not (root, systemd, a container runtime): only its commands of ours are looked at.
"""

from __future__ import annotations

import contextlib
import getopt
import importlib
import itertools
import os
import random
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, Block, all_blocks, blocks
from tests.e2e.harness import Exchange, Origin
from varnishpy.__main__ import SUBCOMMANDS
from varnishpy.manager import options
from varnishpy.manager.complain import StartupError
from varnishpy.tools.usage import Option
from varnishpy.vcl.compiler import CompileOptions, VclError, compile_vcl, report

RUN = ["README.md", *(f"docs/{name}.md" for name in ("listening", "log-queries", "not-cached", "operations", "stats"))]
HEAD = "vcl 4.1;\nbackend default none;\n"


@pytest.mark.parametrize("block", all_blocks("vcl"), ids=str)
def test_vcl_compiles(block: Block, tmp_path: Path) -> None:
    """A part of a program stands for one without a backend; Python beside it may be its VMODs."""
    for other in blocks(ROOT / block.page):
        if other.language == "python":
            module = re.search(r"^import (\w+);", block.text, re.MULTILINE)
            (tmp_path / (other.name or f"{module[1] if module else 'none'}.py")).write_text(other.text)
    text = block.text if re.match(r"(#.*\n)?vcl 4", block.text) else HEAD + block.text
    text = re.sub(r'"[\w.-]+\.(example|internal)"', '"127.0.0.1"', text)  # names that nobody resolves
    try:
        compile_vcl(text, "page", CompileOptions(vmod_path=[str(tmp_path), str(DOCS / "examples")], err_unref=False))
    except VclError as error:
        pytest.fail(report(error))


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of ours, without what the shell takes for itself."""
    for line in re.findall(r"^(?:\S*/)?varnishpy (.*)$", text.replace("\\\n", " "), re.MULTILINE):
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|>&;")
        lexer.whitespace_split = True
        yield list(itertools.takewhile(lambda word: word[0] not in "|>&;" if word else True, lexer))


def take(words: list[str]) -> None:
    """Parse a command line as the program does. :raises: if it would be refused"""
    if words[0] in SUBCOMMANDS:
        table: list[Option] = importlib.import_module(SUBCOMMANDS[words[0]].module).OPTIONS
        long = [row.long + ("=" if row.letter.endswith(":") else "") for row in table if row.long]
        getopt.getopt(words[1:], "".join(row.letter for row in table if row.letter.strip(":")), long)
    elif words[0] not in ("help", "--help", "--version"):
        options.parse(words)


PLACES = sorted({block.page for language in ("", "sh", "console") for block in all_blocks(language)})


@pytest.mark.parametrize("page", PLACES)
def test_commands_have_options_that_exist(page: str) -> None:
    for block in blocks(ROOT / page):
        if block.language in ("", "sh", "console"):
            for words in commands(block.text):
                try:
                    take(words)
                except (getopt.GetoptError, StartupError) as error:
                    pytest.fail(f"{block}: varnishpy {' '.join(words)}: {error}")


@pytest.fixture
def origin() -> Iterator[Origin]:
    """Every page of it is found, but one."""
    made = Origin()

    def page(exchange: Exchange) -> None:
        exchange.answer(b"a page\n", cache_control="max-age=60")

    made.pages = dict.fromkeys(("/", "/shoes", "/health"), page)
    yield made
    made.close()


def free_port() -> int:
    """A port below those that the system gives to outgoing connections, so that it stays free until it is bound."""
    while True:
        port = random.randrange(12000, 32000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.mark.parametrize("page", RUN)
def test_commands_run(page: str, short_tmp: Path, origin: Origin) -> None:
    program = 'vcl 4.1;\nbackend app { .host = "127.0.0.1"; .port = "8080"; }\n'
    lines = []
    for block in blocks(ROOT / page):
        if block.name:
            (short_tmp / block.name).write_text(block.text.replace("8080", str(origin.port)))
        elif block.language == "sh":
            lines += [line for line in block.text.splitlines() if "pip install" not in line]
    script = "\n".join(lines).replace("venv/bin/", "").replace("/tmp/", f"{short_tmp}/")
    for text, port in (("6081", free_port()), ("6443", free_port()), ("8080", origin.port)):
        script = re.sub(rf"(127\.0\.0\.1|localhost):{text}\b", rf"\1:{port}", script)
    (short_tmp / "default.vcl").write_text(program.replace("8080", str(origin.port)))
    (short_tmp / "bin").mkdir()
    tool = short_tmp / "bin" / "varnishpy"
    tool.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m varnishpy "$@"\n')
    tool.chmod(0o755)
    environ = {**os.environ, "PATH": f"{short_tmp}/bin:{os.environ['PATH']}", "HOME": str(short_tmp)}
    environ["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        ["bash", "-eu", "-c", f"set -x\n{script}"], cwd=short_tmp, env=environ,
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for started, ended in [("varnishpy -a", "kill $(cat")]:
        assert script.count(started) == script.count(ended), "what a page starts it ends"
