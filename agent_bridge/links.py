# SPDX-License-Identifier: MIT
"""From configuration to a connection: addresses of agents, and the link for a dialect."""

from __future__ import annotations

import dataclasses
from urllib.parse import urlsplit

from trunkline.agent_bridge.asterisk_websocket import AsteriskWebSocket
from trunkline.agent_bridge.audiosocket import AudioSocketLink
from trunkline.agent_bridge.dialect import Link, LinkSettings
from trunkline.agent_bridge.jambonz import Jambonz
from trunkline.agent_bridge.message_dialect import MessageDialect
from trunkline.agent_bridge.native import NativeLink
from trunkline.agent_bridge.plivo import Plivo
from trunkline.agent_bridge.teler import Teler
from trunkline.agent_bridge.telnyx import Telnyx
from trunkline.agent_bridge.twilio import TwilioDialect
from trunkline.agent_bridge.vonage import Vonage

DIALECTS = ("trunkline", "audiosocket")
"On a plain socket, `unix:` or `tcp:`; agents that are written with this package speak these."
MESSAGE_DIALECTS: dict[str, type[MessageDialect]] = {
    "twilio": TwilioDialect,
    "teler": Teler,
    "telnyx": Telnyx,
    "vonage": Vonage,
    "plivo": Plivo,
    "jambonz": Jambonz,
    "asterisk-websocket": AsteriskWebSocket,
}
"Over WebSocket, `ws://` or `wss://`."

DEFAULT_RATES_HZ = {"audiosocket": 8000, "twilio": 8000, "telnyx": 8000, "plivo": 8000}
"Of dialects whose agents expect another rate than 16000, mostly because they cannot be told."

_LONGEST_UNIX_PATH_BYTES = 107
"sockaddr_un has room for 108 with the closing zero (unix(7))."


class AddressError(ValueError):
    """An address that cannot be used; the text says why and what would do."""


@dataclasses.dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix stream socket by its path."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclasses.dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port of a host (name or number, IPv6 without brackets)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp:[{self.host}]:{self.port}" if ":" in self.host else f"tcp:{self.host}:{self.port}"


Address = UnixAddress | TcpAddress


def parse_address(text: str) -> Address:
    """Read `unix:/path`, `tcp:host:port` or `tcp:[v6]:port`; raises AddressError with a sentence."""
    scheme, separator, rest = text.partition(":")
    if scheme == "unix" and separator:
        return _unix(text, rest)
    if scheme == "tcp" and separator:
        return _tcp(text, rest)
    if text.startswith(("/", "./", "~")):
        raise AddressError(f"{text!r} has no scheme: did you mean 'unix:{text}'?")
    raise AddressError(f"{text!r} is not an agent's address: write unix:/path or tcp:host:port")


def _unix(text: str, path: str) -> UnixAddress:
    if not path or path.endswith("/") or "\0" in path:
        raise AddressError(f"{text!r} names no socket file: write unix:/path/to.sock")
    size = len(path.encode("utf-8", "surrogateescape"))
    if size > _LONGEST_UNIX_PATH_BYTES:
        raise AddressError(
            f"the path of {text!r} has {size} bytes; a Unix socket's can have {_LONGEST_UNIX_PATH_BYTES}"
        )
    return UnixAddress(path)


def _tcp(text: str, rest: str) -> TcpAddress:
    host, _, port = rest.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"{text!r}: put an IPv6 address in brackets, tcp:[::1]:9092")
    if not host or any(c.isspace() or c == "/" for c in host):
        raise AddressError(f"{text!r} names no host: write tcp:host:port, for example tcp:127.0.0.1:9092")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise AddressError(f"{text!r}: {port!r} is not a port number from 1 to 65535")
    return TcpAddress(host, int(port))


def check_address(dialect: str, address: str) -> None:
    """Raise AddressError, with a sentence, for an address at which nobody can speak this dialect."""
    web = address.startswith(("ws://", "wss://"))
    if dialect in MESSAGE_DIALECTS and not web:
        raise AddressError(f"{dialect} is spoken over WebSocket, not at {address!r}: write ws://host:port/path or wss://")
    if dialect in MESSAGE_DIALECTS and not urlsplit(address).hostname:
        raise AddressError(f"{address!r} names no host: write ws://host:port/path or wss://")
    if dialect in DIALECTS and web:
        others = ", ".join(MESSAGE_DIALECTS)
        raise AddressError(f"{dialect} is spoken at unix:/path or tcp:host:port; at {address!r} it is one of {others}")


def create_link(dialect: str, settings: LinkSettings) -> Link:
    """The gateway's end of a new connection in this dialect; raises ValueError for one that there is not."""
    match dialect:
        case "trunkline":
            timeout_ms, hang_ms = settings.timeout_ms, settings.hang_timeout_ms
            limits = {} if hang_ms is None else {"hang_timeout_ns": hang_ms * 1_000_000}
            if timeout_ms is None:
                return NativeLink(settings.token, settings.gateway_name, **limits)
            limit_ns = timeout_ms * 1_000_000
            return NativeLink(settings.token, settings.gateway_name, limit_ns, limit_ns, **limits)
        case "audiosocket":
            return AudioSocketLink(settings.sample_rate_hz)
        case _ if dialect in MESSAGE_DIALECTS:
            # Only here: whoever writes an agent has no need of a WebSocket library.
            from trunkline.agent_bridge.websocket_link import WebSocketLink  # noqa: PLC0415

            return WebSocketLink(MESSAGE_DIALECTS[dialect](settings), settings)
        case _:
            known = ", ".join([*DIALECTS, *MESSAGE_DIALECTS])
            raise ValueError(f"dialect {dialect!r} is unknown: it is one of {known}")
