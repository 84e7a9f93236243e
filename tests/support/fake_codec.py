# SPDX-License-Identifier: GPL-2.0-or-later
"""A codec with payloads of any length, and with a state that shows whether it is moved as often as it should be.

A payload says how long it is (first byte, in units of 2.5 ms) and how loud (second byte); the rest
is padding, so payloads of one duration differ in length.  A decoder counts its samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import registry
from trunkline.gateway.media import formats

LOUDNESS = 100
CONCEALED = 77
"value of a sample that was made up without help from the packet behind it"


def payload(ms: float, loudness: int, padding: int = 0) -> bytes:
    return bytes([round(ms / 2.5), loudness]) + bytes(padding)


class FakeCodec:
    """In the place of Opus."""

    name = "OPUS"
    variable = True
    conceals = True
    decode_table = None
    encode_table = None

    def __init__(self, rows: int, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.decoded = np.zeros(rows, np.int64)
        "samples by which each decoder was moved"
        self.encoded = np.zeros(rows, np.int64)
        self.following: list[bytes] = []
        self.configured: dict[int, str] = {}
        self.losses: list[tuple[int, float]] = []
        self.forgotten: list[int] = []

    def samples_for(self, payload_bytes: int) -> int:
        return 0

    def durations(self, payload: NDArray[np.uint8], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
        return np.where(lengths >= 2, payload[:, 0].astype(np.int64) * self.sample_rate_hz // 400, 0)

    def decode(self, rows: NDArray[np.intp], payload: NDArray[np.uint8]) -> NDArray[np.int16]:
        raise AssertionError("variable payloads have lengths")

    def decode_variable(
        self, rows: NDArray[np.intp], payload: NDArray[np.uint8], lengths: NDArray[np.int32], samples: int
    ) -> NDArray[np.int16]:
        assert (self.durations(payload, lengths) == samples).all() and len(set(rows.tolist())) == len(rows)
        self.decoded[rows] += samples
        return np.repeat(payload[:, 1:2].astype(np.int16) * LOUDNESS, samples, axis=1)

    def encode(
        self, rows: NDArray[np.intp], pcm: NDArray[np.int16]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
        """As long as it is loud; silence need not be sent."""
        self.encoded[rows] += pcm.shape[1]
        loudness = np.abs(pcm).max(axis=1) // LOUDNESS
        lengths = np.where(loudness > 0, 2 + loudness, 0).astype(np.int32)
        out = np.zeros((len(rows), 512), np.uint8)
        out[:, 0], out[:, 1] = pcm.shape[1] * 400 // self.sample_rate_hz, loudness
        return out, lengths

    def conceal(
        self, rows: NDArray[np.intp], samples: int, following: Sequence[bytes] | None
    ) -> NDArray[np.int16]:
        self.decoded[rows] += samples
        behind = list(following or [b""] * len(rows))
        self.following += behind
        value = [data[1] * LOUDNESS if data else CONCEALED for data in behind]
        return np.repeat(np.array(value, np.int16)[:, None], samples, axis=1)

    def look_ahead(self, rows: NDArray[np.intp], payload: NDArray[np.uint8]) -> None:
        return None

    def forget(self, row: int) -> None:
        self.forgotten.append(row)

    def configure(self, row: int, parameters: str) -> None:
        self.configured[row] = parameters

    def note_loss(self, rows: NDArray[np.intp], percent: NDArray[np.float64]) -> None:
        self.losses += zip(rows.tolist(), percent.tolist(), strict=True)


@contextmanager
def fake_opus() -> Iterator[list[FakeCodec]]:
    """Streams that begin meanwhile have it for Opus; the list has all that were opened."""
    opened: list[FakeCodec] = []

    def open_codec(name: str, rows: int, sample_rate_hz: int = 0, opus: object = None) -> registry.AudioCodec:
        if name != "OPUS":
            return registry.open_codec(name, rows, sample_rate_hz)
        opened.append(FakeCodec(rows, sample_rate_hz))
        return opened[-1]

    with mock.patch.object(formats, "open_codec", open_codec):
        yield opened
