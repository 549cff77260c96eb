"""The units of a test session: each program is compiled once, and is as new for each test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from varnishpy.kit.unit import Unit, unit

_made: Final[dict[tuple[object, ...], Unit]] = {}


class Units:
    """What the pytest fixture ``vcl`` hands out."""

    def __init__(self) -> None:
        self._used: list[Unit] = []

    def unit(
        self,
        source: str | Path,
        vcl_path: Sequence[str | Path] = (),
        vmod_path: Sequence[str | Path] = (),
        labels: Mapping[str, Unit] | None = None,
    ) -> Unit:
        """As `varnishpy.kit.unit`; the same program is not compiled twice unless its file has changed."""
        place = Path(source) if isinstance(source, Path) or "\n" not in source else None
        changed = place.stat().st_mtime_ns if place is not None and place.is_file() else 0
        key = (str(source), changed, *map(str, vcl_path), "", *map(str, vmod_path), "", *sorted((labels or {}).items()))
        made = _made.get(key)
        if made is None:
            made = _made[key] = unit(source, vcl_path, vmod_path, labels)
        self._used.append(made)
        return made

    def restore(self) -> None:
        """Undo what tests did to the units."""
        for each in self._used:
            each.restore()
