"""The VMOD of docs/vmods.md, as the page has it: found on vmod_path, and brought by -E."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.harness import running

PAGE = Path(__file__).parent.parent.parent / "docs" / "vmods.md"


@pytest.mark.parametrize("how", ["vmod_path", "-E"])
def test_the_example_of_the_guide(short_tmp: Path, how: str) -> None:
    python, vcl = re.search(r"```python\n(.*?)```.*?```vcl\n(.*?)```", PAGE.read_text(), re.DOTALL).groups()  # type: ignore[union-attr]
    module, program = short_tmp / "shout.py", short_tmp / "shout.vcl"
    module.write_text(python)
    program.write_text(vcl)
    option = ["-p", f"vmod_path={short_tmp}"] if how == "vmod_path" else ["-E", str(module)]
    with running(short_tmp / "v", "-f", str(program), *option) as cache:
        first = cache.raw(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        assert first.startswith(b"HTTP/1.1 200 HEYHEY\r\n")
        assert cache.get("/").status == 200
        assert cache.get("/").status == 429
