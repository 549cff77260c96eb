"""VMOD topvar: variables that a client request shares with all it includes (ESI). See `varnishpy.vmods._objvar`."""

from __future__ import annotations

from varnishpy.vmods._objvar import TYPES, TopVariable, classes

globals().update(classes("topvar", TopVariable))

__all__ = list(TYPES)
