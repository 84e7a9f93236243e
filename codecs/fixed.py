# SPDX-License-Identifier: GPL-2.0-or-later
"""What encodings have in common whose payloads of one duration have one length, and nothing to negotiate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Bytes = NDArray[np.uint8]
Pcm = NDArray[np.int16]
Lengths = NDArray[np.int32]


class FixedRate:
    """The parts of the batch interface (`registry.AudioCodec`) that are the same for all of them."""

    variable = False
    conceals = False
    decode_table: Pcm | None = None
    encode_table: Bytes | None = None

    def samples_for(self, payload_bytes: int) -> int:
        """Samples in a payload of so many bytes, 0 where none has that size; the encoding says."""
        raise NotImplementedError

    def durations(self, payload: Bytes, lengths: Lengths) -> NDArray[np.int64]:
        """Samples in each payload, 0 where it is malformed: by length alone."""
        return np.array([self.samples_for(length) for length in lengths.tolist()], np.int64)

    def decode_variable(self, rows: Rows, payload: Bytes, lengths: Lengths, samples: int) -> Pcm:
        """Not for these: a mistake of the caller's."""
        raise TypeError(f"{type(self).__name__}: payloads of one duration have one length")

    def conceal(self, rows: Rows, samples: int, following: Sequence[bytes] | None) -> Pcm | None:
        """They have none of their own."""
        return None

    def forget(self, row: int) -> None:
        """Without state there is nothing to forget."""

    def configure(self, row: int, parameters: str) -> None:
        """There is nothing to choose."""

    def note_loss(self, rows: Rows, percent: NDArray[np.float64]) -> None:
        """There is nothing to do about it."""
