# SPDX-License-Identifier: MIT
"""Control messages of our dialect and the values behind them, for `native.py` (PROTOCOL.md)."""

from __future__ import annotations

import base64
import math
from typing import Any

from trunkline.agent_bridge.dialect import StartInfo


def start_fields(channel: int, info: StartInfo) -> dict[str, Any]:
    """Content of `start`."""
    return {
        "channel": channel,
        "call": {
            "call_id": info.call_id,
            "direction": info.direction,
            "caller": info.caller,
            "called": info.called,
            "trunk": info.trunk,
            "route": info.route,
            "headers": dict(info.headers),
            "metadata": dict(info.metadata),
        },
        "audio": {
            "encoding": "s16le",
            "sample_rate_hz": info.sample_rate_hz,
            "frame_ms": info.frame_ms,
            "frame_samples": info.sample_rate_hz * info.frame_ms // 1000,
        },
        "resumed": info.resumed,
        "position": int(info.position),
        **({"gap_ms": info.gap_ms} if info.gap_ms else {}),
        **({} if info.answered else {"answered": False}),
        **({"variables": dict(info.variables)} if info.variables else {}),
        **(_handed_over(info) if info.attempt > 1 else {}),
    }


def _handed_over(info: StartInfo) -> dict[str, Any]:
    """What the agent must know of those that had the call before it."""
    state = {"state": base64.b64encode(info.state).decode()} if info.state else {}
    return {"attempt": info.attempt, "played_ms": info.played_ms, "replay_ms": info.replay_ms, **state}


def number(value: float) -> float | int | None:
    """A statistic as JSON can say it: there is no NaN there."""
    number = float(value)
    if number.is_integer():
        return int(number)
    return round(number, 6) if math.isfinite(number) else None


def silence(what: str, timeout_ns: int) -> str:
    """Part of a sentence: what did not happen in which time."""
    return f"{what} within {timeout_ns / 1_000_000_000:g} s"
