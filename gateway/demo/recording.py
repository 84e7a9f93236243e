# SPDX-License-Identifier: GPL-2.0-or-later
"""What the caller's end saw: every packet both ways, with the time it passed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.demo.speech import FRAME_SAMPLES


@dataclasses.dataclass(frozen=True, slots=True)
class Recording:
    """n packets sent, m received, all PCMU with 20 ms; times are Unix ns of one clock."""

    sent_ns: NDArray[np.int64]
    "[n] just before the packet was given to the kernel"
    said: NDArray[np.uint8]
    "[n * 160] mu-law codes"
    received_ns: NDArray[np.int64]
    "[m] when the kernel received it"
    sequence: NDArray[np.int64]
    "[m] as on the wire, 16 bit"
    timestamp: NDArray[np.int64]
    "[m] as on the wire, 32 bit"
    payload: NDArray[np.uint8]
    "[m, 160] mu-law codes"

    def save(self, path: Path) -> None:
        """As a NumPy archive."""
        np.savez(path, **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    @classmethod
    def load(cls, path: Path) -> Recording:
        """What `save` wrote."""
        with np.load(path) as archive:
            return cls(**{field.name: archive[field.name] for field in dataclasses.fields(cls)})

    @property
    def lost(self) -> int:
        """Packets missing between the first and the last that came, by sequence number."""
        extended = unwrapped(self.sequence, 16)
        return 0 if not len(extended) else int(np.ptp(extended)) + 1 - len(np.unique(extended))

    def positions(self) -> NDArray[np.int64]:
        """[m] sample at which each received packet stands in the timeline of what was heard."""
        extended = unwrapped(self.timestamp, 32)
        return extended - extended.min(initial=extended[0] if len(extended) else 0)

    def heard(self) -> NDArray[np.uint8]:
        """Mu-law codes of what was heard, in the order of its timestamps; silence where nothing came."""
        positions = self.positions()
        if not len(positions):
            return np.zeros(0, np.uint8)
        codes = np.full(int(positions.max()) + FRAME_SAMPLES, 0xFF, np.uint8)
        codes[positions[:, None] + np.arange(FRAME_SAMPLES)] = self.payload
        return codes


def unwrapped(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Counters of `bits` bits as steps from the first one, each the short way round."""
    if not len(values):
        return values.astype(np.int64)
    half, full = 1 << (bits - 1), 1 << bits
    steps = (np.diff(values) + half) % full - half
    return np.concatenate(([0], np.cumsum(steps))).astype(np.int64)
