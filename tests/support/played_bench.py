# SPDX-License-Identifier: GPL-2.0-or-later
"""Records of runs that never were: what generator and agent would have written down."""

from __future__ import annotations

import numpy as np

from trunkline.gateway.bench import signal
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.bench.records import HEARD, WINDOW_BYTES, Frames, Generated

START_NS = 5_000_000_000_000
MS = 1_000_000
CONCEALED, GAP = 2, 8
LEAD = 3
"Frames of silence that an agent gets of each call before the caller speaks."


def plan(calls: int = 3, dialect: str = "trunkline", **fields: object) -> Plan:
    rate = 16000 if dialect == "trunkline" else 8000
    return Plan(calls, dialect=dialect, agent_rate_hz=rate, **({"seconds": 4.0} | fields))  # type: ignore[arg-type]


def generated(of: Plan, down_late_ms: float = 0.0) -> Generated:
    """Every packet sent when due; all come back 30 ms after, on the call's clock."""
    phase = np.arange(of.calls, dtype=np.int64) * MS
    due = START_NS + phase[:, None] + np.arange(of.packets) * of.packet_ns
    heard = np.zeros((of.calls, of.packets), HEARD)
    number = np.arange(of.packets)
    bytes_ = signal.payloads(of)
    window = signal.window(bytes_.shape[1], 8000)
    for call in range(of.calls):
        heard["arrival_ns"][call] = due[call] + 30 * MS
        heard["call"][call] = call
        heard["timestamp"][call] = (0xFFFFFFFF - 160 * 30 + number * 160) & 0xFFFFFFFF
        heard["sequence"][call] = (0xFFF0 + number) & 0xFFFF
        payload = bytes_[signal.said(call, number)]
        heard["window"][call] = payload[:, window.start : window.start + WINDOW_BYTES]
    heard["bytes"] = 172
    flat = heard.T.reshape(-1)  # in order of time, call after call
    return Generated(START_NS, phase, due, flat.copy(), 0, 0, 0, 0)


def frames(of: Plan, sent: Generated, delay_ms: float = 2.0) -> Frames:
    """Every packet of the generator at the agent, `delay_ms` later, after a lead of silence."""
    count = of.packets
    call, read, window, position, flags = [], [], [], [], []
    span = signal.window(of.frame_samples, of.agent_rate_hz)
    at = np.arange(span.start, span.stop)
    for one in range(of.calls):
        number = np.arange(-LEAD, count)
        level = signal.said(one, number)
        tone = signal.amplitudes()[level][:, None] * np.sin(2 * np.pi * 1000 * at / of.agent_rate_hz)
        tone[:LEAD] = 0
        call.append(np.full(len(number), one, np.int64))
        read.append(START_NS + one * MS + number * of.packet_ns + round(delay_ms * MS))
        window.append(tone.astype(np.int16))
        position.append((number + LEAD) * of.frame_samples)
        flags.append(np.where(number < 0, GAP, 1).astype(np.uint16))
    native = of.dialect == "trunkline"
    return Frames(
        np.concatenate(call), np.concatenate(read), np.concatenate(window),
        np.concatenate(position) if native else None, np.concatenate(flags) if native else None,
    )  # fmt: skip


def without(all_frames: Frames, drop: np.ndarray) -> Frames:
    """Frames but for those where `drop` is true."""
    keep = ~drop
    return Frames(
        all_frames.call[keep], all_frames.read_ns[keep], all_frames.window[keep],
        None if all_frames.position is None else all_frames.position[keep],
        None if all_frames.flags is None else all_frames.flags[keep],
    )  # fmt: skip
