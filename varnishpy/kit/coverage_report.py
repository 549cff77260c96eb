"""What was covered, told: a table for the terminal, LCOV, Cobertura XML, HTML with the source coloured."""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Final

from varnishpy.kit.coverage import Coverage, FileCoverage


def shown_name(name: str) -> str:
    """A file's name as people see it: relative to here where it lies below."""
    relative = os.path.relpath(name)
    return name if relative.startswith("..") else relative


def ranges(lines: list[int]) -> str:
    """``3-5, 9`` of 3, 4, 5, 9."""
    parts: list[list[int]] = []
    for line in lines:
        if parts and parts[-1][1] == line - 1:
            parts[-1][1] = line
        else:
            parts.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def missing(each: FileCoverage) -> str:
    """What is missing of a file: lines, and arms as ``12 never true``."""
    arms = [f"{line} never {arm}" for line, arm in each.missed_arms]
    return ", ".join(part for part in (ranges(each.missed_lines), *arms) if part)


def percent(share: float) -> str:
    """Whole per cents, never rounded up to 100 or down to 0 of something."""
    value = share * 100
    return f"{99 if 99 < value < 100 else 1 if 0 < value < 1 else round(value)}%"


def table(coverage: Coverage) -> str:
    """The table that ends a run."""
    rows: list[tuple[str, ...]] = [("Name", "Lines", "Miss", "Arms", "Miss", "Cover", "Missing")]
    totals = [0, 0, 0, 0]
    for each in coverage.sorted():
        arms, taken = each.arms
        counts = [len(each.lines), len(each.missed_lines), arms, arms - taken]
        totals = [have + more for have, more in zip(totals, counts, strict=True)]
        name = shown_name(each.name)
        rows.append((name, *map(str, counts), percent(each.share), missing(each)))
    rows.append(("TOTAL", *map(str, totals), percent(coverage.share), ""))
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:6], widths[1:6], strict=True)),
        ]
        lines.append("  ".join([*cells, row[6]]).rstrip())
    rule = "-" * max(len(line) for line in lines[:1])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]]) + "\n"


def lcov(coverage: Coverage) -> str:
    """The tracefile format of lcov (geninfo(1)): one record a file, a branch for each arm of a condition."""
    out: list[str] = []
    for each in coverage.sorted():
        out += ["TN:", f"SF:{each.name}"]
        subs = sorted(each.subs.items(), key=lambda item: item[1])
        out += [f"FN:{line},{name}" for name, (line, _) in subs]
        out += [f"FNDA:{calls},{name}" for name, (_, calls) in subs]
        out += [f"FNF:{len(subs)}", f"FNH:{sum(calls > 0 for _, (_, calls) in subs)}"]
        for number, branch in enumerate(sorted(each.branches.values(), key=lambda one: (one.line, one.column))):
            decided = branch.true + branch.false
            for index, hits in enumerate((branch.true, branch.false)):
                out.append(f"BRDA:{branch.line},{number},{index},{hits if decided else '-'}")
        arms, taken = each.arms
        out += [f"BRF:{arms}", f"BRH:{taken}"]
        out += [f"DA:{line},{hits}" for line, hits in sorted(each.lines.items())]
        out += [f"LF:{len(each.lines)}", f"LH:{len(each.lines) - len(each.missed_lines)}", "end_of_record"]
    return "\n".join(out) + "\n"


