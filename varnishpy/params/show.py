"""How parameters are shown: the layouts of ``param.show`` in varnish-cli(7)."""

from __future__ import annotations

import textwrap
from typing import TypeAlias

from varnishpy.params.spec import FLAG_NOTES, TIMEOUT_NOTE, Flag, Spec
from varnishpy.params.values import Json

#: a parameter as ``param.show -j`` writes it
Described: TypeAlias = dict[str, Json | list[str]]

_MARGIN = 8
_WIDTH = 72
_NAME_WIDTH = 30
_JSON_FLAGS = [flag for flag in Flag if flag not in (Flag.NONE, Flag.NOT_IMPLEMENTED, Flag.NO_EFFECT)]


def _value(spec: Spec, text: str) -> str:
    units = f" [{spec.units}]" if spec.units else ""
    default = " (default)" if text == spec.default else ""
    return f"{text}{units}{default}\n"


def short_form(spec: Spec, text: str) -> str:
    """One line: name, value, units, and whether it is the default."""
    if spec.flags & Flag.NOT_IMPLEMENTED:
        return f"{spec.name:<{_NAME_WIDTH}}-\n"
    return f"{spec.name:<{_NAME_WIDTH}}{_value(spec, text)}"


def wrap(text: str) -> str:
    """Fold a description. Lines of the form ``TAB name TAB meaning`` become a table."""
    lines = text.split("\n")
    names = [line.split("\t")[1] for line in lines if line.startswith("\t")]
    column = max([20, *(len(name) + 2 for name in names)])
    out = []
    margin = " " * _MARGIN
    for line in lines:
        if line.startswith("\t"):
            _, name, meaning = line.split("\t")
            first = f"{margin}   {name:<{column}}"
            out.append(textwrap.fill(meaning, _WIDTH, initial_indent=first, subsequent_indent=" " * len(first)))
        elif line:
            out.append(textwrap.fill(line, _WIDTH, initial_indent=margin, subsequent_indent=margin))
        else:
            out.append("")
    return "\n".join(out)


def full_text(spec: Spec) -> str:
    """The description with the list of bits, if the parameter has one that explains itself."""
    text = spec.text
    if spec.bits and any(spec.bits.values()):
        text += "".join(f"\n\t{name}\t{meaning}" for name, meaning in spec.bits.items())
    return text


def long_form(spec: Spec, text: str) -> str:
    """All that is known of a parameter."""
    margin = " " * _MARGIN
    if spec.flags & Flag.NOT_IMPLEMENTED:
        note = wrap("NB: " + FLAG_NOTES[Flag.NOT_IMPLEMENTED])
        return f"{spec.name}\n{margin}Not available\n\n{note}\n\n"
    lines = [f"{spec.name}\n", f"{margin}Value is: {_value(spec, text)}"]
    if text != spec.default:
        lines.append(f"{margin}Default is: {spec.default}\n")
    if spec.minimum is not None:
        lines.append(f"{margin}Minimum is: {spec.minimum}\n")
    if spec.maximum is not None:
        lines.append(f"{margin}Maximum is: {spec.maximum}\n")
    lines.append("\n" + wrap(full_text(spec)))
    if spec.kind == "timeout":
        lines.append("\n\n" + wrap("NB: " + TIMEOUT_NOTE))
    lines.extend("\n\n" + wrap("NB: " + note) for flag, note in FLAG_NOTES.items() if spec.flags & flag)
    return "".join(lines) + "\n\n"


def describe(spec: Spec, value: Json) -> Described:
    """The JSON object of a parameter."""
    if spec.flags & Flag.NOT_IMPLEMENTED:
        return {"name": spec.name, "implemented": False}
    result: Described = {"name": spec.name, "implemented": True, "value": value}
    if spec.units:
        result["units"] = spec.units
    result["default"] = spec.default
    if spec.minimum is not None:
        result["minimum"] = spec.minimum
    if spec.maximum is not None:
        result["maximum"] = spec.maximum
    result["description"] = full_text(spec)
    result["flags"] = [str(flag.name).lower() for flag in _JSON_FLAGS if spec.flags & flag]
    return result
