# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU time of the processes under test, and of everybody else on the machine meanwhile.

CPU time says what a call costs, whoever else is busy; how busy the others were says
what the delays are worth.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Mapping

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


def cpu_s(pid: int) -> float:
    """User and system time that a process has used; 0 when it is gone."""
    with contextlib.suppress(OSError):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS_PER_S
    return 0.0


def main_thread_cpu_s(pid: int) -> float:
    """The same of its main thread alone; of the gateway, the other thread is that of PJSIP."""
    with contextlib.suppress(OSError):
        stat = pathlib.Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS_PER_S
    return 0.0


def udp_drops(ports: range) -> int:
    """Datagrams that the kernel threw away because the socket of one of these local ports was full."""
    drops = 0
    for line in pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[1].rpartition(":")[2], 16) in ports:
            drops += int(words[12])
    return drops


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """CPU within a span of time, in percent of one core."""

    wall_s: float
    of: Mapping[str, float]
    others: float
    "of all other processes that are there at the end"
    idle: float
    "of all cores together; what is missing are processes that have come and gone, and interrupts"
    steal: float
    load: str
    "/proc/loadavg at the end, first three figures"

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return dataclasses.asdict(self) | {"of": dict(self.of), "cores": CORES}


class Meter:
    """From its making to `read`.

    Others are summed up by process: /proc/stat counts by looking at the clock tick who
    runs, and finds those too often who sleep until a tick.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._before = _all_processes()
        self._idle, self._steal = _idle_and_steal_s()
        self._start = time.monotonic()

    def read(self) -> Share:
        """Percent of a core for each since the meter was made."""
        wall = max(time.monotonic() - self._start, 1e-9)
        used = {pid: seconds - self._before.get(pid, 0.0) for pid, seconds in _all_processes().items()}
        share = {name: 100 * used.pop(pid, 0.0) / wall for name, pid in self._pids.items()}
        load = " ".join(pathlib.Path("/proc/loadavg").read_text().split()[:3])
        idle, steal = _idle_and_steal_s()
        return Share(
            wall_s=wall,
            of=share,
            others=100 * sum(used.values()) / wall,
            idle=100 * (idle - self._idle) / wall,
            steal=100 * (steal - self._steal) / wall,
            load=load,
        )


def _all_processes() -> dict[int, float]:
    return {int(entry.name): cpu_s(int(entry.name)) for entry in pathlib.Path("/proc").glob("[0-9]*")}


def _idle_and_steal_s() -> tuple[float, float]:
    """Seconds that all cores together had nothing to do, and that the host took from them, since boot."""
    words = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(words[4]) + int(words[5])) / TICKS_PER_S, int(words[8]) / TICKS_PER_S
