"""``varnishpy new-vmod NAME``: the beginnings of a VMOD in a folder of its own, with packaging and a test."""

from __future__ import annotations

import keyword
import sys
from pathlib import Path
from typing import Final

from varnishpy.tools.usage import HELP, VERSION, ToolError, parse_words, tool, usage
from varnishpy.vcl.vmodfind import ENTRY_POINTS, built_in

PROGRAM: Final = "varnishpy new-vmod"
OPTIONS: Final = [HELP, VERSION]
WORDS: Final = "name [folder]"

_MODULE: Final = '''"""VMOD {name}."""

from __future__ import annotations

from varnishpy.vmods.api import BOOL, INT, STRING, Ctx, VclFailure

__version__ = "0.1"


def hello(ctx: Ctx, who: STRING, times: INT = 1) -> STRING:
    """A greeting, so many times."""
    if times < 1:
        raise VclFailure("{name}.hello(): times must be at least 1")
    return ctx.account(" ".join([f"Hello, {{who or 'you'}}!"] * times))


class counter:
    """An object: ``new c = {name}.counter(3);``"""

    def __init__(self, ctx: Ctx, vcl_name: str, limit: INT) -> None:
        self._left = limit

    def take(self, ctx: Ctx) -> BOOL:
        """True while there is something left."""
        self._left -= 1
        return self._left >= 0
'''

_PROJECT: Final = """[build-system]
requires = ["setuptools>=68"]
build-backend = "setuptools.build_meta"

[project]
name = "varnishpy-vmod-{name}"
version = "0.1"
requires-python = ">=3.11"
dependencies = ["varnishpy"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points."{group}"]
{name} = "{name}"

[tool.setuptools]
py-modules = ["{name}"]
"""

_TEST: Final = '''"""VMOD {name} in a cache: the fixture comes with varnishpy."""

from __future__ import annotations

from pathlib import Path

VCL = """
import {name};
sub vcl_init {{ new c = {name}.counter(1); }}
sub vcl_recv {{
    if (c.take()) {{ return (synth(200, {name}.hello("world", times = 2))); }}
    return (synth(429));
}}
"""


def test_{name}(varnishpy):
    cache = varnishpy(VCL, {{"vmod_path": str(Path(__file__).parent.parent)}})
    answer = cache.get("/")
    assert (answer.status, answer.reason) == (200, "Hello, world! Hello, world!")
    assert cache.get("/").status == 429
'''

_FILES: Final = {"{name}.py": _MODULE, "pyproject.toml": _PROJECT, "tests/test_{name}.py": _TEST}


def _check_name(text: str) -> None:
    """Can it be the name of a VMOD? :raises ToolError:"""
    if not text.isidentifier() or keyword.iskeyword(text) or text.startswith("_"):
        raise ToolError(f"{PROGRAM}: {text!r} cannot be the name of a VMOD: letters, digits and _ are", 2)
    if text in built_in():
        raise ToolError(f"{PROGRAM}: {text} is built in", 2)
    if text in sys.stdlib_module_names:
        raise ToolError(f"{PROGRAM}: {text} is a module of Python's own", 2)


@tool
def main(argv: list[str]) -> None:
    """The subcommand; 1 if the folder is there already."""
    _, words = parse_words(PROGRAM, OPTIONS, argv, WORDS, 2, anywhere=True)
    if len(words) not in (1, 2):
        raise ToolError(f"{PROGRAM}: a name, and perhaps a folder\n{usage(PROGRAM, OPTIONS, WORDS)}", 2)
    name = words[0]
    _check_name(name)
    folder = Path(words[1] if len(words) == 2 else name)
    if folder.exists():
        raise ToolError(f"{folder} is there already")
    for place, text in _FILES.items():
        path = folder / place.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name, group=ENTRY_POINTS))
        print(path)
    print(f"\nTest it: pytest {folder}\nInstall it: pip install -e {folder}")
