# SPDX-License-Identifier: GPL-2.0-or-later
"""How long a gap is held back: the adaptive target of the "order, not clock" buffer.

A frame that is next in order never waits.  Only when one is missing must somebody
decide how long it may still come, and that is the target: how late, compared to the
fastest packets, packets of this stream have lately been.

Two numbers are kept per stream.  The *base* is the least relative delay (arrival
minus media time, from any epoch); it follows a faster packet at once and forgets
upwards slowly, because the two clocks drift apart (100 ppm are 6 ms a minute) and
because routes change.  The *target* grows to an observed lateness at once, since the
next gap may need it, and shrinks slowly, since jitter comes in bursts.

A frame of media time m is therefore given up at `base + m + target`.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, slots=True)
class TargetParams:
    """Bounds and speeds of the target; the defaults suit 10 to 60 ms packets."""

    min_ns: int = 20_000_000
    "never give up a frame sooner; below one packet time, every reordering is a loss"
    max_ns: int = 200_000_000
    "never hold back longer: a conversation notices more than this"
    margin_ns: int = 5_000_000
    "added to observed lateness: the next packet may be a little later still"
    shrink_ns: int = 10_000_000_000
    "time constant of the target's way down; the bursts of Wi-Fi come seconds apart"
    forget_ns: int = 30_000_000_000
    "time constant of the base's way up; at 100 ppm of drift the base is then 3 ms behind"
    reset_ns: int = 3_000_000_000
    "lateness that no network makes: the sender has moved its timeline, so start anew"


def update_target(
    base_delay_ns: NDArray[np.float64],
    target_ns: NDArray[np.float64],
    relative_delay_ns: NDArray[np.float64],
    elapsed_ns: NDArray[np.float64],
    params: TargetParams,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """New base and target, f64[n] ns, after one packet in each of n streams.

    `relative_delay_ns` is arrival minus media time of the packet; `elapsed_ns` the
    time since the stream's last packet (0 for the first).  A base of nan stands for a
    stream without packets, whose `target_ns` is the one to begin with.  A stream may
    appear once per call.
    """
    elapsed = np.maximum(elapsed_ns, 0.0)
    late = relative_delay_ns - base_delay_ns
    risen = base_delay_ns - late * np.expm1(elapsed / -params.forget_ns)
    # fmin passes over nan, so a first packet is its own base.
    base = np.fmin(np.where(late > params.reset_ns, np.nan, risen), relative_delay_ns)
    needed = relative_delay_ns - base + params.margin_ns
    shrunk = needed + (target_ns - needed) * np.exp(elapsed / -params.shrink_ns)
    # maximum, then minimum: what clip does, without its overhead for a single row.
    wanted = np.maximum(np.maximum(needed, shrunk), params.min_ns)
    return base, np.minimum(wanted, params.max_ns)


def update_target_one(
    base_delay_ns: float | None,
    target_ns: float,
    relative_delay_ns: float,
    elapsed_ns: float,
    params: TargetParams,
) -> tuple[float, float]:
    """Scalar twin of `update_target`; None stands for a stream without packets."""
    elapsed = max(elapsed_ns, 0.0)
    base = base_delay_ns
    if base is None or relative_delay_ns < base or relative_delay_ns - base > params.reset_ns:
        base = relative_delay_ns
    else:
        base += (relative_delay_ns - base) * (1 - math.exp(-elapsed / params.forget_ns))
    needed = relative_delay_ns - base + params.margin_ns
    if needed < target_ns:
        needed += (target_ns - needed) * math.exp(-elapsed / params.shrink_ns)
    return base, min(max(needed, params.min_ns), params.max_ns)
