# SPDX-License-Identifier: GPL-2.0-or-later
"""WAV files for callers' ears: read, judged, and brought to the rate that is needed, once."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.resample import get_resampler

LONGEST_S = 600
"Ten minutes at 16 kHz are 19 MB, in each media worker."
RATE_STEP_HZ = 25
"""All rates that anybody uses are multiples of it, 11,025 Hz too. The filter between two rates that have no
greater divisor would be as long as a second."""
LOWEST_HZ, HIGHEST_HZ = 4000, 192_000

Pcm = NDArray[np.int16]


class SoundError(ValueError):
    """A file that cannot be played; the text says why, and what would do."""


def read_wav(path: str | Path) -> tuple[Pcm, int]:
    """Samples of a PCM file, its channels mixed to one, and their rate in Hz; raises SoundError."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            _judge(channels, width, rate_hz, file.getnframes())
            data = file.readframes(file.getnframes())
    except SoundError as error:
        raise SoundError(f"{path}: {error}") from None
    except OSError as error:
        raise SoundError(f"{path} cannot be read: {error.strerror or error}") from None
    except (wave.Error, EOFError) as error:
        why = str(error) or "it ends too soon"
        raise SoundError(f"{path} is no WAV file with PCM ({why}): save it as 16-bit PCM") from None
    whole = len(data) // (width * channels) * width * channels  # a file may be cut off anywhere
    if not whole:
        raise SoundError(f"{path} has no audio in it")
    if width == 1:  # unsigned
        samples = (np.frombuffer(data, np.uint8, whole).astype(np.int16) - 128) * 256
    else:
        samples = np.frombuffer(data, "<i2", whole // 2).astype(np.int16)
    mixed = samples.reshape(-1, channels).astype(np.int32).sum(axis=1) // channels
    return mixed.astype(np.int16), rate_hz


def _judge(channels: int, width: int, rate_hz: int, frames: int) -> None:
    """Raises SoundError for what we do not play."""
    if width not in (1, 2):
        raise SoundError(f"it has {8 * width} bits a sample: save it with 16")
    if channels not in (1, 2):
        raise SoundError(f"it has {channels} channels: save it as mono or stereo")
    if rate_hz % RATE_STEP_HZ or not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise SoundError(f"it has {rate_hz} samples a second: save it at 8000, 16000, 44100 or 48000")
    if not frames:
        raise SoundError("it has no audio in it")
    if frames > LONGEST_S * rate_hz:
        raise SoundError(f"it lasts {frames // rate_hz} s: {LONGEST_S} s is the most")


def problem_of(path: str | Path) -> str:
    """What is wrong with a sound file, as a sentence; empty for one that can be played."""
    try:
        read_wav(path)
    except SoundError as error:
        return str(error)
    return ""


def at_rate(samples: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """The same sound at another rate, without the filter's delay: a second at a time, so that memory stays small."""
    resampler = get_resampler(from_hz, to_hz)
    if from_hz == to_hz:
        return samples
    wanted = -(-len(samples) * to_hz // from_hz)
    delay = resampler.delay_samples
    step = from_hz // resampler.down * resampler.down
    padded = np.concatenate([samples, np.zeros(delay + resampler.down, np.int16)])
    padded = padded[: len(padded) // resampler.down * resampler.down]
    history, pieces = resampler.new_history(1), []
    for start in range(0, len(padded), step):
        piece, history = resampler.process(history, padded[None, start : start + step])
        pieces.append(piece[0])
    skip = round(delay * to_hz / from_hz)
    return np.concatenate(pieces)[skip : skip + wanted]
