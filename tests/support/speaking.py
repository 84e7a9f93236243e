# SPDX-License-Identifier: GPL-2.0-or-later
"""A caller's voice: flite's, made of recordings of a person, which is what speech recognisers were trained on."""

from __future__ import annotations

import pathlib
import subprocess
import tempfile

from support.audio import Pcm, read_wav
from support.voice import resample

VOICE = "rms"


def speak(text: str, rate_hz: int = 8000) -> Pcm:
    """These words; the same each time."""
    with tempfile.TemporaryDirectory(prefix="tl-") as folder:
        file = pathlib.Path(folder) / "speech.wav"
        subprocess.run(["flite", "-voice", VOICE, "-t", text, "-o", str(file)], check=True)
        pcm, made_hz = read_wav(file)
    return resample(pcm, made_hz, rate_hz)
