"""What the pages say that a program can check: links, the list of pages, names of files, functions and members."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "varnishpy"
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)


@cache
def identifiers() -> frozenset[str]:
    """Every name that the package defines, and its attributes, arguments and words of text."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        found.add(path.stem)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 5000:
                found.update(re.findall(r"\w+", node.value))
    return frozenset(found)


@cache
def defined(path: Path) -> frozenset[str]:
    """Functions and classes of one file."""
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose(page)):
        if not re.match(r"[a-z]+:", link):
            assert (page.parent / link).exists(), link


def test_every_page_is_in_the_list() -> None:
    index = (DOCS / "index.md").read_text()
    for page in [*DOCS.glob("*.md"), DOCS / "examples" / "README.md"]:
        assert f"({page.relative_to(DOCS)})" in index or page.name == "index.md", page
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()


def test_every_page_is_on_the_site() -> None:
    """``make site`` refuses a page that nobody can get to."""
    site = (ROOT / "mkdocs.yml").read_text()
    for page in [*DOCS.glob("*.md"), DOCS / "examples" / "README.md"]:
        assert re.search(rf"[\[ ]{re.escape(str(page.relative_to(DOCS)))}[],\n]", site), page


@pytest.mark.parametrize("page", ["architecture.md", "glossary.md", "life-of-a-request.md"])
def test_files_named_there_exist(page: str) -> None:
    text = (DOCS / page).read_text()
    folders = re.findall(r"`((?:[a-z]\w*/)+)`", text)
    for name in folders + re.findall(r"(?<![\w./-])((?:[a-z]\w*/)+\w+\.(?:py|md|html|vcl))", text):
        assert any((root / name).exists() for root in (PACKAGE, ROOT)), name


@pytest.mark.parametrize("page", ["life-of-a-request.md"])
def test_functions_stand_in_the_files_named_before_them(page: str) -> None:
    """``file.py`` (``function``): one of the files of that row defines it."""
    for row in re.findall(r"^\| .* \|$", (DOCS / page).read_text(), re.M):
        for file, functions in re.findall(r"`(\w+/\w+\.py)` \(((?:`\w+`(?:, )?)+)\)", row):
            for function in re.findall(r"`(\w+)`", functions):
                assert function in defined(PACKAGE / file), f"{file}: {function}"


def test_members_named_in_the_architecture_exist() -> None:
    """Whatever looks like a name of code: in the blocks of contracts, and between backticks."""
    text = (DOCS / "architecture.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    names: set[str] = set()
    for block in blocks:
        for line in block.splitlines():
            code = line.partition("#")[0]
            names |= set(re.findall(r"\b([a-z_]\w+|[A-Z][a-z]\w*|[A-Z]{2,}_\w+)\b(?=\()", code))
    for word in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)):
        if re.fullmatch(r"[\w.]+(?:\(.*\))?", word) and not word.endswith((".md", ".py", ".vcl")):
            names |= set(re.findall(r"[A-Za-z_]\w+", word.partition("(")[0]))
    unknown = sorted(name for name in names - identifiers() if not (ROOT / name).exists())
    assert not unknown


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/debugging.md"])
def test_paths_of_the_guides_exist(page: str) -> None:
    """Those of tests, tools, docs and the package, also in blocks of code."""
    text = (ROOT / page).read_text()
    for name in re.findall(r"(?<![\w/])((?:tests|tools|docs|varnishpy|\.ci)/[\w/.-]*\w)", text):
        assert (ROOT / name).exists() or "NAME" in name, name


def test_the_quick_half_is_there() -> None:
    """The files and folders of ``make quick``."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    for line in re.findall(r"^(?:QUICK|SLOW|RACES) := (.*)$", makefile, re.M):
        assert line.split()
        for name in line.split():
            assert (ROOT / name).exists(), name


def test_the_architecture_names_every_program_of_developers() -> None:
    text = (DOCS / "architecture.md").read_text()
    programs = {path.name for path in (ROOT / "tools").iterdir() if path.is_file() and path.stat().st_mode & 0o100}
    assert programs == set(
        re.findall(r"`tools/([\w-]+)`", text.partition("## Beside the package")[2].partition("## ")[0])
    ) - {path.name for path in (ROOT / "tools").iterdir() if path.is_dir()}
