# SPDX-License-Identifier: GPL-2.0-or-later
"""RTP payload of comfort noise (RFC 3389): how loud the background is, and what it sounds like.

     0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 ...
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |0|   level     |      N1       |      N2       | ...
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

Level is in -dBov (3.1).  Each N is a reflection coefficient, k = 258 (N - 127) / 32768
(3.2); there may be any number of them, also none: white noise.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

MAX_ORDER = 10
"Coefficients that we take; a receiver may leave out those of higher order (section 3)."

_STEP = 258 / 32768


@dataclasses.dataclass(frozen=True, slots=True)
class ComfortNoise:
    """One packet of comfort noise."""

    level_dbov: int
    "0 to -127"
    reflection: tuple[float, ...] = ()
    "each between -1 and 1"

    @classmethod
    def parse(cls, payload: bytes) -> ComfortNoise | None:
        """Read a payload; None for an empty one. The unused bit and the reserved value 255 are tolerated."""
        if not payload:
            return None
        numbers = payload[1 : 1 + MAX_ORDER]
        return cls(-(payload[0] & 0x7F), tuple((min(n, 254) - 127) * _STEP for n in numbers))

    def __bytes__(self) -> bytes:
        level = min(max(-self.level_dbov, 0), 127)
        return bytes([level, *quantised(self.reflection)])


def quantised(reflection: Sequence[float]) -> list[int]:
    """The number N that is nearest to each coefficient."""
    return [min(max(round(127 + k / _STEP), 0), 254) for k in reflection]
