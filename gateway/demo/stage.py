# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway and its agent as the demo runs them: addresses, configuration, processes."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trunkline.gateway.cli.client import TOKEN_VARIABLE, ClientError, Gateway
from trunkline.gateway.demo.errors import DemoError
from trunkline.gateway.demo.processes import Child, trunkline_command

SERVICE = "600"
GATEWAY = "the gateway"
AGENT = "echo"
READY_S = 20.0
"PJSIP, workers and the API need one to two seconds; a loaded machine several."
TOKENS = frozenset({TOKEN_VARIABLE, "TRUNKLINE_AGENT_TOKEN"})
"The user's own, for other gateways and agents: not for these children."
RTP_PORTS = 200
"100 calls: enough for whoever wants to try, and small enough to find free."

CONFIG = """\
# written by `trunkline demo`
[sip]
user_agent = "trunkline demo"

[[sip.transport]]
protocol = "udp"
bind = "{host}"
port = {sip_port}

[[sip.transport]]
protocol = "tcp"
bind = "{host}"
port = {sip_port}

[media]
bind = "{host}"
advertise = "{host}"
port_range = [{rtp_first}, {rtp_last}]

[limits]
max_calls = {max_calls}

[api]
port = {api_port}
token_file = "api-token"

[state]
dir = "{folder}"

[[trunk]]
name = "{trunk}"
match = ["{network}"]

[[agent]]
name = "{agent}"
address = "unix:{agent_socket}"

[[route]]
name = "anything"
agent = "{agent}"
"""


class Stage:
    """Everything that has to run before somebody can call."""

    def __init__(self, lan: str | None, sip_port: int, api_port: int, logs: Path) -> None:
        self.host, self.network = _place(lan)
        self.lan = lan is not None
        self.logs = logs
        self.sip_port = free_port(self.host, sip_port, both=True)
        self.api_port = free_port("127.0.0.1", api_port)
        # mkdtemp makes it 0700: the agent's socket, the token and the configuration are nobody else's.
        self.folder = Path(tempfile.mkdtemp(prefix="trunkline-demo-", dir=_short_folder()))
        self.agent_socket = self.folder / "echo.sock"
        self.token_file = self.folder / "api-token"
        self.config_file = self.folder / "demo.toml"
        self.children: list[Child] = []
        self.gateway: Gateway | None = None

    def prepare(self) -> None:
        """Write the configuration and the token."""
        token = secrets.token_urlsafe(32)
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(token + "\n")
        first = free_udp_range(self.host, RTP_PORTS)
        self.config_file.write_text(
            CONFIG.format(
                host=self.host,
                network=self.network,
                sip_port=self.sip_port,
                api_port=self.api_port,
                max_calls=RTP_PORTS // 2,
                rtp_first=first,
                rtp_last=first + RTP_PORTS - 1,
                trunk="lan" if self.lan else "softphone",
                agent=AGENT,
                agent_socket=self.agent_socket,
                folder=self.folder,
            )
        )
        self.gateway = Gateway(f"http://127.0.0.1:{self.api_port}", token, str(self.token_file))

    def start_agent(self) -> Child:
        """`trunkline agent echo` as a process of its own; returns when it listens."""
        command = trunkline_command("agent", "echo", "--listen", f"unix:{self.agent_socket}")
        child = self.start("the echo agent", command, "agent.log")
        child.wait_until(self._agent_listens, READY_S, "listen")
        return child

    def start_gateway(self) -> Child:
        """`trunkline run` as a process of its own; returns when its API and its SIP answer."""
        command = trunkline_command("run", "--config", str(self.config_file), "--drain-timeout", "0")
        child = self.start(GATEWAY, command, "gateway.log")
        child.wait_until(self._gateway_answers, READY_S, "answer")
        return child

    def start(self, name: str, command: list[str], log: str, talks: bool = False) -> Child:
        """Any program that shall end with the stage."""
        env = {key: value for key, value in os.environ.items() if key not in TOKENS}
        child = Child(name, command, self.logs / log, env, talks)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raises DemoError when the gateway or the agent has ended."""
        for child in self.children[:2]:
            child.check()

    def _agent_listens(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            return probe.connect_ex(str(self.agent_socket)) == 0

    def _gateway_answers(self) -> bool:
        assert self.gateway is not None
        try:
            self.gateway.status()
        except ClientError:
            return False
        return sip_answers(self.host, self.sip_port)

    def close(self) -> None:
        """End all programs and remove the folder."""
        # The gateway first: it says BYE to whoever still talks, and there must be somebody to answer.
        for child in sorted(self.children, key=lambda child: child.name != GATEWAY):
            child.stop()
        if self.gateway is not None:
            self.gateway.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def staged(lan: str | None, sip_port: int, api_port: int, logs: Path) -> Iterator[Stage]:
    """A stage that is cleared away whatever happens."""
    stage = Stage(lan, sip_port, api_port, logs)
    try:
        stage.prepare()
        yield stage
    finally:
        stage.close()


def sip_answers(host: str, port: int) -> bool:
    """Whether anything answers an OPTIONS request (RFC 3261 11); which answer does not matter."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(0.5)
        probe.bind((host, 0))
        local = f"{host}:{probe.getsockname()[1]}"
        token = secrets.token_hex(8)
        lines = [
            f"OPTIONS sip:{host}:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP {local};branch=z9hG4bK{token}",
            f"From: <sip:demo@{local}>;tag={token}",
            f"To: <sip:{host}:{port}>",
            f"Call-ID: {token}@{host}",
            "CSeq: 1 OPTIONS",
            "Max-Forwards: 70",
            "Content-Length: 0",
        ]
        try:
            probe.sendto(("\r\n".join(lines) + "\r\n\r\n").encode(), (host, port))
            return probe.recv(4096).startswith(b"SIP/2.0")
        except OSError:
            return False


def free_port(host: str, wanted: int, both: bool = False) -> int:
    """`wanted` when it is free (TCP; `both`: UDP too), else one that is; 0 asks for any."""
    for port in (wanted, *[0] * 20):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, contextlib.suppress(OSError):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, port))
            found = int(tcp.getsockname()[1])
            if both:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                    udp.bind((host, found))
            return found
    raise DemoError(f"no free port on {host}")


def free_udp_range(host: str, count: int) -> int:
    """First port of a range in which, tried at both ends and the middle, nothing is bound."""
    for first in range(26_000, 60_000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in (first, first + count // 2, first + count - 1):
                probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind((host, port))
            return first
    raise DemoError(f"no {count} free UDP ports on {host}")


def _short_folder() -> str | None:
    """The system's, where TMPDIR is too long for a socket in it: sun_path has 108 bytes (unix(7))."""
    return "/tmp" if len(os.fsencode(tempfile.gettempdir())) > 70 else None  # noqa: S108 - mkdtemp makes a private folder in it


def _place(lan: str | None) -> tuple[str, str]:
    """Address to listen on, and the network that may call."""
    if lan is None:
        return "127.0.0.1", "127.0.0.0/8"
    try:
        # Without a prefix length: the usual size of a small network.
        interface = ipaddress.IPv4Interface(lan if "/" in lan else f"{lan}/24")
    except ValueError:
        form = "192.168.1.5 or 192.168.1.5/24"
        raise DemoError(f"--lan wants an IPv4 address of this machine, as {form}: {lan}") from None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(interface.ip), 0))
        except OSError:
            cure = "`ip -4 address` lists them"
            raise DemoError(f"--lan: {interface.ip} is no address of this machine ({cure})") from None
    return str(interface.ip), str(interface.network)
