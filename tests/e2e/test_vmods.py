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


PAIR = """
from varnishpy.vmods.api import IP, INT, STRING, Ctx

__version__ = "{version}"


def text(ctx: Ctx, address: IP) -> STRING:
    return f"{{address}} {number}"
"""


def test_an_edited_module_is_taken_by_the_next_load(short_tmp: Path) -> None:
    module, program = short_tmp / "pair.py", short_tmp / "pair.vcl"
    module.write_text(PAIR.format(version="1.0", number=1))
    program.write_text(
        "vcl 4.1; import pair; backend default none; sub vcl_recv { return (synth(200, pair.text(client.ip))); }"
    )
    with running(short_tmp / "v", "-f", str(program), "-p", f"vmod_path={short_tmp}") as cache:
        request = b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        assert cache.raw(request).startswith(b"HTTP/1.1 200 127.0.0.1 1\r\n")
        module.write_text(PAIR.format(version="1.1", number=2))
        cache.cli(f"vcl.load second {program}")
        cache.cli("vcl.use second")
        assert cache.raw(request).startswith(b"HTTP/1.1 200 127.0.0.1 2\r\n")
        listed = cache.cli("debug.vmod")
        assert 'version="1.0"' in listed
        assert 'version="1.1"' in listed
        module.unlink()  # the child that comes next has what was compiled
        cache.cli("stop")
        cache.cli("start")
        assert cache.raw(request).startswith(b"HTTP/1.1 200 127.0.0.1 2\r\n")


PLACE = """
import tempfile

from varnishpy.vmods.api import STRING, Ctx


def directory(ctx: Ctx) -> STRING:
    with tempfile.NamedTemporaryFile() as file:
        return file.name.rpartition("/")[0]
"""


def test_temporary_files_have_a_place_that_is_the_childs(short_tmp: Path) -> None:
    module, program = short_tmp / "place.py", short_tmp / "place.vcl"
    module.write_text(PLACE)
    program.write_text(
        "vcl 4.1; import place; backend default none; sub vcl_recv { return (synth(200, place.directory())); }"
    )
    workdir = short_tmp / "v"
    with running(workdir, "-f", str(program), "-p", f"vmod_path={short_tmp}") as cache:
        answer = cache.raw(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        assert answer.startswith(f"HTTP/1.1 200 {workdir}/worker_tmpdir\r\n".encode())
        (workdir / "worker_tmpdir" / "left").write_text("x")
        cache.cli("stop")
        cache.cli("start")
        assert list((workdir / "worker_tmpdir").iterdir()) == []
    assert not (workdir / "worker_tmpdir").exists()
