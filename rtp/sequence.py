# SPDX-License-Identifier: GPL-2.0-or-later
"""Wire counters that wrap, made into ones that do not.

Sequence numbers have 16 bits and wrap every 22 minutes at 50 packets a second;
timestamps have 32 and wrap every 149 hours at 8 kHz, but start anywhere, so a
wrap in the first second of a call is as likely as any.  Everything inside works
with int64, and these functions are the only place where a wrap exists.

Among all numbers with the right low bits, the one nearest to a reference (the
highest seen so far) is taken.  That is right for any packet that is less than
half a cycle early or late, so reordering across a wrap needs no special case:
it may give a number below the first one, even a negative one, and its low bits
are still what was on the wire.  Without a reference yet, the caller takes the
wire value itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def extend(reference: NDArray[np.int64], wire: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """The numbers i64[n] nearest to `reference` i64[n] whose low `bits` are `wire` i64[n].

    Exactly half a cycle away counts as late: what cannot be told from an old packet
    must not pull the highest number forward.
    """
    half = 1 << (bits - 1)
    return reference + (((wire - reference + half) & (2 * half - 1)) - half)


def extend_one(reference: int, wire: int, bits: int) -> int:
    """Scalar twin of `extend`: try this cycle and its neighbours, keep the nearest."""
    cycle = 1 << bits
    here = reference // cycle * cycle + wire
    return min((here - cycle, here, here + cycle), key=lambda number: abs(number - reference))
