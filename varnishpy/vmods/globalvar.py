"""VMOD globalvar: variables of a whole VCL, seen by all its tasks at once. See `varnishpy.vmods._objvar`."""

from __future__ import annotations

from varnishpy.vmods._objvar import TYPES, GlobalVariable, classes

globals().update(classes("globalvar", GlobalVariable))

__all__ = list(TYPES)
