"""``varnishpy completion SHELL``: a script that completes subcommands, options and many of their values.

It holds the tables of this version, so nothing of ours runs when a key is pressed. To have it in every shell:

    varnishpy completion bash > ~/.local/share/bash-completion/completions/varnishpy
    varnishpy completion zsh > ~/.zfunc/_varnishpy      (a directory of $fpath)
    varnishpy completion fish > ~/.config/fish/completions/varnishpy.fish
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import Final

from varnishpy.cli.table import COMMANDS, CommandFlag
from varnishpy.log.tags import TAGS, TagFlag
from varnishpy.params import table
from varnishpy.tools.surface import Command, Flag, daemon, subcommands
from varnishpy.tools.usage import HELP, VERSION, ToolError, parse_words, tool, usage

PROGRAM: Final = "varnishpy completion"
OPTIONS: Final = [HELP, VERSION]
WORDS: Final = "bash|zsh|fish"


def _words(kind: str, choices: list[str]) -> list[str]:
    """What may stand there, for the kinds that are lists."""
    match kind:
        case "parameter":
            return [f"{name}=" for name in table.specs]
        case "tag":
            return sorted(tag.name for tag in TAGS.values() if TagFlag.UNUSED not in tag.flags)
        case "cli":
            hidden = CommandFlag.INTERNAL | CommandFlag.HIDDEN
            return [command.name for command in COMMANDS.values() if not command.flags & hidden]
    return choices


def _alternatives(command: Command) -> list[str]:
    """The words of an operand such as ``bash|zsh|fish``."""
    return Flag("", "", command.words, "").choices


# -- bash --------------------------------------------------------------------------------------------------------------

_BASH: Final = """# made by `varnishpy completion bash`
_varnishpy() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} sub=${COMP_WORDS[1]} kind="" words=""
    if [[ $COMP_CWORD == 1 || $sub == -* ]]; then sub=""; fi
    case "$sub $prev" in
%(values)s
    *)
        case "$sub" in
