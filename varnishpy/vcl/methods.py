"""The built-in subroutines and which actions each may return (vcl-step(7)).

One row per subroutine; the compiler's masks are derived from it. ``side`` is C for the client side, B for the backend
side, H for housekeeping.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Method:
    name: str  # without "vcl_"
    side: str
    returns: tuple[str, ...]
    bit: int


_ROWS = (
    ("recv", "C", "fail synth restart pass pipe hash purge vcl"),
    ("pipe", "C", "fail synth pipe"),
    ("pass", "C", "fail synth restart fetch"),
    ("hash", "C", "fail lookup"),
    ("purge", "C", "fail synth restart"),
    ("miss", "C", "fail synth restart pass fetch"),
    ("hit", "C", "fail synth restart pass deliver"),
    ("deliver", "C", "fail synth restart deliver"),
    ("synth", "C", "fail restart deliver"),
    ("backend_fetch", "B", "fail abandon fetch error"),
    ("backend_refresh", "B", "merge obj_stale beresp fail abandon retry error"),
    ("backend_response", "B", "fail abandon deliver retry pass error"),
    ("backend_error", "B", "fail abandon deliver retry"),
    ("init", "H", "ok fail"),
    ("fini", "H", "ok"),
)

METHODS: dict[str, Method] = {
    row[0]: Method(row[0], row[1], tuple(row[2].split()), 1 << number) for number, row in enumerate(_ROWS)
}
ALL = sum(method.bit for method in METHODS.values())
CLIENT = sum(method.bit for method in METHODS.values() if method.side == "C")
BACKEND = sum(method.bit for method in METHODS.values() if method.side == "B")
HOUSEKEEPING = ALL & ~CLIENT & ~BACKEND
RETURNS: tuple[str, ...] = tuple(sorted({name for method in METHODS.values() for name in method.returns}))
RETURN_MASK: dict[str, int] = {
    name: sum(method.bit for method in METHODS.values() if name in method.returns) for name in RETURNS
}
# what return(action) may, and must, carry in parentheses
RETURN_ARGUMENT = {"synth": "status", "error": "status", "vcl": "label", "pass": "duration", "fail": "text"}
ARGUMENT_REQUIRED = frozenset({"synth", "vcl"})


def mask(spec: str) -> int:
    """The mask of a list like ``client vcl_pipe``."""
    groups = {"all": ALL, "client": CLIENT, "backend": BACKEND, "both": CLIENT | BACKEND, "housekeeping": HOUSEKEEPING}
    bits = 0
    for word in spec.split():
        bits |= groups[word] if word in groups else METHODS[word.removeprefix("vcl_")].bit
    return bits
