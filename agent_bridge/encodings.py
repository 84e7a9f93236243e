# SPDX-License-Identifier: MIT
"""How samples are written on the wires of agents' dialects, and chunks of any size made whole again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import alaw, mulaw

Pcm = NDArray[np.int16]

RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
"Rates that an agent may name for a piece of audio: voices are made for these, and a filter for any other may be huge."


@dataclasses.dataclass(frozen=True, slots=True)
class Encoding:
    """One way to write samples."""

    name: str
    sample_bytes: int
    encode: Callable[[Pcm], bytes]
    decode: Callable[[bytes], Pcm]
    "of whole samples"


L16 = Encoding("l16", 2, lambda pcm: pcm.astype("<i2", copy=False).tobytes(), lambda data: np.frombuffer(data, "<i2"))
"Little-endian, as the documents and programs of agents have it, whatever RFC 2586 says of audio/L16."
L16_NETWORK = Encoding(
    "l16", 2, lambda pcm: pcm.astype(">i2").tobytes(), lambda data: np.frombuffer(data, ">i2").astype(np.int16)
)
"Big-endian, as RTP carries it (RFC 3551, section 4.5.11)."
ULAW = Encoding("ulaw", 1, mulaw.encode, mulaw.decode)
ALAW = Encoding("alaw", 1, alaw.encode, alaw.decode)


class Chunks:
    """Audio in chunks that may cut a sample in two: its first half waits for the other."""

    def __init__(self) -> None:
        self._half = b""
        self._of: tuple[Encoding, int] | None = None

    def take(self, data: bytes, encoding: Encoding, rate_hz: int = 0) -> Pcm:
        """All samples that are whole now: int16[samples], perhaps none. A half of another kind is forgotten."""
        if encoding.sample_bytes == 1:
            self._half = b""
            return encoding.decode(data)
        if self._half:
            data = self._half + data if self._of == (encoding, rate_hz) else data
            self._half = b""
        if len(data) & 1:
            self._half, self._of = data[-1:], (encoding, rate_hz)
            data = data[:-1]
        return encoding.decode(data)

    def forget(self) -> None:
        """What comes next begins a new sample."""
        self._half = b""
