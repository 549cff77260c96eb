"""What is installed is used: each requirement by the package, each extra by what it serves."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = {
    "coverage": "coverage",
    "mypy": "mypy",
    "ruff": "ruff",
    "pytest-xdist": "-n $(JOBS)",
    "setuptools": "setup.py",
}  # in the Makefile


def imported(files: Iterable[Path]) -> set[str]:
    """The outermost packages that files import, in functions as well."""
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add((node.module or "").split(".")[0])
    return found


def names(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [re.split(r"[<>=~\[; ]", line)[0] for line in lines if line and not line.startswith("#")]


def package(name: str) -> str:
    """What a requirement is imported as."""
    return "opentelemetry" if name.startswith("opentelemetry-") else name.replace("-", "_")


def requirements(section: str, option: str) -> list[str]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    return names(config[section][option])


def test_the_package_imports_all_that_it_requires() -> None:
    required = requirements("options", "install_requires")
    assert set(required) <= imported((ROOT / "varnishpy").rglob("*.py"))


def test_the_package_requires_all_that_it_imports() -> None:
    """But for what an extra brings (its VMODs say so), and pytest, which loads our plugin itself."""
    optional = {"pytest", "_pytest", "mypy_extensions"}  # base/compiled.py does without the latter
    needed = imported((ROOT / "varnishpy").rglob("*.py")) - set(sys.stdlib_module_names) - {"varnishpy", ""} - optional
    extras = {
        package(name)
        for extra in ("geoip", "otel", "tier", "test")
        for name in requirements("options.extras_require", extra)
    }
    assert needed - set(requirements("options", "install_requires")) <= extras
    assert "h2" in requirements("options", "install_requires")


def test_tests_use_all_that_they_require() -> None:
    makefile = (ROOT / "Makefile").read_text()
    used = imported([*(ROOT / "tests").rglob("*.py"), *(ROOT / "varnishpy").rglob("*.py")])
    for name in requirements("options.extras_require", "test"):
        if name in PROGRAMS:
            assert PROGRAMS[name] in makefile, name
        elif name == "pytest-timeout":
            assert "timeout = " in (ROOT / "setup.cfg").read_text()
        elif name.startswith("types-"):
            assert name.removeprefix("types-") in used
        else:
            assert package(name) in used, name


def test_the_lock_has_every_requirement_with_its_hashes() -> None:
    text = (ROOT / ".ci" / "requirements.lock").read_text()
    blocks = re.split(r"(?m)^(?=[a-z])", text)[1:]
    locked = {block.split("==")[0] for block in blocks}
    wanted = [
        *requirements("options", "install_requires"),
        *requirements("options.extras_require", "test"),
        "setuptools",
    ]
    assert set(wanted) <= locked
    for block in blocks:
        assert re.match(r"[a-z0-9-]+==[\w.]+ ", block), block
        assert "--hash=sha256:" in block, block
    assert "://" not in text, "where they are had from is a matter of who installs"


AUDITS = {
    "clean": ("""print('{"dependencies": [{"name": "h2", "version": "1", "vulns": []}]}')""", 0, "0 known against"),
    "found": (
        """print('{"dependencies": [{"name": "h2", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}]}')
raise SystemExit(1)""",
        1,
        "h2 1: X-1, mended in 2",
    ),
    "offline": ("""raise SystemExit("no route to the database")""", 0, "skipped, no route to the database"),
}


@pytest.mark.parametrize("case", AUDITS)
def test_an_audit(case: str, tmp_path: Path) -> None:
    """A database that cannot be reached fails nothing; what it knows does, for who is strict."""
    source, strict, told = AUDITS[case]
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\n{source}\n")
    program.chmod(0o755)
    for options, status in ((["--strict"], strict), ([], 0)):
        done = subprocess.run(
            [ROOT / ".ci" / "audit", *options], env={**os.environ, "PIP_AUDIT": str(program)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        assert told in done.stdout
