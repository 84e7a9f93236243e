# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses and ports: RTP's range, SIP's listeners, the API's."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from trunkline.gateway.config import Config
from trunkline.gateway.doctor.finding import Finding, fail, ok, warn
from trunkline.gateway.doctor.machine import read_text

LOCAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def examine(config: Config) -> Iterator[Finding]:
    """Can everything that will be bound be bound?"""
    first, last = config.media.port_range
    yield about_rtp_ports(config.media.bind, first, last, config.limits.max_calls)
    yield from about_local_range(first, last, read_text(LOCAL_RANGE), read_text(RESERVED))
    for transport in config.sip.transports:
        yield about_listener(f"SIP {transport.protocol}", transport.protocol, transport.bind, transport.port)
    if config.api.enabled:
        yield about_listener("API", "tcp", config.api.bind, config.api.port)


def about_rtp_ports(bind: str, first: int, last: int, max_calls: int) -> Finding:
    """Bind every pair of the range once (0.1 s for 8,000 pairs) and count."""
    name = "RTP ports"
    free = busy = 0
    for port in range(first + first % 2, last, 2):
        problem = bind_problem("udp", bind, port) or bind_problem("udp", bind, port + 1)
        if problem == errno.EADDRNOTAVAIL:
            return fail(
                name, f"this machine has no address {bind}", "set media.bind to an address of this machine"
            )
        if problem == errno.EACCES:
            return fail(name, f"port {port} needs privileges", "begin media.port_range above 1023")
        busy += bool(problem)
        free += not problem
    found = f"{first}-{last} on {bind}: {free} pairs free, {busy} in use"
    if free == 0:
        return fail(name, found, "choose another media.port_range")
    if free < max_calls:
        return warn(name, f"{found}; limits.max_calls is {max_calls}", "widen media.port_range")
    return ok(name, found)


def about_local_range(first: int, last: int, local: str, reserved: str) -> Iterator[Finding]:
    """The kernel hands ports of its own range to any program's outgoing connection, also to one of ours."""
    numbers = local.split()
    if len(numbers) != 2:
        return  # hidden in some containers
    low, high = max(first, int(numbers[0])), min(last, int(numbers[1]))
    if low > high or all_reserved(low, high, reserved):
        yield ok("port overlap", f"none with the kernel's own range {numbers[0]}-{numbers[1]}")
        return
    cure = f"sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}, or another media.port_range"
    yield warn(
        "port overlap", f"{low}-{high} are also handed out by the kernel to outgoing connections", cure
    )


def all_reserved(low: int, high: int, reserved: str) -> bool:
    """Whether ip_local_reserved_ports (`8080,16384-32767`) covers low to high.

    >>> all_reserved(20000, 20010, "8080,16384-32767")
    True
    """
    spans = [part.partition("-") for part in reserved.split(",") if part]
    return any(int(start) <= low and high <= int(end or start) for start, _, end in spans)


def about_listener(name: str, protocol: str, bind: str, port: int) -> Finding:
    """A port in use may well be in use by the gateway itself, so that alone is no failure."""
    where = f"{bind}:{port}"
    match bind_problem(protocol, bind, port):
        case None:
            return ok(name, f"{where} is free")
        case errno.EADDRINUSE:
            option = "u" if protocol == "udp" else "t"
            return warn(
                name, f"{where} is in use", f"ss -l{option}np sport = :{port} (a running gateway is fine)"
            )
        case errno.EACCES:
            return fail(
                name, f"{where} needs privileges", "a port above 1023, or the capability CAP_NET_BIND_SERVICE"
            )
        case errno.EADDRNOTAVAIL:
            return fail(
                name, f"this machine has no address {bind}", "bind an address of this machine, or 0.0.0.0"
            )
        case problem:
            return fail(name, f"{where}: {errno.errorcode.get(problem, problem)}", "check the address")


def bind_problem(protocol: str, host: str, port: int) -> int | None:
    """errno of binding this address as the gateway would, or None when it works."""
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # A connection in TIME_WAIT keeps nobody from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            return errno.EADDRNOTAVAIL
        except OSError as error:
            return error.errno
    return None
