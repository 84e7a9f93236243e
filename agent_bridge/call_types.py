# SPDX-License-Identifier: MIT
"""What a `Call` hands to the agent's code: frames, reports, and the PCM it takes in return."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import (
    FLAG_COMFORT_NOISE,
    FLAG_CONCEALED,
    FLAG_GAP,
    FLAG_REPLAY,
    FLAG_SPEECH,
)

Pcm = NDArray[np.int16]
PcmLike = Pcm | bytes | bytearray | memoryview


class CallEnded(Exception):
    """The call was over before the answer came. A handler may let it pass."""


class CommandRefused(Exception):
    """The gateway does not do what it was asked for: `code` is a word for programs, the text is for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{text} ({code})" if text else code)
        self.code = code


class Frame(NamedTuple):
    """One packet time of the caller's audio; exactly one comes for each, lost packets included."""

    pcm: Pcm
    "int16[samples] at `call.sample_rate`"
    position: int
    "of the first sample, counted from the start of the call"
    flags: int
    "FLAG_* of trunkline.agent_bridge.dialect"

    @property
    def speech(self) -> bool:
        """The gateway heard a voice in it (routes may switch detection off)."""
        return bool(self.flags & FLAG_SPEECH)

    @property
    def concealed(self) -> bool:
        """Made up by the gateway in place of a lost packet."""
        return bool(self.flags & FLAG_CONCEALED)

    @property
    def comfort_noise(self) -> bool:
        """The caller's side sent nothing: silence suppression, hold, or a dead network."""
        return bool(self.flags & FLAG_COMFORT_NOISE)

    @property
    def gap(self) -> bool:
        """Something before this frame is missing: `position` says how much."""
        return bool(self.flags & FLAG_GAP)

    @property
    def replay(self) -> bool:
        """Said before: to an agent that was lost with the call, or while there was none."""
        return bool(self.flags & FLAG_REPLAY)


@dataclasses.dataclass(frozen=True, slots=True)
class MarkReport:
    """What became of a mark."""

    name: str
    outcome: str
    """`played`: the caller has been sent all audio before it.  `cleared`: a clear came first.
    `lost`: the gateway's media process was replaced meanwhile, nobody knows.  `ended`: the call is over."""
    position: int
    "samples played to the caller up to it, as far as known"

    @property
    def played(self) -> bool:
        """The caller has heard it."""
        return self.outcome == "played"


@dataclasses.dataclass(frozen=True, slots=True)
class Cleared:
    """What a clear did."""

    played_ms: int
    "audio that the caller has been sent since the start of the call"
    discarded_ms: int
    "audio that was thrown away"
    marks: tuple[str, ...]
    "marks that will not be played, the oldest first"


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """Why a call is over, and its statistics."""

    reason: str
    stats: Mapping[str, float]


def samples_of(pcm: PcmLike) -> Pcm:
    """A copy of `pcm` as int16[samples]; raises TypeError or ValueError when that would be guessing."""
    if isinstance(pcm, (bytes, bytearray, memoryview)):
        return np.frombuffer(pcm, "<i2").astype(np.int16)
    if not isinstance(pcm, np.ndarray) or pcm.dtype != np.int16:
        found = getattr(pcm, "dtype", type(pcm).__name__)
        raise TypeError(
            f"audio is bytes or an array of int16, not {found} (float: (x * 32767).astype(np.int16))"
        )
    if pcm.ndim != 1:
        raise ValueError(f"audio of shape {pcm.shape}: calls are mono, one dimension")
    return pcm.astype(np.int16)
