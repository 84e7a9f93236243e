# SPDX-License-Identifier: GPL-2.0-or-later
"""Is an agent back that was down? A connection of our own, with a hello where the dialect has one, and no call.

Blocks for as long as the agent's connect time-out: for a thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time

from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.link_events import LinkFailed, LinkUp
from trunkline.agent_bridge.links import AddressError, UnixAddress, create_link, parse_address
from trunkline.gateway.media.control import AgentParams

READ_BYTES = 4096


def probe(agent: AgentParams) -> tuple[str, str]:
    """Why it would get no call, as a reason and a sentence; ("", "") if it would."""
    limit_s = agent.connect_timeout_ms / 1000
    try:
        with contextlib.closing(_connected(agent.address, limit_s)) as sock:
            return _greeted(agent, sock, time.monotonic() + limit_s) if agent.dialect == "trunkline" else ("", "")
    except TimeoutError:
        return "agent_timeout", f"it did not answer within {agent.connect_timeout_ms} ms"
    except (OSError, ValueError, AddressError) as error:
        return "agent_unreachable", f"cannot connect to {agent.address}: {error}"


def _connected(text: str, limit_s: float) -> socket.socket:
    address = parse_address(text)
    if isinstance(address, UnixAddress):
        sock = socket.socket(socket.AF_UNIX)
        target: str | tuple[str, int] = address.path
    else:
        version = ipaddress.ip_address(address.host).version
        sock = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET)
        target = (address.host, address.port)
    sock.settimeout(limit_s)
    try:
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock


def _greeted(agent: AgentParams, sock: socket.socket, until: float) -> tuple[str, str]:
    link = create_link(agent.dialect, LinkSettings(timeout_ms=agent.connect_timeout_ms, token=agent.token))
    link.connected(time.monotonic_ns())
    sock.sendall(b"".join(link.data_to_send()))
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        for event in link.receive(sock.recv(READ_BYTES), time.monotonic_ns()):
            if isinstance(event, LinkUp):
                return "", ""
            if isinstance(event, LinkFailed):
                return event.reason, event.detail
    raise TimeoutError
