# SPDX-License-Identifier: GPL-2.0-or-later
"""L16, mono: 16-bit PCM in network byte order (RFC 3551 section 4.5.11)."""

from __future__ import annotations

import numpy as np

from trunkline.codecs.fixed import Bytes, FixedRate, Lengths, Pcm, Rows

SAMPLE_RATES_HZ = {"L16/8000": 8000, "L16/16000": 16000, "L16/44100": 44100}
"rate of each encoding name; with L16 it is also the RTP clock"

_NETWORK = np.dtype(">i2")


class L16Codec(FixedRate):
    """Two bytes a sample, no state."""

    def __init__(self, name: str, rows: int = 0) -> None:
        """`rows` is what codecs with state want to know."""
        self.name = name
        self.sample_rate_hz = SAMPLE_RATES_HZ[name]

    def samples_for(self, payload_bytes: int) -> int:
        """Half as many as bytes; half a sample at the end makes a payload malformed as a whole."""
        return 0 if payload_bytes % 2 else payload_bytes // 2

    def decode(self, rows: Rows, payload: Bytes) -> Pcm:
        """u8[n, 2 * samples] to i16[n, samples]."""
        return payload.view(_NETWORK).astype(np.int16)

    look_ahead = decode

    def encode(self, rows: Rows, pcm: Pcm) -> tuple[Bytes, Lengths | None]:
        """i16[n, samples] to u8[n, 2 * samples]."""
        return pcm.astype(_NETWORK, order="C").view(np.uint8), None
