"""How a Python module becomes a VMOD: its functions and classes, described for the compiler.

A VMOD is a module. Its public functions are VCL functions, its public classes VCL objects, and annotations say which
VCL types arguments and results have (the names below; `typing.Literal` is ENUM). The first argument of everything is
the context. A constructor takes ``(self, ctx, vcl_name, ...)``. Defaults make arguments optional; the default
`NOT_GIVEN` tells the function that an argument was left out (``INT | NotGiven`` says so to a type checker).
Positional-only arguments (those before a ``/``) have no name in VCL. A trailing underscore is not part of a name, so
that ``set_`` can be ``set`` in VCL. ``__all__``, if there is one, says what is public. A function ``vmod_event(ctx,
priv, event)`` hears of load, warm, cold and discard; an object's ``vmod_fini(ctx)`` is called when its VCL goes.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, UnionType
from typing import Annotated, Final, TypeVar, Union

from varnishpy.backends.director import Director
from varnishpy.backends.specs import ProbeSpec
from varnishpy.base.regex import Regex
from varnishpy.http.message import Message
from varnishpy.storage.stevedore import Stevedore
from varnishpy.vcl import methods
from varnishpy.vcl.acl import Acl
from varnishpy.vcl.context import Ctx, PrivateData, VclSub
from varnishpy.vcl.nearby import did_you_mean
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
HTTP = Annotated[Message, "HTTP"]
BACKEND = Annotated[Director | None, "BACKEND"]
ACL = Annotated[Acl | None, "ACL"]
PROBE = Annotated[ProbeSpec | None, "PROBE"]
REGEX = Annotated[Regex, "REGEX"]
STEVEDORE = Annotated[Stevedore | None, "STEVEDORE"]
SUB = Annotated[VclSub, "SUB"]
STRANDS = Annotated[str, "STRANDS"]
PIECES = Annotated[tuple[str | None, ...], "STRANDS", "PIECES"]  # a STRANDS as it was put together
PRIV_CALL = Annotated[PrivateData, "PRIV_CALL"]
PRIV_VCL = Annotated[PrivateData, "PRIV_VCL"]
PRIV_TASK = Annotated[PrivateData, "PRIV_TASK"]
PRIV_TOP = Annotated[PrivateData, "PRIV_TOP"]


class NotGiven(Enum):
    """What an argument is that was left out and has no other default: ``number: INT | NotGiven = NOT_GIVEN``."""

    NOT_GIVEN = "NOT_GIVEN"

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        return False


NOT_GIVEN: Final = NotGiven.NOT_GIVEN


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
    pieces: bool = False  # not one string


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
    text: str = ""  # of the file, if it came from one
    functions: list[Function] = field(default_factory=list)
    classes: list[ObjectClass] = field(default_factory=list)
    has_event: bool = False
    unfit: dict[str, str] = field(default_factory=dict)  # public names that VCL cannot use, and why

    def about(self, name: str) -> str:
        """What helps who used a name of this VMOD that it does not have; a line, or nothing."""
        if name in self.unfit:
            return f"{self.unfit[name]}\n"
        known = [each.name for each in self.functions] + [each.name for each in self.classes]
        return did_you_mean(name, known, f"{self.name}.")


F = TypeVar("F", bound=Callable[..., object])


def restrict(where: str) -> Callable[[F], F]:
    """Decorator: where the function may be used, in the words of vcl-var(7): ``client``, ``vcl_recv``, ..."""

    def mark(function: F) -> F:
        function.__vcl_restrict__ = where  # type: ignore[attr-defined]
        return function

    return mark


# what is meant by a type of Python's own
_MEANT: dict[object, str] = {str: "STRING", int: "INT", float: "REAL", bool: "BOOL", bytes: "BLOB"}


def _vcl_type(hint: object, where: str) -> tuple[VclType, str, tuple[str, ...]]:
    """The VCL type of an annotation; or which private data; or the choices of an ENUM."""
    if hint is None or hint is type(None):
        return VOID, "", ()
    if typing.get_origin(hint) in (Union, UnionType):
        others = [each for each in typing.get_args(hint) if each is not NotGiven]
        if len(others) == 1:
            hint = others[0]
    if typing.get_origin(hint) is typing.Literal:
        return ENUM, "", tuple(str(choice) for choice in typing.get_args(hint))
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, str):
            if mark.startswith("PRIV_"):
                return VOID, mark, ()
            if mark in TYPES:
                return TYPES[mark], "", ()
    shown = getattr(hint, "__name__", "") or repr(hint)
    meant = _MEANT.get(hint) if isinstance(hint, type) else None
    advice = f": write {meant}, of varnishpy.vmods.api" if meant else "; those of VCL are in varnishpy.vmods.api"
    raise VmodError(f"{where}: annotation {shown} is no VCL type{advice}")


def _function(name: str, function: Callable[..., object], skip: int) -> Function:
    where = getattr(function, "__qualname__", name)
    hints = _hints(function, where)
    parameters = list(inspect.signature(function).parameters.values())
    arguments: list[Argument] = []
    for parameter in parameters[skip:]:
        if parameter.name not in hints:
            raise VmodError(f"{where}: argument {parameter.name} has no annotation")
        kind, private, choices = _vcl_type(hints[parameter.name], f"{where}(), argument {parameter.name}")
        optional = parameter.default is not inspect.Parameter.empty
        given_name = "" if parameter.kind is inspect.Parameter.POSITIONAL_ONLY else parameter.name.rstrip("_")
        pieces = "PIECES" in getattr(hints[parameter.name], "__metadata__", ())
        arguments.append(Argument(given_name, parameter.name, kind, private, optional, choices, pieces))
    kind, _private, _choices = _vcl_type(hints.get("return"), f"{where}(), what it returns")
    allowed = methods.mask(getattr(function, "__vcl_restrict__", "all"))
    return Function(name.rstrip("_"), name, kind, arguments, allowed)


def _hints(function: Callable[..., object], where: str) -> dict[str, object]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # whatever evaluating an annotation comes to
        raise VmodError(f"{where}: an annotation cannot be read: {error}") from None


def _class(name: str, cls: type, init: Callable[..., object]) -> ObjectClass:
    constructor = _function(name, init, 3)
    constructor.allowed = methods.mask("vcl_init")
    found = [
        _function(attribute, member, 2)
        for attribute, member in vars(cls).items()
        if not attribute.startswith("_") and inspect.isfunction(member) and _takes_context(member, 1)
    ]
    return ObjectClass(name.rstrip("_"), name, constructor, found)


def _takes_context(function: Callable[..., object], position: int) -> bool:
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) <= position:
        return False
    where = getattr(function, "__qualname__", "")
    return _hints(function, where).get(parameters[position]) is Ctx


def _unfit(function: Callable[..., object], position: int, what: str, arguments: str) -> str:
    """Why VCL cannot call something public; empty if it can."""
    try:
        if _takes_context(function, position):
            return ""
    except VmodError as error:
        return str(error)
    return f"{what} begins with ({arguments}, ...), Ctx being that of varnishpy.vmods.api"


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
        reason = ""
        if inspect.isclass(member):
            reason = _unfit(member.__init__, 1, "the __init__() of an object", "self, ctx: Ctx, vcl_name: str")
            if not reason:
                vmod.classes.append(_class(attribute, member, member.__init__))
        elif inspect.isfunction(member):
            reason = _unfit(member, 0, "a function", "ctx: Ctx")
            if not reason:
                vmod.functions.append(_function(attribute, member, 1))
        if reason:
            in_vcl = attribute.rstrip("_")
            vmod.unfit[in_vcl] = f"{name}.{in_vcl} cannot be used in VCL: {reason}"
    return vmod
