"""How a Python module becomes a VMOD: its functions and classes, described for the compiler.

A VMOD is a module. Its public functions are VCL functions, its public classes VCL objects, and annotations say which
VCL types arguments and results have (the names below; `typing.Literal` is ENUM). The first argument of everything is
the context. A constructor takes ``(self, ctx, vcl_name, ...)``. Defaults make arguments optional; the default
`NOT_GIVEN` tells the function that an argument was left out. Positional-only arguments (those before a ``/``) have no
name in VCL. A trailing underscore is not part of a name, so that
``set_`` can be ``set`` in VCL. ``__all__``, if there is one, says what is public. A function ``vmod_event(ctx, priv,
event)`` hears of load, warm, cold and discard; an object's ``vmod_fini(ctx)`` is called when its VCL goes.
"""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Annotated, Any, Final, TypeVar

from varnishpy.vcl import methods
from varnishpy.vcl.context import Ctx, VclSub
from varnishpy.vcl.types import ENUM, TYPES, VOID, VclType
from varnishpy.vcl.values import HeaderRef, SockAddr

STRING = Annotated[str | None, "STRING"]
INT = Annotated[int, "INT"]
REAL = Annotated[float, "REAL"]
BOOL = Annotated[bool, "BOOL"]
DURATION = Annotated[float, "DURATION"]
TIME = Annotated[float, "TIME"]
BYTES = Annotated[int, "BYTES"]
BLOB = Annotated[bytes | None, "BLOB"]
IP = Annotated[SockAddr | None, "IP"]
HEADER = Annotated[HeaderRef, "HEADER"]
HTTP = Annotated[Any, "HTTP"]
BACKEND = Annotated[Any, "BACKEND"]
ACL = Annotated[Any, "ACL"]
PROBE = Annotated[Any, "PROBE"]
REGEX = Annotated[Any, "REGEX"]
STEVEDORE = Annotated[Any, "STEVEDORE"]
SUB = Annotated[VclSub, "SUB"]
STRANDS = Annotated[str, "STRANDS"]
PRIV_CALL = Annotated[dict[Any, Any], "PRIV_CALL"]
PRIV_VCL = Annotated[dict[Any, Any], "PRIV_VCL"]
PRIV_TASK = Annotated[dict[Any, Any], "PRIV_TASK"]
PRIV_TOP = Annotated[dict[Any, Any], "PRIV_TOP"]

ENTRY_POINTS = "varnishpy.vmods"
_extensions: dict[str, str] = {}  # VMOD name to file: what -E brought


class _NotGiven:
    __slots__ = ()

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        return False


NOT_GIVEN: Final[Any] = _NotGiven()


class VmodError(Exception):
    """A module cannot serve as a VMOD, or there is none of that name."""


@dataclass(slots=True)
class Argument:
    name: str  # in VCL; empty if it has none
    parameter: str  # in Python
    type: VclType
    private: str = ""  # PRIV_...
    optional: bool = False
    choices: tuple[str, ...] = ()


@dataclass(slots=True)
class Function:
    name: str
    attribute: str
    type: VclType
    arguments: list[Argument]
    allowed: int


@dataclass(slots=True)
class ObjectClass:
    name: str
    attribute: str
    constructor: Function
    methods: list[Function]


@dataclass(slots=True)
class Vmod:
    name: str
    module: str
    path: str
    functions: list[Function] = field(default_factory=list)
    classes: list[ObjectClass] = field(default_factory=list)
    has_event: bool = False


F = TypeVar("F", bound=Callable[..., Any])


def restrict(where: str) -> Callable[[F], F]:
    """Decorator: where the function may be used, in the words of vcl-var(7): ``client``, ``vcl_recv``, ..."""

    def mark(function: F) -> F:
        function.__vcl_restrict__ = where  # type: ignore[attr-defined]
        return function

    return mark


def _vcl_type(hint: Any, where: str) -> tuple[VclType, str, tuple[str, ...]]:
    """The VCL type of an annotation; or which private data; or the choices of an ENUM."""
    if hint is None or hint is type(None):
        return VOID, "", ()
    if typing.get_origin(hint) is typing.Literal:
        return ENUM, "", tuple(str(choice) for choice in typing.get_args(hint))
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, str):
            if mark.startswith("PRIV_"):
                return VOID, mark, ()
            if mark in TYPES:
                return TYPES[mark], "", ()
    raise VmodError(f"{where}: annotation {hint!r} is no VCL type")


def _function(name: str, function: Callable[..., Any], skip: int) -> Function:
    where = getattr(function, "__qualname__", name)
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    arguments: list[Argument] = []
    for parameter in parameters[skip:]:
        if parameter.name not in hints:
            raise VmodError(f"{where}: argument {parameter.name} has no annotation")
        kind, private, choices = _vcl_type(hints[parameter.name], where)
        optional = parameter.default is not inspect.Parameter.empty
        given_name = "" if parameter.kind is inspect.Parameter.POSITIONAL_ONLY else parameter.name.rstrip("_")
        arguments.append(Argument(given_name, parameter.name, kind, private, optional, choices))
    kind, _private, _choices = _vcl_type(hints.get("return"), where)
    allowed = methods.mask(getattr(function, "__vcl_restrict__", "all"))
    return Function(name.rstrip("_"), name, kind, arguments, allowed)


def _class(name: str, cls: type[Any]) -> ObjectClass:
    constructor = _function(name, cls.__init__, 3)
    constructor.allowed = methods.mask("vcl_init")
    found = [
        _function(attribute, member, 2)
        for attribute, member in vars(cls).items()
        if not attribute.startswith("_") and inspect.isfunction(member) and _takes_context(member, 1)
    ]
    return ObjectClass(name.rstrip("_"), name, constructor, found)


def _takes_context(function: Callable[..., Any], position: int) -> bool:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) <= position:
        return False
    return typing.get_type_hints(function).get(parameters[position]) is Ctx


def describe(module: ModuleType, name: str, path: str) -> Vmod:
    """What a module offers to VCL; raises `VmodError` naming what is wrong with it."""
    vmod = Vmod(name, module.__name__, path)
    vmod.has_event = callable(getattr(module, "vmod_event", None))
    listed = getattr(module, "__all__", None)
    for attribute, member in vars(module).items():
        if (listed is not None and attribute not in listed) or attribute.startswith("_") or attribute == "vmod_event":
            continue
        if listed is None and getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(member) and _takes_context(member.__init__, 1):
            vmod.classes.append(_class(attribute, member))
        elif inspect.isfunction(member) and _takes_context(member, 0):
            vmod.functions.append(_function(attribute, member, 1))
    return vmod


def load_module(module: str, path: str) -> ModuleType:
    """Import a VMOD's module: by name, or from a file."""
    if not path:
        return importlib.import_module(module)
    known = sys.modules.get(module)
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None:
        raise VmodError(f"{path} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[module]
        raise
    return loaded


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
        return describe(load_module(module, path), name, path)
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
    builtin = f"varnishpy.vmods.{name}"
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
