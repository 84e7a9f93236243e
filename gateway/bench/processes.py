# SPDX-License-Identifier: GPL-2.0-or-later
"""Generator and agent: child processes that say a line when they are ready.

None outlives us, whatever ends us: the generator is killed with its parent (prctl), and an agent ends
when its standard input does.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trunkline.gateway.bench.errors import BenchError

START_S = 30.0
END_S = 120.0


def python(module: str, *arguments: str) -> list[str]:
    """A program of this package."""
    return [sys.executable, "-m", f"trunkline.gateway.bench.{module}", *arguments]


class Child:
    """One program; its errors go to a file, from which a failure is told."""

    def __init__(self, name: str, command: Sequence[str], folder: Path) -> None:
        self.name = name
        self._errors = folder / f"{name}.errors"
        with self._errors.open("wb") as errors:
            try:
                self._process = subprocess.Popen(
                    list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                    # A group, so that Ctrl-C is for the bench; not a session, as in media/worker_process.py.
                    process_group=0,
                )  # fmt: skip
            except OSError as error:
                raise BenchError(f"the {name} cannot be started: {error}") from None
        self.pid = self._process.pid

    async def line(self, word: str, limit_s: float = START_S) -> list[str]:
        """Wait for a line that begins with this word; returns the words after it."""
        assert self._process.stdout is not None
        try:
            read = asyncio.to_thread(self._process.stdout.readline)
            words = (await asyncio.wait_for(read, limit_s)).decode().split()
        except TimeoutError:
            self.kill()
            raise BenchError(f"the {self.name} has said nothing for {limit_s:.0f} s") from None
        if words[:1] != [word]:
            self.kill()
            raise BenchError(
                f"the {self.name} has failed: {self.errors() or 'it said ' + ' '.join(words)[:200]}"
            )
        return words[1:]

    def tell(self, text: str) -> None:
        """A line to its standard input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchError(f"the {self.name} has gone: {self.errors()}") from None

    async def finish(self) -> None:
        """End its input, and wait for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = await asyncio.to_thread(self._process.wait, END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchError(f"the {self.name} did not end within {END_S:.0f} s") from None
        if code:
            raise BenchError(f"the {self.name} has failed ({code}): {self.errors()}")

    def errors(self) -> str:
        """Last lines that it printed."""
        return "\n".join(self._errors.read_text("utf-8", "replace").strip().splitlines()[-5:])

    def kill(self) -> None:
        """If it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
