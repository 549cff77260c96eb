"""VMOD taskvar: variables that each client request and each fetch has for itself. See `varnishpy.vmods._objvar`."""

from __future__ import annotations

from varnishpy.vmods._objvar import TYPES, TaskVariable, classes

globals().update(classes("taskvar", TaskVariable))

__all__ = list(TYPES)
