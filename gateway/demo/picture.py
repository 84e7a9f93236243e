# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's picture: what was said, what was heard, and how old each frame was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.calls.view import CallView
from trunkline.gateway.demo.analysis import Analysis
from trunkline.gateway.demo.figures import Figure, figures
from trunkline.gateway.demo.speech import SAMPLE_RATE_HZ

INK, MUTED, GRID = "#1c2530", "#6b7785", "#e4e8ec"
SAID, HEARD, DELAY = "#2a6fdb", "#12936f", "#d9622b"
LEFT, RIGHT = 0.06, 0.97
"Edges of everything, in parts of the width."
COLUMNS = 1600
"Points across: more than pixels would show is only a bigger file."


def draw(path: Path, analysis: Analysis, view: CallView | None) -> None:
    """Write the PNG. Raises ModuleNotFoundError where matplotlib is not installed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra, and slow to import
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415

    canvas = Canvas(figsize=(12, 8.2), dpi=150, facecolor="white")
    FigureCanvasAgg(canvas)
    grid = canvas.add_gridspec(
        3, 1, height_ratios=(1, 1, 1.15), left=LEFT, right=RIGHT, top=0.765, bottom=0.075, hspace=0.24
    )
    _header(canvas, analysis, view)
    said, heard, delay = (canvas.add_subplot(grid[row, 0]) for row in range(3))
    length_s = max(
        len(analysis.said) / SAMPLE_RATE_HZ, analysis.heard_at_s + len(analysis.heard) / SAMPLE_RATE_HZ
    )
    _waveform(
        said, analysis.said, 0.0, SAID, "said", "the caller's voice as it left, at the time of its packets"
    )
    _waveform(
        heard,
        analysis.heard,
        analysis.heard_at_s,
        HEARD,
        "heard",
        "what came back from the agent, on the same clock",
    )
    _delays(delay, analysis)
    for axes in (said, heard, delay):
        axes.set_xlim(0, length_s)
    for axes in (said, heard):
        axes.tick_params(labelbottom=False)
    canvas.savefig(path)


def _header(canvas: Any, analysis: Analysis, view: CallView | None) -> None:
    canvas.text(LEFT, 0.945, "A call through trunkline", color=INK, fontsize=21, fontweight="bold")
    if view is not None:
        audio = f"{view.media.codec} {view.media.ptime_ms} ms" if view.media else "no audio"
        line = (
            f"{view.caller} to {view.called}   ·   {audio}   ·   route {view.route}   ·   agent {view.agent}"
        )
        canvas.text(LEFT, 0.912, line, color=MUTED, fontsize=11)
    shown = figures(analysis, view)
    for index, figure in enumerate(shown):
        _figure(canvas, LEFT + index * (RIGHT - LEFT + 0.02) / len(shown), figure)


def _figure(canvas: Any, left: float, figure: Figure) -> None:
    canvas.text(
        left, 0.845, figure.value, color=INK if figure.good else DELAY, fontsize=17, fontweight="bold"
    )
    canvas.text(left, 0.819, figure.name, color=MUTED, fontsize=9.5)


def _plain(axes: Any) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=9, length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _title(axes: Any, name: str, color: str, text: str) -> None:
    axes.text(0.0, 1.045, name, transform=axes.transAxes, color=color, fontsize=12, fontweight="bold")
    axes.annotate(
        text, (0, 1.045), xycoords="axes fraction", xytext=(9 * len(name) + 8, 0.5), textcoords="offset points",
        color=MUTED, fontsize=9.5,
    )  # fmt: skip


def _waveform(axes: Any, pcm: NDArray[np.int16], start_s: float, color: str, name: str, text: str) -> None:
    _plain(axes)
    _title(axes, name, color, text)
    low, high = envelope(pcm)
    at = start_s + (np.arange(len(low)) + 0.5) * (len(pcm) / max(1, len(low))) / SAMPLE_RATE_HZ
    axes.axhline(0, color=GRID, linewidth=0.8, zorder=0)
    axes.fill_between(at, low, high, color=color, linewidth=0.35, edgecolor=color)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])


def _delays(axes: Any, analysis: Analysis) -> None:
    _plain(axes)
    _title(axes, "delay", DELAY, "of each 20 ms frame: from its packet leaving to the same sound coming back")
    axes.set_xlabel("seconds since the first word", color=MUTED, fontsize=9.5)
    axes.set_ylabel("ms", color=MUTED, fontsize=9.5, rotation=0, labelpad=12)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    if not len(analysis.delay_ms):
        axes.text(
            0.5, 0.5, "nothing came back", transform=axes.transAxes, ha="center", color=MUTED, fontsize=13
        )
        axes.set_ylim(0, 1)
        return
    axes.scatter(analysis.frame_at_s, analysis.delay_ms, s=9, color=DELAY, linewidths=0, alpha=0.75)
    median = analysis.delay(50)
    axes.axhline(median, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(0, max(40.0, 1.3 * float(analysis.delay_ms.max())))
    axes.annotate(
        f"median {median:.1f} ms", (1, median), xycoords=("axes fraction", "data"), xytext=(-4, 5),
        textcoords="offset points", ha="right", va="bottom", color=INK, fontsize=9.5, fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
    )  # fmt: skip


def envelope(pcm: NDArray[np.int16]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and greatest sample of each column, from -1 to 1, scaled so that the loudest nearly fills."""
    if not len(pcm):
        return np.zeros(1), np.zeros(1)
    width = max(1, -(-len(pcm) // COLUMNS))
    columns = np.pad(pcm.astype(float), (0, -len(pcm) % width)).reshape(-1, width)
    peak = max(1000.0, float(np.abs(columns).max())) / 0.95
    return columns.min(axis=1) / peak, columns.max(axis=1) / peak
