# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps on a terminal and elsewhere."""

from __future__ import annotations

import io
import time

from rich.console import Console

from trunkline.gateway.cli.progress import LiveSteps, StepView, shown_steps


def two_steps(view: StepView) -> None:
    """One that works, with output, and one that fails."""
    view.step_started("compile pjlib")
    view.step_output("gcc -c " + "long/" * 40 + "sock.c")
    time.sleep(0.3)  # two refreshes of the display
    view.step_ended(ok=True)
    view.step_started("compile [pjsip]")
    view.step_ended(ok=False)


def test_without_a_terminal_each_step_is_one_line() -> None:
    """Nothing is redrawn in a log file, and brackets are no markup."""
    out = io.StringIO()
    with shown_steps(Console(file=out, width=80)) as view:
        two_steps(view)
    assert out.getvalue().splitlines() == [
        "  compile pjlib ... ok (0 s)",
        "  compile [pjsip] ... FAILED (0 s)",
    ]


def test_on_a_terminal_the_running_step_shows_its_latest_line() -> None:
    """The end of the line, which names the file; finished steps stay above it."""
    out = io.StringIO()
    with shown_steps(Console(file=out, width=80, force_terminal=True, color_system=None)) as view:
        assert isinstance(view, LiveSteps)
        two_steps(view)
    shown = out.getvalue()
    assert "long/sock.c" in shown
    assert "gcc -c" not in shown
    assert "✔ compile pjlib" in shown
    assert "✘ compile [pjsip]" in shown
