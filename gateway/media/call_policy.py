# SPDX-License-Identifier: GPL-2.0-or-later
"""What a route says about its calls that a media worker must know; part of `control.StartStream`."""

from __future__ import annotations

import msgspec

PERMISSIONS = ("early_media", "hold", "transfer", "dtmf", "mute", "hangup", "headers", "variables")
"What a route may allow or forbid its agents; anything else, they may always do."


class TurnParams(msgspec.Struct, frozen=True):
    """Who speaks: detection, and what happens when the caller speaks while the agent does."""

    detector: str = "energy"
    "`energy`, `neural` or `off`"
    barge_in: str = "tell"
    """`off`: it is not told; `tell`: the agent is told that the caller speaks; `clear`: and what it has queued is
    thrown away at once; `pause`: and it stops, goes on if the caller has said less than `resume_ms`, and is cleared
    else"""
    min_speech_ms: int = 40
    "the caller must have spoken for so long before it counts"
    min_silence_ms: int = 400
    "... and been silent for so long"
    resume_ms: int = 700
    "`pause`: speech shorter than this lets the agent go on by itself"
    withhold_silence: bool = False
    "silence is not sent to the agent; its positions jump instead"
    events: bool = False
    "beginning and end of speech are told to people, too"


class RescueParams(msgspec.Struct, frozen=True):
    """What becomes of a call whose agent fails."""

    within_ms: int = 2000
    "how long another agent is looked for, from its loss in mid-call on; 0: the call ends"
    replay_ms: int = 0
    "the caller's audio that is kept for the next one at most"
    sound: str = ""
    "WAV file that the caller hears meanwhile; empty: a soft tone"
    fallback_sound: str = ""
    "... and, once, when none was found; empty: three notes"
    patience_ms: int = 10_000
    "how long agents are tried before the answer, all together"
