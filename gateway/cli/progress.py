# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps with elapsed time: live on a terminal, a plain line each elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from trunkline.gateway.redaction import printable

REFRESH_HZ = 8


class StepView(Protocol):
    """What a long job reports to; trunkline.gateway.pjsip.steps.Watcher is the same shape."""

    def step_started(self, title: str) -> None: ...
    def step_output(self, line: str) -> None: ...
    def step_ended(self, *, ok: bool) -> None: ...


class PlainSteps:
    """For pipes and log files: one line when a step ends, so that nothing is redrawn."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._started = 0.0

    def step_started(self, title: str) -> None:
        self._title, self._started = title, time.monotonic()

    def step_output(self, line: str) -> None:
        """Goes to the log only."""

    def step_ended(self, *, ok: bool) -> None:
        elapsed = time.monotonic() - self._started
        mark = "ok" if ok else "FAILED"
        self._console.print(f"  {self._title} ... {mark} ({elapsed:.0f} s)", markup=False, highlight=False)


class LiveSteps:
    """For terminals: a spinner, the time so far and the latest line of output under the finished steps."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._title = ""
        self._line = ""
        self._started = 0.0

    def step_started(self, title: str) -> None:
        self._title, self._line, self._started = title, "", time.monotonic()
        self._live.update(_Running(self))

    def step_output(self, line: str) -> None:
        # Compiler lines are long and all begin alike; the end names the file.
        self._line = printable(line)[-self._live.console.width + 6 :]

    def step_ended(self, *, ok: bool) -> None:
        mark = Text("  ✔ ", "green") if ok else Text("  ✘ ", "red")
        self._live.console.print(mark + Text(self._title) + Text(f"  {self.elapsed_s:.0f} s", "dim"))
        self._live.update("")

    @property
    def elapsed_s(self) -> float:
        """Time since the current step began."""
        return time.monotonic() - self._started

    def render(self) -> RenderableType:
        """The running step, drawn anew at each refresh."""
        title = Text(f"{self._title}  {self.elapsed_s:.0f} s")
        spinner = Spinner("dots", title)
        return Group(
            Text("  ") + spinner.render(time.monotonic()), Text(f"    {self._line}", "dim", no_wrap=True)
        )


class _Running:
    """Lets Live ask for the current picture instead of showing the one that was handed over."""

    def __init__(self, steps: LiveSteps) -> None:
        self._steps = steps

    def __rich__(self) -> RenderableType:
        return self._steps.render()


@contextlib.contextmanager
def shown_steps(console: Console) -> Iterator[StepView]:
    """A view that fits the console."""
    if not console.is_terminal:
        yield PlainSteps(console)
        return
    with Live("", console=console, refresh_per_second=REFRESH_HZ, transient=True) as live:
        yield LiveSteps(live)
