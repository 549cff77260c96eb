"""VMOD constant: values with a name and a type, which nothing changes. See `varnishpy.vmods._objvar`."""

from __future__ import annotations

from varnishpy.vmods._objvar import TYPES, Variable, classes

globals().update(classes("constant", Variable))

__all__ = list(TYPES)
