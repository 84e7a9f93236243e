# SPDX-License-Identifier: GPL-2.0-or-later
"""Which address of ours a peer is told for its RTP."""

from __future__ import annotations

import ipaddress
import socket

MAX_REMEMBERED = 1024
"Peers whose route is remembered; trunks are few, a whole /8 of them is not worth the memory."


class MediaAddress:
    """What `media.advertise` and `media.bind` come to, for one peer or another."""

    def __init__(self, advertise: str, bind: str) -> None:
        """`advertise` is an address or `auto`; `bind` may be the wildcard."""
        self.family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        "that of our RTP sockets"
        if advertise != "auto":
            self._fixed = advertise
        else:
            self._fixed = "" if bind in ("0.0.0.0", "::") else bind
        self._routes: dict[str, str] = {}

    def known(self, peer: str) -> str:
        """The address without asking anybody: fixed, or remembered; else empty."""
        return self._fixed or self._routes.get(peer, "")

    def towards(self, peer: str) -> str:
        """The address that the route to `peer` leaves from.

        `peer` is an IP address where this must not wait (on the SIP thread), or a name, which is resolved.
        Raises OSError when there is no route.
        """
        known = self.known(peer)
        if known:
            return known
        if self.family != (socket.AF_INET6 if ":" in peer else socket.AF_INET):
            raise OSError(f"{peer} is of another family than media.bind")
        with socket.socket(self.family, socket.SOCK_DGRAM) as probe:
            probe.connect((peer, 9))  # UDP: nothing is sent, the kernel only chooses the route
            address: str = probe.getsockname()[0]
        if len(self._routes) >= MAX_REMEMBERED:
            self._routes.clear()
        self._routes[peer] = address
        return address


class UnresolvedError(Exception):
    """A name that has no address now; the text says why."""


def is_address(host: str) -> bool:
    """Whether `host` needs no DNS; IPv6 without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def resolve(host: str, family: int = socket.AF_UNSPEC) -> str:
    """An address of `host`, of that family. Blocks: not for the event loop. Raises UnresolvedError."""
    try:
        infos = socket.getaddrinfo(host, None, family, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:  # the codec for international names has limits of its own
        raise UnresolvedError(getattr(error, "strerror", None) or str(error)) from error
    return str(infos[0][4][0])
