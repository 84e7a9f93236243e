# SPDX-License-Identifier: GPL-2.0-or-later
"""G.722 at 64 kbit/s (ITU-T G.722 mode 1; RFC 3551 section 4.5.2): 16 kHz PCM, a byte for two samples.

**By whom.** Each sample depends on the one before, so there is nothing to do in
columns; a C library codes row by row, called from C loops (`map`, `join`).  The
package `G722` is exact: its decoder gives what ITU-T's reference code (G.191) gives
for every code, and so does its encoder up to -0.1 dB of full scale.  Above, where the
bands overshoot, the reference limits them to 15 bits, and this encoder, like
spandsp's and FFmpeg's, does not.  spandsp was looked at too, for its state is plain
memory; but its decoder (0.0.6) wraps around where loud sound overshoots.

**The RTP clock** of G.722 runs at 8 kHz (RFC 3551): two samples a unit, and one byte.

**Looking ahead.** The library's state cannot be copied.  So the packet behind a gap is
decoded once, early: what came out is kept, and given when its turn comes.  In between
nothing is decoded unless a packet of the gap comes after all; then it is decoded as if
it had come behind the other, a disturbance no greater than that of the gap.

A decoder that begins in mid-stream, as after the death of a worker, is off by -8 dB after
60 ms, -16 after 100 and -39 after 200 (medians, on the speech of G.191).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from G722 import G722

from trunkline.codecs.fixed import Bytes, FixedRate, Lengths, Pcm, Rows

SAMPLE_RATE_HZ = 16000
BIT_RATE = 64000
SAMPLES_PER_BYTE = 2


class G722Codec(FixedRate):
    """A coder and a decoder for each row, made when it is first heard or spoken to."""

    name = "G722"
    sample_rate_hz = SAMPLE_RATE_HZ

    def __init__(self, rows: int) -> None:
        self._coders: list[G722 | None] = [None] * rows
        self._early: dict[int, tuple[bytes, Pcm]] = {}
        "row -> a payload that was decoded before its turn, and what came of it"

    def samples_for(self, payload_bytes: int) -> int:
        """Two for each byte; every byte is a code."""
        return SAMPLES_PER_BYTE * payload_bytes

    def encode(self, rows: Rows, pcm: Pcm) -> tuple[Bytes, Lengths | None]:
        """i16[n, samples] to u8[n, samples / 2]; samples must be even, as all packet times make them."""
        codes = b"".join(map(G722.encode, self._of(rows.tolist()), np.ascontiguousarray(pcm)))
        return np.frombuffer(codes, np.uint8).reshape(len(pcm), pcm.shape[1] // SAMPLES_PER_BYTE), None

    def decode(self, rows: Rows, payload: Bytes) -> Pcm:
        """u8[n, bytes] to i16[n, 2 * bytes]."""
        numbers, pieces = rows.tolist(), _pieces(payload)
        if self._early and not self._early.keys().isdisjoint(numbers):
            return _rows(map(self._decode_in_turn, numbers, pieces), payload)
        return _rows(map(G722.decode, self._of(numbers), pieces), payload)

    def look_ahead(self, rows: Rows, payload: Bytes) -> Pcm:
        """As `decode`, for the packet behind a gap; it may be asked for again, and is decoded when it is due."""
        return _rows(map(self._decode_early, rows.tolist(), _pieces(payload)), payload)

    def forget(self, row: int) -> None:
        """The row ends; the next one there begins anew."""
        self._coders[row] = None
        self._early.pop(row, None)

    def _of(self, numbers: list[int]) -> list[G722]:
        coders = self._coders
        return [coders[row] or self._new(row) for row in numbers]

    def _new(self, row: int) -> G722:
        coder = self._coders[row] = G722(SAMPLE_RATE_HZ, BIT_RATE)
        return coder

    def _decode_in_turn(self, row: int, piece: bytes) -> Pcm:
        early, sound = self._early.pop(row, (None, None))
        if sound is not None and early == piece:
            return sound
        return (self._coders[row] or self._new(row)).decode(piece)

    def _decode_early(self, row: int, piece: bytes) -> Pcm:
        early, sound = self._early.get(row, (None, None))
        if sound is None or early != piece:
            sound = (self._coders[row] or self._new(row)).decode(piece)
            self._early[row] = piece, sound
        return sound


def _pieces(payload: Bytes) -> list[bytes]:
    """The rows of u8[n, bytes]."""
    data, width = payload.tobytes(), payload.shape[1]
    return [data[at * width : (at + 1) * width] for at in range(len(payload))]


def _rows(sounds: Iterable[Pcm], payload: Bytes) -> Pcm:
    """The sound of each row of u8[n, bytes], in one array that may be written to: i16[n, 2 * bytes].

    `join` takes whatever is a buffer: the library gives arrays of NumPy's or of Python's.
    """
    joined = bytearray().join(sounds)  # type: ignore[arg-type]  # buffers, which the stub does not know
    return np.frombuffer(joined, np.int16).reshape(len(payload), SAMPLES_PER_BYTE * payload.shape[1])
