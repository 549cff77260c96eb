"""How the text of a parameter becomes a value, and back.

`parse` raises `ParamError` with the text varnishd gives; `text_of` writes a value as ``param.show`` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from varnishpy.base.near import did_you_mean
from varnishpy.base.units import UnitError, format_bytes, format_duration, parse_bytes, parse_decimal, parse_duration
from varnishpy.params.spec import Spec

UINT_MAX = 0xFFFFFFFF  # "unlimited"
_UINT = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)")
_TRUE = frozenset({"on", "enable", "yes", "true"})
_FALSE = frozenset({"off", "disable", "no", "false"})

CLI_CANNOT = 300
CLI_PARAM = 106
CLI_AUTH = 107


class ParamError(Exception):
    """A parameter cannot be set or shown; the text is for the operator, ``status`` the CLI's."""

    def __init__(self, text: str, status: int = CLI_PARAM) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True, frozen=True)
class PoolParam:
    """Bounds of a pool of spare objects; ``max_age`` in seconds."""

    min_pool: int
    max_pool: int
    max_age: float


#: what a parameter's text may mean; of bits and masks, the names that are set
Value: TypeAlias = bool | int | float | str | frozenset[str] | PoolParam
Json: TypeAlias = bool | int | float | str | dict[str, int | float]


class Switches:
    """A parameter that is a set of names: the bits of one (``view.py``), or the tags of `TagMask`."""

    __slots__ = ()

    def assign(self, names: frozenset[str]) -> None:
        """Turn on exactly these."""
        raise NotImplementedError


class TagMask(Switches):
    """The tags that are not logged, by number: ``masked[tag]`` is 1 for those. The array itself never changes."""

    __slots__ = ("_numbers", "masked")

    def __init__(self, names: Iterable[str]) -> None:
        self._numbers = {name: number for number, name in enumerate(names, 1)}
        self.masked = bytearray(256)

    def assign(self, names: frozenset[str]) -> None:
        """Mask exactly these."""
        for name, number in self._numbers.items():
            self.masked[number] = name in names


def parse_bool(text: str) -> bool:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ParamError('use "on" or "off"\n')


def _uint(text: str) -> int:
    """As strtoul(3) reads it into 32 bits: -1 is the largest number, hence unlimited."""
    if text.lower() == "unlimited":
        return UINT_MAX
    if not _UINT.fullmatch(text):
        raise ParamError(f"Not a number ({text})\n")
    digits = text.removeprefix("-")
    if digits[:2] in ("0x", "0X"):
        value = int(digits, 16)
    elif len(digits) > 1 and digits[0] == "0" and all(c in "01234567" for c in digits):
        value = int(digits, 8)
    else:
        value = int(digits)
    value = min(value, UINT_MAX)
    return value if digits == text else -value & UINT_MAX


def parse_uint(text: str, spec: Spec) -> int:
    value = _uint(text)
    if spec.minimum is not None and value < _uint(spec.minimum):
        reason = f" ({spec.minimum_reason})" if spec.minimum_reason else ""
        raise ParamError(f"Must be at least {spec.minimum}{reason}\n")
    if spec.maximum is not None and value > _uint(spec.maximum):
        reason = f" ({spec.maximum_reason})" if spec.maximum_reason else ""
        raise ParamError(f"Must be no more than {spec.maximum}{reason}\n")
    return value


def _number(text: str, spec: Spec) -> float:
    convert = parse_decimal if spec.kind in ("double", "pool") else parse_duration
    try:
        value = convert(text)
    except UnitError as exc:
        # what is no number is taken for a unit, as varnishd does
        wrong = "Invalid duration unit" if spec.kind in ("timeout", "duration") and text.strip() else str(exc)
        raise ParamError(f"{wrong} ({text})\n") from None
    if spec.minimum is not None and value < convert(spec.minimum):
        raise ParamError(f"Must be greater or equal to {spec.minimum}\n")
    if spec.maximum is not None and value > convert(spec.maximum):
        raise ParamError(f"Must be less than or equal to {spec.maximum}\n")
    return value


def _bytes(text: str, spec: Spec) -> int:
    try:
        value = parse_bytes(text)
    except UnitError as exc:
        raise ParamError(f"Could not convert to bytes.\n{exc}\n  Try something like '80k' or '120M'\n") from None
    if value > 0x7FFFFFFFFFFFFFFF:
        raise ParamError(f"{format_bytes(value)} is too large for this architecture.\n")
    if spec.maximum is not None and value > parse_bytes(spec.maximum):
        raise ParamError(f"Must be no more than {spec.maximum}\n")
    if spec.minimum is not None and value < parse_bytes(spec.minimum):
        raise ParamError(f"Must be at least {spec.minimum}\n")
    return value


