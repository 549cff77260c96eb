"""Segments of what is counted elsewhere: filled whenever counters are published or read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from varnishpy.stats.columns import CounterClass
from varnishpy.stats.segments import Counters, Registry

Name = TypeVar("Name", bound=str)


class Collected(Generic[Name]):
    """A segment with the collector that fills it; there from now on until it is closed."""

    __slots__ = ("_counters", "_fill", "_registry")

    def __init__(
        self, registry: Registry, table: CounterClass[Name], ident: str, fill: Callable[[Counters[Name]], None]
    ) -> None:
        self._registry = registry
        self._fill = fill
        self._counters: Counters[Name] | None = registry.new(table, ident)
        registry.add_collector(self.collect)
        self.collect()

    def collect(self) -> None:
        """Fill it now; nothing is done once it is closed."""
        counters = self._counters
        if counters is not None:
            self._fill(counters)

    def close(self) -> None:
        """Take it off the list of segments; a second time does nothing."""
        self._registry.remove_collector(self.collect)
        counters, self._counters = self._counters, None
        if counters is not None:
            counters.destroy()
