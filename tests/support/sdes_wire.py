# SPDX-License-Identifier: GPL-2.0-or-later
"""SRTP for the tests' own telephone, and its keys in SDP (RFC 4568) as the tests read and write them.

By pylibsrtp; the one suite that it lacks by the tests' own SRTP, which is checked against the RFCs' vectors.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import re
from collections.abc import Iterable

from pylibsrtp import Error, Policy, Session

from support.rtp_wire import HEADER, Received
from support.srtp_reference import Reference
from trunkline.rtp.sdes import CryptoKey

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30),
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
    "AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44),
}
"""Suites that pylibsrtp has, with the length of key and salt."""
OTHER = {"AES_256_CM_HMAC_SHA1_80": 46}
"""And the one that it lacks."""
_LINE = re.compile(r"^a=crypto:(\d+) (\S+) inline:([A-Za-z0-9+/=]+)", re.M)


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """Of one direction."""

    suite: str
    master: bytes = dataclasses.field(repr=False)

    @classmethod
    def new(cls, suite: str) -> Key:
        """One that nobody knows."""
        return cls(suite, os.urandom(OTHER.get(suite) or PROFILES[suite][1]))

    @property
    def line(self) -> str:
        """The value of a=crypto without its tag."""
        return f"{self.suite} inline:{base64.b64encode(self.master).decode()}"

    def session(self, *, sending: bool) -> Session | Slow:
        """For any SSRC of that direction."""
        if self.suite in OTHER:
            return Slow(self)
        kind = Policy.SSRC_ANY_OUTBOUND if sending else Policy.SSRC_ANY_INBOUND
        return Session(Policy(self.master, kind, srtp_profile=PROFILES[self.suite][0]))


class Slow:
    """The same by the tests' own SRTP, for packets of one source in nearly their order."""

    def __init__(self, key: Key) -> None:
        self._reference = Reference(CryptoKey(key.suite, key.master))
        self._index = -1
        "of the packet before"

    def _rollovers(self, packet: bytes) -> int:
        """How often the sequence number has come round (RFC 3711 3.3.1)."""
        sequence = int.from_bytes(packet[2:4], "big")
        if self._index < 0:
            self._index = sequence
        step = (sequence - self._index + 0x8000) % 0x10000 - 0x8000
        self._index += step
        return self._index >> 16

    def protect(self, packet: bytes) -> bytes:
        """As it goes out."""
        return self._reference.protect(packet, self._rollovers(packet))

    def unprotect(self, packet: bytes) -> bytes:
        """In the clear; raises Error."""
        plain = self._reference.unprotect(packet, self._rollovers(packet))
        if plain is None:
            raise Error("the tag is wrong")
        return plain


def key_in(sdp: str, suite: str) -> Key:
    """The key of that suite in an SDP; AssertionError when it has none."""
    for _, name, encoded in _LINE.findall(sdp):
        if name == suite:
            return Key(suite, base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    shown = re.sub(r"inline:\S+", "inline:...", sdp)
    raise AssertionError(f"no a=crypto of {suite} in\n{shown}")


def opened(packets: Iterable[Received], key: Key) -> list[Received]:
    """Packets in the clear; AssertionError when one of them is not authentic."""
    session, found = key.session(sending=False), []
    for one in packets:
        second = one.payload_type | (0x80 if one.marker else 0)
        wire = HEADER.pack(0x80, second, one.sequence, one.timestamp, one.ssrc) + one.payload
        try:
            plain = session.unprotect(wire)
        except Error as error:
            raise AssertionError(f"packet {one.sequence} of {key.suite}: {error}") from None
        found.append(dataclasses.replace(one, payload=plain[HEADER.size :]))
    return found
