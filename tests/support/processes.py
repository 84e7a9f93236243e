# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel knows of a process: children, descriptors, sockets, memory, threads, CPU time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """A process at one moment."""

    descriptors: int
    udp_sockets: int
    threads: int
    rss_kb: int
    cpu_s: float


def children(pid: int) -> list[int]:
    """Processes that it has started and that still run."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def usage(pid: int) -> Usage:
    """What it holds and has used; raises OSError when it is gone."""
    links = _descriptors(pid)
    udp = _udp_inodes(pid)
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Usage(
        descriptors=len(links),
        udp_sockets=sum(link in udp for link in links),
        threads=int(re.search(r"^Threads:\s*(\d+)", status, re.M)[1]),  # type: ignore[index]
        rss_kb=int(re.search(r"^VmRSS:\s*(\d+)", status, re.M)[1]),  # type: ignore[index]
        cpu_s=(int(stat[11]) + int(stat[12])) / TICKS_PER_S,
    )


def _descriptors(pid: int) -> list[str]:
    links = []
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            links.append(os.readlink(entry))
    return links


def _udp_inodes(pid: int) -> set[str]:
    lines = pathlib.Path(f"/proc/{pid}/net/udp").read_text().splitlines()[1:]
    return {f"socket:[{line.split()[9]}]" for line in lines}
