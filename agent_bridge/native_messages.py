# SPDX-License-Identifier: MIT
"""Control messages of our dialect and the values behind them, for `native.py` (PROTOCOL.md)."""

from __future__ import annotations

import math
from typing import Any

from trunkline.agent_bridge import fields
from trunkline.agent_bridge.dialect import Clear, Dtmf, Hangup, Mark, StartInfo

DIGITS = frozenset("0123456789*#ABCD")


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
    }


def parse_command(message: fields.Message) -> Mark | Clear | Dtmf | Hangup:
    """A command about a call; raises ProtocolViolation."""
    channel = fields.channel(message)
    match message["type"]:
        case "mark":
            return Mark(channel, fields.text(message, "name"))
        case "clear":
            return Clear(channel, fields.text(message, "name", default=""))
        case "dtmf":
            duration_ms = fields.integer(message, "duration_ms", 40, 6000, default=160)
            gap_ms = fields.integer(message, "gap_ms", 40, 6000, default=80)
            return Dtmf(channel, fields.text(message, "digits").upper(), duration_ms, gap_ms)
        case _:
            return Hangup(channel, fields.prose(message, "reason"), fields.sip_code(message))


def number(value: float) -> float | int | None:
    """A statistic as JSON can say it: there is no NaN there."""
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else round(number, 6)


def silence(what: str, timeout_ns: int) -> str:
    """Part of a sentence: what did not happen in which time."""
    return f"{what} within {timeout_ns / 1_000_000_000:g} s"
