# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline agent echo` as a process, for tests that kill it."""

from __future__ import annotations

import os
import socket
import subprocess
from types import TracebackType
from typing import Self

from support.gateway import TRUNKLINE
from support.waiting import wait_for


class EchoProcess:
    """The echo agent that comes with trunkline; a context manager."""

    def __init__(self, address: str, *arguments: str) -> None:
        """`address` is `unix:/path`."""
        self.address = address
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> None:
        """Start (again); returns when it listens."""
        env = {key: value for key, value in os.environ.items() if not key.startswith("TRUNKLINE")}
        self._process = subprocess.Popen(
            [TRUNKLINE, "agent", "echo", "--listen", self.address, *self._arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=env,
        )  # fmt: skip
        wait_for(self._listens, f"the echo agent listens on {self.address}")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None, "not started"
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        assert self._process is not None and self._process.poll() is None, "the echo agent has ended"
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.address.removeprefix("unix:")) == 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
