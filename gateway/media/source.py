# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose packets count: the proof rule for plain RTP.

Without SRTP the only proof is the address that signalling named.  Two things
may change in mid-call, and both are believed only after several packets that
agree with each other:

- a new SSRC, or a jump of the sequence number, from the named address (the peer
  restarted its stream): `RESTART_AFTER` consecutive packets, after RFC 3550 A.1;
- another port at the named address (a NAT, or a peer that sends from another
  port than it receives on): `FOLLOW_AFTER` consecutive packets, while the named
  port is quiet, once in the life of a description. The port that was named keeps
  its rights: when it speaks, it is believed again.

With SRTP the tag is the proof: a packet that comes here was made by who has the key of the
call, and is no replay.  So any address may be followed, as often as the peer moves (a phone
that changes networks), after `FOLLOW_AFTER` consecutive packets: whoever copies packets of
the peer to us from elsewhere would have to be faster each time.

Nothing else is learned from such packets: until then they are dropped and
counted.  Asterisk follows any address after 4 packets, and rtpengine followed
at once and leaked media to whoever sprayed its ports (CVE-2025-53399).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.table import Stream, Table

RESTART_AFTER = 2
FOLLOW_AFTER = 4
SSRC_QUIET_NS = 40_000_000
"The proven SSRC must have been silent for so long: of two that alternate, the first one stays."
QUIET_NS = 500_000_000
"The named port must have been silent for so long before another is followed,"
QUIET_AFTER_SPEECH_NS = 2_000_000_000
"and for so long if it has spoken: a pause of the talker is no change of port."

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


def may_take_over(table: Table, stream: Stream, address: Address, ssrc: int, seq: int, now_ns: int) -> bool:
    """A packet that is not of the proven source, by address or SSRC: may its sender take its place?"""
    c, row = table.shared, stream.row
    quiet_ns = now_ns - max(int(c.rx_last_ns[row]), stream.named_since_ns)
    if address == stream.remote:
        if not c.rx_proven[row]:
            return True
        return quiet_ns >= SSRC_QUIET_NS and consistent(stream, address, ssrc, seq, RESTART_AFTER)
    if address == stream.named:  # it speaks after all, or again: signalling outranks what was followed
        return consistent(stream, address, ssrc, seq, RESTART_AFTER)
    if table.secure[row]:
        return consistent(stream, address, ssrc, seq, FOLLOW_AFTER)
    if address[0] != stream.named[0] or address == stream.former or c.rx_followed_port[row]:
        return False
    if quiet_ns < (QUIET_AFTER_SPEECH_NS if stream.named_spoke else QUIET_NS):
        return False
    return consistent(stream, address, ssrc, seq, FOLLOW_AFTER)


def take_over(table: Table, stream: Stream, address: Address) -> None:
    """Send to, and expect from, this address from now on."""
    if address == stream.named:
        stream.named_spoke = True
    elif address != stream.remote:
        # A successor knows the port at the named host; another host (SRTP) it has to follow anew.
        table.shared.rx_followed_port[stream.row] = address[1] if address[0] == stream.named[0] else 0
    stream.remote = address


def move(table: Table, stream: Stream, named: Address, now_ns: int) -> None:
    """Signalling names another address: nothing that was followed before counts any more."""
    stream.former, stream.candidate, stream.named_spoke = stream.named, None, False
    stream.named = stream.remote = named
    stream.named_since_ns = now_ns
    table.shared.rx_followed_port[stream.row] = 0


def begin(table: Table, row: int, ssrc: int, seq: int, timestamp: int) -> None:
    """A proven source starts (or starts anew): statistics and order begin at this packet.

    Extended counters start one cycle up, so that a packet reordered before the
    first one does not become negative.
    """
    c = table.shared
    if c.rx_proven[row]:
        c.rx_lost_before[row] = c.packets_lost[row]
        c.loss_carry[row] += max(0, int(c.rx_next_seq[row] - c.loss_from_seq[row]))
    c.rx_proven[row] = 1
    c.rx_ssrc[row] = ssrc
    first = seq + (1 << 16)
    c.rx_base_seq[row] = c.rx_next_seq[row] = c.loss_from_seq[row] = first
    c.rx_max_seq[row] = first - 1
    c.rx_received[row] = c.rx_expected_prior[row] = c.rx_received_prior[row] = 0
    c.rx_max_ts[row] = c.rx_next_ts[row] = timestamp + (1 << 32)
    c.rx_has_transit[row] = 0
    c.rx_base_delay_ns[row] = np.nan
    table.seen[row] = 0
    table.late_since_ns[row] = 0


def begin_first(
    table: Table, rows: NDArray[np.intp], ssrc: NDArray[np.uint32], seq: NDArray[np.int64], timestamp: NDArray[np.int64]
) -> None:
    """`begin` of n rows that have heard nothing yet, with packets from where signalling named."""
    c, first = table.shared, seq + (1 << 16)
    c.rx_proven[rows] = 1
    c.rx_ssrc[rows] = ssrc
    for column in (c.rx_base_seq, c.rx_next_seq, c.loss_from_seq):
        column[rows] = first
    c.rx_max_seq[rows] = first - 1
    for column in (c.rx_received, c.rx_expected_prior, c.rx_received_prior, c.rx_has_transit):
        column[rows] = 0
    c.rx_max_ts[rows] = c.rx_next_ts[rows] = timestamp + (1 << 32)
    c.rx_base_delay_ns[rows] = np.nan
    table.seen[rows] = 0
    table.late_since_ns[rows] = 0
