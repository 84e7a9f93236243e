# SPDX-License-Identifier: GPL-2.0-or-later
"""The far end of a call, whose packets the network does things to."""

from __future__ import annotations

import dataclasses

from support.media_rig import voice
from trunkline.rtp.packet import Packet


class Talker:
    """Packets of PCMU, 20 ms each."""

    burst = 8
    "packets that come at once, when they do"

    def __init__(self, row: int, sequence: int = 65_530) -> None:
        self.row, self.sequence, self.timestamp, self.ssrc = row, sequence, 2**32 - 3000 * (row + 1), row + 7

    def next(self, size: int = 160) -> Packet:
        """The next packet; size is its payload's."""
        packet = voice(self.sequence, ssrc=self.ssrc, ts=self.timestamp, size=size)
        self.sequence += 1
        self.timestamp += size
        return packet

    def packets(self, kind: str) -> list[Packet | bytes]:
        """What arrives of one packet time or so."""
        match kind:
            case "lost":
                self.next()
                return []
            case "twice":
                return [self.next()] * 2
            case "swapped":
                first = self.next()
                return [self.next(), first]
            case "burst":
                return [self.next() for _ in range(self.burst)]
            case "ssrc":
                self.ssrc += 100
                return [self.next() for _ in range(3)]
            case "leap":
                self.timestamp += 80_000
            case "back":
                self.timestamp -= 8000
            case "event":
                return [dataclasses.replace(self.next(), payload_type=101, payload=bytes([5, 10, 0, 160]))]
            case "short":
                return [bytes(self.next())[:9]]
            case "other size":
                return [self.next(240)]
            case "marker":
                return [dataclasses.replace(self.next(), marker=True)]
        return [self.next()]
