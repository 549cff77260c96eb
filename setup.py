"""Compiles the hot rooms where that can be done; everything else about the package is declared in ``setup.cfg``.

``VARNISHPY_COMPILE`` in the environment says what is wanted:

* ``auto``, the default: compile where there is a C compiler with Python's headers and a CPython that this was tried
  with (``TRIED``); where there is not, or where the compiler fails, install the same source as pure Python. A source
  tree that is installed as it stands (``pip install -e``, which is what ``make`` does) stays pure: ``make compiled``
  compiles it in place.
* ``1``: compile, or fail.
* ``0``: do not.

``VARNISHPY_OPT`` is the compiler's optimization level (2).
"""

from __future__ import annotations

import ast
import configparser
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, ExecError

HERE = Path(__file__).parent
PACKAGE = HERE / "varnishpy"
SUFFIX = EXTENSION_SUFFIXES[0]
RECORD = PACKAGE / f".compiled{SUFFIX}.json"  # see varnishpy/base/compiled.py
GROUP = "varnishpy.compiled"  # the shared library of the compiled modules: varnishpy/compiled__mypyc.*.so
wanted = os.environ.get("VARNISHPY_COMPILE", "auto")
BUILDS = {"build", "build_ext", "bdist_wheel", "install", "bdist"}  # commands that need the compiled modules
# packages that varnishpy needs may not be there while it is built
TRIAL = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("varnishpy"):
            raise
"""
# the compiler, and what compiled classes derive from
COMPILER = ("mypy>=2.4", "hpack>=4.2")
TRIED = ((3, 11),)  # versions of Python on which the tests of the hot rooms passed, compiled


def modules() -> list[str]:
    """The sources to compile, as `[varnishpy:compiled]` and `[varnishpy:interpreted]` of ``setup.cfg`` have it."""
    config = configparser.ConfigParser()
    config.read(HERE / "setup.cfg", encoding="utf-8")
    interpreted = set(config["varnishpy:interpreted"])
    found = {f"varnishpy/{name}.py" for name in config["varnishpy:compiled"]["modules"].split()}
    for room in config["varnishpy:compiled"]["rooms"].split():
        for source in (PACKAGE / room).glob("*.py"):
            if source.stem != "__init__" and f"{room}/{source.stem}" not in interpreted:
                found.add(source.relative_to(HERE).as_posix())
    return sorted(found)


def obstacle() -> str | None:
    """Why nothing can be compiled here, or ``None``."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} is not CPython"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python runs without a GIL, which compiled classes are not made for"
    from setuptools._distutils import ccompiler
    from setuptools._distutils import sysconfig as build_config

    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory) / "probe.c"
        probe.write_text("#include <Python.h>\n")
        compiler = ccompiler.new_compiler()
        build_config.customize_compiler(compiler)
        try:
            compiler.compile([str(probe)], directory, include_dirs=[sysconfig.get_path("include")])
        except (BaseError, OSError, ccompiler.CompileError) as exc:
            return f"no C compiler that finds Python's headers ({exc})"
    return None


def say(text: str) -> None:
    """Tell whoever installs; pip shows it with -v, and always when the build fails."""
    print(f"varnishpy: {text}", file=sys.stderr, flush=True)


def extensions(sources: list[str]) -> list[Extension]:
    """Translate the sources to C; mypy reports what it does not like and leaves by `SystemExit`."""
    from mypyc.build import mypycify

    os.chdir(HERE)
    made: list[Extension] = mypycify(
        ["--config-file", "setup.cfg", *sources],
        opt_level=os.environ.get("VARNISHPY_OPT", "2"),
        debug_level=os.environ.get("VARNISHPY_DEBUG", "0"),
        multi_file=True,
        group_name=GROUP,
    )
    # the files of a group that is in a package look for its headers at the top, and they are not there
    for extension in made:
        extension.include_dirs.append(str(Path("build", *GROUP.split(".")[:-1])))
    return made


