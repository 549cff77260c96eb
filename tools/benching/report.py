"""What the runs say: medians, ratios to a reference server, a table, a chart, and the check against a record."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass, field
from html import escape

from tools.benching.load import Measured
from tools.benching.scenarios import Scenario

REFERENCE = "varnishd"


@dataclass
class Row:
    """The runs of one scenario at one server."""

    scenario: Scenario
    peer: str
    runs: list[Measured] = field(default_factory=list)

    @property
    def value(self) -> float:
        """The median figure."""
        return statistics.median(run.value for run in self.runs)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and largest figure, as shares of the median."""
        values = [run.value for run in self.runs]
        return min(values) / self.value, max(values) / self.value

    @property
    def cpu_us(self) -> float:
        """Median CPU of an answer, microseconds."""
        return statistics.median(run.cpu_us for run in self.runs)

    @property
    def failed(self) -> int:
        """Bad answers of all runs."""
        return sum(run.failed for run in self.runs)

    def percentile(self, name: str) -> float | None:
        """Median of a latency percentile, milliseconds."""
        values = [run.percentiles[name] for run in self.runs if name in run.percentiles]
        return statistics.median(values) if values else None

    @property
    def unfairness(self) -> float | None:
        """Median of how far the worst served connection was from the mean, as a share."""
        values = [run.spread for run in self.runs if run.spread is not None]
        return statistics.median(values) if values else None

    def as_dict(self, reference: Row | None) -> dict[str, object]:
        """For JSON."""
        return {
            "scenario": self.scenario.name,
            "peer": self.peer,
            "value": self.value,
            "unit": self.scenario.unit,
            "ratio": self.value / reference.value if reference is not None else None,
            "spread": self.spread,
            "cpu_us": self.cpu_us,
            "failed": self.failed,
            "rounds": len(self.runs),
            "unfairness": self.unfairness,
            **{name: self.percentile(name) for name in ("p50", "p99", "p99_9", "max")},
        }


