"""How parameters reach the log: ``vsl_layout``, ``vsl_reclen``, ``vsl_buffer``, ``vsl_mask``, ``debug +syncvsl``."""

from __future__ import annotations

from collections.abc import Callable

from varnishpy.log.tasklog import configure
from varnishpy.params import ParamTable
from varnishpy.params.view import Params

_NAMES = frozenset({"vsl_layout", "vsl_reclen", "vsl_buffer", "vsl_mask", "debug"})


def apply(params: Params, layout: int | None = None) -> None:
    """Make the log follow the values in force now.

    :param layout: the layout of a ring that exists already (``vsl_layout`` only counts when a process starts)
    """
    configure(
        layout=layout if layout is not None else int(params.vsl_layout),
        reclen=int(params.vsl_reclen),
        buffer=int(params.vsl_buffer),
        masked=bytes(params.vsl_mask.masked),
        sync=bool(params.debug.syncvsl),
    )


def follow(table: ParamTable, params: Params, layout: int) -> Callable[[], None]:
    """Apply the values now and whenever one of them is set, until the function returned is called."""
    following = True

    def changed(name: str) -> None:
        if following and name in _NAMES:
            apply(params, layout)

    def stop() -> None:
        nonlocal following
        following = False

    table.add_listener(changed)
    apply(params, layout)
    return stop
