"""``backend.list`` and ``backend.set_health`` of varnish-cli(7), as functions over directors.

Patterns are shell patterns of ``vcl.backend``; without a dot they concern the active VCL, and so does none at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from fnmatch import fnmatchcase

from varnishpy.backends.director import AdminHealth, Director

_STATES: dict[str, AdminHealth] = {"probe": "probe", "auto": "probe", "healthy": "healthy", "sick": "sick"}


_LINE = 80


class AdminError(Exception):
    """A command cannot be done; the text is the CLI's answer, with status 106."""


def select(directors: Iterable[Director], pattern: str | None, active_vcl: str) -> list[Director]:
    """The directors that a pattern concerns, deleted ones left out."""
    if not pattern or pattern == "*":
        pattern = f"{active_vcl}.*"
    elif "." not in pattern:
        pattern = f"{active_vcl}.{pattern}"
    return [d for d in directors if d.admin_health != "deleted" and fnmatchcase(d.cli_name, pattern)]


def admin_state(director: Director) -> str:
    """The column ``Admin``: a director without a probe is simply healthy unless someone said otherwise."""
    if director.admin_health == "probe" and director.type == "backend" and getattr(director, "probe", None) is None:
        return "healthy"
    return director.admin_health


def list_text(directors: Iterable[Director], pattern: str | None, active_vcl: str, details: bool = False) -> str:
    """``backend.list [-p]``."""
    lines = ["Backend name\tAdmin\tProbe\tHealth\tLast change"]
    for director in select(directors, pattern, active_vcl):
        good, window, health = director.probe_summary(None)
        changed = formatdate(director.health_changed, usegmt=True)
        line = f"{director.cli_name}\t{admin_state(director)}\t{good}/{window}\t{health}\t{changed}"
        more = director.details_text() if details else ""
        # what directors add goes on from the line; what probes add are lines of their own
        lines += (line + more).split("\n") if more.startswith("\n") else [line, *more.split("\n")] if more else [line]
    return _table(lines)


def _table(lines: list[str]) -> str:
    """Lines of fields between tabs in columns; a line that begins with a blank stays as it is.

    Between columns stands as much as 80 characters leave, but at least one blank and at most three.
    """
    rows = [[line] if line.startswith(" ") else line.split("\t") for line in lines]
    cells = [row for row in rows if len(row) > 1]
    count = max(map(len, cells))
    gap = max(1, min(3, (_LINE - max(sum(map(len, row)) for row in cells)) // count))
    widths = [max((len(row[place]) for row in cells if place < len(row)), default=0) + gap for place in range(count)]
    shown = ["".join(f"{cell:<{widths[place]}}" for place, cell in enumerate(row[:-1])) + row[-1] for row in rows]
    return "\n".join(shown) + "\n"


def list_json(
    directors: Iterable[Director], pattern: str | None, active_vcl: str, details: bool = False
) -> dict[str, object]:
    """``backend.list -j [-p]``: the object that follows the three leading values."""
    result: dict[str, object] = {}
    for director in select(directors, pattern, active_vcl):
        entry = director.list()
        entry["admin_health"] = admin_state(director)
        if details:
            changed = entry.pop("last_change")
            entry.update(director.details())
            entry["last_change"] = changed
        result[director.cli_name] = entry
    return result


def set_health(directors: Iterable[Director], pattern: str, state: str, active_vcl: str) -> None:
    """``backend.set_health``. :raises AdminError:"""
    wanted = _STATES.get(state.lower())
    if wanted is None:
        raise AdminError(f"Invalid state {state}")
    found = select(directors, pattern, active_vcl)
    if not found:
        raise AdminError("No Backends matches")
    for director in found:
        director.set_admin_health(wanted)
