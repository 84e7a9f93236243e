# SPDX-License-Identifier: GPL-2.0-or-later
"""A call in the virtual engine whose peer shakes hands with OpenSSL and speaks by the tests' own SRTP."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable

from support.media_rig import PEER
from support.srtp_call import PEER_SSRC, SecureCall, batch, key_of
from support.srtp_reference import Reference
from support.virtual_engine import VirtualEngine
from trunkline.gateway.media import control
from trunkline.rtp.dtls import Handshake
from trunkline.rtp.dtls_certificate import Identity, new_identity
from trunkline.rtp.media_description import DtlsTerms

OURS, THEIRS, OTHERS = (new_identity(dt.datetime.now(dt.UTC)) for _ in range(3))
Network = Callable[[bytes], list[bytes]]


def unharmed(datagram: bytes) -> list[bytes]:
    """A network that loses nothing."""
    return [datagram]


class DtlsCall(SecureCall):
    """As a SecureCall, once `shake` has made the keys."""

    def __init__(self, *, active: bool, named: Identity = THEIRS, **fields: object) -> None:
        """`active` is our role; `named` is whose fingerprint the SDP names."""
        self.terms = DtlsTerms(active, (named.fingerprint,), OURS)
        self.suite, self.seq, self.ssrc, self.roc_base, self.number = "", 100, PEER_SSRC, 0, 0
        self.wire, self.heard, self.datagrams = [], [], []
        self._heard_seq, self.not_understood = -1, 0
        self.out = self.into = Reference(key_of("AES_CM_128_HMAC_SHA1_80", "nobody's"))
        media = {"rtcp_mux": True, "remote_rtcp_port": PEER[1], "dtls": self.terms} | fields
        self.watch(VirtualEngine(echo=True, **media))  # type: ignore[arg-type]
        self.peer = self.new_peer()

    def new_peer(self, identity: Identity = THEIRS, *, active: bool | None = None) -> Handshake:
        """The other end of a handshake."""
        ours = self.terms.active if active is None else active
        return Handshake(active=not ours, identity=identity, fingerprints=[OURS.fingerprint])

    def watch(self, rig: VirtualEngine) -> None:
        """Be the peer of this engine from now on."""
        super().watch(rig)
        rig.sockets.on_datagram = self.datagrams.append

    def shake(self, network: Network = unharmed, rounds: int = 60) -> None:
        """Let time pass, 10 ms a round, until nothing is under way and both have keys."""
        refused, begun = self.not_understood, -1
        to_us = [d for sent in self.peer.start(time.monotonic_ns()) for d in network(sent)]
        for _ in range(rounds):
            for data in to_us:
                self.receive(data)
            if begun < 0 and self.agreed:
                begun = len(self.wire)
            self.rig.step()
            ours, self.datagrams[:] = list(self.datagrams), []
            to_peer = [d for sent in ours for d in network(sent)]
            to_us = [
                d for data in to_peer for sent in self.peer.receive(data, time.monotonic_ns()) for d in network(sent)
            ]
            if self.peer.keys is not None and self.agreed and not to_us:
                break
        if self.peer.keys is not None:
            self.suite = self.peer.keys.send.suite
            self.out, self.into = Reference(self.peer.keys.send), Reference(self.peer.keys.receive)
        self.not_understood = refused
        if begun >= 0:
            early, self.wire[begun:] = self.wire[begun:], []
            for data in early:  # what left as soon as we had the keys
                self._hear(data)

    def plain(self, packets: int) -> None:
        """RTP of the peer that is not encrypted, while time passes."""
        for _ in range(packets):
            self.rig.engine.receive(batch([self.packet()]), self.rig.now_ns)
            self.rig.step()
            self.rig.step()

    @property
    def agreed(self) -> list[control.KeysAgreed]:
        """What the gateway was told of keys."""
        return [one for one in self.rig.posted if isinstance(one, control.KeysAgreed)]

    @property
    def failures(self) -> list[control.StreamFailed]:
        """What the gateway was told of failures."""
        return [one for one in self.rig.posted if isinstance(one, control.StreamFailed)]
