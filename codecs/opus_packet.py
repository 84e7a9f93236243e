# SPDX-License-Identifier: GPL-2.0-or-later
"""How long an Opus packet is, from its first bytes (RFC 6716 section 3).

     0 1 2 3 4 5 6 7
    +-+-+-+-+-+-+-+-+
    | config  |s| c |   config: mode, bandwidth and frame size (table 2); s: stereo; c: frames
    +-+-+-+-+-+-+-+-+

c = 0: one frame; 1: two of equal size; 2: two, the size of the first in front; 3: as many as
the next byte says (3.2.5).  A packet that breaks one of the rules R1 to R7 (3.4) has no
duration here, and is never given to a decoder.

`durations` serves a batch: the first three kinds in columns, the last, which is what
senders use for many frames in one packet, one by one with the scalar twin.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_FRAME_BYTES = 1275
"R2"
MAX_PACKET_US = 120_000
"R5"


def frame_us(toc: int) -> int:
    """Length of each frame, in microseconds (3.1, table 2)."""
    config = toc >> 3
    if config < 12:  # SILK
        return (10_000, 20_000, 40_000, 60_000)[config & 3]
    if config < 16:  # hybrid
        return (10_000, 20_000)[config & 1]
    return (2_500, 5_000, 10_000, 20_000)[config & 3]  # CELT


def packet_us(packet: bytes) -> int:
    """Length of a packet in microseconds; 0 when it is malformed. The scalar twin of `durations`."""
    if not packet:
        return 0  # R1
    frame, rest, kind = frame_us(packet[0]), packet[1:], packet[0] & 3
    if kind == 0:
        return frame if len(rest) <= MAX_FRAME_BYTES else 0
    if kind == 1:  # R3
        return 2 * frame if not len(rest) & 1 and len(rest) <= 2 * MAX_FRAME_BYTES else 0
    if kind == 2:  # R4
        size, used = _size(rest)
        return 2 * frame if used and 0 <= len(rest) - used - size <= MAX_FRAME_BYTES else 0
    frames = rest[0] & 63 if rest else 0
    if not 0 < frames * frame <= MAX_PACKET_US:  # R5
        return 0
    return frames * frame if _frames_fit(rest, frames) else 0


def _frames_fit(rest: bytes, frames: int) -> bool:
    """R6 and R7: `rest` begins with the frame count byte, |v|p|count|."""
    variable, padded, at, padding = rest[0] & 0x80, rest[0] & 0x40, 1, 0
    while padded:
        if at == len(rest):
            return False
        padding += min(rest[at], 254)
        padded = rest[at] == 255
        at += 1
    left = len(rest) - at - padding
    if not variable:
        return left >= 0 and left % frames == 0 and left // frames <= MAX_FRAME_BYTES
    for _ in range(frames - 1):
        size, used = _size(rest[at : len(rest) - padding])
        if not used:
            return False
        at += used
        left -= used + size
    return 0 <= left <= MAX_FRAME_BYTES


def _size(data: bytes) -> tuple[int, int]:
    """A frame's size, and the bytes that say it (3.2.1): none when they are cut off."""
    if not data:
        return 0, 0
    if data[0] < 252:
        return data[0], 1
    return (4 * data[1] + data[0], 2) if len(data) > 1 else (0, 0)


_FRAME_US = np.array([frame_us(toc) for toc in range(256)], dtype=np.int64)


@functools.cache
def _samples_of_one_frame(rate_hz: int) -> NDArray[np.int64]:
    """By the first byte; 0 where it announces several frames."""
    several = np.arange(256) & 3 > 0
    return np.where(several, 0, _FRAME_US * (rate_hz // 100) // 10_000)


def durations(payload: NDArray[np.uint8], lengths: NDArray[np.int32], rate_hz: int) -> NDArray[np.int64]:
    """Samples in each packet at a rate of 8000, 12000, 16000, 24000 or 48000 Hz; 0 where it is malformed.

    `payload` is u8[n, width], `lengths` i32[n]: how much of each row is packet.
    """
    if not len(payload) or not payload.shape[1]:
        return np.zeros(len(payload), np.int64)
    # Nearly always all packets have one frame: four calls of NumPy, where what follows needs twenty.
    found = _samples_of_one_frame(rate_hz).take(payload[:, 0])
    most = min(MAX_FRAME_BYTES + 1, payload.shape[1])
    if found.all() and lengths.min() > 0 and lengths.max() <= most:
        return found
    return _durations_of_any(payload, lengths) * (rate_hz // 100) // 10_000


def _durations_of_any(payload: NDArray[np.uint8], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """In microseconds."""
    toc, rest = payload[:, 0], np.where(lengths <= payload.shape[1], lengths, 0) - 1
    kind = toc & 3
    frame = _FRAME_US[toc]
    found: NDArray[np.int64] = np.where((kind == 0) & (rest >= 0) & (rest <= MAX_FRAME_BYTES), frame, 0)
    if kind.any():
        pair = (kind == 1) & (rest >= 0) & (rest & 1 == 0) & (rest <= 2 * MAX_FRAME_BYTES)
        pair |= _unequal_pair(payload, rest, kind)
        found[pair] = 2 * frame[pair]
        for row in np.flatnonzero((kind == 3) & (rest >= 0)).tolist():
            found[row] = packet_us(payload[row, : lengths[row]].tobytes())
    return found


def _unequal_pair(
    payload: NDArray[np.uint8], rest: NDArray[np.signedinteger[Any]], kind: NDArray[np.signedinteger[Any]]
) -> NDArray[np.bool_]:
    """R4, in columns: bool[n]."""
    width = payload.shape[1]
    first = payload[:, min(1, width - 1)].astype(np.int32)
    second = payload[:, min(2, width - 1)].astype(np.int32)
    used = np.where(first < 252, 1, 2)
    left = rest - used - np.where(first < 252, first, first + 4 * second)
    fits: NDArray[np.bool_] = (kind == 2) & (rest >= used) & (left >= 0) & (left <= MAX_FRAME_BYTES)
    return fits
