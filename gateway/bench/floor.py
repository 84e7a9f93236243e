# SPDX-License-Identifier: GPL-2.0-or-later
"""The floor to compare a media worker with: a C program that makes only its system calls (`floor.c`)."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from trunkline.gateway.bench import build, machine
from trunkline.gateway.bench.carrier import Progress
from trunkline.gateway.bench.errors import BenchError
from trunkline.gateway.bench.keys import Keys
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.processes import Child

SOURCE = Path(__file__).with_name("floor.c")
RATE_HZ = {"trunkline": 16000, "audiosocket": 8000}


class FloorCarrier:
    """See `carrier.Carrier`."""

    name = "floor"
    agent_port = 0

    def __init__(self, plan: Plan) -> None:
        if (plan.codec, plan.agent_rate_hz, plan.srtp) != ("PCMU", RATE_HZ[plan.dialect], ""):
            rates = ", ".join(f"{dialect} at {rate} Hz" for dialect, rate in RATE_HZ.items())
            raise BenchError(f"the floor carries PCMU in the clear: {rates}")
        self._plan = plan
        self._folder = contextlib.ExitStack()
        self._child: Child | None = None

    @property
    def _program(self) -> Child:
        assert self._child is not None, "it has been started"
        return self._child

    @property
    def pids(self) -> Sequence[int]:
        """Its one process."""
        return [self._program.pid]

    async def start(self) -> None:
        """Built if need be; without sockets until `connect` has read its ports."""
        machine.need_descriptors(3 * self._plan.calls + 200)
        folder = Path(self._folder.enter_context(tempfile.TemporaryDirectory(prefix="tl-floor-")))
        samples = 8 * self._plan.ptime_ms
        command = [str(build.program(SOURCE)), self._plan.dialect, str(self._plan.calls), str(samples)]
        self._child = Child("floor", command, folder)

    async def connect(
        self, callers: Sequence[int], rtcp: int, agent: str, keys: Keys, progress: Progress
    ) -> list[int]:
        """It sends no RTCP."""
        ports = [int(port) for port in await self._program.line("ports")]
        kind, _, where = agent.partition(":")
        self._program.tell(
            " ".join(["go", where if kind == "unix" else where.rpartition(":")[2], *map(str, callers)])
        )
        await self._program.line("up")
        progress(len(ports))
        return ports

    def check(self) -> None:
        """What becomes of it shows in the frames."""

    def packets(self) -> tuple[int, int]:
        """It counts nothing."""
        return 0, 0

    def counters(self) -> Mapping[str, int]:
        """It counts nothing."""
        return {}

    async def stop(self) -> None:
        """End it."""
        if self._child is not None:
            self._child.kill()
        self._folder.close()
