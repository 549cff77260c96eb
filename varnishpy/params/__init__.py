"""Parameters: the table of them, and their values now in force.

``params`` is the view that the whole process reads (``params.timeout_idle``); ``table`` is what sets it. Both are facts
of the process, as in Varnish; a test that wants its own makes a `ParamTable`.
"""

from __future__ import annotations

from typing import Final

from varnishpy.params.spec import Flag, Spec
from varnishpy.params.table import ParamTable
from varnishpy.params.values import ParamError, PoolParam, TagMask
from varnishpy.params.view import Params

params: Final = Params()
table: Final = ParamTable(params)

__all__ = ["Flag", "ParamError", "ParamTable", "Params", "PoolParam", "Spec", "TagMask", "params", "table"]
