"""Which cache directives hold for a response: those of ``Cache-Control``, or of a field that is meant for us.

A targeted field (RFC 9213), such as ``CDN-Cache-Control``, speaks to one kind of cache alone. Who obeys it looks at
its members only, and neither at ``Cache-Control`` nor at ``Expires``. It is a dictionary of structured fields, so one
that is not valid is not there at all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from varnishpy.http.message import Message
from varnishpy.http.structured import Boolean, StructuredError, parse_dictionary

# directives whose argument is a number of seconds: any other value makes the field useless (section 2.1)
_SECONDS: Final = frozenset(("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error"))
# a comma inside a quoted string does not end a directive (RFC 9111 section 5.2)
_QUOTED_PARTS: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')


def directives(cache_control: str) -> list[str]:
    """The members of a Cache-Control field, blanks and empty ones aside."""
    parts = _QUOTED_PARTS.findall(cache_control) if '"' in cache_control else cache_control.split(",")
    return [part for part in (each.strip(" \t") for each in parts) if part]


def directive(cache_control: str, name: str) -> str | None:
    """The argument of a directive, ``None`` when the directive is absent or has none.

    An argument may be quoted whatever its definition says (RFC 9111 section 5.2).
    """
    for part in directives(cache_control):
        found, equals, value = part.partition("=")
        if found.rstrip(" \t").lower() == name:
            if not equals:
                return None
            value = value.lstrip(" \t")
            return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
    return None


def names_in(cache_control: str) -> frozenset[str]:
    """Lower-case names of all directives."""
    return frozenset([part.partition("=")[0].rstrip(" \t").lower() for part in directives(cache_control)])


@dataclass(slots=True, frozen=True)
class Control:
    """The directives in force, as the text of a Cache-Control field.

    :ivar targeted: they come from a targeted field, so that ``Expires`` does not count
    """

    text: str
    targeted: bool


def in_force(message: Message, targets: tuple[str, ...] = ()) -> Control:
    """The directives that hold for us.

    :param targets: lower-case names of targeted fields, the one that is meant for us most of all first
    """
    for name in targets:
        field = message.joined(name)
        if field is None:
            continue
        text = _as_directives(field)
        if text:
            return Control(text, True)
    return Control(message.joined("cache-control") or "", False)


def surrogate_control(message: Message) -> str | None:
    """``Surrogate-Control`` where it speaks for ``Cache-Control``: it says how long, or that nothing may be stored.

    A directive may name those that it is meant for behind a semicolon (Edge Architecture 1.0, section 2.2).
    """
    field = message.joined("surrogate-control")
    if field is None:
        return None
    names = {name.partition(";")[0].rstrip(" \t") for name in names_in(field)}
    return None if names.isdisjoint(("max-age", "no-store")) else field


def _as_directives(field: str) -> str | None:
    """A targeted field in Cache-Control's syntax; ``None``, or nothing, if it is to be ignored."""
    try:
        members = parse_dictionary(field)
    except StructuredError:
        return None
    said = []
    for name, value in members.items():
        if name in _SECONDS and not isinstance(value, int):
            return None
        if value is Boolean.TRUE:
            said.append(name)
        elif isinstance(value, int):
            said.append(f"{name}={value}")
        elif isinstance(value, str):
            said.append(f'{name}="{value}"')
    return ", ".join(said)


def understood(control: Control, known: bool) -> str:
    """The directives without ``no-store`` where ``must-understand`` lifts it (RFC 9111 section 5.2.2.3).

    :param known: we know what the response's status asks of a cache; otherwise ``must-understand`` forbids to store it
    """
    if "must-understand" not in names_in(control.text):
        return control.text
    kept = [part for part in directives(control.text) if part.lower() not in ("must-understand", "no-store")]
    return ", ".join(kept if known else [*kept, "no-store"])
