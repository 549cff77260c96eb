"""The house rules that a program can check: floors, circles, file sizes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "varnishpy"
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"


def floors() -> dict[str, int]:
    """Room to floor, as the table of docs/architecture.md tells."""
    found: dict[str, int] = {}
    for line in ARCHITECTURE.read_text().splitlines():
        match = re.match(r"\| (`\w+/`(?:, `\w+/`)*) \|", line)
        if match:
            level = len(set(found.values()))
            for room in re.findall(r"`(\w+)/`", match[1]):
                found[room] = level
    return found


def imports(path: Path) -> set[str]:
    """Rooms imported at run time; what only the type checker sees does not count."""
    rooms = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for branch in node.orelse:
                visit(branch)
            return
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
            if node.module == "varnishpy":
                names = [f"varnishpy.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "varnishpy" and len(parts) > 1:
                rooms.add(parts[1])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return rooms


FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = floors()


def test_every_room_has_a_floor() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_lower_floors_never_import_upper_ones(path: Path) -> None:
    if path.parent == PACKAGE:
        return
    own = path.relative_to(PACKAGE).parts[0]
    above = {room for room in imports(path) if room in FLOORS and room != own and FLOORS[room] >= FLOORS[own]}
    assert not above, f"{own}/ is on floor {FLOORS[own]} and may not import {sorted(above)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "h2").glob("*.py")), ids=lambda path: path.name)
def test_the_protocol_of_http2_knows_neither_sockets_nor_threads_of_the_pool(path: Path) -> None:
    assert imports(path) <= {"h2", "base", "http", "log", "params", "stats", "storage"}
    names = {name for node in ast.walk(ast.parse(path.read_text())) for name in _imported(node)}
    assert not names & {"socket", "select", "selectors", "ssl"}


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    return {node.module} if isinstance(node, ast.ImportFrom) and node.module else set()


def test_files_of_tests_have_one_subject() -> None:
    tests = Path(__file__).parent
    lengths = {str(path.relative_to(tests)): path.read_text().count("\n") for path in tests.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 600} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_have_one_subject_and_say_so(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 600, "a file of that length has more than one subject"
    if text.strip():
        docstring = ast.get_docstring(ast.parse(text))
        assert docstring, "a module opens with what it is for"


@pytest.mark.parametrize("tool", ["genviews", "genvcl"])
def test_generated_modules_are_what_they_were_made_of(tool: str) -> None:
    told = subprocess.run(
        [sys.executable, str(PACKAGE.parent / "tools" / tool), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_no_room_for_what_has_no_name() -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [path for path in FILES if path.stem in vague]


TESTS = sorted(Path(__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_tests_are_one_package(path: Path) -> None:
    """One name for each module, so that none is loaded twice in a process."""
    assert (path.parent / "__init__.py").exists()
    neighbours = {other.stem for other in TESTS} - {"__init__"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "tests are imported by their full name"
            assert (node.module or "").split(".")[0] not in neighbours, f"tests.….{node.module} is its name"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            assert node.attr != "path", "the root is on the path; nothing else need be"


# -- types -------------------------------------------------------------------------------------------------------------

#: how often a room writes the word Any: it may only become less. Whoever writes it less often lowers the number.
MOST_ANY = {
    "kit": 4,
    "shm": 2,
    "vtc": 2,
}

#: how often the package asks the type checker to believe what it does not see; as with MOST_ANY
MOST_CASTS = 7
MOST_IGNORES = 22

#: imports that only the type checker sees and that go up: what a room's contracts say of the rooms above it
TYPES_FROM_ABOVE = {
    "backends": {"vcl"},
    "http1": {"session"},
    "http2": {"session"},
    "request": {"session"},
}


def types_only(path: Path) -> set[str]:
    """Rooms imported for the type checker alone."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for statement in node.body:
                names = [name for child in ast.walk(statement) for name in _modules(child)]
                rooms |= {name.split(".")[1] for name in names if name.startswith("varnishpy.")}
    return rooms


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
        if node.module == "varnishpy":
            return [f"varnishpy.{alias.name}" for alias in node.names]
        return [node.module]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_types_from_above_are_listed() -> None:
    found: dict[str, set[str]] = {}
    for path in FILES:
        if path.parent == PACKAGE:
            continue
        own = path.relative_to(PACKAGE).parts[0]
        above = {room for room in types_only(path) if room in FLOORS and room != own and FLOORS[room] >= FLOORS[own]}
        if above:
            found.setdefault(own, set()).update(above)
    assert found == TYPES_FROM_ABOVE, "a room may know the types of a room above it only where this table says so"


