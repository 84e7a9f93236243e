# SPDX-License-Identifier: GPL-2.0-or-later
"""Recorded speech to measure with: Asterisk's prompts, as Debian packages them, joined to clips.

Five voices, 8 kHz, studio quality: American English and Mexican Spanish (Allison Smith), Canadian
French (June Wallack), Italian (Carlo Flora) and Russian (Maxim Topal).  The recordings are under
CC-BY-SA 3.0, the Italian and Russian ones under CC-BY 3.0; they are fetched when they are needed, kept in the
cache, and no part of trunkline.
"""

from __future__ import annotations

import pathlib

import numpy as np
from numpy.typing import NDArray

from support.audio import read_wav
from support.debian_packages import cache_folder, unpacked

LOCK = pathlib.Path(__file__).with_name("speech.lock")
VOICES = ("en", "es", "fr", "it", "ru")
RATE_HZ = 8000
FRAME = 160
PROMPT_S = (1.5, 6.0)
"shorter prompts are single words, longer ones would be a clip alone"
PAUSE_S = 0.2
ENOUGH_S = 6.0
LONGEST_S = 10.0
TUNING_CLIPS = 2
"Of each voice: the parameters of concealment were chosen on these, so they are never measured with."

Pcm = NDArray[np.int16]


def clips(per_voice: int = 2, *, tuning: bool = False) -> list[Pcm]:
    """Clips of 6 to 10 s in whole frames of 20 ms, voice by voice; the same ones each time."""
    root = unpacked(LOCK, cache_folder("speech"))
    first = 0 if tuning else TUNING_CLIPS
    return [clip for voice in VOICES for clip in _of_voice(root, voice, first + per_voice)[first:]]


def _of_voice(root: pathlib.Path, voice: str, count: int) -> list[Pcm]:
    shortest, longest = (int(2 * RATE_HZ * seconds) for seconds in PROMPT_S)
    folder = root / "usr/share/asterisk/sounds"
    names = [path for path in folder.rglob("*.wav") if path.relative_to(folder).parts[0].startswith(voice)]
    files = sorted(path for path in names if shortest < path.stat().st_size < longest)
    np.random.default_rng(0).shuffle(files)  # type: ignore[arg-type]
    found: list[Pcm] = []
    parts: list[Pcm] = []
    for file in files:
        parts += [read_wav(file)[0], np.zeros(round(PAUSE_S * RATE_HZ), np.int16)]
        clip = np.concatenate(parts)[: round(LONGEST_S * RATE_HZ)]
        if len(clip) >= ENOUGH_S * RATE_HZ:
            found.append(clip[: len(clip) // FRAME * FRAME])
            parts = []
        if len(found) == count:
            break
    return found
