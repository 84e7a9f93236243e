# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors, memory, cores, clock and kernel settings."""

from __future__ import annotations

import ctypes
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from trunkline.gateway.config import Config
from trunkline.gateway.config.sections import DESCRIPTORS_BESIDES, DESCRIPTORS_PER_CALL, Limits
from trunkline.gateway.doctor.finding import Finding, fail, ok, warn

BYTES_PER_CALL = 1 << 20
"generous: PJSIP took 0.14 to 1.1 MB by settings, our own share is smaller"
BYTES_BESIDES = 400 << 20
SIP_BUFFER_BYTES = 4 << 20
"what our PJSIP asks for its UDP socket (config_site.h)"
RTP_BUFFER_BYTES = 128 << 10
"a tenth of a second of packets at several times the usual rate, with the kernel's bookkeeping"
STEADY_CLOCKS = {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page", "xen"}
"read in user space or nearly; the others cost a system call or a bus access each time"
ADJTIMEX_UNSYNCHRONISED = 5
"TIME_ERROR of adjtimex(2)"


def examine(config: Config) -> Iterator[Finding]:
    """Everything that the kernel and the hardware decide."""
    yield about_descriptors(config.limits, *resource.getrlimit(resource.RLIMIT_NOFILE))
    # How many calls a core carries is not known of this machine: it depends on its kernel, its neighbours
    # and the agents, and a number from another machine would be believed.
    yield ok("cores", str(len(os.sched_getaffinity(0))))
    available = available_memory_bytes()
    if available is not None:
        yield about_memory(config.limits.max_calls, available)
    yield about_clock()
    yield from about_time_of_day()
    yield from about_buffers()


def about_descriptors(limits: Limits, soft: int, hard: int) -> Finding:
    """The hard limit against what one process needs: the gateway raises its soft limit to it when it starts."""
    name = "file descriptors"
    needed = f"{limits.max_calls} calls need {limits.descriptors} in each process"
    if hard == resource.RLIM_INFINITY:
        return ok(name, f"unlimited, {needed}")
    if hard >= limits.descriptors:
        raised = "" if soft >= hard else f" (the soft limit {soft} is raised at start)"
        return ok(name, f"{hard}, {needed}{raised}")
    room = max(0, (hard - DESCRIPTORS_BESIDES) // DESCRIPTORS_PER_CALL)
    found = f"limit {hard}, {needed}: room for {room}"
    cure = (
        f"LimitNOFILE={limits.descriptors} in the systemd unit, nofile in limits.conf, "
        f"or `ulimit -Hn {limits.descriptors}` as root"
    )
    return warn(name, found, cure) if room else fail(name, found, cure)


def available_memory_bytes() -> int | None:
    """What the kernel says it could hand out, cut by the limit of a container; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
    available = sizes.get("MemAvailable")
    limit = read_number(Path("/sys/fs/cgroup/memory.max"))
    used = read_number(Path("/sys/fs/cgroup/memory.current")) or 0
    if available is None or limit is None:
        return available
    return min(available, max(0, limit - used))


def about_memory(max_calls: int, available: int) -> Finding:
    """Room for the configured calls?"""
    needed = max_calls * BYTES_PER_CALL + BYTES_BESIDES
    found = f"{available / 2**30:.1f} GiB available, {max_calls} calls may need {needed / 2**30:.1f}"
    if available < needed:
        return warn("memory", found, "lower limits.max_calls or add memory")
    return ok("memory", found)


def about_clock() -> Finding:
    """The monotonic clock paces every packet: it must be fine-grained, and cheap to read."""
    info = time.get_clock_info("monotonic")
    source = read_text(Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")) or "unknown"
    found = f"{source}, resolution {info.resolution * 1e9:.0f} ns"
    if not info.monotonic or info.resolution > 1e-3:
        return fail(
            "clock", f"{found}: too coarse to pace packets", "use a kernel with high-resolution timers"
        )
    if source not in STEADY_CLOCKS | {"unknown"}:
        return warn(
            "clock", f"{found}: slow to read", "boot with clocksource=tsc if the machine's TSC is stable"
        )
    return ok("clock", found)


def about_time_of_day() -> Iterator[Finding]:
    """Logs, RTCP's NTP stamps and certificates want the right time; calls do not."""
    # struct timex is 208 bytes; modes 0 (its first field) only asks, which needs no privilege.
    buffer = ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return
    if state == ADJTIMEX_UNSYNCHRONISED:
        yield warn(
            "time of day",
            "not synchronised, as far as the kernel knows",
            "timedatectl set-ntp true, or chrony",
        )
    elif state >= 0:
        yield ok("time of day", "synchronised")


def about_buffers() -> Iterator[Finding]:
    """Socket buffers; left out where /proc/sys is hidden (some containers)."""
    largest = read_number(Path("/proc/sys/net/core/rmem_max"))
    default = read_number(Path("/proc/sys/net/core/rmem_default"))
    if largest is not None:
        found = f"up to {largest >> 10} KiB, the SIP socket asks for {SIP_BUFFER_BYTES >> 10}"
        cure = sysctl("net.core.rmem_max", SIP_BUFFER_BYTES)
        # The kernel doubles what is asked for, but compares before that.
        yield ok("SIP buffer", found) if largest >= SIP_BUFFER_BYTES else warn("SIP buffer", found, cure)
    if default is not None:
        found = f"{default >> 10} KiB a socket"
        cure = sysctl("net.core.rmem_default", RTP_BUFFER_BYTES)
        yield ok("RTP buffers", found) if default >= RTP_BUFFER_BYTES else warn("RTP buffers", found, cure)


def sysctl(key: str, value: int) -> str:
    """Set it now; a file in /etc/sysctl.d keeps it."""
    return f"sysctl -w {key}={value}, and the same line in /etc/sysctl.d/trunkline.conf"


def read_text(path: Path) -> str:
    """A small kernel file, or empty."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def read_number(path: Path) -> int | None:
    """A kernel file with one number; None when it is missing or says `max`."""
    text = read_text(path)
    return int(text) if text.isdigit() else None
