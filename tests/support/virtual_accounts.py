# SPDX-License-Identifier: GPL-2.0-or-later
"""What became of every packet: the books of a `VirtualEngine` with `Traffic`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from support.virtual_agent import MADE_UP, Before, Frames, Grouped
from support.virtual_engine import START_NS, VirtualEngine
from support.virtual_network import NUMBER_BYTES, Traffic, numbers_in

_NOWHERE = -(1 << 62)


class Places:
    """Where in the agent's timeline the packets of each call came to lie (agents at 8 kHz, one frame a packet).

    A caller's packet k was spoken k packet times after its first one, lost and silent ones counted.  If
    frames are elapsed time / packet time, exactly, then frame number minus packet number never changes.
    """

    def __init__(self, rig: VirtualEngine) -> None:
        self._rig = rig
        self._number = Before(rig.calls, -1)
        self._place = Before(rig.calls, _NOWHERE)
        self._heard = np.zeros(rig.calls, np.int64)
        self._not_in_order = 0
        self._moves = np.zeros(rig.calls, np.int64)
        rig.agent.on_frames = self._hear

    @property
    def heard(self) -> NDArray[np.int64]:
        """[calls] packets that were played."""
        self._rig.agent.read()
        return self._heard

    @property
    def not_in_order(self) -> int:
        """Packets played after a later one, or twice."""
        self._rig.agent.read()
        return self._not_in_order

    @property
    def moves(self) -> NDArray[np.int64]:
        """[calls] how often frame number minus packet number has changed."""
        self._rig.agent.read()
        return self._moves

    def _hear(self, calls: NDArray[np.intp], frames: Frames) -> None:
        real = np.flatnonzero((frames.heads["flags"] & MADE_UP) == 0)
        if not len(real):
            return
        calls, frames = calls[real], frames.part(real)
        samples, position = frames.samples, frames.heads["position"].astype(np.int64)
        number = numbers_in(frames.tails(NUMBER_BYTES))
        of = Grouped(calls)
        self._heard[of.calls] += of.counts
        self._not_in_order += int(np.count_nonzero(number <= self._number.step(of, number)))
        place = position // samples - number
        before = self._place.step(of, place)
        moved = (place != before) & (before != _NOWHERE)
        self._moves += np.bincount(calls[moved], minlength=len(self._moves))


def unaccounted(rig: VirtualEngine, traffic: Traffic, places: Places) -> NDArray[np.int64]:
    """[calls] packets in, minus those played and those dropped with a reason."""
    return np.asarray(traffic.delivered - places.heard - rig.uplink_drops(), np.int64)


def frames_minus_time(rig: VirtualEngine) -> NDArray[np.float64]:
    """[calls] frames that the agent got minus packet times since the start, by our clock."""
    packet_ns = rig.table.ptime_ns[: rig.calls]
    return np.asarray(rig.agent.frames - (rig.now_ns - START_NS) / packet_ns)
