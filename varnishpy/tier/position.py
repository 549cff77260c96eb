"""How far this node has followed the log, kept in the working directory across restarts."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NAME: Final = "tier.position"
START: Final = b"0-0"  # in front of everything

Order = tuple[int, int]


def order(name: bytes) -> Order:
    """Ids of the log, comparable; an empty one comes before all."""
    left, _, right = name.partition(b"-")
    return (int(left or b"0"), int(right or b"0"))


@dataclass(slots=True)
class Position:
    """Where one is.

    :ivar at: id of the last record that was applied
    :ivar number: the highest number of an invalidation that was seen
    :ivar floor: the one that the engine was repaired with last, see `Store.repair`
    """

    at: bytes = START
    number: int = 0
    floor: int = 0


class PositionFile:
    """The file, for one engine: another engine's position would mean nothing."""

    def __init__(self, directory: Path | None, engine: str) -> None:
        self._path = directory / _NAME if directory is not None else None
        self._engine = engine
        self._kept = Position()

    def load(self) -> Position:
        """What was kept; the start where there is none, or none that can be read."""
        if self._path is None:
            return Position()
        try:
            told = json.loads(self._path.read_text(encoding="utf-8"))
            if told["engine"] != self._engine:
                return Position()
            position = Position(str(told["at"]).encode("ascii"), int(told["number"]), int(told["floor"]))
            order(position.at)
        except (OSError, ValueError, KeyError, TypeError):
            return Position()
        return position

    def keep(self, position: Position) -> None:
        """Write it down, if it has changed. A disk that is full costs no more than reading the log once more."""
        if self._path is None or position == self._kept:
            return
        fresh = self._path.with_suffix(".new")
        told = {
            "engine": self._engine,
            "at": position.at.decode("ascii"),
            "number": position.number,
            "floor": position.floor,
        }
        with contextlib.suppress(OSError):
            fresh.write_text(json.dumps(told), encoding="utf-8")
            fresh.replace(self._path)
            self._kept = Position(position.at, position.number, position.floor)
