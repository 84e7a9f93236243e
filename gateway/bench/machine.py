# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU time and memory of processes, and what kind of machine this is, from /proc."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from trunkline.gateway.bench.errors import BenchError
from trunkline.gateway.media import compiled

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_ns(pid: int) -> int:
    """Time on a CPU of all threads, user and system, to the microsecond where the kernel has schedstat; 0: gone."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            if (task / "schedstat").exists():
                total += int((task / "schedstat").read_text().split()[0])
            else:  # in clock ticks of 10 ms
                words = (task / "stat").read_text().rpartition(")")[2].split()
                total += (int(words[11]) + int(words[12])) * 1_000_000_000 // _TICKS_PER_S
    return total


def rss_mb(pid: int) -> float:
    """Resident memory, shared pages included; 0 when it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    return 0.0


class Meter:
    """CPU time of some processes, and of all others together, from its making on."""

    def __init__(self, pids: Mapping[str, Iterable[int]]) -> None:
        """Processes by name; our own is added as `bench`."""
        self._pids = {name: list(of) for name, of in pids.items()} | {"bench": [os.getpid()]}
        self._total = _total_ticks()
        self._start_ns = time.monotonic_ns()
        self._before = self._used()

    def read(self) -> Cpu:
        """Since the meter was made."""
        used = {name: ns - self._before[name] for name, ns in self._used().items()}
        wall_s = (time.monotonic_ns() - self._start_ns) / 1e9
        total_s = (_total_ticks() - self._total) / _TICKS_PER_S
        return Cpu(wall_s, used, max(total_s - sum(used.values()) / 1e9, 0.0))

    def _used(self) -> dict[str, int]:
        return {name: sum(map(cpu_ns, pids)) for name, pids in self._pids.items()}


class Cpu:
    """CPU time within a span of time."""

    def __init__(self, wall_s: float, used_ns: Mapping[str, int], others_s: float) -> None:
        self.wall_s, self.used_ns, self.others_s = wall_s, dict(used_ns), others_s

    def us_per_call_second(self, calls: int) -> dict[str, float]:
        """Microseconds of CPU for each second of each call."""
        return {name: round(ns / 1000 / self.wall_s / calls, 2) for name, ns in self.used_ns.items()}

    def percent(self) -> dict[str, float]:
        """Of one core."""
        return {name: round(ns / 1e7 / self.wall_s, 1) for name, ns in self.used_ns.items()}

    @property
    def others_percent(self) -> float:
        """What everybody else on the machine used meanwhile, in percent of one core."""
        return round(100 * self.others_s / self.wall_s, 1)


def _total_ticks() -> int:
    """User, nice, system, irq and softirq of all cores."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(words[i]) for i in (1, 2, 3, 6, 7))


def describe() -> dict[str, str | int]:
    """The machine, for a table of figures."""
    model = platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return {
        "cpu": model,
        "cores": os.cpu_count() or 1,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "media_kernels": compiled.in_use(),
    }


def need_descriptors(count: int) -> None:
    """Raise the soft limit of open files as far as needed; BenchError when the hard one forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise BenchError(
                f"so many calls need {count} open files, and this shell may have {hard}: "
                f"raise the limit (`ulimit -Hn {count}` as root, LimitNOFILE= in a systemd unit, "
                f"or /etc/security/limits.conf), or ask for fewer calls"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
