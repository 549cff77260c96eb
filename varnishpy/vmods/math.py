"""VMOD math: the functions and constants of math.h(7).

The functions are the C library's own: results, and what becomes of arguments out of range, are as in C. Each is a row
of `_FUNCTIONS`. What comes out infinite or as no number fails the VCL only where it is made a string.
"""

from __future__ import annotations

import ctypes
import inspect
import math as _math
import re
import sys
from collections.abc import Callable
from typing import Final, Literal

from varnishpy.vmods.api import BOOL, INT, REAL, STRING, Ctx, VclFailure

_libm = ctypes.CDLL(None)  # the interpreter itself is linked with it
_FLOAT: Final = sys.float_info

_CONSTANTS: Final[dict[str, float]] = {
    "DBL_MANT_DIG": _FLOAT.mant_dig,
    "DBL_DIG": _FLOAT.dig,
    "DBL_MIN_EXP": _FLOAT.min_exp,
    "DBL_MIN_10_EXP": _FLOAT.min_10_exp,
    "DBL_MAX_EXP": _FLOAT.max_exp,
    "DBL_MAX_10_EXP": _FLOAT.max_10_exp,
    "DBL_MAX": _FLOAT.max,
    "DBL_EPSILON": _FLOAT.epsilon,
    "DBL_MIN": _FLOAT.min,
    "HUGE_VAL": _math.inf,
    "M_E": _math.e,
    "M_LOG2E": 1.4426950408889634,
    "M_LOG10E": 0.4342944819032518,
    "M_LN2": 0.6931471805599453,
    "M_LN10": 2.302585092994046,
    "M_PI": _math.pi,
    "M_PI_2": _math.pi / 2.0,
    "M_PI_4": _math.pi / 4.0,
    "M_1_PI": 1.0 / _math.pi,
    "M_2_PI": 2.0 / _math.pi,
    "M_2_SQRTPI": 2.0 / _math.sqrt(_math.pi),
    "M_SQRT2": _math.sqrt(2.0),
    "M_SQRT1_2": _math.sqrt(0.5),
}
_CLASSES: Final = {"FP_NAN": 0, "FP_INFINITE": 1, "FP_ZERO": 2, "FP_SUBNORMAL": 3, "FP_NORMAL": 4}

_Kind = type[ctypes.c_double] | type[ctypes.c_int] | type[ctypes.c_long] | type[ctypes.c_char_p]
_TYPES: Final[dict[str, tuple[object, _Kind]]] = {
    "d": (REAL, ctypes.c_double),
    "i": (INT, ctypes.c_int),
    "l": (INT, ctypes.c_long),
    "s": (STRING, ctypes.c_char_p),
}
# result and arguments (double, int, long, string) and the names of the arguments, for each function of these
_FUNCTIONS: Final = (
    ("dd", "x", "acos acosh asin asinh atan atanh cbrt ceil cos cosh erf erfc exp exp2 expm1 fabs floor j0 j1 lgamma"
                " log log10 log1p log2 logb nearbyint rint round sin sinh sqrt tan tanh tgamma trunc y0 y1"),
    ("ddd", "xy", "copysign fdim fmax fmin fmod hypot nextafter pow remainder"),
    ("ddd", "yx", "atan2"),
    ("dddd", "xyz", "fma"),
    ("id", "x", "ilogb"),
    ("ld", "x", "lrint lround"),
    ("did", "xy", "jn"),
    ("did", "nx", "yn"),
    ("ddi", "xe", "ldexp"),
    ("ddi", "xy", "scalbn"),
    ("ddl", "xe", "scalbln"),
    ("ds", ("tag",), "nan"),
)  # fmt: skip


def _sign(x: float) -> int:
    return -1 if x < 0 else 1


def _classify(x: float) -> int:
    if _math.isnan(x):
        return _CLASSES["FP_NAN"]
    if _math.isinf(x):
        return _CLASSES["FP_INFINITE"]
    if x == 0.0:
        return _CLASSES["FP_ZERO"]
    return _CLASSES["FP_SUBNORMAL" if abs(x) < _FLOAT.min else "FP_NORMAL"]


# the macros of math.h: of one number, and of two
_PREDICATES: Final[dict[str, Callable[[float], int]]] = {
    "fpclassify": _classify,
    "isfinite": _math.isfinite,
    "isinf": lambda x: _sign(x) if _math.isinf(x) else 0,
    "isnan": _math.isnan,
    "isnormal": lambda x: _classify(x) == _CLASSES["FP_NORMAL"],
    "signbit": lambda x: _math.copysign(1.0, x) < 0,
}
_COMPARISONS: Final[dict[str, Callable[[float, float], int]]] = {
    "isgreater": lambda x, y: x > y,
    "isgreaterequal": lambda x, y: x >= y,
    "isless": lambda x, y: x < y,
    "islessequal": lambda x, y: x <= y,
    "islessgreater": lambda x, y: x < y or x > y,
    "isunordered": lambda x, y: _math.isnan(x) or _math.isnan(y),
}


