# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway's own delay histograms, read from /metrics before and after, and their percentiles."""

from __future__ import annotations

import math
import re

Histogram = dict[float, float]
"upper edge in ms -> cumulative count, over all workers"

_LINE = re.compile(r"^(trunkline_\w+)_bucket\{(.*)\}\s+(\S+)$")


def read(page: str, name: str) -> Histogram:
    """The histogram `trunkline_<name>` of a metrics page."""
    found: Histogram = {}
    for line in page.splitlines():
        match = _LINE.match(line)
        if match and match[1] == f"trunkline_{name}":
            edge = re.search(r'le="([^"]+)"', match[2])
            assert edge is not None, line
            upper = float(edge[1]) * 1000
            found[upper] = found.get(upper, 0.0) + float(match[3])
    return found


def between(before: Histogram, after: Histogram) -> Histogram:
    """What was added."""
    return {edge: count - before.get(edge, 0.0) for edge, count in after.items()}


def percentile(histogram: Histogram, share: float) -> float:
    """Upper edge in ms of the bucket in which that share lies; nan when empty."""
    total = max(histogram.values(), default=0.0)
    if not total:
        return math.nan
    return next(edge for edge in sorted(histogram) if histogram[edge] >= share * total)


def summary(histogram: Histogram) -> dict[str, float]:
    """p50, p99, the bucket of the slowest, and how many there are."""
    return {
        "p50_ms": percentile(histogram, 0.5),
        "p99_ms": percentile(histogram, 0.99),
        "max_ms": percentile(histogram, 1.0),
        "count": max(histogram.values(), default=0.0),
    }
