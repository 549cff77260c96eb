"""Where VMODs are found, and what is said of one that is not.

In this order: what ``-E`` brought, the built-in ones, entry points of installed packages (group ``varnishpy.vmods``),
``name.py`` in the folders of the parameter ``vmod_path``.
"""

from __future__ import annotations

import errno
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
from types import ModuleType
from typing import Final

import varnishpy
from varnishpy.vcl.nearby import did_you_mean
from varnishpy.vcl.vmodspec import Vmod, VmodError, describe

ENTRY_POINTS: Final = "varnishpy.vmods"
_BUILT_IN: Final = "varnishpy.vmods"  # the package
_extensions: dict[str, str] = {}  # VMOD name to file: what -E brought

# modules of Varnish Enterprise, and what does the same here; empty: nothing does
_ENTERPRISE: Final = {
    "accounting": "xcounter",
    "aclplus": "an acl, or table",
    "activedns": "dynamic",
    "akamai": "",
    "brotli": "",
    "cookieplus": "cookie",
    "crypto": "digest or blob",
    "deviceatlas": "",
    "deviceatlas3": "",
    "edgestash": "",
    "file": "std.fileread(), or table",
    "format": "std",
    "geoip": "geoip2 or maxminddb",
    "goto": "dynamic",
    "headerplus": "header",
    "http": "",
    "image": "",
    "json": "",
    "jwt": "digest",
    "leastconn": "directors",
    "mmdb": "geoip2",
    "mse": "",
    "mse4": "",
    "nodes": "dynamic",
    "probe_proxy": "",
    "resolver": "",
    "rewrite": "re or table",
    "rtstatus": "the dashboard of the statistics socket",
    "s3": "",
    "session": "sess.* variables",
    "slicer": "",
    "softpurge": "purge",
    "sqlite3": "table",
    "stale": "",
    "stat": "/metrics of the statistics socket",
    "synthbackend": "vcl_synth",
    "udo": "directors",
    "uri": "querystring",
    "urlplus": "querystring",
    "utils": "std",
    "waf": "",
    "xbody": "re, with forbody",
    "ykey": "xkey",
}
# open modules that are not here, and what does the same
_OPEN: Final = {
    "boltsort": "querystring",
    "cfg": "table",
    "pcre2": "re",
    "re2": "re",
    "redis_throttle": "vsthrottle",
    "selector": "re or table",
    "throttle": "vsthrottle",
    "urlcode": "blob, whose encoding URL is this",
}


def built_in() -> list[str]:
    """The names of the VMODs that come with this program."""
    package = importlib.import_module(_BUILT_IN)
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return sorted(name for name in found if name != "api" and not name.startswith("_"))


def _installed() -> list[str]:
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)})


def _in_folders(folders: list[str]) -> list[str]:
    found: set[str] = set()
    for folder in folders:
        try:
            files = os.listdir(folder)
        except OSError:
            continue  # there are no VMODs in a folder that is not there
        found |= {name.removesuffix(".py") for name in files if name.endswith(".py")}
    return sorted(found)


def advice(name: str, vmod_path: list[str]) -> str:
    """What helps who asked for a VMOD that is not there: near names, what to use instead, where it was looked for."""
    own, installed, others = built_in(), _installed(), _in_folders(vmod_path)
    lines: list[str] = []
    if name in _ENTERPRISE:
        instead = _ENTERPRISE[name]
        lines.append(
            f"{name} is part of Varnish Enterprise"
            + (f"; use {instead} here." if instead else ", and nothing here does the same.")
        )
    elif name in _OPEN:
        lines.append(f"{name} has not been written for varnishpy; use {_OPEN[name]} in its place.")
    else:
        near = did_you_mean(name, sorted({*own, *_extensions, *installed, *others}))
        if near:
            lines.append(near.rstrip("\n"))
    lines += [
        "VMODs are looked for",
        f"\tbuilt in: {', '.join(own)}",
        f"\tin installed packages (entry points {ENTRY_POINTS}): {', '.join(installed) or 'none'}",
        f"\tin vmod_path ({':'.join(vmod_path) or 'empty'}): {', '.join(others) or 'none'}",
    ]
    if _extensions:
        lines.append(f"\tgiven with -E: {', '.join(sorted(_extensions))}")
    return "\n".join(lines) + "\n\n"


