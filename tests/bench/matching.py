# SPDX-License-Identifier: GPL-2.0-or-later
"""From what the speaker and the agent have recorded to losses and delays, packet by packet.

Up: the agent's first frame that is not flagged is the first packet of the call, and the
position says which packet each later frame is.  Down: the agent repeats every frame from
that one on, and the gateway plays them in order, so the n-th packet with speech is
the n-th frame written; packets without speech among them are holes (underruns).

That this is the right match is not believed: the loudness of each call's packets, frames
and echoes must follow each other at lag 0, and at no other lag better.

Delays down are told twice: raw, from the agent's write to the arrival, which includes
the wait for the next packet time; and as lateness beyond the packet clock.  The clock's
ticks are multiples of 5 ms of CLOCK_MONOTONIC (media/downlink.py), so the tick at or
before a call's fastest packet is when that packet was due, and RTP timestamps tell all others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.clip import loudness, said
from bench.counting_agent import NOT_THE_CALLER
from trunkline.gateway.media.downlink import SEND_GRID_NS

Ints = NDArray[np.int64]
Real = NDArray[np.float64]

CLOCK_GRID_NS = SEND_GRID_NS
SILENCE = 0xFF
GIVEN_UP_NS = 30_000_000
"A packet that its caller sends so late may rightly be given up: the gateway holds a gap back for 45 ms at first."
TAIL = 40
"A packet whose last 5 ms are silence is a hole: the fade after an underrun ends before."
LAGS = range(-5, 6)


@dataclasses.dataclass(slots=True)
class CallResult:
    """One call; delays in ms, of packets within the measured span."""

    call_id: str
    sent: int = 0
    lost_up: int = 0
    "packets sent that no unflagged frame stands for"
    sent_late: int = 0
    "of these, how many the caller itself sent so late that they had to be given up"
    flagged: int = 0
    "concealed or gap frames while the caller spoke"
    breaks: int = 0
    "positions that do not follow the one before"
    frames: int = 0
    echoed: int = 0
    lost_down: int = 0
    "sequence numbers that never came"
    reordered: int = 0
    holes: int = 0
    "packets without speech after the first with speech, within the measured span"
    missing_down: int = 0
    "frames written that were not heard as packets with speech"
    mismatched: bool = False
    "loudness does not say that the match is right"
    up_ms: Real = dataclasses.field(default_factory=lambda: np.zeros(0))
    down_ms: Real = dataclasses.field(default_factory=lambda: np.zeros(0))
    late_ms: Real = dataclasses.field(default_factory=lambda: np.zeros(0))


def match_calls(
    voice: Mapping[str, NDArray[Any]],
    agent: Mapping[str, NDArray[Any]] | None,
    port_of: Mapping[str, int],
    span_ns: tuple[int, int],
) -> list[CallResult]:
    """Results by call; `port_of` is the gateway's RTP port of each call id."""
    number_of = {int(port): number for number, port in enumerate(voice["ports"])}
    index_of = {} if agent is None else {str(one): i for i, one in enumerate(agent["call_ids"])}
    results = []
    for call_id, port in port_of.items():
        result = CallResult(call_id)
        results.append(result)
        number = number_of.get(port)
        if number is None:  # it was never heard
            result.mismatched = True
            continue
        result.sent = int((voice["sent_call"] == number).sum())
        heard = _heard(voice, number, result, span_ns)
        if agent is not None and call_id in index_of:
            _match(_frames(agent, index_of[call_id]), voice, number, heard, result, span_ns)
        elif agent is not None:
            result.lost_up, result.mismatched = result.sent, True
    return results


@dataclasses.dataclass(slots=True)
class _Heard:
    """Packets with speech of one call, in order."""

    arrival_ns: Ints
    level: Real


@dataclasses.dataclass(slots=True)
class _Frames:
    """Frames of one call at the agent, in order."""

    position: Ints
    samples: int
    caller: NDArray[np.bool_]
    level: Real
    read_ns: Ints
    write_ns: Ints


def _frames(agent: Mapping[str, NDArray[Any]], index: int) -> _Frames:
    of = np.flatnonzero(agent["call"] == index)
    samples = int(agent["samples"][of[0]]) if len(of) else 1
    caller = (agent["flags"][of] & NOT_THE_CALLER) == 0
    level = agent["level"][of].astype(np.float64)
    return _Frames(agent["position"][of], samples, caller, level, agent["read_ns"][of], agent["write_ns"][of])


