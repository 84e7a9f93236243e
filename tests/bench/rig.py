# SPDX-License-Identifier: GPL-2.0-or-later
"""What a measurement is made of: a gateway, an agent, a speaker and SIPp, each a process of its own."""

from __future__ import annotations

import csv
import os
import pathlib
import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from support.echo_process import EchoProcess
from support.gateway import GatewayProcess
from support.sipp import Sipp, SippFailed

TESTS = pathlib.Path(__file__).resolve().parents[1]
START_S = 20.0
END_S = 60.0
RTP_PORTS = range(12_000, 32_000)
"Below the ports that the kernel gives out by itself (32768 and up), from which SIPp and others take theirs."


class Program:
    """A program of this folder: says a line when it is ready, ends at the end of its input."""

    def __init__(self, module: str, *arguments: str, record: pathlib.Path | None = None) -> None:
        self._record = record
        command = [sys.executable, "-m", f"bench.{module}", *arguments]
        command += ["--record", str(record)] if record else []
        env = {**os.environ, "PYTHONPATH": str(TESTS), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.pid = self._process.pid
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_S)
        self.greeting = self._process.stdout.readline().decode().strip() if ready else ""
        if not self.greeting:
            self.kill()
            raise RuntimeError(f"bench.{module} did not start")

    def tell(self, word: str) -> None:
        """A line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    def finish(self) -> Mapping[str, NDArray[Any]]:
        """End it; returns what it has recorded."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(END_S)
        if code:
            raise RuntimeError(f"{self._process.args} ended with {code}")
        if self._record is None:
            return {}
        with np.load(self._record) as archive:
            return dict(archive)

    def kill(self) -> None:
        """If it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class BenchGateway(GatewayProcess):
    """Without a follower of its events: what nobody asked for costs CPU, too."""

    _measured = False

    def __enter__(self) -> Self:
        super().__enter__()
        self._measured = True
        return self

    def follow(self) -> None:
        """Nobody listens, once the gateway is known to be ready."""
        with self.api.stream("GET", "/v1/events", timeout=None):
            while not self._measured and self.running:
                time.sleep(0.05)

    def page(self) -> str:
        """Its metrics."""
        return self.api.get("/metrics").raise_for_status().text


class Rig:
    """All processes but SIPp; a context manager. `agent` is `counting` or `echo` (that of trunkline)."""

    def __init__(
        self,
        *,
        calls: int,
        agent: str = "counting",
        workers: int = 1,
        sample_rate_hz: int = 16000,
        record: bool = False,
        mute: bool = False,
        silent_ms: int = 1000,
        no_media_timeout_s: int = 60,
    ) -> None:
        self._calls, self._agent_kind, self._workers = calls, agent, workers
        self._rate_hz, self._record, self._mute, self._silent_ms = sample_rate_hz, record, mute, silent_ms
        self._no_media_timeout_s = no_media_timeout_s
        self._folder = tempfile.TemporaryDirectory(prefix="tl-bench-")
        self.folder = pathlib.Path(self._folder.name)
        wanted = 2 * (calls + calls // 10 + 10)
        first = random.randrange(RTP_PORTS.start, RTP_PORTS.stop - wanted, 2)
        self.rtp_ports = range(first, first + wanted)
        self.gateway: BenchGateway
        self.speaker: Program
        self.agent: Program | EchoProcess

    def __enter__(self) -> Self:
        socket_path = self.folder / "agent.sock"
        record = self.folder if self._record else None
        if self._agent_kind == "counting":
            target = record / "agent.npz" if record else None
            self.agent = Program("counting_agent", "--listen", str(socket_path), record=target)
        else:
            self.agent = EchoProcess(f"unix:{socket_path}")
            self.agent.start()
        try:
            arguments = ["--silent-ms", str(self._silent_ms), *(["--mute"] if self._mute else [])]
            self.speaker = Program("speaker", *arguments, record=record / "voice.npz" if record else None)
            self.gateway = BenchGateway(self.folder, **self._settings(f"unix:{socket_path}"))
            self.gateway.__enter__()
        except BaseException:
            self._end()
            raise
        return self

    def _settings(self, address: str) -> dict[str, Any]:
        agent = {"name": "echo", "address": address, "sample_rate_hz": self._rate_hz}
        ports = [self.rtp_ports.start, self.rtp_ports.stop - 1]
        return {
            "media": {
                "port_range": ports,
                "workers": self._workers,
                "no_media_timeout_s": self._no_media_timeout_s,
            },
            "limits": {"max_calls": len(self.rtp_ports) // 2, "max_worker_load": 0},
            "logging": {"level": "info"},
            "agent": [agent],
            "route": [{"name": "all", "called": "*", "agent": "echo"}],
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.gateway.__exit__(kind, error, trace)
        finally:
            self._end()

    def _end(self) -> None:
        self.agent.kill()
        if hasattr(self, "speaker"):
            self.speaker.kill()
        self._folder.cleanup()

    @property
    def pids(self) -> dict[str, int]:
        """All processes by the names that tables have."""
        workers = self.gateway.workers
        names = ["worker"] if len(workers) == 1 else [f"worker {i}" for i in range(len(workers))]
        ours = {"gateway": self.gateway.process.pid, **dict(zip(names, workers, strict=True))}
        return {**ours, "agent": self.agent.pid, "speaker": self.speaker.pid}

    def sipp(self, *, calls: int, rate: int, hold_ms: int, timeout_s: int) -> SippRun:
        """SIPp places calls; their audio is the speaker's."""
        return SippRun(self, calls, rate, hold_ms, timeout_s)

    @property
    def voice_port(self) -> int:
        """Where the callers want their audio."""
        return int(self.speaker.greeting.split()[1])


class SippRun:
    """SIPp with its statistics; a context manager."""

    def __init__(self, rig: Rig, calls: int, rate: int, hold_ms: int, timeout_s: int) -> None:
        self._statistics = rig.folder / "sipp.csv"
        self._statistics.unlink(missing_ok=True)
        self._calls = calls
        self._sipp = Sipp(
            "uac_basic", rig.gateway.sip_port, calls=calls, rate=rate, at_once=len(rig.rtp_ports) // 2, trace=False,
            pause_ms=hold_ms, timeout_s=timeout_s, keys={"called": "600", "sdp_port": str(rig.voice_port)},
            extra=("-trace_stat", "-stf", str(self._statistics), "-fd", "1"),
        )  # fmt: skip

    def wait(self) -> dict[str, Any]:
        """To the end: calls that succeeded and failed, retransmissions, mean time to the answer."""
        error = ""
        try:
            self._sipp.wait()
        except SippFailed as failure:
            error = str(failure)
        last = self._last_statistics()
        done = int(last.get("SuccessfulCall(C)", 0))
        return {
            "calls": self._calls,
            "succeeded": done,
            "failed": self._calls - done,
            "retransmissions": int(last.get("Retransmissions(C)", 0)),
            "answer_ms": milliseconds(last.get("ResponseTime1(C)", "")),
            "error": error,
        }

    def _last_statistics(self) -> dict[str, str]:
        if not self._statistics.exists():
            return {}
        with self._statistics.open(encoding="utf-8") as text:
            rows = list(csv.DictReader(text, delimiter=";"))
        return rows[-1] if rows else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sipp.__exit__(kind, error, trace)


def milliseconds(text: str) -> float:
    """Of SIPp's hh:mm:ss:microseconds; nan when it says nothing."""
    parts = text.split(":")
    if len(parts) != 4:
        return float("nan")
    hours, minutes, seconds, micro = map(int, parts)
    return (hours * 3600 + minutes * 60 + seconds) * 1000 + micro / 1000
