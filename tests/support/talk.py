# SPDX-License-Identifier: GPL-2.0-or-later
"""A caller who talks, in virtual time: voices and noises at given levels, and one call that hears them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from support.audio import encode_g711
from support.media_rig import PEER
from support.virtual_engine import VirtualEngine
from trunkline.gateway.media import control
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.rtp.packet import Packet

RATE_HZ, PACKET = 8000, 160
Pcm = NDArray[np.int16]


def at_level(sound: NDArray[np.float64], dbov: float) -> Pcm:
    """As samples of that mean level."""
    loud = sound * (32768 * 10 ** (dbov / 20) / np.sqrt(np.mean(np.square(sound))))
    return np.clip(np.rint(loud), -32768, 32767).astype(np.int16)


def voice(seconds: float, dbov: float = -24.0, rate_hz: int = RATE_HZ, pitch_hz: float = 130.0) -> Pcm:
    """A vowel whose pitch and loudness move as a voice's do, without a pause."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    phase = 2 * np.pi * (pitch_hz * t + 4 * np.sin(2 * np.pi * 1.3 * t))
    sound = sum(np.sin(k * phase) / k for k in range(1, 16))
    return at_level(sound * (1 + 0.7 * np.sin(2 * np.pi * 3.7 * t)), dbov)


def noise(seconds: float, dbov: float, seed: int = 1, rate_hz: int = RATE_HZ) -> Pcm:
    """White."""
    return at_level(np.random.default_rng(seed).standard_normal(round(seconds * rate_hz)), dbov)


def fan(seconds: float, dbov: float, seed: int = 1, rate_hz: int = RATE_HZ) -> Pcm:
    """Mostly low, restless, with a hum: what sounds least like line noise of all that is none of voice."""
    count = round(seconds * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    sound = np.fft.irfft(spectrum / np.maximum(np.fft.rfftfreq(count, 1 / rate_hz), 60), count)
    hum = np.sin(2 * np.pi * 120 * np.arange(count) / rate_hz)
    return at_level(sound / sound.std() + 0.5 * hum, dbov)


def silence(seconds: float) -> Pcm:
    """Digital."""
    return np.zeros(round(seconds * RATE_HZ), np.int16)


class TalkRig(VirtualEngine):
    """One call of G.711, whose agent talks at 8 kHz; `turns` are `control.TurnParams`."""

    def __init__(self, tick_ms: float = 5.0, *, more: dict[str, object] | None = None, **turns: object) -> None:
        super().__init__(1, tick_ms=tick_ms, turns=control.TurnParams(**turns), **(more or {}))  # type: ignore[arg-type]
        self.played: list[tuple[int, Pcm]] = []
        "when each packet to the caller left, and its samples"
        self.sockets.on_packets = self._note_played
        self.frames: list[tuple[int, int]] = []
        "position and flags of each frame that the agent got"
        self.agent.on_audio = self._note_frames
        self._seq = 0

    def _note_played(self, rows: NDArray[np.intp], packets: NDArray[np.uint8]) -> None:
        codes = packets[0, 12:] if self.sockets.lengths is None else packets[0, 12 : self.sockets.lengths[0]]
        self.played.append((self.now_ns, codes.copy()))

    def _note_frames(self, calls: NDArray[np.intp], records: NDArray[np.void]) -> None:
        self.frames += zip(records["position"].tolist(), records["flags"].tolist(), strict=True)

    def hear(self, pcm: Pcm) -> None:
        """The caller sends this, in real time."""
        for start in range(0, len(pcm) - PACKET + 1, PACKET):
            self._seq += 1
            payload = encode_g711(pcm[start : start + PACKET], 0)
            data = bytes(Packet(0, self._seq & 0xFFFF, self._seq * PACKET & 0xFFFFFFFF, 5, payload))
            packets = np.zeros((1, PACKET_BYTES), np.uint8)
            packets[0, : len(data)] = np.frombuffer(data, np.uint8)
            lengths, row = np.array([len(data)], np.int32), np.zeros(1, np.intp)
            self.step([Batch(row, packets, lengths, np.ones(1, bool), [PEER])])
            self.run(0.02 - self.tick_ns / 1e9)

    def say(self, pcm: Pcm) -> None:
        """The agent says this, all at once."""
        for start in range(0, len(pcm), RATE_HZ):  # a record holds 32767 samples
            self.agent.speak(np.zeros(1, np.intp), pcm[None, start : start + RATE_HZ])

    def told(self, kind: str) -> list[dict[str, object]]:
        """What the agent was told of that kind."""
        return [dict(message) for message in self.agent.control if message["type"] == kind]

    @property
    def speech(self) -> list[tuple[str, int]]:
        """State and position of each `speech`."""
        return [(str(m["state"]), int(m["position"])) for m in self.told("speech")]  # type: ignore[call-overload]

    def loud_until_ns(self) -> int:
        """When the last packet left that was not silence."""
        return max((when for when, codes in self.played if (codes != 0xFF).any()), default=0)
