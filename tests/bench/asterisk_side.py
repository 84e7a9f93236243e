# SPDX-License-Identifier: GPL-2.0-or-later
"""Asterisk's AudioSocket application in the place of a media worker, under the same load and with the same agent.

SIPp signals the calls, each with the port of one of the generator's callers, to extensions whose digits
the dial plan makes the call's UUID of; the ports that Asterisk answers are where the generator sends to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence

from support.asterisk import CALLER_HOST, Asterisk
from support.ports import free_port
from support.sipp import BINARY, SCENARIOS
from trunkline.gateway.bench.carrier import Progress
from trunkline.gateway.bench.errors import BenchError, RunFailed
from trunkline.gateway.bench.keys import Keys
from trunkline.gateway.bench.plan import Plan

CALLS_PER_S = 150
"Asterisk's application gives a call up that is silent for 2 s, and callers speak when the last call is up."
MAX_CALLS = 250
SETUP_S = 15.0
HOLD_MS = 3_600_000
EXTENSION = "800{:05d}"


class AsteriskCarrier:
    """See `trunkline.gateway.bench.carrier.Carrier`."""

    name = "asterisk"

    def __init__(self, plan: Plan) -> None:
        kind = plan.codec, plan.ptime_ms, plan.dialect, plan.agent_rate_hz, plan.srtp
        if kind != ("PCMU", 20, "audiosocket", 8000, ""):
            raise BenchError(
                "Asterisk's application speaks AudioSocket at 8000 Hz, 20 ms; the dial plan PCMU"
            )
        if plan.calls > MAX_CALLS:
            raise BenchError(f"{plan.calls} calls: Asterisk is compared with at up to {MAX_CALLS}")
        self._plan = plan
        self._asterisk = Asterisk(rtp_ports=4 * plan.calls + 100)
        self.agent_port = self._asterisk.audiosocket_port
        self._sipp: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="tl-sipp-")

    @property
    def pids(self) -> Sequence[int]:
        """Its one process."""
        return [self._asterisk.pid]

    async def start(self) -> None:
        """Booted."""
        await asyncio.to_thread(self._asterisk.start)

    async def connect(
        self, callers: Sequence[int], rtcp: int, agent: str, keys: Keys, progress: Progress
    ) -> list[int]:
        """Wait for all answers."""
        self._sipp = self._call(callers)
        limit = time.monotonic() + SETUP_S
        while len(ports := self._answered()) < len(callers):
            progress(len(ports))
            if self._sipp.poll() is not None or time.monotonic() > limit:
                raise RunFailed(
                    f"Asterisk answered {len(ports)} of {len(callers)} calls\n{self._asterisk.log()[-1000:]}"
                )
            await asyncio.sleep(0.05)
        return [ports[number] for number in range(len(callers))]

    def _call(self, callers: Sequence[int]) -> subprocess.Popen[bytes]:
        folder = pathlib.Path(self._folder.name)
        scenario = (SCENARIOS / "uac_offer.xml").read_text()
        for key, value in (
            ("[called]", "[field1]"),
            ("[sdp_port]", "[field0]"),
            ("[header]", "X-Bench: yes"),
        ):
            scenario = scenario.replace(key, value)
        scenario = scenario.replace("[formats]", "0 101").replace("[codec]", "0 PCMU/8000")
        (folder / "scenario.xml").write_text(scenario.replace("[ptime]", "20"))
        rows = [f"{port};{EXTENSION.format(number)};" for number, port in enumerate(callers)]
        (folder / "calls.csv").write_text("\n".join(["SEQUENTIAL", *rows, ""]))
        assert BINARY is not None, "sipp is not installed"
        command = [BINARY, f"127.0.0.1:{self._asterisk.sip_port}", "-sf", "scenario.xml", "-inf", "calls.csv"]
        command += ["-nostdin", "-i", CALLER_HOST, "-p", str(free_port(CALLER_HOST)), "-mi", "127.0.0.1"]
        command += ["-m", str(len(callers)), "-l", str(len(callers)), "-r", str(CALLS_PER_S)]
        command += ["-d", str(HOLD_MS), "-trace_msg", "-message_file", "messages.log"]
        return subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip

    def _answered(self) -> dict[int, int]:
        """Number of the call -> port that Asterisk named."""
        log = pathlib.Path(self._folder.name) / "messages.log"
        text = log.read_text("utf-8", "replace").replace("\r\n", "\n") if log.exists() else ""
        found = {}
        for answer in re.findall(r"^SIP/2\.0 200 .*?(?=^-{10,}|\Z)", text, re.M | re.S):
            called = re.search(r"^To: .*sip:800(\d{5})@", answer, re.M)
            port = re.search(r"^m=audio (\d+) ", answer, re.M)
            if called and port:
                found[int(called[1])] = int(port[1])
        return found

    def check(self) -> None:
        """Whether SIPp still holds the calls."""
        if self._sipp is not None and self._sipp.poll() is not None:
            raise RunFailed(f"the calls have ended:\n{self._asterisk.log()[-1000:]}")

    def packets(self) -> tuple[int, int]:
        """It is not asked: that would cost it CPU."""
        return 0, 0

    def counters(self) -> Mapping[str, int]:
        """None."""
        return {}

    async def stop(self) -> None:
        """End SIPp and Asterisk."""
        if self._sipp is not None:
            self._sipp.kill()
            self._sipp.wait()
        await asyncio.to_thread(self._asterisk.stop)
        with contextlib.suppress(OSError):
            self._asterisk.clear()
        self._folder.cleanup()


def available() -> str:
    """Why there can be no comparison with Asterisk, or nothing."""
    if BINARY is None:
        return "sipp is not installed"
    return "" if os.uname().machine == "x86_64" else "the Asterisk of the tests is Debian's for amd64"
