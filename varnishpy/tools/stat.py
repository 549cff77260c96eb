"""``varnishpy stat``: the counters, as varnishstat(1)."""

from __future__ import annotations

import json
import sys
import time
from xml.sax.saxutils import escape

from varnishpy.base.near import did_you_mean
from varnishpy.base.workdir import resolve_existing
from varnishpy.shm.counters import CounterReader, Point
from varnishpy.shm.reader import SetReader, VsmError
from varnishpy.tools.follow import parse_patience
from varnishpy.tools.stat_filter import Filter, uptime
from varnishpy.tools.usage import HELP, PATIENCE, VERSION, WORKDIR, Option, ToolError, parse, tool

PROGRAM = "varnishpy stat"
OPTIONS = [
    Option("1", "[-1]", "Print the statistics to stdout"),
    Option("c", "[-c]", "Show the live view even if stdout is no terminal"),
    Option("f:", "[-f <glob>]", "Legacy field filtering glob"),
    HELP,
    Option("I:", "[-I <glob>]", "Field inclusion glob"),
    Option("j", "[-j]", "Print statistics to stdout as JSON"),
    Option("l", "[-l]", "Lists the available fields to use with the -f option"),
    WORKDIR,
    Option("r", "[-r]", "Toggle raw or adjusted gauges"),
    PATIENCE,
    VERSION,
    Option("X:", "[-X <glob>]", "Field exclusion glob"),
    Option("x", "[-x]", "Print statistics to stdout as XML"),
]


_FLAGS = {"counter": "c", "gauge": "g", "bitmap": "b"}
_FORMATS = {"integer": "i", "bytes": "B", "duration": "d", "bitmap": "b"}


def as_lines(points: list[Point], chosen: Filter) -> str:
    """``-1``: name, value, average per second, description."""
    up = uptime(points)
    pad = 18
    out = []
    for point in points:
        if not chosen.shows(point.name):
            continue
        pad = max(pad, len(point.name) + 1)
        value = chosen.value(point)
        rate = f"{value / up if up else 0:12.2f}" if point.kind == "counter" else f"{'.  ':>12}"
        out.append(f"{point.name:<{pad}}{value:12d} {rate} {point.oneliner}\n")
    return "".join(out)


def as_json(points: list[Point], chosen: Filter) -> str:
    """``-j``."""
    counters = ",\n".join(
        f'    "{point.name}": {{\n'
        f'      "description": {json.dumps(point.oneliner, ensure_ascii=False)},\n'
        f'      "flag": "{_FLAGS.get(point.kind, "?")}",\n'
        f'      "format": "{_FORMATS.get(point.format, "?")}",\n'
        f'      "value": {chosen.value(point)}\n'
        "    }"
        for point in points
        if chosen.shows(point.name)
    )
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S")
    return f'{{\n  "version": 1,\n  "timestamp": "{stamp}",\n  "counters": {{\n{counters}\n  }}\n}}\n'


def as_xml(points: list[Point], chosen: Filter) -> str:
    """``-x``."""
    out = [f'<?xml version="1.0"?>\n<varnishstat timestamp="{time.strftime("%Y-%m-%dT%H:%M:%S")}">\n']
    for point in points:
        if chosen.shows(point.name):
            out.append(
                f"\t<stat>\n\t\t<name>{escape(point.name)}</name>\n\t\t<value>{chosen.value(point)}</value>\n"
                f"\t\t<flag>{_FLAGS.get(point.kind, '?')}</flag>\n"
                f"\t\t<format>{_FORMATS.get(point.format, '?')}</format>\n"
                f"\t\t<description>{escape(point.oneliner)}</description>\n\t</stat>\n"
            )
    return "".join(out) + "</varnishstat>\n"


def as_list(points: list[Point], chosen: Filter) -> str:
    """``-l``."""
    head = "Varnishstat -f option fields:\nField name                     Description\n"
    head += "----------                     -----------\n"
    return head + "".join(f"{p.name:<30} {p.oneliner}\n" for p in points if chosen.shows(p.name))


def _run(argv: list[str]) -> None:
    chosen = Filter()
    mode = ""
    instance: str | None = None
    patience: float | None = 5.0
    for letter, value in parse(PROGRAM, OPTIONS, argv):
        if letter in "1cjlx":
            mode = letter
        elif letter in "IXf":
            chosen.add(letter, value)
        elif letter == "r":
            chosen.raw = not chosen.raw
        elif letter == "n":
            instance = value
        elif letter == "t":
            patience = parse_patience(value)
    if not mode:
        mode = "c" if sys.stdout.isatty() else "1"

    def progress(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    try:
        reader = SetReader(resolve_existing(instance))
        reader.attach(patience, progress)
    except (VsmError, ValueError) as error:
        raise ToolError(str(error)) from None
    except KeyboardInterrupt:
        raise ToolError("Attach interrupted") from None
    counters = CounterReader(reader)
    counters.refresh()
    names = [point.name for point in counters.points()]
    for glob in chosen.idle(names):
        sys.stderr.write(f"No counter matches {glob}.{did_you_mean(glob, names)}\n")
    if mode == "c":
        from varnishpy.tools.stat_view import watch  # what draws on terminals takes long to load

        watch(counters, chosen)
        return
    render = {"1": as_lines, "j": as_json, "x": as_xml, "l": as_list}[mode]
    sys.stdout.write(render(counters.points(), chosen))


main = tool(_run)
