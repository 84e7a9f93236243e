# SPDX-License-Identifier: GPL-2.0-or-later
"""Network addresses as they are written in the configuration and seen on the wire."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from urllib.parse import urlsplit

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX_PATH_MAX_BYTES = 107
"sun_path has 108 bytes on Linux, one of which is the terminating zero (unix(7))"

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_-]{1,63})*\.?")


@dataclasses.dataclass(frozen=True, slots=True)
class SourceMatch:
    """One entry of a trunk's `match`: a network, and a port when only that one counts."""

    network: IpNetwork
    port: int | None

    @classmethod
    def parse(cls, text: str) -> SourceMatch:
        """`192.0.2.10`, `192.0.2.10:5060`, `[2001:db8::1]:5060` or `10.0.0.0/8`; raises ValueError."""
        try:
            if "/" in text:
                return cls(ipaddress.ip_network(text, strict=True), None)
            address, port = split_source(text)
        except ValueError as error:
            cure = _host_bits_cure(text)
            why = f"{error}; {cure}" if cure else "an IP address, address:port or network/bits is needed"
            raise ValueError(why) from None
        return cls(ipaddress.ip_network(address), port)

    @property
    def specificity(self) -> tuple[int, int]:
        """Sorts entries: one port of one address is narrower than any network."""
        return (0 if self.port is None else 1, self.network.prefixlen)

    def matches(self, address: IpAddress, port: int | None) -> bool:
        """Whether a request from there is meant."""
        return address in self.network and self.port in (None, port)

    def __str__(self) -> str:
        """As one would write it."""
        single = self.network.prefixlen == self.network.max_prefixlen
        host = str(self.network.network_address if single else self.network)
        if self.port is None:
            return host
        return f"{bracketed(host)}:{self.port}"


def split_source(text: str) -> tuple[IpAddress, int | None]:
    """Address and port of `address[:port]`; raises ValueError.

    An IPv4 address that arrives mapped into IPv6 (a dual-stack socket) is the IPv4 address.
    """
    if bracketed := re.fullmatch(r"\[([^\]]+)\](?::(\d+))?", text):
        host, port = bracketed[1], bracketed[2]
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        host, port = text, None
    address: IpAddress = ipaddress.ip_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address, None if port is None else parse_port(port)


def split_host_port(text: str) -> tuple[str, int | None]:
    """Host (address or name) and port of `host[:port]`, IPv6 in brackets, of which it is freed; raises ValueError."""
    match = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", text)
    if match:
        host, port = match[1], match[2]
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
    if not (is_ip(host) if match else is_host(host)):
        raise ValueError("host or host:port is needed, with a name, an IPv4 address, or an IPv6 address in brackets")
    return host, None if port is None else parse_port(port)


def bracketed(host: str) -> str:
    """A host as it stands in a URI: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_port(text: str) -> int:
    """A port from its digits; raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"port {text!r} is not a number from 1 to 65535")
    return int(text)


def is_host(text: str) -> bool:
    """Whether `text` can be a DNS name or is an IPv4 address."""
    if re.fullmatch(r"[0-9.]+", text):
        return is_ipv4(text)
    return _HOST_NAME.fullmatch(text) is not None


def is_ipv4(text: str) -> bool:
    """Whether `text` is a dotted IPv4 address."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def is_ip(text: str) -> bool:
    """Whether `text` is an IP address of either family, without brackets or zone."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_agent_address(text: str) -> str:
    """Return `unix:/path`, `tcp:host:port`, `ws://host:port/path` or `wss://...` unchanged; raises ValueError."""
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        if not rest.startswith("/"):
            raise ValueError("the path of a Unix socket must be absolute: unix:/run/agent.sock")
        if (size := len(rest.encode())) > UNIX_PATH_MAX_BYTES:
            raise ValueError(
                f"the socket path has {size} bytes, Linux takes {UNIX_PATH_MAX_BYTES}: use a shorter folder"
            )
        return text
    if scheme == "tcp":
        _, port = split_host_port(rest)
        if port is None:
            raise ValueError("a TCP agent needs a port: tcp:host:port")
        return text
    if scheme in ("ws", "wss"):
        split_url(text)
        return text
    if scheme in ("http", "https"):
        raise ValueError(f"a WebSocket's address begins with {'ws' if scheme == 'http' else 'wss'}://")
    raise ValueError("unix:/path, tcp:host:port, ws://host:port/path or wss://host:port/path is needed")


def split_url(text: str) -> tuple[str, int]:
    """Host and port of a `ws://` or `wss://` URL, 80 and 443 being the ports that need not stand; raises ValueError."""
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("a URL has printable ASCII only: percent-encode what is not")
    parts = urlsplit(text)
    if not text.startswith(f"{parts.scheme}://") or not parts.netloc:
        raise ValueError(f"a host is needed: {parts.scheme}://host:port/path")
    if "@" in parts.netloc:
        raise ValueError("credentials do not stand in the URL: username and password_env name them")
    if parts.fragment or text.endswith("#"):
        raise ValueError("a WebSocket's URL has no fragment (RFC 6455, section 3): leave out '#' and what follows")
    host, port = split_host_port(parts.netloc)
    return host, port or (443 if parts.scheme == "wss" else 80)


def _host_bits_cure(text: str) -> str:
    """What a network with host bits set was probably meant to be, else empty."""
    try:
        return f"did you mean {ipaddress.ip_network(text, strict=False)}?" if "/" in text else ""
    except ValueError:
        return ""
