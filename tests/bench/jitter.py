# SPDX-License-Identifier: GPL-2.0-or-later
"""The target delay on networks of known kinds: late packets against time that gaps are held back.

    PYTHONPATH=tests python -m bench.jitter

Compares the rule of `rtp.jitter` with the one before it, which grew to the last maximum of
lateness and forgot it within seconds (`peak` below).  For each network: the share of packets that
came after their place had been filled, and the mean target, which is how long a gap is held back.
Seeds are rows: every figure is the mean over `SEEDS` calls of five minutes.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from trunkline.rtp.jitter import BINS, TargetParams, update_target, wants_update

MS = 1_000_000
PTIME_NS = 20 * MS
SEEDS, PACKETS = 30, 15_000
Delays = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Result:
    """One rule on one network."""

    late_percent: float
    hold_ms: float
    p95_ms: float


def stalls(rng: np.random.Generator, share: float, low_ms: float, high_ms: float) -> Delays:
    """The path stops now and then; what was sent meanwhile arrives together: delays in ms."""
    begins = rng.random((SEEDS, PACKETS)) < share
    length = rng.uniform(low_ms, high_ms, begins.shape) * begins
    delay = np.zeros_like(length)
    for i in range(int(high_ms // 20) + 1):
        delay[:, i:] = np.maximum(delay[:, i:], length[:, : PACKETS - i] - 20 * i)
    return delay


def networks(seed: int = 7) -> Iterator[tuple[str, Delays]]:
    """Name and delay of every packet in ms, [SEEDS, PACKETS]."""
    rng = np.random.default_rng(seed)
    shape = (SEEDS, PACKETS)
    calm = rng.exponential(2, shape)
    yield "LAN, 1 ms", np.abs(rng.normal(0, 1, shape))
    yield "Gaussian, sigma 15 ms", np.abs(rng.normal(60, 15, shape))
    yield "exponential, 10 ms", rng.exponential(10, shape)
    yield "Wi-Fi: stalls of 40-160 ms, one in 2 s", calm + stalls(rng, 0.01, 40, 160)
    yield "Wi-Fi: stalls of 60-180 ms, one in 10 s", calm + stalls(rng, 0.002, 60, 180)
    yield "a stall of 120-190 ms, one in 40 s", calm + stalls(rng, 0.0005, 120, 190)
    step = np.zeros(PACKETS)
    step[PACKETS // 3 : 2 * PACKETS // 3] = 70
    yield "route: 70 ms longer for 100 s", calm + step
    busy = (np.arange(PACKETS) // 1500) % 2 == 1
    yield "busy and calm by turns of 30 s", np.where(busy, rng.exponential(20, shape), calm)


class Peak:
    """The rule before this one: grow to each lateness, forget it with a time constant of 10 s."""

    def __init__(self, params: TargetParams) -> None:
        self._p = params
        self.base = np.full(SEEDS, np.nan)
        self.target = np.full(SEEDS, float(params.min_ns))

    def packet(self, k: int, relative: Delays) -> None:
        p, elapsed = self._p, 0.0 if k == 0 else PTIME_NS
        risen = self.base - (relative - self.base) * np.expm1(-elapsed / p.forget_ns)
        self.base = np.fmin(risen, relative)
        needed = relative - self.base + p.margin_ns
        shrunk = needed + (self.target - needed) * np.exp(-elapsed / 10e9)
        self.target = np.clip(np.maximum(needed, shrunk), p.min_ns, p.max_ns)


class Distribution:
    """The rule of `rtp.jitter`, fed as the receiver feeds it."""

    def __init__(self, params: TargetParams) -> None:
        self._p = params
        self.base = np.full(SEEDS, np.nan)
        self.target = np.full(SEEDS, float(params.min_ns))
        self._counts, self._weight = np.zeros((SEEDS, BINS), np.float32), np.zeros(SEEDS)
        self._last = np.zeros(SEEDS, np.int64)
        self.updates = 0

    def packet(self, k: int, relative: Delays) -> None:
        now = np.full(SEEDS, k % 17 == 0) | wants_update(relative - self.base, self._p)
        rows = np.flatnonzero(now)
        since = k - self._last[rows]
        self.base[rows], self.target[rows], self._counts[rows], self._weight[rows] = update_target(
            self.base[rows], self.target[rows], self._counts[rows], self._weight[rows], relative[rows],
            np.maximum(since, 1), since * float(PTIME_NS), self._p,
        )  # fmt: skip
        self._last[rows] = k
        self.updates += len(rows)


def measure(rule: Peak | Distribution, delay_ms: Delays) -> Result:
    """Run one rule over all seeds of a network."""
    sent_ms = np.arange(PACKETS) * 20.0
    arrival = np.maximum.accumulate(
        sent_ms + delay_ms, axis=1
    )  # in order: overtaken packets are not measured
    relative = (arrival - sent_ms) * MS
    # The target that decided over a packet is the one before its burst came in.
    known = np.stack([np.searchsorted(row, row - 1.0, side="right") - 1 for row in arrival])
    targets, bases = np.zeros_like(relative), np.zeros_like(relative)
    for k in range(PACKETS):
        rule.packet(k, relative[:, k])
        targets[:, k], bases[:, k] = rule.target, rule.base
    at = np.maximum(known, 0)
    decided = np.take_along_axis(targets, at, axis=1) + np.take_along_axis(bases, at, axis=1)
    settled = slice(500, None)
    late = (relative > decided)[:, settled].mean()
    hold = targets[:, settled] / MS
    return Result(100 * float(late), float(hold.mean()), float(np.percentile(hold, 95)))


def cost_us(rows: int = 250, rounds: int = 2000) -> tuple[float, float, float]:
    """CPU per batch of `rows` packets: the rule before, all rows updated, and on a quiet network (all in 17)."""
    params, rng = TargetParams(), np.random.default_rng(1)
    base, target = np.zeros(rows), np.full(rows, 40.0 * MS)
    counts, weight = np.zeros((rows, BINS), np.float32), np.full(rows, 1500.0)
    relative, packets = rng.exponential(1e6, rows), np.ones(rows, np.int64)
    elapsed = np.full(rows, float(PTIME_NS))

    def peak() -> None:
        late = relative - base
        lower = np.fmin(np.where(late > 3e9, base, base - late * np.expm1(elapsed / -3e10)), relative)
        needed = relative - lower + 5e6
        shrunk = needed + (target - needed) * np.exp(elapsed / -1e10)
        np.minimum(np.maximum(np.maximum(needed, shrunk), 4e7), 2e8)

    def every() -> None:
        update_target(base, target, counts, weight, relative, packets, elapsed, params)

    def quiet() -> None:
        np.flatnonzero(wants_update(relative - base, params))

    every_us = _time_us(every, rounds)
    return _time_us(peak, rounds), every_us, _time_us(quiet, rounds) + every_us / 17


def _time_us(action: Callable[[], None], rounds: int) -> float:
    start = time.process_time()
    for _ in range(rounds):
        action()
    return (time.process_time() - start) / rounds * 1e6


def main() -> None:
    """Print the table."""
    params = TargetParams()
    print(
        f"{'network':42} {'peak: late %':>12} {'hold ms':>8} {'p95':>5}   "
        f"{'distribution: late %':>20} {'hold ms':>8} {'p95':>5}"
    )
    for name, delay in networks():
        a, b = measure(Peak(params), delay), measure(Distribution(params), delay)
        print(
            f"{name:42} {a.late_percent:12.2f} {a.hold_ms:8.0f} {a.p95_ms:5.0f}   "
            f"{b.late_percent:20.2f} {b.hold_ms:8.0f} {b.p95_ms:5.0f}"
        )
    peak, every, quiet = cost_us()
    print(
        f"CPU per batch of 250 packets: peak {peak:.0f} us; distribution {quiet:.0f} us on a quiet network, "
        f"{every:.0f} us where every packet is late"
    )


if __name__ == "__main__":
    main()
