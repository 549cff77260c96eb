"""``--explain``: what a script does, step by step, in words made from the tables that also run it."""

from __future__ import annotations

import re
import sys

from .anywhere import EVERYWHERE
from .context import Settings
from .errors import ScriptError
from .interpreter import find_command, loop_arguments
from .languages import LANGUAGES
from .lexer import lines
from .table import Command, Item, sort_out
from .text import Source, Text

_INDENT = "    "
_SHOWN = 60
_PLACE = re.compile(r"\{([0-9]+)\}")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _SHOWN else flat[: _SHOWN - 3] + "..."


def _fill(template: str, words: list[Text]) -> str:
    """``template`` with ``{n}`` replaced by word n, or by nothing if there is none."""

    def word(match: re.Match[str]) -> str:
        number = int(match.group(1))
        return _short(words[number]) if number < len(words) else ""

    return " ".join(_PLACE.sub(word, template).split())


def _sentence(command: Command, items: list[Item]) -> str:
    plain = [item.args[0] for item in items if not item.option]
    parts = [_fill(command.text, plain)] if command.text else [command.name]
    for item in items:
        if item.option:
            option = command.options.get(item.option)
            assert option is not None
            phrase = _fill(option.text, item.args)
            parts.append(phrase or item.option)
    if not command.named and not command.language and len(plain) > 2 and command.args.endswith("...]"):
        parts.append(_short(" ".join(plain)))
    return ", ".join(parts)


def explain(text: Text, language: str, depth: int = 0) -> list[str]:
    """One line per step, nested scripts indented below it.  Raises ScriptError."""
    rows: list[str] = []
    for line in lines(text):
        tokens = line.tokens
        number = tokens[0].locate().line
        head = f"{number:4d}  {_INDENT * depth}"
        if tokens[0] == "loop":
            count, body = loop_arguments(tokens)
            rows.append(f"{head}{count} times:")
            rows.extend(explain(body, language, depth + 1))
            continue
        command = find_command(LANGUAGES[language], EVERYWHERE, tokens[0])
        items = sort_out(command, tokens[1:], tokens[0].locate())
        rows.append(head + _sentence(command, items))
        specs = command.specs([item.args[0] for item in items if not item.option])
        for spec in specs:
            rows.extend(explain(spec, command.language, depth + 1))
        for item in items:
            option = command.options.get(item.option) if item.option else None
            if option is not None and option.language:
                rows.extend(explain(item.args[-1], option.language, depth + 1))
    return rows


def main(sources: list[Source], _settings: Settings) -> int:
    """Print the explanation of each script; 2 if one cannot be read."""
    status = 0
    for source in sources:
        print(f"{source.name}:")
        try:
            print("\n".join(explain(Text.whole(source), "top")))
        except ScriptError as error:
            print(error, file=sys.stderr)
            status = 2
    return status
