"""Where VMODs are looked for, what is said of those that are not there, and of mistakes in those that are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vcl.vcl_bench import HEAD, Bench
from varnishpy.vcl.compiler import CompileOptions, compile_vcl
from varnishpy.vcl.source import VclError
from varnishpy.vcl.vmodfind import built_in


def refusal(text: str, folder: Path | None = None) -> str:
    with pytest.raises(VclError) as caught:
        compile_vcl(HEAD + text, "test", CompileOptions(vmod_path=[] if folder is None else [str(folder)]))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("xkeys", "Did you mean xkey?"),
        ("vstrottle", "Did you mean vsthrottle?"),
        ("ykey", "ykey is part of Varnish Enterprise; use xkey here."),
        ("edgestash", "edgestash is part of Varnish Enterprise, and nothing here does the same."),
        ("re2", "re2 has not been written for varnishpy; use re in its place."),
    ],
)
def test_what_to_use_instead(name: str, words: str) -> None:
    said = refusal(f"import {name};")
    assert said.startswith(f"Could not find VMOD {name}\n")
    assert f"\n{words}\n" in said


def test_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text("")
    said = refusal("import nosuch;", tmp_path)
    assert f"\tin vmod_path ({tmp_path}): shout\n" in said
    listed = next(line for line in said.splitlines() if line.startswith("\tbuilt in: "))
    assert {"std", "directors", "xkey", "header", "re", "geoip2"} <= set(
        listed.removeprefix("\tbuilt in: ").split(", ")
    )
    assert "in installed packages (entry points varnishpy.vmods)" in said


def test_all_that_is_built_in_can_be_imported() -> None:
    for name in built_in():
        compile_vcl(f"{HEAD} import {name};", "test", CompileOptions())


SHOUT = """
from __future__ import annotations
from varnishpy.vmods.api import INT, STRING, Ctx


def loud(ctx: Ctx, text: STRING) -> STRING:
    return text


def quiet(ctx, text: STRING) -> STRING:
    return text


def typo(ctx: Ctx, text: STRNG) -> STRING:
    return text


class thing:
    def __init__(self, ctx: Ctx) -> None:
        pass


class other:
    def __init__(self, vcl_name: str, ctx: Ctx) -> None:
        pass
"""


@pytest.mark.parametrize(
    ("use", "words"),
    [
        ('set req.url = shout.laud("x");', "Did you mean shout.loud?"),
        (
            'set req.url = shout.quiet("x");',
            "shout.quiet cannot be used in VCL: a function begins with (ctx: Ctx, ...)",
        ),
        ('set req.url = shout.typo("x");', "typo: an annotation cannot be read: name 'STRNG' is not defined"),
    ],
)
def test_mistakes_of_a_module_are_named_where_it_is_used(use: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text(SHOUT)
    assert words in refusal(f"import shout; sub vcl_recv {{ {use} }}", tmp_path)


def test_an_object_whose_constructor_is_none(tmp_path: Path) -> None:
    (tmp_path / "shout.py").write_text(SHOUT)
    said = refusal("import shout; sub vcl_init { new o = shout.other(); }", tmp_path)
    assert "shout.other cannot be used in VCL: the __init__() of an object begins with (self, ctx: Ctx, " in said


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        ("(ctx: Ctx, text: str) -> STRING", "f(), argument text: annotation str is no VCL type: write STRING"),
        ("(ctx: Ctx, number: INT) -> int", "f(), what it returns: annotation int is no VCL type: write INT"),
        ("(ctx: Ctx, text: STRING) -> dict", "f(), what it returns: annotation dict is no VCL type; those of VCL"),
        ("(ctx: Ctx, text) -> STRING", "f: argument text has no annotation"),
    ],
)
def test_types_of_pythons_own_are_named(signature: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(f"from varnishpy.vmods.api import INT, STRING, Ctx\n\n\ndef f{signature}: ...\n")
    assert words in refusal('import plain; sub vcl_recv { set req.url = plain.f("x"); }', tmp_path)


def test_an_edited_file_is_another_module(tmp_path: Path) -> None:
    place = tmp_path / "edited.py"
    text = "from varnishpy.vmods.api import INT, Ctx\n\n\ndef number(ctx: Ctx) -> INT:\n    return {}\n"
    vcl = "import edited; sub vcl_recv { set req.http.out = edited.number(); }"
    options = CompileOptions(vmod_path=[str(tmp_path)])
    place.write_text(text.format(1))
    first = Bench(vcl, options)
    place.write_text(text.format(2))
    second = Bench(vcl, options)
    assert [first.recv().http.get("out"), second.recv().http.get("out")] == ["1", "2"]
    same = Bench(vcl, options)
    assert same.vcl.vmods[0].module is second.vcl.vmods[0].module


def test_what_was_compiled_is_what_is_loaded(tmp_path: Path) -> None:
    place = tmp_path / "gone.py"
    place.write_text("from varnishpy.vmods.api import INT, Ctx\n\n\ndef number(ctx: Ctx) -> INT:\n    return 7\n")
    vcl = HEAD + "import gone; sub vcl_recv { set req.http.out = gone.number(); }"
    compiled = compile_vcl(vcl, "test", CompileOptions(vmod_path=[str(tmp_path)]))
    place.unlink()
    namespace: dict[str, object] = {"__name__": "vcl.test"}
    exec(compiled.python_source, namespace)
    assert namespace["vmod_gone"].number(None) == 7  # type: ignore[attr-defined]


def test_versions(tmp_path: Path) -> None:
    (tmp_path / "aged.py").write_text('__version__ = "1.2"\n')
    (tmp_path / "ageless.py").write_text("")
    bench = Bench("import aged; import ageless; import std;", CompileOptions(vmod_path=[str(tmp_path)]))
    aged, ageless, std = bench.vcl.vmods
    import varnishpy

    assert [aged.version, ageless.version, std.version] == ["1.2", "", varnishpy.__version__]
    assert aged.path == str(tmp_path / "aged.py")
