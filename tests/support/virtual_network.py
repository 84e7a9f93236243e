# SPDX-License-Identifier: GPL-2.0-or-later
"""Callers and a bad network, without I/O: what arrives in which tick, reproducible from a seed.

    Callers (clock drift, DTX, restarts) -> Network (loss, delay, duplicates) -> Traffic.batches(tick)

All calls are made at once, a few seconds at a time, as arrays [calls, packets].  Every packet
carries its number in its last four payload bytes, which lets an agent at 8 kHz say of each
frame which packet it was.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs import g711
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.sockaddr import Address, Sources
from trunkline.rtp.packet import HEADER_BYTES, write_headers

MS = 1_000_000
PEER = ("192.0.2.1", 4000)
NUMBER_BYTES, BASE = 4, 127
"A packet's number in its payload: code 127 of u-law is a second zero, the others come back from PCM."


@dataclasses.dataclass(frozen=True)
class Network:
    """What happens to packets on the way; probabilities are per packet."""

    loss: float = 0.0
    burst: float = 0.0
    "a burst of losses begins"
    burst_packets: int = 8
    "its length at most; 1 to so many are equally likely"
    duplicate: float = 0.0
    delay_ms: float = 30.0
    jitter_ms: float = 0.0
    "mean of an exponential delay on top; packets overtake each other"
    stall: float = 0.0
    "the path stalls (Wi-Fi): what is sent meanwhile arrives together at its end"
    stall_ms: float = 120.0
    "its length at most; a quarter of it to all are equally likely"

    def delays_ns(
        self, rng: np.random.Generator, calls: int, packets: int, ptime_ms: int
    ) -> NDArray[np.int64]:
        """Delay of every packet, [calls, packets]."""
        delay = np.full((calls, packets), self.delay_ms)
        if self.jitter_ms:
            delay += rng.exponential(self.jitter_ms, (calls, packets))
        if self.stall:
            lengths = rng.uniform(self.stall_ms / 4, self.stall_ms, (calls, packets))
            begins = np.flatnonzero(rng.random((calls, packets)) < self.stall)
            call, first = begins // packets, begins % packets
            for i in range(int(self.stall_ms // ptime_ms) + 1):
                still = np.flatnonzero(first + i < packets)
                left = lengths[call[still], first[still]] - i * ptime_ms
                np.maximum.at(delay, (call[still], first[still] + i), self.delay_ms + left)
        return (delay * MS).astype(np.int64)

    def lost(self, rng: np.random.Generator, calls: int, packets: int) -> NDArray[np.bool_]:
        """Which packets are lost, [calls, packets]."""
        lost = rng.random((calls, packets)) < self.loss
        if self.burst:
            begins = np.flatnonzero(rng.random((calls, packets)) < self.burst)
            length = rng.integers(1, self.burst_packets + 1, (calls, packets)).ravel()[begins]
            for i in range(self.burst_packets):
                still = begins[(length > i) & (begins % packets + i < packets)]
                lost.ravel()[still + i] = True
        return lost


@dataclasses.dataclass(frozen=True)
class Callers:
    """How the callers send."""

    calls: int = 100
    ptime_ms: int = 20
    drift_ppm: float = 0.0
    "clocks are spread evenly from -drift to +drift; above 0 they are fast"
    speech: float = 1.0
    "share of the half seconds in which a caller sends; in others it sends nothing (DTX)"
    restart: float = 0.0
    "probability in each chunk that a caller begins anew: other SSRC, sequence and timestamps"
    start_ms: float = 100.0
    "the first packet is sent so long after the start of the call"


CHUNK_PACKETS = 250
LEAD_PACKETS = 50
"Made ahead of their time: a clock 200 ppm fast is 36 packets ahead after an hour."
BYTES_TICKS = 16
_ROW_BITS = 14
_STEP_NS = 4096
"Packets of a row that come closer together than that keep their order in a tick."
_COLUMNS = ("row", "arrival_ns", "seq", "ts", "ssrc", "number")


class _Peer(Sources):
    """All packets come from the same address."""

    def __init__(self) -> None:
        super().__init__(np.zeros((0, 0), np.uint8))

    def __getitem__(self, i: SupportsIndex, /) -> Address:
        return PEER

    def part(self, which: NDArray[np.intp]) -> Sources:
        return self


class Traffic:
    """Packets of all callers as they arrive, tick by tick."""

    def __init__(self, seed: int, callers: Callers, network: Network, start_ns: int, tick_ns: int) -> None:
        self.callers, self.network = callers, network
        self._rng = np.random.default_rng(seed)
        self._tick_ns, self._start_ns = tick_ns, start_ns
        n = callers.calls
        self.ppm = (
            np.linspace(-callers.drift_ppm, callers.drift_ppm, n) if n > 1 else np.array([callers.drift_ppm])
        )
        self.interval_ns = callers.ptime_ms * MS * (1 - self.ppm * 1e-6)
        self.packet_bytes = callers.ptime_ms * 8
        phase = self._rng.uniform(0, callers.ptime_ms, n)
        self.first_ns = start_ns + ((callers.start_ms + phase) * MS).astype(np.int64)
        self._next_seq = self._rng.integers(0, 1 << 16, n)
        self._first_ts = self._rng.integers(0, 1 << 32, n)
        self._ssrc = self._rng.integers(1, 1 << 32, n, np.uint32)
        self._speech = g711.encode_ulaw(_voice(self._rng, self.packet_bytes * 50)).reshape(50, -1)
        self._waiting = {name: np.zeros(0, np.int64) for name in _COLUMNS}
        self._chunk = 0
        self._next_number = 0
        self._ticks = self._all_ticks()
        self.sent = np.zeros(n, np.int64)
        "[calls] packets that the callers have sent, lost ones too"
        self.delivered = np.zeros(n, np.int64)
        "[calls] packets that the network has handed over, duplicates too"
        self.restarts = np.zeros(n, np.int64)
        self.stopped = False
        "from the next chunk on the callers send no more, but for LEAD_PACKETS; what is on the way still arrives"

    def batches(self, ticks: int) -> Iterator[list[Batch]]:
        """For each of the next ticks: batches with at most one packet of a row, in order of arrival."""
        return itertools.islice(self._ticks, ticks)

    def _all_ticks(self) -> Iterator[list[Batch]]:
        ticks = CHUNK_PACKETS * self.callers.ptime_ms * MS // self._tick_ns
        while True:
            yield from self._cut(self._advance(self._chunk_end_ns()), ticks)
            self._chunk += 1

    def _chunk_end_ns(self) -> int:
        return self._start_ns + (self._chunk + 1) * CHUNK_PACKETS * self.callers.ptime_ms * MS

    def _advance(self, until_ns: int) -> dict[str, NDArray[np.int64]]:
        """Make a chunk of packets; returns all that arrive before `until_ns`, ordered by tick, turn and row."""
        end = (self._chunk + 1) * CHUNK_PACKETS + LEAD_PACKETS
        if self.stopped:
            made, self._next_number = {name: np.zeros(0, np.int64) for name in _COLUMNS}, end
        else:
            made = self._make(np.arange(self._next_number, end))
        every = {name: np.concatenate([self._waiting[name], made[name]]) for name in _COLUMNS}
        late = every["arrival_ns"] > until_ns
        self._waiting = {name: column[late] for name, column in every.items()}
        now = np.flatnonzero(~late)
        arrival_ns, row = every["arrival_ns"][now], every["row"][now]
        self.delivered += np.bincount(row, minlength=len(self.delivered))
        tick = -((self._start_ns - arrival_ns) // self._tick_ns)
        within_ns = arrival_ns - self._start_ns - (tick - 1) * self._tick_ns
        order = _order(tick, row, within_ns // _STEP_NS)
        tick, row = tick[order], row[order]
        # The turn of a packet: how many of the same row and tick are before it.
        opens = np.diff(tick << _ROW_BITS | row, prepend=-1) != 0
        turn = np.arange(len(opens)) - np.maximum.accumulate(np.flatnonzero(opens))[np.cumsum(opens) - 1]
        again = _order(tick, turn, row)
        now = now[order[again]]
        due = {name: every[name][now] for name in ("seq", "ts", "ssrc", "number")}
        return due | {"row": row[again], "tick": tick[again], "turn": turn[again]}

    def _make(self, number: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """The packets of these numbers of all callers, as far as the network delivers them."""
        rng, n = self._rng, self.callers.calls
        self._restart(rng)
        self._next_number, k = int(number[-1]) + 1, len(number)
        sent_ns = self.first_ns[:, None] + (self.interval_ns[:, None] * number).astype(np.int64)
        talks = np.ones((n, k), bool)
        if self.callers.speech < 1:
            spell = 500 // self.callers.ptime_ms
            talks = np.repeat(rng.random((n, k // spell + 1)) < self.callers.speech, spell, axis=1)[:, :k]
            if self._chunk == 0:
                talks[:, 0] = True
        seq = self._next_seq[:, None] + np.cumsum(talks, axis=1) - 1
        self._next_seq += talks.sum(axis=1)
        self.sent += talks.sum(axis=1)
        delay = self.network.delays_ns(rng, n, k, self.callers.ptime_ms)
        keep = talks & ~self.network.lost(rng, n, k)
        row = np.broadcast_to(np.arange(n)[:, None], (n, k))
        columns = {
            "row": row,
            "arrival_ns": sent_ns + delay,
            "seq": seq & 0xFFFF,
            "ts": self._first_ts[:, None] + number * self.packet_bytes & 0xFFFFFFFF,
            "ssrc": np.broadcast_to(self._ssrc[:, None].astype(np.int64), (n, k)),
            "number": np.broadcast_to(number, (n, k)),
        }
        made = {name: column[keep] for name, column in columns.items()}
        if self.network.duplicate:
            again = np.flatnonzero(rng.random(len(made["row"])) < self.network.duplicate)
            late = rng.integers(0, 40 * MS, len(again))
            twins = {name: column[again] for name, column in made.items()} | {
                "arrival_ns": made["arrival_ns"][again] + late
            }
            made = {name: np.concatenate([column, twins[name]]) for name, column in made.items()}
        return made

    def _restart(self, rng: np.random.Generator) -> None:
        again = np.flatnonzero(rng.random(self.callers.calls) < self.callers.restart)
        if self._chunk == 0 or not len(again):
            return
        self.restarts[again] += 1
        self._next_seq[again] = rng.integers(0, 1 << 16, len(again))
        self._first_ts[again] = rng.integers(0, 1 << 32, len(again))
        self._ssrc[again] = rng.integers(1, 1 << 32, len(again), np.uint32)

    def _cut(self, due: dict[str, NDArray[np.int64]], ticks: int) -> Iterator[list[Batch]]:
        """Packets of a chunk as bytes, cut by tick and turn."""
        n, size = len(due["row"]), HEADER_BYTES + self.packet_bytes
        spoken, least = self._spoken(due["number"])
        packets, first, end = spoken[:0], 0, 0
        lengths, named, addresses = np.full(n, size, np.int32), np.ones(n, bool), _Peer()
        first_tick = self._chunk * ticks + 1
        key = (due["tick"] - first_tick) << 8 | due["turn"]
        if n and key[0] < 0:
            raise AssertionError("a clock is more than LEAD_PACKETS fast: a packet of the past")
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        of_tick = np.searchsorted(key[starts] >> 8, np.arange(ticks + 1)).tolist() if n else [0] * (ticks + 1)
        starts_at, row = [*starts.tolist(), n], due["row"]
        spans = list(itertools.pairwise(starts_at))
        for t in range(ticks):
            if t % BYTES_TICKS == 0:  # bytes of a few ticks at a time stay in the caches
                first, end = (starts_at[of_tick[at]] for at in (t, min(t + BYTES_TICKS, ticks)))
                some = {name: due[name][first:end] for name in ("number", "seq", "ts", "ssrc")}
                packets = spoken.take(some["number"] - least, axis=0)
                nothing, ssrc = np.zeros(end - first, np.uint8), some["ssrc"].astype(np.uint32)
                write_headers(packets, nothing, nothing > 0, some["seq"], some["ts"], ssrc)
            yield [
                Batch(row[a:b], packets[a - first : b - first], lengths[: b - a], named[: b - a], addresses)
                for a, b in spans[of_tick[t] : of_tick[t + 1]]
            ]

    def _spoken(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.uint8], int]:
        """Packets but for their headers, which are alike for all callers, from the least number on; and that."""
        least, most = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
        number = np.arange(least, most + 1)
        packets = np.zeros((len(number), HEADER_BYTES + self.packet_bytes), np.uint8)
        packets[:, HEADER_BYTES:] = self._speech[number % 50]
        for i in range(NUMBER_BYTES):
            packets[:, -NUMBER_BYTES + i] = number // BASE**i % BASE
        return packets, least


def _order(first: NDArray[np.int64], second: NDArray[np.int64], third: NDArray[np.int64]) -> NDArray[np.intp]:
    """Places in the order of these columns, and of the places; `third` is below 2**16, `second` 2**14.

    Numbers are sorted several times faster than places by several columns.
    """
    n = len(first)
    least, place_bits = int(first.min(initial=1 << 62)), n.bit_length()
    key = (((first - least) << _ROW_BITS | second) << 16 | third) << place_bits | np.arange(n)
    assert third.max(initial=0) < 1 << 16, "ticks are too long for it"
    assert second.max(initial=0) < 1 << _ROW_BITS, "too many calls"
    assert n == 0 or int(key.max()) >= 0, "too many packets, rows or ticks in a chunk"
    key.sort()
    return key & (1 << place_bits) - 1


def _voice(rng: np.random.Generator, samples: int) -> NDArray[np.int16]:
    """Something with a pitch, loud enough to be speech in every packet."""
    t = np.arange(samples) / 8000
    wave = sum(np.sin(2 * np.pi * 120 * k * t + rng.uniform(0, 6)) / k for k in range(1, 9))
    return (np.asarray(wave) * 4000).astype(np.int16)


def numbers_in(pcm: NDArray[np.int16]) -> NDArray[np.int64]:
    """The packet number at the end of each frame, or end of a frame, pcm[n, samples], at 8 kHz.

    A frame's head may be blended with a fill.
    """
    digits = g711.encode_ulaw(pcm[:, -NUMBER_BYTES:]).astype(np.int64) & 0x7F
    return np.asarray(digits @ BASE ** np.arange(NUMBER_BYTES), np.int64)