class Report:
    """All rows of a run."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def find(self, scenario: str, peer: str) -> Row | None:
        """The row of a scenario and a server."""
        return next((r for r in self.rows if r.scenario.name == scenario and r.peer == peer and r.runs), None)

    def reference(self, row: Row) -> Row | None:
        """What a row is compared with: the C program, or whoever comes first where it takes no part."""
        named = self.find(row.scenario.name, REFERENCE)
        if named is not None:
            return named
        return next((r for r in self.rows if r.scenario == row.scenario and r.runs), None)

    def as_json(self) -> str:
        """Every figure."""
        return json.dumps([row.as_dict(self.reference(row)) for row in self.rows if row.runs], indent=1) + "\n"

    def table(self) -> str:
        """The table as Markdown, which reads well in a terminal too."""
        lines = ["| work | server | ratio | spread | CPU ratio | p50 ms | p99 ms | p99.9 ms | max ms | note |",
                 "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
        for row in self.rows:
            reference = self.reference(row)
            if not row.runs or reference is None:
                continue
            cpu = f"{row.cpu_us / reference.cpu_us:.2f}" if reference.cpu_us else ""
            times = [row.percentile(name) for name in ("p50", "p99", "p99_9", "max")]
            low, high = row.spread
            cells = [row.scenario.name, row.peer, f"{row.value / reference.value:.2f}", f"{low:.2f}-{high:.2f}", cpu]
            cells += ["" if value is None else f"{value:.1f}" for value in times]
            lines.append(f"| {' | '.join(cells)} | {self._note(row)} |")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _note(row: Row) -> str:
        notes = []
        if row.failed:
            notes.append(f"{row.failed} failed")
        if row.unfairness is not None:
            notes.append(f"connections within {row.unfairness:.0%} of the mean")
        return ", ".join(notes)

    def targets(self) -> list[str]:
        """One line for each ratio to reach: what it is, what it should be."""
        lines = []
        for row in self.rows:
            if not row.peer.startswith("varnishpy") or not row.runs:
                continue
            for target in row.scenario.targets:
                wanted = target.compiled if "compiled" in row.peer else target.pure
                other = self.find(row.scenario.name, target.peer)
                if wanted is None or other is None:
                    continue
                ratio = row.value / other.value
                met = ratio <= wanted if row.scenario.less_is_better else ratio >= wanted
                sign = "at most" if row.scenario.less_is_better else "at least"
                lines.append(
                    f"{'met   ' if met else 'MISSED'} {row.scenario.name}: {row.peer} is {ratio:.2f} x {target.peer}, "
                    f"{sign} {wanted:g} wanted"
                )
        return lines

    def check(self, recorded: str, tolerance: float) -> list[str]:
        """Compare our ratios with recorded JSON: a line for each that has become worse by more than the tolerance."""
        worse = []
        for old in json.loads(recorded):
            row = self.find(old["scenario"], old["peer"])
            if row is None or not row.peer.startswith("varnishpy") or old["ratio"] is None:
                continue
            reference = self.reference(row)
            assert reference is not None
            ratio = row.value / reference.value
            change = old["ratio"] / ratio if row.scenario.less_is_better else ratio / old["ratio"]
            if change < 1 - tolerance:
                worse.append(f"{row.scenario.name}: {row.peer} was {old['ratio']:.2f}, is {ratio:.2f}")
        return worse

    def chart(self) -> str:
        """The ratios as an SVG: a group of bars for each scenario, on a logarithmic scale, the reference at 1."""
        return _Chart(self).svg()


_COLOURS = {
    "varnishpy": "#2f6fab", "varnishpy compiled": "#0b3d66", "varnishd": "#888888", "nginx": "#4f9d69",
    "haproxy": "#8a5fb0", "granian": "#c9732c", "hypercorn": "#b5403a",
}  # fmt: skip


class _Chart:
    """Lays a chart out; sizes in pixels."""

    LEFT, WIDTH, BAR, GAP, TOP = 150, 560, 11, 12, 46

    def __init__(self, report: Report) -> None:
        self.report = report
        self.rows = [row for row in report.rows if row.runs and row.scenario.tool in ("h2load", "fair")]

    def _ratio(self, row: Row) -> float:
        reference = self.report.reference(row)
        return row.value / reference.value if reference is not None else 1.0

    def svg(self) -> str:
        ratios = [self._ratio(row) for row in self.rows] or [1.0]
        low = min(0.1, 10 ** math.floor(math.log10(min(ratios))))
        high = max(10.0, 10 ** math.ceil(math.log10(max(ratios))))

        def x(ratio: float) -> float:
            return self.LEFT + self.WIDTH * math.log(ratio / low) / math.log(high / low)

        parts: list[str] = []
        y = self.TOP
        last = ""
        for row in self.rows:
            if row.scenario.name != last:
                y += self.GAP if last else 0
                last = row.scenario.name
                parts.append(f'<text x="{self.LEFT - 8}" y="{y + 9}" text-anchor="end">{escape(last)}</text>')
            ratio = self._ratio(row)
            parts.append(
                f'<rect x="{x(low):.0f}" y="{y}" width="{max(1.0, x(ratio) - x(low)):.1f}" height="{self.BAR - 2}" '
                f'fill="{_COLOURS.get(row.peer, "#666666")}"><title>{escape(row.peer)}</title></rect>'
                f'<text x="{x(ratio) + 4:.0f}" y="{y + 8}" class="s">{escape(row.peer)} {ratio:.2f}</text>'
            )
            y += self.BAR
        grid = []
        step = low
        while step <= high * 1.001:
            grid.append(
                f'<line x1="{x(step):.0f}" x2="{x(step):.0f}" y1="{self.TOP - 8}" y2="{y + 4}" class="g"/>'
                f'<text x="{x(step):.0f}" y="{self.TOP - 12}" text-anchor="middle" class="s">{step:g}</text>'
            )
            step *= 10
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.LEFT + self.WIDTH + 150}" height="{y + 16}" '
            'font-family="sans-serif" font-size="11">'
            "<style>.s{font-size:9px;fill:#444}.g{stroke:#ccc;stroke-width:1}</style>"
            f'<rect width="100%" height="100%" fill="#ffffff"/>'
            f'<text x="{self.LEFT}" y="18">requests per second, as a multiple of {REFERENCE} in the same run '
            "(logarithmic; more is better)</text>" + "".join(grid) + "".join(parts) + "</svg>\n"
        )
