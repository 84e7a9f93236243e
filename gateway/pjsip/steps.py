# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the commands of a build one after the other, with a log and somebody watching."""

from __future__ import annotations

import collections
import dataclasses
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Protocol

from trunkline.gateway.pjsip.errors import BuildFailed


class Watcher(Protocol):
    """Whoever shows progress; see gateway/cli/progress.py."""

    def step_started(self, title: str) -> None: ...
    def step_output(self, line: str) -> None: ...
    def step_ended(self, *, ok: bool) -> None: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One command of the build."""

    title: str
    command: tuple[str, ...]
    folder: Path


@dataclasses.dataclass(slots=True)
class StepRunner:
    """Runs steps; all their output goes to the log, each line also to the watcher."""

    log: Path
    environment: Mapping[str, str]
    watcher: Watcher

    def run(self, step: Step) -> None:
        """Run one command to its end; raises BuildFailed with its last words."""
        self.watcher.step_started(step.title)
        ended_well = False
        try:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"\n### {step.title}: {' '.join(step.command)}  (in {step.folder})\n")
                log.flush()
                ended_well = self._follow(step, log)
        finally:
            self.watcher.step_ended(ok=ended_well)

    def _follow(self, step: Step, log: IO[str]) -> bool:
        last_lines: collections.deque[str] = collections.deque(maxlen=12)
        try:
            process = subprocess.Popen(
                step.command,
                cwd=step.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise BuildFailed(f"{step.command[0]} cannot be run: {error.strerror}", CURE, self.log) from error
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                last_lines.append(line.rstrip())
                self.watcher.step_output(line.rstrip())
        if process.returncode != 0:
            tail = "\n".join(f"    {line}" for line in last_lines)
            raise BuildFailed(
                f"{step.title} failed with exit code {process.returncode}:\n{tail}", CURE, self.log
            )
        return True


CURE = "the log says more; `trunkline doctor` says which packages a build needs"