def load_module(module: str, path: str, text: str = "") -> ModuleType:
    """Import a VMOD's module: by name, or from what its file said when the VCL was compiled.

    What was compiled is what runs: in the cache process, and in one that takes its place later, whatever has become of
    the file meanwhile.
    """
    if not path:
        return importlib.import_module(module)
    known = sys.modules.get(module)
    if known is not None:
        return known
    loaded = ModuleType(module)
    loaded.__file__ = path
    sys.modules[module] = loaded
    try:
        exec(compile(text, path, "exec"), loaded.__dict__)
    except BaseException:
        del sys.modules[module]
        raise
    return loaded


def version(module: ModuleType) -> str:
    """The version of a loaded VMOD: what it says itself, or that of the package it is part of; empty if unknown."""
    own = getattr(module, "__version__", None)
    if own is not None:
        return str(own)
    package = module.__name__.partition(".")[0]
    if package == "varnishpy":
        return varnishpy.__version__
    for distribution in importlib.metadata.packages_distributions().get(package, ()):
        return importlib.metadata.version(distribution)
    return ""


def add_extension(path: str) -> str:
    """Make a Python file known as a VMOD without any vmod_path (``-E``); returns the VMOD's name.

    :raises VmodError: if the file cannot be read or its name is no VMOD's
    """
    name = os.path.basename(path).removesuffix(".py")
    if not name.isidentifier():
        raise VmodError(f"{path}: a file called name.py is needed, name being a VMOD's")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise VmodError(f"{path}: {error.strerror}") from None
    _extensions[name] = os.path.abspath(path)
    return name


def find_vmod(name: str, vmod_path: list[str], source: str | None = None) -> Vmod:
    """Find a VMOD by name (or at the place that ``import ... from`` gives) and describe it; raises `VmodError`.

    Shared objects of C are taken for the VMOD of that name here, so that programs written for C run.
    """
    module, path = _locate(name, vmod_path, source)
    try:
        text = ""
        if path:
            with open(path, "rb") as stream:
                raw = stream.read()
            module += f"_{hashlib.sha256(raw).hexdigest()[:12]}"  # an edited file is another module
            text = importlib.util.decode_source(raw)
        vmod = describe(load_module(module, path, text), name, path)
        vmod.text = text
        return vmod
    except VmodError:
        raise
    except Exception as error:
        raise VmodError(f"{path or module}: {type(error).__name__}: {error}") from error


def _locate(name: str, vmod_path: list[str], source: str | None) -> tuple[str, str]:
    if source is not None and not source.endswith(".so"):
        for place in [source] if source.startswith("/") else [os.path.join(folder, source) for folder in vmod_path]:
            path = os.path.join(place, f"{name}.py") if place.endswith("/") or os.path.isdir(place) else place
            if os.path.isfile(path):
                return f"varnishpy_vmod_{name}", os.path.abspath(path)
        raise VmodError(os.strerror(errno.ENOENT) if source.startswith("/") else "")
    if name in _extensions:
        return f"varnishpy_vmod_{name}", _extensions[name]
    builtin = f"{_BUILT_IN}.{name}"
    if name != "api" and not name.startswith("_") and importlib.util.find_spec(builtin) is not None:
        return builtin, ""
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if entry.name == name:
            return entry.module, ""
    for folder in vmod_path:
        path = os.path.join(folder, f"{name}.py")
        if os.path.isfile(path):
            return f"varnishpy_vmod_{name}", os.path.abspath(path)
    raise VmodError(os.strerror(errno.ENOENT) if source is not None and not os.path.exists(source) else "")