def _heard(
    voice: Mapping[str, NDArray[Any]], number: int, result: CallResult, span_ns: tuple[int, int]
) -> _Heard:
    """Loss and lateness on the way back, from the packets alone."""
    of = np.flatnonzero(voice["heard_call"] == number)
    packets, arrival = voice["packets"][of], voice["heard_ns"][of]
    if not len(of):
        return _Heard(arrival, np.zeros(0))
    sequence = unwrap(packets[:, 2:4], 16)
    stamp = unwrap(packets[:, 4:8], 32)
    unique = np.unique(sequence)
    result.lost_down = int(unique[-1] - unique[0] + 1 - len(unique))
    result.reordered = int((np.diff(sequence) < 0).sum())
    relative = arrival - stamp * 125_000
    fastest = int(relative.argmin())
    due = arrival[fastest] // CLOCK_GRID_NS * CLOCK_GRID_NS
    lateness = relative - (due - stamp[fastest] * 125_000)
    result.late_ms = lateness[(arrival >= span_ns[0]) & (arrival < span_ns[1])] / 1e6
    order = np.argsort(sequence, kind="stable")
    speaks = (packets[order, -TAIL:] != SILENCE).any(axis=1)
    inside = (arrival[order] >= span_ns[0]) & (arrival[order] < span_ns[1])
    result.holes = int((~speaks & inside & np.logical_or.accumulate(speaks)).sum())
    chosen = order[speaks]
    return _Heard(arrival[chosen], loudness(packets[chosen, 12:]))


def _match(
    frames: _Frames,
    voice: Mapping[str, NDArray[Any]],
    number: int,
    heard: _Heard,
    result: CallResult,
    span_ns: tuple[int, int],
) -> None:
    """Packet to frame, frame to echo."""
    mine = voice["sent_call"] == number
    sent_ns = np.full(int(voice["sent_number"][mine].max(initial=-1)) + 1, -1, np.int64)
    sent_ns[voice["sent_number"][mine]] = voice["sent_ns"][mine]
    result.frames = len(frames.position)
    result.breaks = int((np.diff(frames.position) != frames.samples).sum())
    if not frames.caller.any() or not len(sent_ns):
        result.lost_up, result.mismatched = result.sent, bool(result.sent)
        return
    first = int(frames.caller.argmax())
    packet = (frames.position[first:] - frames.position[first]) // frames.samples
    within = packet < len(sent_ns)
    caller = frames.caller[first:] & within
    result.flagged = int((~frames.caller[first:] & within).sum())
    result.lost_up = result.sent - len(np.unique(packet[caller]))
    result.sent_late = _sent_late(sent_ns, packet[caller])
    sent, read = sent_ns[packet[caller]], frames.read_ns[first:][caller]
    inside = (sent >= span_ns[0]) & (sent < span_ns[1])
    result.up_ms = (read[inside] - sent[inside]) / 1e6

    written = frames.write_ns[first:]
    result.echoed = int(within.sum())
    count = min(result.echoed, len(heard.arrival_ns))
    result.missing_down = result.echoed - count
    inside = (written[:count] >= span_ns[0]) & (written[:count] < span_ns[1])
    result.down_ms = (heard.arrival_ns[:count] - written[:count])[inside] / 1e6

    spoken = said(number, len(sent_ns))
    level = frames.level[first:]
    follows = in_step(spoken[packet[caller]], level[caller]) and in_step(level[:count], heard.level[:count])
    result.mismatched = not follows or bool((result.down_ms < 0).any() or (result.up_ms < 0).any())


def _sent_late(sent_ns: Ints, arrived: Ints) -> int:
    """Packets that did not arrive in time, and were sent late by the caller's own schedule."""
    numbers = np.flatnonzero(sent_ns >= 0)
    schedule = sent_ns[numbers] - numbers * 20_000_000
    late = numbers[schedule - schedule.min() > GIVEN_UP_NS]
    return len(np.setdiff1d(late, arrived))


def in_step(one: Real, other: Real) -> bool:
    """Whether two series of loudness, whatever their scale, fit best as they lie; too little to say counts as yes."""
    if len(one) < 3 * len(LAGS):
        return True
    a, b = np.log(one + 10), np.log(other + 10)
    edge = max(LAGS)
    middle = slice(edge, len(a) - edge)
    fits = [float(np.corrcoef(a[middle], np.roll(b, lag)[middle])[0, 1]) for lag in LAGS]
    return LAGS[int(np.argmax(fits))] == 0 and max(fits) > 0.9


def unwrap(column: NDArray[np.uint8], bits: int) -> Ints:
    """Big-endian wire fields [n, bytes] in order of arrival as numbers that do not wrap."""
    wire = np.zeros(len(column), np.int64)
    for byte in column.T:
        wire = wire << 8 | byte
    half = 1 << (bits - 1)
    steps = (np.diff(wire) + half) % (1 << bits) - half
    return np.concatenate([wire[:1], wire[:1] + np.cumsum(steps)])


def spread(values: Real) -> dict[str, float]:
    """p50, p99 and the slowest, in ms; empty when nothing was measured."""
    if not len(values):
        return {}
    p50, p99 = np.percentile(values, [50, 99])
    return {
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "max_ms": float(values.max()),
        "count": float(len(values)),
    }
