# SPDX-License-Identifier: GPL-2.0-or-later
"""Results as plain tables, which can be copied into a report as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns; the first to the left, the others to the right."""
    cells = [[text(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for first, *others in cells:
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *numbers]).rstrip())
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([f"\n{title}", *(f"  {line}" for line in (lines[0], rule, *lines[1:]))])


def text(value: Any) -> str:
    """Numbers as people want them."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def spread_row(name: str, one: Mapping[str, float]) -> list[Any]:
    """Name, p50, p99, max, count."""
    count = one.get("count")
    return [
        name,
        one.get("p50_ms"),
        one.get("p99_ms"),
        one.get("max_ms"),
        None if count is None else int(count),
    ]


def verdicts(entries: Sequence[tuple[str, Any, str, bool]]) -> str:
    """What was wanted, what was found, and whether that is met."""
    rows = [[name, found, wanted, "met" if met else "MISSED"] for name, found, wanted, met in entries]
    return table("targets", ["", "found", "wanted", ""], rows)
