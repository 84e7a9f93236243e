# SPDX-License-Identifier: GPL-2.0-or-later
"""Opus by FFmpeg: its own decoder, and libopus as FFmpeg drives it, to send what we would not send."""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]
RATE_HZ = 48000
"of FFmpeg's decoder, whatever was sent"


def ffmpeg_decode(packets: Sequence[bytes]) -> NDArray[np.float64]:
    """Mono packets by FFmpeg's own decoder, which shares no code with libopus; on the scale of int16."""
    codec = av.codec.Codec("opus", "r")
    assert codec.name == "opus", "that is libopus again"
    context = av.CodecContext.create(codec, "r")
    context.sample_rate = RATE_HZ
    context.layout = "mono"
    # OpusHead (RFC 7845 5.1): version 1, one channel, nothing to skip, 48000 Hz, no gain, mapping family 0
    context.extradata = b"OpusHead\x01\x01\x00\x00" + RATE_HZ.to_bytes(4, "little") + b"\x00\x00\x00"
    frames = []
    for packet in packets:
        frames += context.decode(av.Packet(packet))
    frames += context.decode(None)
    return (
        np.concatenate([np.asarray(frame.to_ndarray(), np.float64).reshape(-1) for frame in frames]) * 32768
    )


def ffmpeg_encode(
    pcm: Pcm, rate_hz: int, *, channels: int = 1, packet_ms: float = 20, bit_rate: int = 32000, **options: str
) -> list[bytes]:
    """i16[samples, channels] or i16[samples] to packets, by FFmpeg's libopus encoder (`options` as FFmpeg's)."""
    context = av.CodecContext.create("libopus", "w")
    context.sample_rate = rate_hz
    context.layout = "stereo" if channels == 2 else "mono"
    context.format = "s16"
    context.bit_rate = bit_rate
    context.options = {"frame_duration": f"{packet_ms:g}", "application": "voip", **options}
    context.open()
    size = round(rate_hz * packet_ms / 1000)
    packets = []
    for piece in pcm[: len(pcm) // size * size].reshape(-1, 1, size * channels):
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout=context.layout.name)
        frame.sample_rate = rate_hz
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets + [bytes(packet) for packet in context.encode(None)]


def rows_of(packets: Sequence[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Packets as a codec takes them: u8[n, width], i32[n]."""
    lengths = np.array([len(packet) for packet in packets], np.int32)
    payload = np.zeros((len(packets), max(map(len, packets), default=0)), np.uint8)
    for row, packet in zip(payload, packets, strict=True):
        row[: len(packet)] = np.frombuffer(packet, np.uint8)
    return payload, lengths
