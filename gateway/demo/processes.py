# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's child processes: started, waited for, and never left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trunkline.gateway.demo.errors import DemoError

POLL_S = 0.05
STOP_S = 6.0
"The gateway says BYE to its calls before it leaves; what takes longer is killed."
TAIL_LINES = 12

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def trunkline_command(*arguments: str) -> list[str]:
    """Our own program, of the installation that runs now."""
    script = Path(sys.executable).with_name("trunkline")
    if script.exists():
        return [str(script), *arguments]
    return [sys.executable, "-c", "from trunkline.gateway.cli import main; main()", *arguments]


def _before_exec() -> None:
    """In the child: die with the demo even if that is killed and cannot clean up (prctl(2), Linux)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Child:
    """One program, with its output in a log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
        talks: bool = False,
    ) -> None:
        """`talks` connects its standard input and output to us; then only its errors are in the log."""
        self.name = name
        self.log = log
        with log.open("wb") as output:
            try:
                # A session of its own: Ctrl-C is for the demo, which ends its children in order.
                self.process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if talks else output,
                    stderr=output,
                    env=dict(os.environ if env is None else env),
                    text=talks,
                    bufsize=1 if talks else -1,
                    start_new_session=True,
                    preexec_fn=_before_exec,  # noqa: PLW1509 - runs one system call, before any thread matters
                )
            except OSError as problem:
                raise DemoError(f"{name} cannot be started: {command[0]}: {problem.strerror}") from None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of its log."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def wait_until(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Wait for `ready`; raises DemoError with the log's end when the program ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{self.name} did not {what} within {timeout_s:.0f} s", self.tail())
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raises DemoError when it has ended."""
        code = self.process.poll()
        if code is not None:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise DemoError(f"{self.name} {how}; its log is {self.log}", self.tail())

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        if self.running:
            self.process.terminate()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """SIGTERM, and SIGKILL when that is not heard."""
        self.ask_to_stop()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
