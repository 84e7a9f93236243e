# SPDX-License-Identifier: GPL-2.0-or-later
"""The tones of telephone keys (ITU-T Q.23), made: for peers that take digits only as sound.

Each key is two sines, one of its row and one of its column.  The higher one is sent 2 dB
louder, because lines lose more of it.  `tone_detector.py` is the other direction.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

ROWS_HZ = (697, 770, 852, 941)
COLUMNS_HZ = (1209, 1336, 1477, 1633)
KEYS = "123A456B789C*0#D"
"By row, then column."

DBM0_PEAK = 32124 / 10 ** (3.17 / 20)
"Peak of a sine of 0 dBm0: the greatest that mu-law can say, 32124, is +3.17 dBm0 (ITU-T G.711)."
ROW_DBM0 = -9.0
COLUMN_DBM0 = -7.0
RAMP_MS = 2
"Rise and fall of a tone: long enough not to click, short beside the 40 ms that a receiver asks for."

Pcm = NDArray[np.int16]


def amplitude(dbm0: float) -> float:
    """Peak of a sine of this level, in steps of 16-bit PCM."""
    return float(DBM0_PEAK * 10 ** (dbm0 / 20))


def key_tone(
    digit: str, samples: int, rate_hz: int, *, row_dbm0: float = ROW_DBM0, column_dbm0: float = COLUMN_DBM0
) -> Pcm:
    """One press, i16[samples], with its ramps. ValueError if `digit` is no key."""
    key = _index(digit)
    time = np.arange(samples) / rate_hz
    wave = amplitude(row_dbm0) * np.sin(2 * np.pi * ROWS_HZ[key // 4] * time)
    wave += amplitude(column_dbm0) * np.sin(2 * np.pi * COLUMNS_HZ[key % 4] * time)
    ramp = min(rate_hz * RAMP_MS // 1000, samples // 2)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(ramp) / max(ramp, 1))
    wave[:ramp] *= rise
    wave[samples - ramp :] *= rise[::-1]
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)


def _index(digit: str) -> int:
    key = KEYS.find(digit.upper()) if len(digit) == 1 else -1
    if key < 0:
        raise ValueError(f"not a DTMF digit: {digit!r}; allowed are {KEYS}")
    return key


class ToneSender:
    """Digits to send as sound: frame by frame, each press followed by its gap of silence."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._waiting: deque[tuple[str, int, int]] = deque()  # digit, duration and gap in ms
        self._now: Pcm = np.zeros(0, np.int16)
        "the press under way with its gap, from the next sample on"
        self.digit = ""
        "that press's digit; it stays after the last one"

    @property
    def active(self) -> bool:
        """Whether `next_frame` has something to say, be it the silence of a gap."""
        return bool(self._waiting) or len(self._now) > 0

    @property
    def waiting(self) -> int:
        """Presses that have not begun."""
        return len(self._waiting)

    def queue(self, digits: str, duration_ms: int = 160, gap_ms: int = 80) -> None:
        """Append presses. ValueError if one is no key: then none is queued."""
        for digit in digits:
            _index(digit)
        self._waiting.extend((digit, duration_ms, gap_ms) for digit in digits.upper())

    def next_frame(self, samples: int) -> Pcm:
        """The next i16[samples]; a press may begin anywhere in it, and after the last gap there is silence."""
        frame = np.zeros(samples, np.int16)
        filled = 0
        while filled < samples:
            if not len(self._now):
                if not self._waiting:
                    break
                self._begin()
            part = self._now[: samples - filled]
            frame[filled : filled + len(part)] = part
            self._now = self._now[len(part) :]
            filled += len(part)
        return frame

    def _begin(self) -> None:
        self.digit, duration_ms, gap_ms = self._waiting.popleft()
        tone = key_tone(self.digit, max(1, duration_ms * self._rate_hz // 1000), self._rate_hz)
        self._now = np.concatenate([tone, np.zeros(gap_ms * self._rate_hz // 1000, np.int16)])
