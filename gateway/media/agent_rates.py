# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech at a rate that the agent names with each piece, brought to its call's, so that pieces join without a seam.

A resampler makes whole numbers of samples only of whole numbers of its steps, and lags by a
millisecond or two.  What it still holds comes with the next piece, or when the agent sets a
mark: all before a mark is to be heard.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.resample import Resampler, get_resampler

Pcm = NDArray[np.int16]


@dataclasses.dataclass(slots=True)
class _Speech:
    """One call's, between two pieces."""

    resampler: Resampler
    history: Pcm
    rest: Pcm
    "[samples] of less than a step"


class AgentRates:
    """Remembers by row; a row that never had another rate is not here, and costs nothing."""

    def __init__(self) -> None:
        self.speech: dict[int, _Speech] = {}
        "by row"

    def convert(self, row: int, pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
        """A piece int16[samples] at `from_hz` as int16[any number of samples] at `to_hz`."""
        resampler = get_resampler(from_hz, to_hz)
        one = self.speech.get(row)
        if one is None or one.resampler is not resampler:
            one = _Speech(resampler, resampler.new_history(1), np.zeros(0, np.int16))
            self.speech[row] = one
        whole = np.concatenate([one.rest, pcm]) if len(one.rest) else pcm
        good = len(whole) // resampler.down * resampler.down
        one.rest = whole[good:].copy()
        if not good:
            return np.zeros(0, np.int16)
        out, one.history = resampler.process(one.history, whole[None, :good])
        return out[0]

    def finish(self, row: int) -> Pcm:
        """What the row's resampler still holds, int16[samples]; its next piece begins anew."""
        one = self.speech.pop(row, None)
        if one is None:
            return np.zeros(0, np.int16)
        resampler = one.resampler
        held = resampler.delay_samples + len(one.rest)
        fill = -held % resampler.down + resampler.delay_samples
        tail = np.concatenate([one.rest, np.zeros(fill, np.int16)])
        out, _ = resampler.process(one.history, tail[None, :])
        return out[0]

    def drop(self, row: int) -> None:
        """What the row's resampler holds is thrown away."""
        self.speech.pop(row, None)
