"""The types of VCL (vcl(7), vmod reference "VCL and C data types") and what may be done with each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class VclType:
    """A type.

    :param stringform: a kind of string
    :param bodyform: may be set as a body
    :param convertible: converts to STRING by itself
    :param operand: name of the type that ``*`` and ``/`` take on the right
    :param handle: kind of symbol that names a value of this type, which may be used before it is defined
    """

    name: str
    stringform: bool = False
    bodyform: bool = False
    convertible: bool = True
    operand: str = ""
    handle: str = ""
    has_default: bool = False

    @property
    def shown(self) -> str:
        """The name in messages: all strings are STRING to the user."""
        return "STRING" if self.stringform or self.name == "STRINGS" else self.name


ACL = VclType("ACL", handle="acl")
BACKEND = VclType("BACKEND", handle="backend", has_default=True)
BLOB = VclType("BLOB", bodyform=True)
BODY = VclType("BODY", convertible=False)
BOOL = VclType("BOOL")
BYTES = VclType("BYTES", operand="REAL")
DEFAULT = VclType("DEFAULT", convertible=False)
DURATION = VclType("DURATION", operand="REAL")
ENUM = VclType("ENUM", convertible=False)
HEADER = VclType("HEADER")
HTTP = VclType("HTTP", convertible=False)
INSTANCE = VclType("INSTANCE", convertible=False, handle="instance")
INT = VclType("INT", operand="INT")
IP = VclType("IP")
PROBE = VclType("PROBE", handle="probe", has_default=True)
REAL = VclType("REAL", operand="REAL")
REGEX = VclType("REGEX", convertible=False)
STEVEDORE = VclType("STEVEDORE")
STRING = VclType("STRING", stringform=True)
STRANDS = VclType("STRANDS", stringform=True)
STRINGS = VclType("STRINGS", bodyform=True)  # what expressions are made of: pieces of a string, in order
SUB = VclType("SUB", convertible=False, handle="sub")
TIME = VclType("TIME")
VCL = VclType("VCL", convertible=False)
VOID = VclType("VOID", convertible=False)

TYPES: dict[str, VclType] = {
    item.name: item
    for item in (
        ACL, BACKEND, BLOB, BODY, BOOL, BYTES, DURATION, ENUM, HEADER, HTTP, INSTANCE, INT, IP, PROBE, REAL, REGEX,
        STEVEDORE, STRING, STRANDS, STRINGS, SUB, TIME, VCL, VOID,
    )
}  # fmt: skip

# what a + b and a - b give
SUMS: dict[tuple[str, VclType, VclType], VclType] = {
    (operator, left, right): result
    for operators, left, right, result in (
        ("+-", BYTES, BYTES, BYTES),
        ("+-", DURATION, DURATION, DURATION),
        ("+-", INT, INT, INT),
        ("+-", INT, REAL, REAL),
        ("+-", REAL, INT, REAL),
        ("+-", REAL, REAL, REAL),
        ("-", TIME, TIME, DURATION),
        ("+-", TIME, DURATION, TIME),
    )
    for operator in operators
}

ORDERED = (INT, DURATION, BYTES, REAL, TIME, STRINGS)
EQUATED = (BACKEND, ACL, PROBE, STEVEDORE, SUB, INSTANCE, BOOL, IP)

# type, operator of set -> type of the right-hand side
ASSIGNMENTS: dict[tuple[VclType, str], VclType] = {
    (kind, operator): wanted
    for kind, operators, wanted in (
        (INT, "+= -= *= /= =", INT),
        (TIME, "+= -=", DURATION),
        (TIME, "*= /=", REAL),
        (TIME, "=", TIME),
        (DURATION, "+= -= =", DURATION),
        (DURATION, "*= /=", REAL),
        (STRING, "+= =", STRANDS),
        (HEADER, "+= =", STRANDS),
        (BODY, "+= =", BODY),
    )
    for operator in operators.split()
}


@dataclass(frozen=True, slots=True)
class Property:
    """``expression.name`` or ``expression.name()``."""

    name: str
    type: VclType
    call: bool
    read_only: bool = True


PROPERTIES: dict[tuple[VclType, str], Property] = {
    (BACKEND, "resolve"): Property("resolve", BACKEND, True),
    (STRINGS, "upper"): Property("upper", STRING, True),
    (STRINGS, "lower"): Property("lower", STRING, True),
    (STEVEDORE, "free_space"): Property("free_space", BYTES, False),
    (STEVEDORE, "used_space"): Property("used_space", BYTES, False),
    (STEVEDORE, "happy"): Property("happy", BOOL, False),
}

# factor of each unit
DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}
BYTES_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def bytes_unit(text: str) -> int | None:
    """The factor of ``B``, ``k``, ``KB``, ...; None when there is no such unit."""
    unit = text.lower()
    if unit == "b":
        return 1
    unit = unit.removesuffix("b")
    return 1024 ** BYTES_UNITS[unit] if unit in BYTES_UNITS and unit else None
