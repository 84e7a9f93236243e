# SPDX-License-Identifier: GPL-2.0-or-later
"""What the caller says.

`speech.ulaw` is 8.8 s of G.711 mu-law at 8 kHz, mono, without a header.  The text
is the project's own:

    This is a call through trunkline. An agent hears my voice as plain sound, and
    sends it straight back. If you can hear it, everything works.

It was spoken by espeak-ng 1.51 (voice en-gb, 172 words a minute; "trunk line" in
two words), a synthesizer whose output is not bound by its licence; then limited to
200-3,600 Hz as a telephone does, brought to 8 kHz, and set to a peak of -3 dBov.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 8000
FRAME_SAMPLES = 160
"20 ms, the packet time of nearly all telephony"


def load_clip(path: Path | None = None) -> NDArray[np.uint8]:
    """Mu-law codes of the clip, a whole number of frames."""
    data = path.read_bytes() if path else resources.files(__package__).joinpath("speech.ulaw").read_bytes()
    codes = np.frombuffer(data, np.uint8)
    return codes[: len(codes) // FRAME_SAMPLES * FRAME_SAMPLES]


def repeat_for(codes: NDArray[np.uint8], seconds: float | None) -> NDArray[np.uint8]:
    """The clip once, or again and again until `seconds` are full."""
    if seconds is None:
        return codes
    wanted = max(1, round(seconds * SAMPLE_RATE_HZ / FRAME_SAMPLES)) * FRAME_SAMPLES
    return np.resize(codes, wanted)