def imported(sources: list[str]) -> list[str]:
    """These sources and all that they import of the package: constants of any of them may stand in what is compiled."""
    found = set(sources)
    left = list(sources)
    while left:
        for node in ast.walk(ast.parse((HERE / left.pop()).read_text())):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
            for name in names:
                path = name.replace(".", "/")
                for source in (f"{path}.py", f"{path}/__init__.py"):
                    if source not in found and name.startswith("varnishpy") and (HERE / source).is_file():
                        found.add(source)
                        left.append(source)
    return sorted(found)


class BuildCompiled(build_ext):
    """Builds the compiled modules; where they were only wished for, a compiler that fails leaves pure Python."""

    def build_extensions(self) -> None:
        """As setuptools does, but for the files of one library, which are nearly all: at once, one for each core."""
        compile_all = self.compiler.compile
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:

            def compile_each(sources: list[str], **options: object) -> list[str]:
                if len(sources) < 2:
                    return list(compile_all(sources, **options))
                self.mkpath(str(options["output_dir"]))
                done = [threads.submit(compile_all, [source], **options) for source in sources]
                return [name for future in done for name in future.result()]

            self.compiler.compile = compile_each
            super().build_extensions()

    def run(self) -> None:
        """See setuptools."""
        if self.inplace and self.extensions:
            RECORD.write_text("{}")
        try:
            super().run()
            if self.extensions:
                if self.inplace:
                    self._settle()
                self._try()
        except (BaseError, OSError) as exc:
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            if self.inplace:
                RECORD.unlink(missing_ok=True)
            self.extensions = []
            if wanted == "1":
                raise
            say(f"pure Python (what the compiler made does not work: {exc})")

    def _try(self) -> None:
        """Import what was made: much that compiled code does not like shows only then."""
        names = [name.removesuffix(".py").replace("/", ".") for name in modules()]
        place = str(HERE if self.inplace else Path(self.build_lib).resolve())
        environment = {name: value for name, value in os.environ.items() if name != "VARNISHPY_PURE"}
        done = subprocess.run(
            [sys.executable, "-c", TRIAL, *names],
            cwd=place,
            env=environment | {"PYTHONPATH": place},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ExecError(done.stderr.rstrip().rpartition("\n")[2] or f"status {done.returncode}")

    def _settle(self) -> None:
        """Remove what earlier builds in place left behind, and note which sources these modules were made of."""
        made = {Path(self.get_ext_fullpath(extension.name)).resolve() for extension in self.extensions}
        for old in PACKAGE.rglob(f"*{SUFFIX}"):
            if old.resolve() not in made:
                old.unlink()
        record = {}
        for source in imported(modules()):
            path = HERE / source
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            record[path.relative_to(PACKAGE).as_posix()] = (path.stat().st_mtime_ns, digest)
        RECORD.write_text(json.dumps(record))


def main() -> None:
    """Decide, say so, and build."""
    if wanted not in ("0", "1", "auto"):
        sys.exit(f"VARNISHPY_COMPILE is {wanted!r}, and not 0, 1 or auto")
    options: dict[str, object] = {}
    if wanted == "0":
        say("pure Python (VARNISHPY_COMPILE=0)")
    elif wanted == "auto" and "editable_wheel" in sys.argv:
        say("pure Python, as a source tree is installed (make compiled compiles it)")
    else:
        why = obstacle()
        if why is None and wanted == "auto" and sys.version_info[:2] not in TRIED:
            why = "compiled, it was not tried with this version of Python; VARNISHPY_COMPILE=1 compiles all the same"
        if why is None:
            # asked for before the build, so that who cannot compile need not install it
            options["setup_requires"] = list(COMPILER)
            if BUILDS.intersection(sys.argv):
                try:
                    options["ext_modules"] = extensions(modules())
                    say(f"compiled, {len(modules())} modules")
                except ModuleNotFoundError as exc:
                    why = f"the compiler {exc.name} is not installed"
                except SystemExit:
                    why = "mypyc does not take the source"
        if why is not None:
            if wanted == "1":
                sys.exit(f"varnishpy cannot be compiled: {why}")
            say(f"pure Python ({why})")
    setup(cmdclass={"build_ext": BuildCompiled}, **options)


if __name__ == "__main__":
    main()
