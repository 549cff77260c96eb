"""Which of the two ways to run the package is chosen, and what the build says of it."""

from __future__ import annotations

import ast
import configparser
import hashlib
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from varnishpy.base import compiled

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "varnishpy"


def run(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program of this Python; variables that choose are those given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VARNISHPY_")}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package with no more of varnishpy in it than what chooses, and a module that is \"compiled\"."""
    package = tmp_path / "varnishpy"
    (package / "base").mkdir(parents=True)
    for name in ("__init__.py", "base/__init__.py", "base/compiled.py"):
        (package / name).write_bytes((PACKAGE / name).read_bytes())
    clock = package / "base" / "clock.py"
    clock.write_text("'the source'\n")
    clock.with_name(f"clock{EXTENSION_SUFFIXES[0]}").write_bytes(b"no library at all")
    return package


def record(package: Path, text: str) -> None:
    """Note the module as compiled when its source was ``text``."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    name = f".compiled{EXTENSION_SUFFIXES[0]}.json"
    (package / name).write_text(f'{{"base/clock.py": [1, "{digest}"]}}')


ASK = "import varnishpy.base.clock as clock; print(clock.__file__)"


def test_compiled_modules_are_preferred(tree: Path) -> None:
    record(tree, "'the source'\n")
    done = run("-c", ASK, cwd=tree.parent)
    assert "ImportError" in done.stderr, "what stands in for the compiled module is no library"
    assert "out of date" not in done.stderr


def test_the_source_can_be_asked_for(tree: Path) -> None:
    done = run("-c", ASK, cwd=tree.parent, VARNISHPY_PURE="1")
    assert (done.stdout.strip(), done.stderr) == (str(tree / "base" / "clock.py"), "")


@pytest.mark.parametrize("gone", [False, True])
def test_a_stale_module_never_shadows_its_source(tree: Path, gone: bool) -> None:
    record(tree, "'an older source'\n")
    if gone:
        (tree / "base" / "clock.py").rename(tree / "base" / "watch.py")
    ask = f"{ASK.replace('clock', 'watch') if gone else ASK}; import os; print(os.environ['VARNISHPY_PURE'])"
    done = run("-c", ask, cwd=tree.parent)
    why = f"base/clock.py {'is gone' if gone else 'has changed'}"
    assert done.stderr == f"varnishpy: compiled modules are out of date ({why}): running the source (make compiled)\n"
    assert done.stdout.split() == [str(tree / "base" / ("watch.py" if gone else "clock.py")), "1"]


def test_a_source_that_was_only_touched_is_not_stale(tree: Path) -> None:
    assert compiled.out_of_date(tree) is None, "an installed package has no record"
    record(tree, "'the source'\n")
    assert compiled.out_of_date(tree) is None
    (tree / f".compiled{EXTENSION_SUFFIXES[0]}.json").write_text("{}")
    assert compiled.out_of_date(tree) == "their build did not finish"


def test_what_runs_is_told() -> None:
    done = run("-m", "varnishpy", "-V", VARNISHPY_PURE="1")
    assert done.stderr.splitlines()[-1] == f"CPython {sys.version.split()[0]}, pure Python"
    assert compiled.interpreter().endswith(", compiled" if compiled.is_compiled() else ", pure Python")


@pytest.mark.parametrize(
    ("wanted", "compiler", "status", "words"),
    [
        ("0", "cc", 0, "pure Python (VARNISHPY_COMPILE=0)"),
        ("auto", "false", 0, "pure Python (no C compiler that finds Python's headers"),
        ("1", "false", 1, "varnishpy cannot be compiled: no C compiler that finds Python's headers"),
        ("yes", "cc", 1, "VARNISHPY_COMPILE is 'yes', and not 0, 1 or auto"),
    ],
)
def test_the_build_says_what_it_makes(wanted: str, compiler: str, status: int, words: str) -> None:
    done = run("setup.py", "--name", VARNISHPY_COMPILE=wanted, CC=compiler)
    assert done.returncode == status
    assert words in done.stderr


def test_every_exception_is_a_module_and_says_why() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    rooms = config["varnishpy:compiled"]["rooms"].split()
    assert all((PACKAGE / room / "__init__.py").is_file() for room in rooms)
    for name in config["varnishpy:compiled"]["modules"].split():
        assert (PACKAGE / f"{name}.py").is_file(), name
        assert name.partition("/")[0] not in rooms, f"{name} is compiled with its room"
    for name, why in config["varnishpy:interpreted"].items():
        assert (PACKAGE / f"{name}.py").is_file(), name
        assert name.partition("/")[0] in rooms, f"{name} is not in a room that is compiled"
        assert len(why.split()) > 3, name


def caught(function: ast.AST) -> dict[str, set[str]]:
    """The names that exceptions get in a function, each with the types that it stands for."""
    found: dict[str, set[str]] = {}
    inner = list(ast.iter_child_nodes(function))
    while inner:
        node = inner.pop()
        if isinstance(node, ast.ExceptHandler) and node.name and node.type:
            found.setdefault(node.name, set()).add(ast.unparse(node.type))
        if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
            inner.extend(ast.iter_child_nodes(node))
    return found


def test_no_name_stands_for_exceptions_of_two_types() -> None:
    """The compiler takes the first type for the type of all, and raises `TypeError` for the second."""
    wrong = []
    for path in runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["modules"]():
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.FunctionDef):
                wrong += [f"{path} {node.name}: {name}" for name, types in caught(node).items() if len(types) > 1]
    assert wrong == []


def for_the_checker(module: ast.Module) -> set[str]:
    """The names that only the type checker imports."""
    blocks = [node for node in module.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    imports = [node for block in blocks for node in ast.walk(block) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


def test_no_dataclass_is_annotated_with_a_class_that_comes_later() -> None:
    """Where that class is compiled as well, the interpreter crashes if the dataclass is imported first."""
    wrong = []
    for path in runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["modules"]():
        module = ast.parse((ROOT / path).read_text())
        unknown = for_the_checker(module)
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef) and "dataclass" in "".join(map(ast.unparse, node.decorator_list)):
                fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
                words = {word.id for field in fields for word in plain_names(field.annotation)}
                wrong += [f"{path} {node.name}: {name}" for name in words & unknown]
    assert wrong == []


def plain_names(annotation: ast.expr) -> Iterator[ast.Name]:
    """The names in an annotation, but for those in brackets: of a generic type the compiler looks at no more."""
    match annotation:
        case ast.Name():
            yield annotation
        case ast.BinOp(left, _, right):
            yield from plain_names(left)
            yield from plain_names(right)


def imported_from(module: ast.Module) -> dict[str, tuple[str, str]]:
    """What names of a module come from: module of the package, and name there."""
    found = {}
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("varnishpy."):
            for alias in node.names:
                found[alias.asname or alias.name] = (str(node.module), alias.name)
    return found


def test_what_interpreted_classes_derive_from_allows_it() -> None:
    """Compiled code that meets an object of such a class, or catches such an exception, raises `TypeError` else."""
    sources = set(runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["modules"]())
    closed = set()
    for path in sources:
        for node in ast.parse((ROOT / path).read_text()).body:
            words = "".join(map(ast.unparse, node.decorator_list)) if isinstance(node, ast.ClassDef) else ""
            if (
                isinstance(node, ast.ClassDef)
                and "mypyc_attr" not in words
                and "Protocol" not in map(ast.unparse, node.bases)
            ):
                closed.add((path.removesuffix(".py").replace("/", "."), node.name))
    wrong = []
    for file in [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]:
        path = file.relative_to(ROOT).as_posix()
        if path in sources:
            continue
        module = ast.parse(file.read_text())
        names = imported_from(module)
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                wrong += [f"{path} {node.name}: {base}" for base in bases if names.get(base) in closed]
    assert sorted(wrong) == []


def test_the_compiler_takes_the_source(tmp_path: Path) -> None:
    """Translated to C, without a C compiler; what only shows when it runs is for `make test-compiled`."""
    done = run("tests/base/translating.py", str(tmp_path))
    complaints = [line for line in done.stdout.splitlines() if " warning: " not in line]
    assert (done.returncode, complaints) == (0, []), done.stderr
