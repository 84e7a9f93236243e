# SPDX-License-Identifier: GPL-2.0-or-later
"""Is an agent back that was down? A connection of our own, with the handshake that the dialect has, and no call.

Blocks for as long as the agent's connect time-out: for a thread.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import time
from urllib.parse import urlsplit

from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.link_events import LinkFailed, LinkUp
from trunkline.agent_bridge.links import AddressError, UnixAddress, create_link, parse_address
from trunkline.gateway.media.agent_tls import new_context, sentence
from trunkline.gateway.media.control import AgentParams

READ_BYTES = 4096


def probe(agent: AgentParams) -> tuple[str, str]:
    """Why it would get no call, as a reason and a sentence; ("", "") if it would."""
    limit_s = agent.connect_timeout_ms / 1000
    until = time.monotonic() + limit_s
    settings = LinkSettings(
        url=agent.url, sample_rate_hz=agent.sample_rate_hz, frame_ms=agent.frame_ms, token=agent.token,
        timeout_ms=agent.connect_timeout_ms, username=agent.username, password=agent.password,
        headers=dict(agent.headers), account=agent.account, options=dict(agent.options),
    )  # fmt: skip
    try:
        with contextlib.closing(_connected(agent.address, limit_s)) as plain:
            if not agent.url.startswith("wss:"):
                return greeted(agent.dialect, settings, plain, until)
            context = new_context(agent.ca, agent.verify)
            host = urlsplit(agent.url).hostname or ""
            with context.wrap_socket(plain, server_hostname=host) as secure:
                return greeted(agent.dialect, settings, secure, until)
    except TimeoutError:
        return "agent_timeout", f"it did not answer within {agent.connect_timeout_ms} ms"
    except ssl.SSLError as error:
        return "agent_unreachable", sentence(error, urlsplit(agent.url).hostname or "")
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


def greeted(dialect: str, settings: LinkSettings, sock: socket.socket, until: float) -> tuple[str, str]:
    """Shake hands and say goodbye, until that monotonic time; as `probe`. AudioSocket has no handshake."""
    if dialect == "audiosocket":
        return "", ""
    link = create_link(dialect, settings)
    link.connected(time.monotonic_ns())
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        sock.sendall(b"".join(link.data_to_send()))
        for event in link.receive(sock.recv(READ_BYTES), time.monotonic_ns()):
            if isinstance(event, LinkUp):
                if settings.url:
                    link.stop(0, "", {})  # a WebSocket is a call: it ends with 1000 before it has begun
                    sock.sendall(b"".join(link.data_to_send()))
                return "", ""
            if isinstance(event, LinkFailed):
                return event.reason, event.detail
    raise TimeoutError
