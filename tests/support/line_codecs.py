# SPDX-License-Identifier: GPL-2.0-or-later
"""The encodings of a telephone line by FFmpeg (PyAV): another's code than that under test, in both directions.

    encode("G722", pcm, 20) -> one payload a packet          decode("G722", payloads) -> PCM of each payload
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import av
import numpy as np
from av.codec.context import CodecContext

from support.audio import Pcm

LARGEST_PAYLOAD = 1400
"Bytes that fit a datagram of an Ethernet with SRTP's tag and room to spare."
OPUS_HEAD = b"OpusHead\x01\x01\x00\x00\x80\xbb\x00\x00\x00\x00\x00"
"RFC 7845 5.1: version 1, one channel, no pre-skip, 48 kHz, no gain: FFmpeg's decoder wants to be told"


@dataclasses.dataclass(frozen=True, slots=True)
class Encoding:
    """How a codec looks in SDP and RTP, and what FFmpeg calls it."""

    name: str
    rtpmap: str
    payload_type: int
    "the static one, or one of the tests' own"
    clock_hz: int
    rate_hz: int
    "of the samples; G.722 has a clock of 8000 by an old mistake (RFC 3551 4.5.2)"
    encoder: str
    decoder: str
    bits: int = 0
    "of a sample on the wire; 0: packets of one duration differ in size"
    fmtp: str = ""

    def timestamps(self, ptime_ms: int) -> int:
        """Units of the RTP clock in a packet."""
        return self.clock_hz * ptime_ms // 1000

    def samples(self, ptime_ms: int) -> int:
        """Samples in a packet."""
        return self.rate_hz * ptime_ms // 1000

    def why_not(self, ptime_ms: int) -> str:
        """Why there is no such packet, or nothing."""
        if not self.bits:
            return "Opus has no frame of 30 ms" if ptime_ms == 30 else ""
        size = self.samples(ptime_ms) * self.bits // 8
        return f"{size} bytes are more than a datagram" if size > LARGEST_PAYLOAD else ""


ENCODINGS = {
    one.name: one
    for one in (
        Encoding("PCMU", "PCMU/8000", 0, 8000, 8000, "pcm_mulaw", "pcm_mulaw", 8),
        Encoding("PCMA", "PCMA/8000", 8, 8000, 8000, "pcm_alaw", "pcm_alaw", 8),
        Encoding("G722", "G722/8000", 9, 8000, 16000, "g722", "g722", 4),
        Encoding("L16/8000", "L16/8000", 107, 8000, 8000, "pcm_s16be", "pcm_s16be", 16),
        Encoding("L16/16000", "L16/16000", 108, 16000, 16000, "pcm_s16be", "pcm_s16be", 16),
        Encoding("L16/44100", "L16/44100", 11, 44100, 44100, "pcm_s16be", "pcm_s16be", 16),
        # Decoded by FFmpeg's own decoder, not by libopus.
        Encoding("OPUS", "opus/48000/2", 111, 48000, 48000, "libopus", "opus"),
    )
}
"""By the names of `trunkline.rtp.payload.AUDIO_FORMATS`."""


def encode(name: str, pcm: Pcm, ptime_ms: int) -> list[bytes]:
    """Payloads of whole packets of `pcm`, i16 at the encoding's own rate; a last part of one is left out."""
    encoding = ENCODINGS[name]
    size = encoding.samples(ptime_ms)
    pcm = pcm[: len(pcm) // size * size]
    context = CodecContext.create(encoding.encoder, "w")
    context.sample_rate, context.layout, context.format = encoding.rate_hz, "mono", "s16"  # type: ignore[attr-defined]
    if encoding.bits:
        data = b"".join(_coded(context, pcm, size))
        step = size * encoding.bits // 8
        return [data[at : at + step] for at in range(0, len(pcm) // size * step, step)]
    context.bit_rate = 32_000
    context.options = {"frame_duration": str(ptime_ms), "application": "voip"}
    return _coded(context, pcm, size)[: len(pcm) // size]


def _coded(context: CodecContext, pcm: Pcm, size: int) -> list[bytes]:
    found = []
    for at in range(0, len(pcm), size):
        frame = av.AudioFrame.from_ndarray(pcm[None, at : at + size], "s16", "mono")
        frame.sample_rate, frame.pts = context.sample_rate, at  # type: ignore[attr-defined]
        found += [bytes(packet) for packet in context.encode(frame)]  # type: ignore[attr-defined]
    return found + [bytes(packet) for packet in context.encode(None)]  # type: ignore[attr-defined]


def decode(name: str, payloads: Iterable[bytes]) -> list[Pcm]:
    """What each payload of a stream sounds like, i16 at the encoding's own rate."""
    encoding = ENCODINGS[name]
    context = CodecContext.create(encoding.decoder, "r")
    context.sample_rate, context.layout = encoding.rate_hz, "mono"  # type: ignore[attr-defined]
    if not encoding.bits:
        context.extradata = OPUS_HEAD
    return [_mono([_samples(one) for one in context.decode(av.Packet(data))]) for data in payloads]  # type: ignore[attr-defined]


def _samples(frame: av.AudioFrame) -> Pcm:
    data = frame.to_ndarray()
    if data.dtype.kind == "f":
        data = np.rint(np.clip(data * 32768.0, -32768, 32767))
    data = data.reshape(-1, len(frame.layout.channels)).T if not frame.format.is_planar else data
    return data[0].astype(np.int16)


def _mono(parts: Sequence[Pcm]) -> Pcm:
    return np.concatenate(parts) if parts else np.zeros(0, np.int16)
