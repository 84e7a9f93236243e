# SPDX-License-Identifier: GPL-2.0-or-later
"""What the SIP thread is started with; plain values, already validated by whoever read the configuration."""

from __future__ import annotations

import dataclasses
from typing import Literal

DEFAULT_USER = "trunkline"
"User of our From header where neither the call nor the trunk names one."

Use = Literal["off", "optional", "required"]
Protocol = Literal["udp", "tcp", "tls"]


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """What a TLS transport shows and believes, as PEM; already found to fit together."""

    certificate: bytes
    "our chain, the leaf first"
    key: bytes = dataclasses.field(repr=False)
    "its private key, not encrypted"
    ca: bytes
    "the authorities that peers' certificates may come from"


@dataclasses.dataclass(frozen=True, slots=True)
class Tls:
    """How a TLS transport shakes hands."""

    credentials: Credentials
    client_certificates: Use = "off"
    "of those who connect to us"
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclasses.dataclass(frozen=True, slots=True)
class Transport:
    """One listening SIP socket."""

    protocol: Protocol = "udp"
    bind: str = "127.0.0.1"
    "IPv4 or IPv6 address; 0.0.0.0 listens on all"
    port: int = 5060
    advertise: str = ""
    "host in Via and Contact when peers reach us under another address than `bind`"
    tls: Tls | None = None
    "of a TLS transport, and of no other"

    @property
    def ipv6(self) -> bool:
        return ":" in self.bind

    def __str__(self) -> str:
        host = f"[{self.bind}]" if self.ipv6 else self.bind
        return f"{self.protocol} {host}:{self.port}"


@dataclasses.dataclass(frozen=True, slots=True)
class Registration:
    """How a trunk registers (RFC 3261 section 10, digest of RFC 8760)."""

    server: str
    "sip: URI of the registrar"
    username: str
    password: str = dataclasses.field(default="", repr=False)
    realm: str = "*"
    "the only realm that gets our digest; * answers any"
    expires_s: int = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Trunk:
    """A peer: how calls are placed there, and how its calls are answered."""

    name: str
    host: str = ""
    "host[:port] of outbound calls"
    transport: Protocol = "udp"
    outbound_proxy: str = ""
    "sip: URI that every request of this trunk goes through"
    from_user: str = ""
    "user of the From header when a call names no caller; default the registered user"
    caller_domain: str = ""
    "host of the From header; default the trunk's host, else the registrar's"
    prack: Use = "optional"
    session_timer: Use = "optional"
    session_expires_s: int = 1800
    registration: Registration | None = None
    unverified: str = ""
    "TLS: `address:port` that need not prove who it is; empty: whoever we connect to must"


@dataclasses.dataclass(frozen=True, slots=True)
class SipConfig:
    """Everything the SIP thread needs to know at start."""

    transports: tuple[Transport, ...]
    trunks: tuple[Trunk, ...] = ()
    user_agent: str = "trunkline"
    max_calls: int = 1000
    """calls that PJSIP has room for. More than the screen admits, because a call that has ended keeps its
    slot until its BYE is answered, and the screen's refusal is better than PJSIP's 486"""
    log_level: int = 1
    "PJSIP's own: 0 nothing, 1 errors, 2 warnings, 3 information, 4 with every message, 5 and 6 debugging"


class SipStartError(Exception):
    """The SIP thread cannot start; the text names what failed and the cure."""
