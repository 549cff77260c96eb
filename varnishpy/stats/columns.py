"""What a counter is: the row type of the tables in this room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Kind = Literal["counter", "gauge", "bitmap"]
Level = Literal["info", "diag", "debug"]
Format = Literal["integer", "bytes", "duration", "bitmap"]


@dataclass(frozen=True, slots=True)
class Column:
    """One counter of a class: counters only grow, gauges go both ways, bitmaps are patterns of bits."""

    name: str
    oneliner: str
    doc: str = ""
    kind: Kind = "counter"
    level: Level = "info"
    format: Format = "integer"
    task: bool = False  # counted by tasks in slots of their own (``task_counters.py``)


#: the names of the counters of a class (``names.py``)
Name = TypeVar("Name", bound=str, covariant=True)


@dataclass(frozen=True)
class CounterClass(Generic[Name]):
    """A kind of segment, e.g. VBE with one segment per backend; ``order`` sorts classes in displays."""

    name: str
    oneliner: str
    order: int
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Names of the counters, in the order they stand in shared memory."""
        return [column.name for column in self.columns]


def counter(name: str, oneliner: str, doc: str = "", level: Level = "info", format: Format = "integer") -> Column:
    """A row that only grows."""
    return Column(name, oneliner, doc, "counter", level, format)


def gauge(name: str, oneliner: str, doc: str = "", level: Level = "info", format: Format = "integer") -> Column:
    """A row that goes up and down."""
    return Column(name, oneliner, doc, "gauge", level, format)


def task_counter(name: str, oneliner: str, doc: str = "", level: Level = "info", format: Format = "integer") -> Column:
    """A row of MAIN that only grows and that tasks count: ``wrk.stats.NAME += 1``."""
    return Column(name, oneliner, doc, "counter", level, format, task=True)


def task_gauge(name: str, oneliner: str, doc: str = "", level: Level = "info", format: Format = "integer") -> Column:
    """A row of MAIN that goes up and down and that tasks count."""
    return Column(name, oneliner, doc, "gauge", level, format, task=True)
