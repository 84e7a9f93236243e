# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a gap is held back: the adaptive target of the "order, not clock" buffer.

A frame that is next in order never waits.  Only when one is missing must somebody
decide how long it may still come, and that is the target.  A frame of media time m
is given up at `base + m + target`.

The *base* is the least relative delay (arrival minus media time, from any epoch); it
follows a faster packet at once and forgets upwards slowly, because the two clocks
drift apart (100 ppm are 6 ms a minute) and because routes change.

The *target* follows the distribution of lateness (relative delay over base) of the
last half minute: it is the smallest time within which all but `late_share` of the
packets came.  It grows to an observed lateness at once, because the packets behind it
are usually late too, and shrinks towards the distribution slowly.  So a stall that
happens once costs a few seconds of longer waits, and one that keeps happening stays
covered.  What is later than the longest target is given up in any case, and so it is
no reason to wait longer for others.

Only lateness beyond the shortest target matters, and it is rare on most networks: a
packet that is on time (`wants_update`) needs no update of its own, only to be counted
at its row's next one, for which every so many packets will do.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

BINS = 16
"Steps from the shortest target to the longest: 10 ms each by default, half a packet time."


@dataclasses.dataclass(frozen=True, slots=True)
class TargetParams:
    """Bounds and speeds of the target; the defaults suit 10 to 60 ms packets."""

    min_ns: int = 40_000_000
    "never give up a frame sooner; below one packet time, every reordering is a loss"
    max_ns: int = 200_000_000
    "never hold back longer: a conversation notices more than this"
    margin_ns: int = 5_000_000
    "added to observed lateness: the next packet may be a little later still"
    late_share: float = 0.01
    "of the packets may come later than the target; half of it halves the late ones, and costs 10 ms (bench.jitter)"
    memory_ns: int = 20_000_000_000
    "time constant with which the distribution forgets; the bursts of Wi-Fi come seconds apart"
    shrink_ns: int = 3_000_000_000
    "time constant of the target's way down to what the distribution wants"
    forget_ns: int = 30_000_000_000
    "time constant of the base's way up; at 100 ppm of drift the base is then 3 ms behind"
    leap_ns: int = 3_000_000_000
    "lateness that no network makes: the sender has moved its timestamps, and whoever follows these must say so"
    early_ns: int = 1_000_000
    "a packet that is less ahead of the base than this may wait for the row's next turn"


def wants_update(late_ns: NDArray[np.float64], params: TargetParams) -> NDArray[np.bool_]:
    """Which of n packets, so late compared to their base, cannot wait for the row's next turn: bool[n].

    Those that are earlier than the base, or so late that the shortest target would
    not do, or the first of their stream (nan).
    """
    ordinary: NDArray[np.bool_] = (late_ns >= -params.early_ns) & (
        late_ns <= params.min_ns - params.margin_ns
    )
    return ~ordinary


def update_target(
    base_delay_ns: NDArray[np.float64],
    target_ns: NDArray[np.float64],
    late_counts: NDArray[np.float32],
    weight: NDArray[np.float64],
    relative_delay_ns: NDArray[np.float64],
    packets: NDArray[np.int64],
    elapsed_ns: NDArray[np.float64],
    params: TargetParams,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32], NDArray[np.float64]]:
    """New base, target, late_counts and weight after one packet in each of n streams.

    `late_counts` f32[n, BINS] is the tail of the distribution: packets whose lateness
    plus margin lay in each step from `min_ns` to `max_ns`, forgotten with time;
    `weight` f64[n], all packets, forgotten alike.  `relative_delay_ns` is arrival minus
    media time of the packet; `packets` and `elapsed_ns` are counted since the stream's
    last update (this packet included; 0 ns for the first).  A base of nan stands for a
    stream without packets.  A stream may appear once per call.
    """
    elapsed = np.maximum(elapsed_ns, 0.0)
    late = relative_delay_ns - base_delay_ns
    risen = base_delay_ns - late * np.expm1(elapsed / -params.forget_ns)
    # fmin passes over nan, so a first packet is its own base.
    base = np.fmin(np.where(late > params.leap_ns, base_delay_ns, risen), relative_delay_ns)
    needed = relative_delay_ns - base + params.margin_ns

    kept = np.exp(elapsed / -params.memory_ns)
    weight = weight * kept + packets
    step_ns = max(params.max_ns - params.min_ns, BINS) / BINS
    needed = np.where(needed <= params.max_ns, needed, 0.0)  # what no target can cover asks for none
    late_counts = late_counts * kept[:, None].astype(np.float32)
    tail = np.flatnonzero(needed > params.min_ns)
    step = np.ceil((needed[tail] - params.min_ns) / step_ns).astype(np.int64)
    late_counts[tail, np.minimum(step, BINS) - 1] += 1
    later = np.cumsum(late_counts[:, ::-1], axis=1)  # more than so many steps, the highest step first
    wanted = params.min_ns + step_ns * (later > (params.late_share * weight)[:, None]).sum(axis=1)

    shrunk = wanted + (target_ns - wanted) * np.exp(elapsed / -params.shrink_ns)
    target = np.maximum(np.maximum(needed, wanted), np.maximum(shrunk, params.min_ns))
    return base, np.minimum(target, params.max_ns), late_counts, weight


def update_target_one(
    base_delay_ns: float | None,
    target_ns: float,
    late_counts: list[float],
    weight: float,
    relative_delay_ns: float,
    packets: int,
    elapsed_ns: float,
    params: TargetParams,
) -> tuple[float, float, list[float], float]:
    """Scalar twin of `update_target`; None stands for a stream without packets."""
    elapsed = max(elapsed_ns, 0.0)
    base = base_delay_ns
    if base is None or relative_delay_ns < base:
        base = relative_delay_ns
    elif relative_delay_ns - base <= params.leap_ns:
        base += (relative_delay_ns - base) * (1 - math.exp(-elapsed / params.forget_ns))
    needed = relative_delay_ns - base + params.margin_ns

    kept = math.exp(-elapsed / params.memory_ns)
    weight = weight * kept + packets
    counts = [count * kept for count in late_counts]
    step_ns = max(params.max_ns - params.min_ns, BINS) / BINS
    if needed > params.max_ns:
        needed = 0.0
    if needed > params.min_ns:
        counts[min(math.ceil((needed - params.min_ns) / step_ns) - 1, BINS - 1)] += 1
    wanted = float(params.min_ns)
    for i in range(BINS):
        if sum(counts[i:]) > params.late_share * weight:
            wanted += step_ns
    target = wanted + max(target_ns - wanted, 0.0) * math.exp(-elapsed / params.shrink_ns)
    return base, min(max(needed, target, params.min_ns), params.max_ns), counts, weight
