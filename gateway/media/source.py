# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose packets count: the proof rule for plain RTP.

Without SRTP the only proof is the address that signalling named.  Two things
may change in mid-call, and both are believed only after several packets that
agree with each other:

- a new SSRC, or a jump of the sequence number, from the named address (the peer
  restarted its stream): `RESTART_AFTER` consecutive packets, after RFC 3550 A.1;
- another port at the named address (a NAT, or a peer that sends from another
  port than it receives on): `FOLLOW_AFTER` consecutive packets, while the named
  port is quiet, once in the life of a description.

Nothing else is learned from such packets: until then they are dropped and
counted.  Asterisk follows any address after 4 packets, and rtpengine followed
at once and leaked media to whoever sprayed its ports (CVE-2025-53399).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trunkline.gateway.media.table import Stream, Table

RESTART_AFTER = 2
FOLLOW_AFTER = 4
QUIET_NS = 500_000_000
"The named port must have been silent for so long before another is followed."

Address = tuple[str, int]


@dataclasses.dataclass(slots=True)
class Candidate:
    """A source that has not proved itself."""

    address: Address
    ssrc: int
    next_seq: int
    count: int = 1

    def again(self, address: Address, ssrc: int, seq: int) -> bool:
        """Count a packet if it continues this source in sequence."""
        if (address, ssrc, seq) != (self.address, self.ssrc, self.next_seq):
            return False
        self.count += 1
        self.next_seq = seq + 1 & 0xFFFF
        return True


def consistent(stream: Stream, address: Address, ssrc: int, seq: int, wanted: int) -> bool:
    """Whether `wanted` consecutive packets have come from this source, this one included."""
    candidate = stream.candidate
    if candidate is None or not candidate.again(address, ssrc, seq):
        stream.candidate = Candidate(address, ssrc, seq + 1 & 0xFFFF)
        return wanted <= 1
    if candidate.count < wanted:
        return False
    stream.candidate = None
    return True


def follow_port(table: Table, stream: Stream, address: Address, ssrc: int, seq: int, now_ns: int) -> bool:
    """A packet from another address than the named one: may it become the stream's?"""
    if stream.followed or address[0] != stream.remote[0]:
        return False
    if now_ns - int(table.shared.rx_last_ns[stream.row]) < QUIET_NS:
        return False
    if not consistent(stream, address, ssrc, seq, FOLLOW_AFTER):
        return False
    stream.remote, stream.followed = address, True
    table.shared.rx_proven[stream.row] = 0
    return True


def begin(table: Table, row: int, ssrc: int, seq: int, timestamp: int) -> None:
    """A proven source starts (or starts anew): statistics and order begin at this packet.

    Extended counters start one cycle up, so that a packet reordered before the
    first one does not become negative.
    """
    c = table.shared
    if c.rx_proven[row]:
        c.rx_lost_before[row] = c.packets_lost[row]
    c.rx_proven[row] = 1
    c.rx_ssrc[row] = ssrc
    first = seq + (1 << 16)
    c.rx_base_seq[row] = c.rx_next_seq[row] = first
    c.rx_max_seq[row] = first - 1
    c.rx_received[row] = c.rx_expected_prior[row] = c.rx_received_prior[row] = 0
    c.rx_max_ts[row] = c.rx_next_ts[row] = timestamp + (1 << 32)
    c.rx_has_transit[row] = 0
    c.rx_base_delay_ns[row] = np.nan
    table.seen[row] = 0
    table.late_since_ns[row] = 0
