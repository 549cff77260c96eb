"""Completion scripts, asked as the shells ask them."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from varnishpy.__main__ import SUBCOMMANDS, main
from varnishpy.tools.completion import bash, fish, zsh
from varnishpy.tools.surface import daemon, subcommands

Program = Callable[[str], str]

# what is typed, what must be among the candidates, what must not
ASKED = [
    ("varnishpy lo", {"log"}, {"adm"}),
    ("varnishpy sta", {"stat", "statdiff"}, {"log"}),
    ("varnishpy log -g ", {"session", "request", "vxid", "raw"}, {"ReqURL"}),
    ("varnishpy log -i ReqU", {"ReqURL", "ReqUnset"}, {"RespStatus"}),
    ("varnishpy log --js", {"--json"}, {"--help"}),
    ("varnishpy -F -p thread_pool_mi", {"thread_pool_min="}, {"thread_pool_max="}),
    ("varnishpy demo -p defau", {"default_ttl=", "default_grace="}, {"thread_pool_min="}),
    ("varnishpy adm vcl.l", {"vcl.list", "vcl.load", "vcl.label"}, {"vcl.use", "param.set"}),
    ("varnishpy check sh", {"shop.vcl"}, {"other.vcl"}),
    ("varnishpy log -n in", {"instance"}, {"shop.vcl"}),
    ("varnishpy completion ", {"bash", "zsh", "fish"}, {"log"}),
]
IDS = [line for line, _, _ in ASKED]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("shop.vcl", "other.vcl"):
        (tmp_path / name).touch()
    (tmp_path / "instance").mkdir()
    return tmp_path


def judge(found: set[str], wanted: set[str], unwanted: set[str]) -> None:
    assert wanted <= found and not unwanted & found, found


@pytest.mark.parametrize(("line", "wanted", "unwanted"), ASKED, ids=IDS)
def test_bash(line: str, wanted: set[str], unwanted: set[str], folder: Path, program: Program) -> None:
    words = line.split(" ")
    ask = f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; _varnishpy"
    script = f'{bash()}\n{ask}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    command = [program("bash"), "--norc", "-c", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
    judge(set(done.stdout.split()), wanted, unwanted)


@pytest.mark.parametrize(("line", "wanted", "unwanted"), ASKED, ids=IDS)
def test_fish(line: str, wanted: set[str], unwanted: set[str], folder: Path, program: Program) -> None:
    (folder / ".script.fish").write_text(fish())
    command = [program("fish"), "--no-config", "-c", f"source .script.fish; complete -C '{line}'"]
    environ = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, env=environ)
    assert done.returncode == 0 and not done.stderr
    judge({row.split("\t")[0].rstrip("/") for row in done.stdout.splitlines()}, wanted, unwanted)


# what is offered is written down, behind the back of zsh's own functions; then the line is taken back
_NOTE = """
compadd() {
    if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\\ * ]]; then builtin compadd "$@"; return; fi
    local -a offered
    builtin compadd -A offered "$@"
    print -rl -- $offered >>.offered
    builtin compadd "$@"
}
_note() { zle list-choices; print END >>.offered; BUFFER="" }
zle -N _note
bindkey '^X' _note
"""


class Zsh:
    """A zsh on a terminal, for its completion runs only while a line is edited."""

    def __init__(self, program: str, folder: Path) -> None:
        self._offered = folder / ".offered"
        (folder / ".setup").write_text(f"autoload -U compinit; compinit -D -u\n{zsh()}\n{_NOTE}\ntouch .offered\n")
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="dumb", HOME=str(folder))
            os.execv(program, [program, "-f", "-i"])
        os.write(self._terminal, b"source ./.setup\n")
        self._wait(self._offered.exists)

    def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert select.select([self._terminal], [], [], 30)[0]
            os.read(self._terminal, 65536)

    def candidates(self, line: str) -> set[str]:
        self._offered.write_text("")
        os.write(self._terminal, line.encode() + b"\x18")
        self._wait(lambda: "END\n" in self._offered.read_text())
        return {word.rstrip("/") for word in self._offered.read_text().split()}

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


def test_zsh(folder: Path, program: Program) -> None:
    shell = Zsh(program("zsh"), folder)
    try:
        for line, wanted, unwanted in ASKED:
            judge(shell.candidates(line), wanted, unwanted)
    finally:
        shell.close()


def test_each_option_of_each_command_is_there() -> None:
    scripts = [bash(), zsh(), fish()]
    commands = [daemon(), *subcommands()]
    assert [command.name for command in commands[1:]] == list(SUBCOMMANDS)
    for command in commands:
        for flag in command.flags:
            assert flag.names and flag.text
            for name in flag.names:
                assert f" {name}" in scripts[0] or f"'{name}" in scripts[0], name
                assert f"*{name}[" in scripts[1]
                assert (f"-l {name[2:]} " if name.startswith("--") else f"-s '{name[1:]}' ") in scripts[2]


def test_another_shell_is_told_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "bash, zsh, fish" in capsys.readouterr().err
    assert main(["completion", "bash"]) == 0
    assert capsys.readouterr().out == bash()
