# SPDX-License-Identifier: MIT
"""Hearing: where the caller begins and ends to speak, and what he said.

Recognition is PocketSphinx's, with the English model that its package carries, and a grammar for each question:
a few dozen words at a time, which is what makes it sure on telephone audio and light on a CPU.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque

import numpy as np
from numpy.typing import NDArray
from pocketsphinx import Config, Decoder, Vad, get_model_path

from trunkline.agent_bridge.examples.receptionist import grammar
from trunkline.agent_bridge.examples.receptionist.resampling import Resampler

Pcm = NDArray[np.int16]

MODEL_HZ = 16000
START_MS, END_MS, BEFORE_MS = 120, 600, 300
"Of voice that makes a beginning; of none that makes an end; kept from before a beginning."
LONGEST_MS = 12_000
UNLIKELY = -4.0
"""Log likelihood per frame (to the base of 1.0001) of a grammar's best sentence against that of any sounds at all.
Below it the caller has said something else. Sentences of the grammar, said by four voices over G.711, had -3.6
at worst; of eight others, all were below."""
_WORD_PENALTY = 0.1
"Fewer digits that nobody has said: of 68 sentences 64 instead of 59 were right word by word."


@dataclasses.dataclass(frozen=True, slots=True)
class Began:
    """The caller speaks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """The caller has spoken, and is silent again."""

    pcm: Pcm
    "at the call's rate, with a little of the silence around it"


class Endpointer:
    """Finds utterances in frames."""

    def __init__(self, rate_hz: int, frame_ms: int) -> None:
        """The frames' rate, and how long each is."""
        self._vad = Vad(Vad.STRICT, MODEL_HZ, 0.02)
        self._to_model = Resampler(rate_hz, MODEL_HZ)
        self._left = np.zeros(0, np.int16)
        self._frame_ms = frame_ms
        self._frames: deque[Pcm] = deque()
        self._voiced_ms = self._silent_ms = 0
        self.speaking = False

    def hear(self, pcm: Pcm, flagged: bool) -> Began | Said | None:
        """One frame more; `flagged`: the gateway has heard a voice in it."""
        voiced = self._voice_in(pcm) or flagged
        self._frames.append(pcm)
        if self.speaking:
            self._silent_ms = 0 if voiced else self._silent_ms + self._frame_ms
            too_long = len(self._frames) * self._frame_ms > LONGEST_MS
            return self._end() if self._silent_ms >= END_MS or too_long else None
        self._voiced_ms = self._voiced_ms + self._frame_ms if voiced else max(0, self._voiced_ms - self._frame_ms)
        if self._voiced_ms >= START_MS:
            self.speaking, self._silent_ms = True, 0
            return Began()
        while len(self._frames) * self._frame_ms > BEFORE_MS + START_MS:
            self._frames.popleft()
        return None

    def _voice_in(self, pcm: Pcm) -> bool:
        self._left = np.concatenate([self._left, self._to_model.take(pcm)])
        size, voiced = self._vad.frame_bytes // 2, False
        while len(self._left) >= size:
            voiced |= self._vad.is_speech(self._left[:size].astype("<i2").tobytes())
            self._left = self._left[size:]
        return voiced

    def _end(self) -> Said:
        pcm = np.concatenate(self._frames)
        self._frames.clear()
        self.speaking, self._voiced_ms = False, 0
        return Said(pcm)


class Recogniser:
    """Words in utterances. Not for two threads at once; one serves one call after the other, or one only."""

    def __init__(self, rate_hz: int) -> None:
        """Loads the model: some 0.2 s."""
        self._decoder = Decoder(
            Config(lm=None, samprate=MODEL_HZ, cmn="batch", wip=_WORD_PENALTY, loglevel="FATAL")
        )
        for question in grammar.RULES:
            self._decoder.add_jsgf_string(question, grammar.jsgf(question))
        self._decoder.add_allphone_file("sounds", get_model_path("en-us/en-us-phone.lm.bin"))
        self._rate_hz = rate_hz

    def words(self, question: str, pcm: Pcm) -> str:
        """The answer to a question, or nothing when it was none; some 0.1 s of CPU."""
        resampler = Resampler(self._rate_hz, MODEL_HZ)
        sound = np.concatenate([resampler.take(pcm), resampler.end()]).astype("<i2").tobytes()
        text, of_words = self._search(question, sound)
        _, of_sounds = self._search("sounds", sound)
        return text if text and of_words - of_sounds > UNLIKELY else ""

    def _search(self, name: str, sound: bytes) -> tuple[str, float]:
        self._decoder.activate_search(name)
        self._decoder.start_utt()
        self._decoder.process_raw(sound, False, True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return (found.hypstr, _likelihood(found.score) / self._decoder.n_frames()) if found else ("", -math.inf)


def _likelihood(score: float) -> float:
    """PocketSphinx gives a power of 1.0001; its logarithm."""
    return math.log(score) / math.log(1.0001)