def cobertura(coverage: Coverage) -> str:
    """Cobertura's XML (coverage-04.dtd): one class a file."""
    lines = sum(len(each.lines) for each in coverage.files.values())
    lines_hit = lines - sum(len(each.missed_lines) for each in coverage.files.values())
    arms = sum(each.arms[0] for each in coverage.files.values())
    arms_hit = sum(each.arms[1] for each in coverage.files.values())
    root = ElementTree.Element(
        "coverage",
        {
            "version": "1", "timestamp": str(int(time.time() * 1000)), "complexity": "0",
            "lines-valid": str(lines), "lines-covered": str(lines_hit), "line-rate": _rate(lines_hit, lines),
            "branches-valid": str(arms), "branches-covered": str(arms_hit), "branch-rate": _rate(arms_hit, arms),
        },
    )  # fmt: skip
    sources = ElementTree.SubElement(root, "sources")
    ElementTree.SubElement(sources, "source").text = os.getcwd()
    packages = ElementTree.SubElement(root, "packages")
    rates = {"line-rate": _rate(lines_hit, lines), "branch-rate": _rate(arms_hit, arms), "complexity": "0"}
    package = ElementTree.SubElement(packages, "package", {"name": "vcl", **rates})
    classes = ElementTree.SubElement(package, "classes")
    for each in coverage.sorted():
        _class(classes, each)
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _rate(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else "1"


def _class(classes: ElementTree.Element, each: FileCoverage) -> None:
    arms, taken = each.arms
    hit = len(each.lines) - len(each.missed_lines)
    name = shown_name(each.name)
    attributes = {"name": Path(name).name, "filename": name, "complexity": "0"}
    attributes |= {"line-rate": _rate(hit, len(each.lines)), "branch-rate": _rate(taken, arms)}
    element = ElementTree.SubElement(classes, "class", attributes)
    ElementTree.SubElement(element, "methods")
    lines = ElementTree.SubElement(element, "lines")
    arms_of: dict[int, tuple[int, int]] = {}
    for branch in each.branches.values():
        total, passed = arms_of.get(branch.line, (0, 0))
        arms_of[branch.line] = total + 2, passed + (branch.true > 0) + (branch.false > 0)
    for number, hits in sorted(each.lines.items()):
        attributes = {"number": str(number), "hits": str(hits)}
        if number in arms_of:
            total, passed = arms_of[number]
            attributes |= {
                "branch": "true",
                "condition-coverage": f"{round(passed / total * 100)}% ({passed}/{total})",
            }
        ElementTree.SubElement(lines, "line", attributes)


_STYLE: Final = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; } td, th { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; }
td:first-child, th:first-child { text-align: left; } a { color: #205493; }
pre { margin: 0; font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; }
.src td { border: 0; padding: 0 .6em; vertical-align: top; } .src td:nth-child(3) { text-align: left; width: 100%; }
.n, .h { color: #777; user-select: none; }
.hit { background: #e7f6e7; } .miss { background: #fbe3e3; } .part { background: #fff4cf; }
.why { color: #8a5a00; padding-left: 2em; font-style: italic; }
@media (prefers-color-scheme: dark) { body { background: #1b1d20; color: #ddd; } a { color: #8ab4f8; }
  td, th { border-color: #444; } .hit { background: #1f3a24; } .miss { background: #4a2326; }
  .part { background: #4a4020; }
  .why { color: #e2b84c; } }
"""


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _source_page(each: FileCoverage) -> str:
    """A file with every line coloured: passed, missed, or passed in part."""
    partial: dict[int, list[str]] = {}
    for line, arm in each.missed_arms:
        partial.setdefault(line, []).append(f"never {arm}")
    rows = []
    text = each.text.encode("latin-1").decode("utf-8", "replace")
    for number, shown in enumerate(text.splitlines(), 1):
        hits = each.lines.get(number)
        kind = "" if hits is None else "miss" if not hits else "part" if number in partial else "hit"
        why = f'<span class="why">{escape(", ".join(partial[number]))}</span>' if number in partial else ""
        rows.append(
            f'<tr class="{kind}" id="L{number}"><td class="n">{number}</td>'
            f'<td class="h">{"" if hits is None else hits}</td><td><pre>{escape(shown)}{why}</pre></td></tr>'
        )
    name = escape(shown_name(each.name))
    arms, taken = each.arms
    passed = f"{len(each.lines) - len(each.missed_lines)} of {len(each.lines)} lines, {taken} of {arms} arms"
    head = (
        f'<p><a href="index.html">all files</a></p><h1>{name}</h1><p>{percent(each.share)}: {passed} of conditions</p>'
    )
    return _page(shown_name(each.name), f'{head}<table class="src">{"".join(rows)}</table>')


def html(coverage: Coverage, directory: Path) -> Path:
    """Write the pages into a folder, made if need be; the path of the first one."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, each in enumerate(coverage.sorted()):
        page = f"{number}-{Path(each.name).name}.html"
        (directory / page).write_text(_source_page(each))
        arms, taken = each.arms
        link = f'<a href="{escape(page)}">{escape(shown_name(each.name))}</a>'
        cells = [link, len(each.lines), len(each.missed_lines), arms, arms - taken, percent(each.share)]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>File</th><th>Lines</th><th>missed</th><th>Arms</th><th>missed</th><th>Cover</th></tr>"
    index = directory / "index.html"
    index.write_text(
        _page("VCL coverage", f"<h1>VCL coverage: {percent(coverage.share)}</h1><table>{head}{''.join(rows)}</table>")
    )
    return index


def _file(make: Callable[[Coverage], str]) -> Callable[[Coverage, Path], None]:
    def write(coverage: Coverage, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(coverage))

    return write


def _pages(coverage: Coverage, path: Path) -> None:
    html(coverage, path)


# the kinds of report that are written to a file or folder, and where they go unless told otherwise
REPORTS: Final[dict[str, tuple[Callable[[Coverage, Path], None], str]]] = {
    "html": (_pages, "vclcov"),
    "lcov": (_file(lcov), "vcl.info"),
    "xml": (_file(cobertura), "vclcov.xml"),
}


class ReportError(Exception):
    """No such kind of report; the text says which there are."""


def write_report(coverage: Coverage, asked: str) -> str:
    """Write the report that ``KIND`` or ``KIND:PATH`` asks for; where it went. :raises ReportError:"""
    kind, _, place = asked.partition(":")
    if kind not in REPORTS:
        raise ReportError(f"no coverage report is called {kind!r}; there are: term, {', '.join(REPORTS)}")
    write, default = REPORTS[kind]
    path = Path(place or default)
    write(coverage, path)
    return str(path)