def _pool(text: str, spec: Spec) -> PoolParam:
    fields = [field.strip() for field in text.split(",")]
    if len(fields) < 3 or "" in fields[:3]:
        raise ParamError("Three fields required: min_pool, max_pool and max_age\n")
    least, most = parse_uint(fields[0], spec), parse_uint(fields[1], spec)
    age_spec = Spec(spec.name, "pool", "", "0", "1000000", "", spec.flags, "")
    age = _number(fields[2], age_spec)
    if least > most:
        raise ParamError("min_pool cannot be larger than max_pool\n")
    return PoolParam(least, most, age)


_BIT_KIND = {
    "vsl_mask": "VSL tag",
    "debug": "debug bit",
    "feature": "feature bit",
    "experimental": "experimental bit",
    "vcc_feature": "vcc_feature bit",
}


def parse_bits(text: str, spec: Spec, current: frozenset[str]) -> frozenset[str]:
    """The names that are set after applying ``text`` to the current ones. In a mask, "set" means not logged."""
    assert spec.bits is not None
    sign = "-" if spec.kind == "mask" else "+"
    known = {name.lower(): name for name in spec.bits}
    chosen = set(current)
    if text == "default":
        text = spec.default
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        if part in ("none", "all"):
            chosen = set(spec.bits) if (part == "all") == (sign == "+") else set()
            continue
        if part[0] not in "+-":
            raise ParamError(f"Missing '+' or '-' ({part})\n")
        name = known.get(part[1:].lower())
        if spec.groups is not None and part[1:].lower() in spec.groups:
            members = spec.groups[part[1:].lower()]
            chosen = chosen.union(members) if part[0] == sign else chosen.difference(members)
            continue
        if name is None:
            near = did_you_mean(part[1:], spec.bits)
            raise ParamError(f"Unknown {_BIT_KIND.get(spec.name, spec.name + ' bit')} ({part}){near}\n")
        if part[0] == sign:
            chosen.add(name)
        else:
            chosen.discard(name)
    return frozenset(chosen)


def parse(text: str, spec: Spec, current: Value | None) -> Value:
    """The value that ``text`` means for a parameter whose value is ``current``. :raises ParamError:"""
    kind = spec.kind
    if kind == "timeout" and text == "never":
        return float("inf")
    if kind in ("timeout", "duration", "double"):
        return _number(text, spec)
    if kind == "bool":
        return parse_bool(text)
    if kind == "uint_orzero" and text == "0":
        return 0
    if kind in ("uint", "uint_orzero"):
        return parse_uint(text, spec)
    if kind == "bytes":
        return _bytes(text, spec)
    if kind == "pool":
        return _pool(text, spec)
    if kind in ("bits", "mask"):
        return parse_bits(text, spec, current if isinstance(current, frozenset) else frozenset())
    wrong = spec.check(text) if spec.check is not None else ""
    if wrong:
        raise ParamError(wrong)
    return text


def text_of(value: Value, spec: Spec) -> str:
    """A value as ``param.show`` writes it."""
    kind = spec.kind
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, PoolParam):
        return f"{value.min_pool},{value.max_pool},{value.max_age:g}"
    if isinstance(value, frozenset):
        assert spec.bits is not None
        sign, every, nothing = ("-", "none", "all") if kind == "mask" else ("+", "all", "none")
        if len(value) == len(spec.bits):
            return every
        return ",".join([nothing, *(sign + name for name in spec.bits if name in value)])
    if isinstance(value, str):
        return value
    if kind in ("timeout", "duration"):
        return format_duration(value)
    if kind == "double":
        return f"{value:g}"
    if kind == "bytes":
        return format_bytes(int(value))
    return "unlimited" if value == UINT_MAX else str(value)


def json_of(value: Value, spec: Spec) -> Json:
    """A value as ``param.show -j`` writes it: a number, a boolean, a string or an object."""
    if isinstance(value, PoolParam):
        return {"min_pool": value.min_pool, "max_pool": value.max_pool, "max_age": value.max_age}
    if isinstance(value, frozenset) or value == float("inf"):
        return text_of(value, spec)
    return value
