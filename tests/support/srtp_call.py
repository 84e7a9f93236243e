# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual engine with one encrypted call, and its peer, who has SRTP from the RFCs (srtp_reference.py)."""

from __future__ import annotations

import random

import numpy as np

from support.media_rig import PEER
from support.srtp_reference import Reference
from support.virtual_engine import VirtualEngine
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.rtp.packet import Packet
from trunkline.rtp.sdes import SUITES, CryptoKey

PEER_SSRC = 0xFEED
Address = tuple[str, int]


def key_of(suite: str, name: str) -> CryptoKey:
    """The same one each time."""
    return CryptoKey(suite, random.Random(f"{suite} {name}").randbytes(SUITES[suite].master_bytes))


def batch(datas: list[bytes], rows: list[int] | None = None, source: Address = PEER) -> Batch:
    """Datagrams of different rows."""
    packets = np.full((len(datas), PACKET_BYTES), 0xA5, np.uint8)
    for i, data in enumerate(datas):
        packets[i, : len(data)] = np.frombuffer(data, np.uint8)
    lengths = np.array([len(data) for data in datas], np.int32)
    named = np.full(len(datas), source == PEER)
    return Batch(np.array(rows or range(len(datas)), np.intp), packets, lengths, named, [source] * len(datas))


def speech(number: int) -> bytes:
    """PCMU that echoes as it came: without its second zero."""
    return bytes((number * 31 + i * i) % 256 for i in range(160)).replace(b"\x7f", b"\xff")


class SecureCall:
    """One call whose agent echoes; `said` and `heard` are payloads, `wire` is what really left."""

    def __init__(self, suite: str = "AES_CM_128_HMAC_SHA1_80", seq: int = 100, **fields: object) -> None:
        """`seq` is the extended sequence number that the peer begins with."""
        self.suite = suite
        self.our_key, self.peer_key = key_of(suite, "ours"), key_of(suite, "theirs")
        self.rig = VirtualEngine(echo=True, send_key=self.our_key, receive_key=self.peer_key, **fields)
        self.out, self.into = Reference(self.peer_key), Reference(self.our_key)
        self.seq, self.ssrc, self.roc_base = seq, PEER_SSRC, 0
        self.number = 0
        self.wire: list[bytes] = []
        self.heard: list[bytes] = []
        "packets of ours that the peer has understood"
        self._heard_seq = -1
        self.not_understood = 0
        self.watch(self.rig)

    def watch(self, rig: VirtualEngine) -> None:
        """Be the peer of this engine from now on."""
        self.rig = rig
        rig.sockets.on_packets = lambda rows, packets: [self._hear(bytes(packet)) for packet in packets]
        rig.sockets.keep_rtcp = True

    def _hear(self, data: bytes) -> None:
        """As RFC 3711 3.3.1 estimates the index; the peer never misses a packet."""
        self.wire.append(data)
        seq = int.from_bytes(data[2:4], "big")
        latest = seq if self._heard_seq < 0 else self._heard_seq
        ext = latest + ((seq - latest + 0x8000 & 0xFFFF) - 0x8000)
        plain = self.into.unprotect(data, ext >> 16)
        if plain is None:
            self.not_understood += 1
        else:
            self._heard_seq = max(self._heard_seq, ext)
            self.heard.append(plain)

    def packet(self, payload: bytes | None = None) -> bytes:
        """The peer's next packet, as it was before protection."""
        payload = speech(self.number) if payload is None else payload
        self.number += 1
        self.seq += 1
        stamp = self.number * 160 & 0xFFFFFFFF
        return bytes(Packet(0, self.seq & 0xFFFF, stamp, self.ssrc, payload))

    def protected(self) -> bytes:
        """The peer's next packet on the wire."""
        packet = self.packet()
        return self.out.protect(packet, (self.seq >> 16) - self.roc_base)

    def receive(self, data: bytes, source: Address = PEER) -> None:
        """A datagram reaches the engine."""
        self.rig.engine.receive(batch([data], source=source), self.rig.now_ns)

    def talk(self, packets: int, source: Address = PEER) -> None:
        """So many packets of the peer, and two ticks for each."""
        for _ in range(packets):
            self.receive(self.protected(), source)
            self.rig.step()
            self.rig.step()

    @property
    def drops(self) -> dict[str, int]:
        """By reason."""
        return self.rig.drops()
