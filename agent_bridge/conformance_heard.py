# SPDX-License-Identifier: MIT
"""What a caller would have heard of an agent under test, and what the gateway would have thrown away.

An agent can take every call and be heard by nobody: it names another stream, sends a file's header with each piece
of speech, or words that its dialect does not have.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.encodings import ALAW, L16, L16_NETWORK, ULAW

_HEADERS = [encoding.decode(b"RIFF") for encoding in (L16, L16_NETWORK, ULAW, ALAW)]
"How the first four bytes of a WAV file sound."
_WRONG = {
    "other_stream": (
        "messages name another stream than the call's, so nothing comes of them",
        "Say the `streamSid` of this connection's `start` in every message.",
    ),
}
_ADVICE = {
    "unknown_event": "messages of a kind that its dialect does not have",
    "unknown": "messages of a kind that its dialect does not have",
    "unknown_type": "frames of a kind that its dialect does not have",
    "binary": "binary messages, where its dialect has text",
    "refused": "commands that cannot be read",
}


@dataclasses.dataclass(slots=True)
class Heard:
    """Of all connections of one case, and of all cases together."""

    ignored: Counter[str] = dataclasses.field(default_factory=Counter)
    wav_headers: int = 0
    anything: bool = False
    "speech, or a command, in any case"

    def begin(self) -> None:
        """Another case."""
        self.ignored.clear()
        self.wav_headers = 0

    def speech(self, pcm: NDArray[np.int16]) -> None:
        """One piece of the agent's, int16[samples]."""
        self.anything = True
        self.wav_headers += any(np.array_equal(pcm[: len(header)], header) for header in _HEADERS)

    def over(self, ignored: Mapping[str, int]) -> None:
        """A connection has ended."""
        self.ignored.update(ignored)

    def wrong(self) -> tuple[str, str] | None:
        """What no caller would hear, and the cure."""
        if self.wav_headers:
            return (
                f"{self.wav_headers} pieces of its speech begin with RIFF, the header of a WAV file, which is a click",
                "Send samples alone: leave out the header (44 bytes, mostly) of what your synthesis returns.",
            )
        for reason, (problem, cure) in _WRONG.items():
            if self.ignored[reason]:
                return f"{self.ignored[reason]} {problem}", cure
        return None

    def advice(self) -> tuple[str, str] | None:
        """What has no effect, and the cure."""
        for reason, what in _ADVICE.items():
            if self.ignored[reason]:
                return (
                    f"it sends {self.ignored[reason]} {what}: they are ignored",
                    "Compare what the agent writes with the text of its protocol.",
                )
        return None
