"""Which counters a view of them shows, and in which form."""

from __future__ import annotations

import fnmatch

from varnishpy.shm.counters import Point


class Filter:
    """``-I``, ``-X`` and ``-f`` in the order given: the first glob that matches decides."""

    def __init__(self) -> None:
        self._globs: list[tuple[str, bool]] = []
        self.raw = False

    def add(self, letter: str, glob: str) -> None:
        """Take an option; ``-f ^glob`` excludes."""
        include = letter != "X"
        if letter == "f" and glob.startswith("^"):
            include, glob = False, glob[1:]
        self._globs.append((glob, include))

    def __bool__(self) -> bool:
        return bool(self._globs)

    def shows(self, name: str) -> bool:
        """True if the counter is to be shown."""
        for glob, include in self._globs:
            if fnmatch.fnmatchcase(name, glob):
                return include
        return not any(include for _, include in self._globs)

    def idle(self, names: list[str]) -> list[str]:
        """The globs that include nothing of what there is."""
        return [glob for glob, include in self._globs if include and not fnmatch.filter(names, glob)]

    def value(self, point: Point) -> int:
        """The number to show."""
        return point.raw if self.raw else point.value


def uptime(points: list[Point]) -> int:
    """Seconds the cache process runs; 0 if unknown."""
    return next((point.value for point in points if point.name == "MAIN.uptime"), 0)
