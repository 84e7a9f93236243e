# SPDX-License-Identifier: GPL-2.0-or-later
"""Which packets a network loses: at random, or in bursts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BURST = 3.0
"packets of a burst on average"
SPARED = 25
"the first half second is never lost: nobody can conceal what he has never heard"


def lost_packets(count: int, rate: float, *, burst: bool, seed: int) -> NDArray[np.bool_]:
    """bool[count]: lost or not.

    Bursts are those of a Gilbert model: in its bad state everything is lost, it is left
    with probability 1 / BURST after each packet, and entered so often that `rate` is lost.
    """
    rng = np.random.default_rng(seed)
    if not burst:
        lost = rng.random(count) < rate
    else:
        leave = 1 / BURST
        enter = leave * rate / (1 - rate)
        lost = np.zeros(count, bool)
        bad = False
        for i, draw in enumerate(rng.random(count)):
            bad = draw >= leave if bad else draw < enter
            lost[i] = bad
    lost[:SPARED] = False
    return lost