def _publish(
    name: str, names: tuple[str, ...], kinds: list[object], result: object, body: Callable[..., float]
) -> None:
    """Make a function of the module, with the signature that the compiler wants to see."""

    def function(ctx: Ctx, *values: float | str | None, **named: float | str | None) -> float:
        return body(*values, *(named[key] for key in names[len(values) :]))

    parameter = inspect.Parameter
    kind = parameter.POSITIONAL_OR_KEYWORD
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"See {name}(3)."
    function.__annotations__ = {"ctx": Ctx, **dict(zip(names, kinds, strict=True)), "return": result}
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter(key, kind) for key in ("ctx", *names)]
    )
    globals()[name] = function
    __all__.append(name)


def _of_libm(name: str, types: str) -> Callable[..., float]:
    call = getattr(_libm, name)
    call.restype = _TYPES[types[0]][1]
    call.argtypes = [_TYPES[letter][1] for letter in types[1:]]
    if types != "ds":
        return call  # type: ignore[no-any-return]
    return lambda text: call((text or "").encode("latin-1"))


__all__ = ["approx", "constant", "fpclass", "strfromd"]
for _name, _predicate in _PREDICATES.items():
    _publish(_name, ("x",), [REAL], INT, lambda x, _of=_predicate: int(_of(x)))
for _name, _comparison in _COMPARISONS.items():
    _publish(_name, ("x", "y"), [REAL, REAL], INT, lambda x, y, _of=_comparison: int(_of(x, y)))
for _types, _arguments, _names in _FUNCTIONS:
    for _name in _names.split():
        _kinds = [_TYPES[_letter][0] for _letter in _types]
        _publish(_name, tuple(_arguments), _kinds[1:], _kinds[0], _of_libm(_name, _types))


def approx(ctx: Ctx, a: REAL, b: REAL, maxDiff: REAL = 0.0, maxRelDiff: REAL = 0.0) -> BOOL:
    """Are the numbers about the same, absolutely or in relation to the greater one? Zero: as good as can be."""
    difference = abs(a - b)
    absolute = maxDiff or 4.0 * _FLOAT.epsilon
    relative = maxRelDiff or _FLOAT.epsilon
    return difference <= absolute or difference <= max(abs(a), abs(b)) * relative


def strfromd(ctx: Ctx, format: STRING, fp: REAL) -> STRING:
    """The number as strfromd(3) writes it."""
    if format is None or re.fullmatch(r"%(\.\d*)?[aAeEfFgG].*", format, re.DOTALL) is None or "%" in format[1:]:
        raise VclFailure(f'math.strfromd("{"<NULL>" if format is None else format}", ...): Invalid format')
    pattern = format.encode("latin-1")
    value = ctypes.c_double(fp)
    size = _libm.snprintf(None, ctypes.c_size_t(0), pattern, value) + 1
    if ctx.ws is not None and not ctx.ws.account(size):
        raise VclFailure("Workspace overflow")
    buffer = ctypes.create_string_buffer(size)
    _libm.snprintf(buffer, ctypes.c_size_t(size), pattern, value)
    return buffer.value.decode("latin-1")


def constant(
    ctx: Ctx,
    name: Literal[
        "DBL_MANT_DIG", "DBL_DIG", "DBL_MIN_EXP", "DBL_MIN_10_EXP", "DBL_MAX_EXP", "DBL_MAX_10_EXP", "DBL_MAX",
        "DBL_EPSILON", "DBL_MIN", "HUGE_VAL", "M_E", "M_LOG2E", "M_LOG10E", "M_LN2", "M_LN10", "M_PI", "M_PI_2",
        "M_PI_4", "M_1_PI", "M_2_PI", "M_2_SQRTPI", "M_SQRT2", "M_SQRT1_2",
    ],
) -> REAL:  # fmt: skip
    """A constant of float.h(7) or math.h(7)."""
    return float(_CONSTANTS[name])


def fpclass(ctx: Ctx, name: Literal["FP_INFINITE", "FP_NAN", "FP_NORMAL", "FP_SUBNORMAL", "FP_ZERO"]) -> INT:
    """What ``fpclassify`` answers for a number of that class."""
    return _CLASSES[name]
