# SPDX-License-Identifier: GPL-2.0-or-later
"""How what one agent did with a call differs from what another did: turns, sound, commands."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trunkline.gateway.recording.contents import Pcm, Word
from trunkline.gateway.recording.playing import Played

LIKE = 0.9
"Correlation of two turns that say the same."
_IGNORED = frozenset({"channel"})
_NOT_DONE = frozenset({"speech_rate", "ack"})
"Words that are nothing an agent does with a call; acknowledgements come as often as time passes."


@dataclasses.dataclass(frozen=True, slots=True)
class Tolerance:
    """What still counts as the same."""

    start_ms: float = 300.0
    "a turn may begin so much earlier or later"
    correlation: float = LIKE


@dataclasses.dataclass(frozen=True, slots=True)
class TurnPair:
    """The agent's nth turn, in the recording and now; None: there is none."""

    number: int
    before_ms: float | None
    now_ms: float | None
    before_length_ms: float | None
    now_length_ms: float | None
    correlation: float | None
    differs: str
    "in words; empty: the same"


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """All of it."""

    turns: list[TurnPair]
    before: list[dict[str, Any]]
    "commands of the agent, each with `at_ms`"
    now: list[dict[str, Any]]
    differences: list[str]
    "sentences; none: the agents did the same"

    @property
    def same(self) -> bool:
        """Nothing differs."""
        return not self.differences


def compare(before: Played, now: Played, rate_hz: int, tolerance: Tolerance) -> Comparison:
    """Turn by turn and command by command."""
    old, new = before.speaker.turns(), now.speaker.turns()
    pairs, differences = [], []
    for number in range(max(len(old), len(new))):
        one = old[number] if number < len(old) else None
        two = new[number] if number < len(new) else None
        like = None if one is None or two is None else correlation(one.pcm, two.pcm)
        differs = _difference(
            None if one is None else one.start_ms, None if two is None else two.start_ms, like, tolerance
        )
        pairs.append(
            TurnPair(
                number + 1,
                None if one is None else round(one.start_ms, 1),
                None if two is None else round(two.start_ms, 1),
                None if one is None else round(one.length_ms(rate_hz), 1),
                None if two is None else round(two.length_ms(rate_hz), 1),
                None if like is None else round(like, 4),
                differs,
            )
        )
        if differs:
            differences.append(f"turn {number + 1} {differs}")
    commands, commands_now = _commands(before.said), _commands(now.said)
    differences += _compared(commands, commands_now)
    return Comparison(pairs, commands, commands_now, differences)


def _difference(
    before_ms: float | None, now_ms: float | None, like: float | None, tolerance: Tolerance
) -> str:
    if before_ms is None:
        return "is new"
    if now_ms is None:
        return "is missing"
    later_ms = now_ms - before_ms
    words = []
    if abs(later_ms) > tolerance.start_ms:
        words.append(f"begins {abs(later_ms):.0f} ms {'later' if later_ms > 0 else 'earlier'}")
    if like is not None and like < tolerance.correlation:
        words.append(f"sounds different (correlation {like:.2f})")
    return " and ".join(words)


def _commands(said: list[Word]) -> list[dict[str, Any]]:
    return [
        {"at_ms": round(word.at_ns / 1e6, 1), **{k: v for k, v in word.message.items() if k not in _IGNORED}}
        for word in said
        if word.kind not in _NOT_DONE
    ]


def _compared(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    def timeless(command: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in command.items() if name != "at_ms"}

    old, new = [timeless(one) for one in before], [timeless(one) for one in now]
    first = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    if old == new:
        return []
    was = old[first] if first < len(old) else "nothing"
    is_now = new[first] if first < len(new) else "nothing"
    return [f"command {first + 1} was {was} and is {is_now}"]


def correlation(one: Pcm, two: Pcm) -> float:
    """The most that two sounds, int16, are alike at any shift: 1 is the same at any volume."""
    size = 1 << (len(one) + len(two)).bit_length()
    a, b = one.astype(np.float64), two.astype(np.float64)
    norm = float(np.sqrt((a @ a) * (b @ b)))
    if not norm:
        return 0.0
    lags = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    return float(lags.max()) / norm
