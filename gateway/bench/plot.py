# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench's picture: cost and delay over the number of calls, or how the delays of one run lie."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trunkline.gateway.bench.errors import BenchError, WrongOption
from trunkline.gateway.bench.figures import DELAY_LIMIT_MS

INK, MUTED, GRID = "#1c2530", "#6b7785", "#e4e8ec"
COLOURS = {"media_worker": "#2a6fdb", "generator": "#9aa5b1", "agent": "#12936f", "bench": "#d9b02b"}
UP, DOWN = "#2a6fdb", "#d9622b"
WIDE_MS = 50.0
"Delays beyond this are drawn on a logarithmic scale."


def check(path: Path) -> None:
    """Before minutes are spent on a run: can it be drawn at all? Raises BenchError."""
    try:
        import matplotlib as mpl  # noqa: F401, PLC0415 - an extra
    except ModuleNotFoundError:
        raise BenchError("--plot needs matplotlib: pip install 'trunkline[demo]'") from None
    if not path.absolute().parent.is_dir():
        raise WrongOption(f"--plot {path}: there is no folder {path.absolute().parent}")
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise WrongOption(f"--plot {path}: give it a name that ends in .png, .svg or .pdf")


def draw(path: Path, runs: Sequence[dict[str, Any]]) -> None:
    """Write the picture of one run, or of several over their calls."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - slow to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    canvas = Figure(figsize=(11, 4.6), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(canvas)
    left, right = canvas.subplots(1, 2)
    several = len({one["calls"] for one in runs}) > 1
    if several:
        _costs(left, runs)
        _delays(right, runs)
    else:
        _histogram(left, runs[-1], "uplink", "added on the way to the agent", UP)
        _histogram(right, runs[-1], "downlink", "packets to the caller, behind their clock", DOWN)
    one = runs[-1]
    calls = "" if several else f"{one['calls']} calls, "
    machine = f"{one['machine']['cpu']}, {one['machine']['cores']} cores"
    kind = f"{one['codec']} at {one['ptime_ms']} ms, {one['dialect']} dialect at {one['agent_rate_hz']} Hz"
    canvas.suptitle(f"{calls}{kind}  ·  {machine}", color=INK, fontsize=10)
    try:
        canvas.savefig(path)
    except OSError as error:
        raise BenchError(f"--plot {path}: {error.strerror or error}") from None


def _costs(axes: Any, runs: Sequence[dict[str, Any]]) -> None:
    calls = [one["calls"] for one in runs]
    for name in runs[0]["cpu_us_per_call_second"]:
        costs = [one["cpu_us_per_call_second"][name] for one in runs]
        axes.plot(calls, costs, "o-", ms=4, color=COLOURS.get(name, MUTED), label=name.replace("_", " "))
    _dress(axes, "CPU per call and second", "calls at once", "µs")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _delays(axes: Any, runs: Sequence[dict[str, Any]]) -> None:
    calls = [one["calls"] for one in runs]
    for key, colour, name in (("uplink_ms", UP, "to the agent"), ("downlink_ms", DOWN, "to the caller")):
        for part, style in (("p50", ":"), ("p99", "-"), ("p999", "--")):
            values = [float("nan") if one[key][part] is None else one[key][part] for one in runs]
            label = f"{name}, {part.replace('999', '99.9')}"
            axes.plot(calls, values, style, marker="o", ms=3, color=colour, label=label)
    axes.axhline(DELAY_LIMIT_MS, color=MUTED, lw=0.8)
    _dress(axes, "added delay", "calls at once", "ms")
    if axes.get_ylim()[1] > WIDE_MS:  # an overloaded run would flatten all others
        axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)


def _histogram(axes: Any, one: dict[str, Any], way: str, title: str, colour: str) -> None:
    found, spread = one[way]["histogram"], one[f"{way}_ms"]
    edges = [0.0, *found["below_ms"]]
    total = max(sum(found["count"]), 1)
    last = max((i for i, count in enumerate(found["count"]) if count), default=0)
    shown = slice(0, last + 1)
    widths = [after - before for before, after in itertools.pairwise(edges)]
    # By width: the buckets grow with the delay.
    shares = [100 * count / total / width for count, width in zip(found["count"], widths, strict=True)]
    axes.bar(edges[:-1][shown], shares[shown], widths[shown], align="edge", color=colour)
    for part in ("p50", "p99", "p999"):
        if spread[part] is not None:
            axes.axvline(spread[part], color=INK, lw=0.8, ls=":")
            axes.text(
                spread[part], 0.97, f" {part.replace('999', '99.9')} {spread[part]:.1f}", fontsize=7, color=INK,
                transform=axes.get_xaxis_transform(), va="top", rotation=90,
            )  # fmt: skip
    _dress(axes, title, "ms", "% of frames per ms")


def _dress(axes: Any, title: str, across: str, up: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.set_xlabel(across, fontsize=8, color=MUTED)
    axes.set_ylabel(up, fontsize=8, color=MUTED)
    axes.tick_params(labelsize=8, colors=MUTED)
    axes.grid(color=GRID, lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
