"""The answer of ``tier.status``."""

from __future__ import annotations

from collections.abc import Mapping


def status_text(status: Mapping[str, object]) -> str:
    """`Tier.status` for people."""
    lines = [
        f"{name.replace('_', ' '):14s} {_shown(value)}"
        for name, value in status.items()
        if name not in ("nodes", "counters")
    ]
    nodes, counters = status["nodes"], status["counters"]
    assert isinstance(nodes, list) and isinstance(counters, dict)
    lines.append(f"{'nodes':14s} {len(nodes)}")
    for row in nodes:
        mark = "*" if row["self"] else " "
        lines.append(f"  {mark} {row['node']}  has applied {row['applied']}, heard of {row['heard']:.1f} s ago")
    lines += [f"{name:14s} {value}" for name, value in counters.items() if value]
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value != "" else "-"
