# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of every packet: the books of a `VirtualEngine` with `Traffic`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from support.virtual_agent import MADE_UP
from support.virtual_engine import START_NS, VirtualEngine
from support.virtual_network import Traffic, numbers_in


class Places:
    """Where in the agent's timeline the packets of each call came to lie (agents at 8 kHz, one frame a packet).

    A caller's packet k was spoken k packet times after its first one, lost and silent ones counted.  If
    frames are elapsed time / packet time, exactly, then frame number minus packet number never changes.
    """

    def __init__(self, rig: VirtualEngine) -> None:
        self._last = np.full(rig.calls, -1, np.int64)
        self._place = np.full(rig.calls, -1, np.int64)
        self.heard = np.zeros(rig.calls, np.int64)
        "packets that were played"
        self.not_in_order = 0
        "packets played after a later one, or twice"
        self.moves = np.zeros(rig.calls, np.int64)
        "[calls] how often frame number minus packet number has changed"
        self.moved_frames = np.zeros(rig.calls, np.int64)
        "[calls] sum of these changes: frames too many, negative: too few"
        rig.agent.on_audio = self._hear

    def _hear(self, calls: NDArray[np.intp], records: NDArray[np.void]) -> None:
        real = (records["flags"] & MADE_UP) == 0
        if not real.any():
            return
        calls, pcm = calls[real], records["pcm"][real]
        number = numbers_in(pcm)
        self.heard[calls] += 1
        self.not_in_order += int((number <= self._last[calls]).sum())
        self._last[calls] = number
        place = records["position"][real].astype(np.int64) // pcm.shape[1] - number
        before = self._place[calls]
        known = before >= 0
        moved = np.where(known, place - before, 0)
        self.moves[calls] += moved != 0
        self.moved_frames[calls] += moved
        self._place[calls] = place


def unaccounted(rig: VirtualEngine, traffic: Traffic, places: Places) -> NDArray[np.int64]:
    """[calls] packets in, minus those played and those dropped with a reason."""
    return np.asarray(traffic.delivered - places.heard - rig.uplink_drops(), np.int64)


def frames_minus_time(rig: VirtualEngine) -> NDArray[np.float64]:
    """[calls] frames that the agent got minus packet times since the start, by our clock."""
    packet_ns = rig.table.ptime_ns[: rig.calls]
    return np.asarray(rig.agent.frames - (rig.now_ns - START_NS) / packet_ns)