%(commands)s
        esac
        if [[ $cur == -* ]]; then kind=words; fi ;;
    esac
    COMPREPLY=()
    case $kind in
    dir) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    parameter) compopt -o nospace 2>/dev/null; mapfile -t COMPREPLY < <(compgen -W "%(parameter)s" -- "$cur") ;;
    tag) mapfile -t COMPREPLY < <(compgen -W "%(tag)s" -- "$cur") ;;
    cli) mapfile -t COMPREPLY < <(compgen -W "%(cli)s" -- "$cur") ;;
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur") ;;
    esac
}
complete -F _varnishpy varnishpy
"""


def bash() -> str:
    """For bash 4 and later."""
    values, rows = [], []
    main, subs = daemon(), subcommands()
    for command in [main, *subs]:
        for flag in command.flags:
            if flag.value:
                patterns = "|".join(shlex.quote(f"{command.name} {name}") for name in flag.names)
                kind = "words" if flag.choices else flag.kind or "none"
                words = f" words={shlex.quote(' '.join(flag.choices))}" if flag.choices else ""
                values.append(f"    {patterns}) kind={kind}{words} ;;")
        names = [name for flag in command.flags for name in flag.names]
        kind = command.kind
        if not command.name:
            names, kind = [*(sub.name for sub in subs), "help", *names, "--help", "--version"], "words"
        elif _alternatives(command):
            names, kind = [*_alternatives(command), *names], "words"
        words = shlex.quote(" ".join(names))
        rows.append(f"        {shlex.quote(command.name)}) kind={kind or 'none'} words={words} ;;")
    lists = {kind: " ".join(_words(kind, [])) for kind in ("parameter", "tag", "cli")}
    return _BASH % {"values": "\n".join(values), "commands": "\n".join(rows), **lists}


# -- zsh ---------------------------------------------------------------------------------------------------------------

_ZSH: Final = """#compdef varnishpy
# made by `varnishpy completion zsh`
_varnishpy_parameters() { local -a names=(%(parameter)s); compadd -S '' -a names }
_varnishpy_tags() { local -a names=(%(tag)s); compadd -a names }
_varnishpy_cli() { local -a names=(%(cli)s); compadd -a names }
_varnishpy() {
    local sub=$words[2]
    if (( CURRENT == 2 )) && [[ $sub != -* ]]; then
        local -a subs=(
%(subs)s
        )
        _describe subcommand subs
        return
    fi
    if [[ $sub == -* ]]; then
        _arguments -S \\
%(daemon)s
        return
    fi
    shift words
    (( CURRENT-- ))
    case $sub in
%(commands)s
    esac
}
if [[ $funcstack[1] == _varnishpy ]]; then _varnishpy "$@"; else compdef _varnishpy varnishpy; fi
"""
_ZSH_ACTIONS: Final = {
    "dir": "_files -/", "file": "_files", "parameter": "_varnishpy_parameters", "tag": "_varnishpy_tags",
    "cli": "_varnishpy_cli",
}  # fmt: skip


def _zsh_text(text: str) -> str:
    for char in "\\[]:":
        text = text.replace(char, f"\\{char}")
    return text


def _zsh_flag(flag: Flag) -> list[str]:
    action = f"({' '.join(flag.choices)})" if flag.choices else _ZSH_ACTIONS.get(flag.kind, " ")
    value = f":{_zsh_text(flag.value)}:{action}" if flag.value else ""
    return [shlex.quote(f"*{name}[{_zsh_text(flag.text)}]{value}") for name in flag.names]


def zsh() -> str:
    """For zsh 5."""
    subs = subcommands()
    rows = []
    for command in subs:
        specs = [spec for flag in command.flags for spec in _zsh_flag(flag)]
        action = f"({' '.join(_alternatives(command))})" if _alternatives(command) else _ZSH_ACTIONS.get(command.kind)
        if action:
            specs.append(shlex.quote(f"*:{_zsh_text(command.words)}:{action}"))
        arguments = " \\\n            ".join(["_arguments -S", *specs])
        rows.append(f"    {command.name})\n        {arguments} ;;")
    lists = {kind: " ".join(map(shlex.quote, _words(kind, []))) for kind in ("parameter", "tag", "cli")}
    names = [shlex.quote(f"{command.name}:{_zsh_text(command.text)}") for command in subs]
    specs = [spec for flag in daemon().flags for spec in _zsh_flag(flag)]
    return _ZSH % {
        "subs": "\n".join(f"            {name}" for name in names),
        "daemon": " \\\n".join(f"            {spec}" for spec in specs),
        "commands": "\n".join(rows),
        **lists,
    }


# -- fish --------------------------------------------------------------------------------------------------------------


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_values(kind: str, choices: list[str]) -> str:
    match kind:
        case "dir":
            return " -a '(__fish_complete_directories)'"
        case "file":
            return " -F"
    words = _words(kind, choices)
    return f" -a {_fish_quote(' '.join(words))}" if words else ""


def fish() -> str:
    """For fish 3."""
    subs = subcommands()
    names = " ".join(command.name for command in subs)
    lines = ["# made by `varnishpy completion fish`", "complete -c varnishpy -f"]
    alone = f"-n 'not __fish_seen_subcommand_from {names}'"
    for command in [daemon(), *subs]:
        where = f"-n '__fish_seen_subcommand_from {command.name}'" if command.name else alone
        if command.name:
            lines.append(f"complete -c varnishpy {alone} -a {command.name} -d {_fish_quote(command.text)}")
            operands = _fish_values(command.kind, _alternatives(command))
            if operands:
                lines.append(f"complete -c varnishpy {where}{operands}")
        for flag in command.flags:
            line = f"complete -c varnishpy {where}"
            line += f" -s {_fish_quote(flag.short[1:])}" if flag.short else ""
            line += f" -l {flag.long[2:]}" if flag.long else ""
            line += f" -x{_fish_values(flag.kind, flag.choices)}" if flag.value else ""
            lines.append(f"{line} -d {_fish_quote(flag.text)}".replace(" -x -F", " -r -F"))
    return "\n".join(lines) + "\n"


SHELLS: Final[dict[str, Callable[[], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


@tool
def main(argv: list[str]) -> None:
    """Run the tool: 0 printed, 2 wrong usage."""
    _, words = parse_words(PROGRAM, OPTIONS, argv, WORDS, 2, anywhere=True)
    if len(words) != 1 or words[0] not in SHELLS:
        raise ToolError(f"{PROGRAM}: one of {', '.join(SHELLS)}\n{usage(PROGRAM, OPTIONS, WORDS)}", 2)
    sys.stdout.write(SHELLS[words[0]]())