def test_any_becomes_less() -> None:
    found: dict[str, int] = {}
    for path in FILES:
        room = path.relative_to(PACKAGE).parts[0]
        names = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name | ast.alias)]
        count = sum((node.id if isinstance(node, ast.Name) else node.name) == "Any" for node in names)
        found[room] = found.get(room, 0) + count
    more = {room: count for room, count in found.items() if count > MOST_ANY.get(room, 0)}
    assert not more, "say what the type is: a class, a Protocol or an alias"
    less = {room: found.get(room, 0) for room, most in MOST_ANY.items() if found.get(room, 0) < most}
    assert not less, "fewer than MOST_ANY says: write these numbers there"


def test_what_the_checker_is_told_to_believe_becomes_less() -> None:
    casts = ignores = 0
    for path in FILES:
        text = path.read_text()
        ignores += len(re.findall(r"# type: ignore", text))
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        casts += sum(isinstance(call.func, ast.Name) and call.func.id == "cast" for call in calls)
    assert (casts, ignores) == (MOST_CASTS, MOST_IGNORES), "more: say what the type is; fewer: write the numbers there"


def run_time_imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of the package that one imports when it runs, in its functions as well."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for branch in node.orelse:
                visit(branch)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = list(path.relative_to(PACKAGE.parent).with_suffix("").parts)[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                found.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found & modules


def test_no_modules_import_each_other_in_a_circle() -> None:
    def name(path: Path) -> str:
        return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")

    modules = {name(path) for path in FILES}
    left = {name(path): run_time_imports(path, modules) - {name(path)} for path in FILES}
    while gone := {module for module, imported in left.items() if not imported & left.keys()}:
        left = {module: imported for module, imported in left.items() if module not in gone}
    # what remains imports others that remain: take away what no remaining module imports, and circles are left
    while True:
        wanted = set().union(*left.values()) if left else set()
        if left.keys() <= wanted:
            break
        left = {module: imported for module, imported in left.items() if module in wanted}
    assert not {module: sorted(imported & left.keys()) for module, imported in left.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_numbers_of_log_tags_have_one_home(path: Path) -> None:
    """They are imported from ``log/tag_numbers.py``; nobody keeps a copy under a name of its own."""
    assert not re.findall(r"^\w+: Final(?:\[int\])? = (?:int\()?Tag\.\w+\)?\s*(?:#.*)?$", path.read_text(), re.M)


# -- nothing for tests alone -------------------------------------------------------------------------------------------

#: what others call by a name that stands nowhere else here: `threading.Condition`, and `http.server`
CALLED_FROM_OUTSIDE = {"_is_owned", "do_POST", "handle_error"}


def test_what_is_defined_is_used_by_the_package_itself() -> None:
    """What only tests call is no part of it. VMODs, the kit and the test language are used by those who write VCL."""
    words: Counter[str] = Counter()
    defined: Counter[str] = Counter()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for path in PACKAGE.rglob("*"):
        if path.suffix in (".py", ".vcl", ".html"):
            words.update(re.findall(r"\w+", path.read_text()))
    for path in FILES:
        if path.relative_to(PACKAGE).parts[0] not in ("vmods", "kit", "vtc"):
            defined.update(node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds))
    unused = {name for name, count in defined.items() if words[name] == count and not name.startswith("__")}
    assert unused == CALLED_FROM_OUTSIDE


#: how often tests put something of their own in the place of a function or constant of the package, which compiled code
#: may not look at; it may only become less: give what is replaced as an argument
REPLACED = {
    "http2": 1,
    "request": 1,
    "stats": 1,
    "tier": 6,
    "vmods": 3,
}


def test_tests_replace_less_and_less_of_the_package() -> None:
    found: dict[str, int] = {}
    for path in TESTS:
        tree = ast.parse(path.read_text())
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        ours = {
            alias.asname or alias.name
            for node in imported
            if (node.module or "").startswith("varnishpy")
            for alias in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("monkeypatch.setattr", "monkeypatch.setitem"):
                target = ast.unparse(node.args[0])
                if target.split(".")[0] in ours or target.startswith(("'varnishpy.", '"varnishpy.')):
                    room = path.relative_to(PACKAGE.parent).parts[1]
                    found[room] = found.get(room, 0) + 1
    assert found == REPLACED
