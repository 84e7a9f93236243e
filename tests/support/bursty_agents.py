# SPDX-License-Identifier: GPL-2.0-or-later
"""How agents' chunks arrive, as patterns with a seed, and what a downlink makes of them (no sockets, no waiting)."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from support.media_rig import MS, running, start_message
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.downlink import Downlink
from trunkline.gateway.media.table import Table

Chunks = list[tuple[float, int]]
"(arrival, duration) of an utterance's chunks in ms, the first at 0"
Pattern = Callable[[np.random.Generator, int], Chunks]
"makes the chunks of an utterance of so many ms"
STEP_NS = 5 * MS
RATE_HZ = 8000
PAUSE_MS = (1500, 4000)
LENGTH_MS = (1500, 7000)


def _paced(rng: np.random.Generator, total_ms: int, chunk_ms: int, late: Callable[[], float], speed: float) -> Chunks:
    """Chunks at `speed` times real time, each `late()` ms after its time, in order; the first is not early."""
    chunks: Chunks = []
    at = begin = late()
    for k in range(-(-total_ms // chunk_ms)):
        at = max(at, k * chunk_ms / speed + late())
        chunks.append((at - begin if k else 0.0, min(chunk_ms, total_ms - k * chunk_ms)))
    return [(max(at, 0.0), ms) for at, ms in chunks]


def _steady(rng: np.random.Generator, total_ms: int) -> Chunks:
    return _paced(rng, total_ms, 20, lambda: float(rng.uniform(0, 3)), 1)


def _jittery(rng: np.random.Generator, total_ms: int) -> Chunks:
    return _paced(rng, total_ms, 20, lambda: float(rng.exponential(12)), 1)


def _tts_400(rng: np.random.Generator, total_ms: int) -> Chunks:
    return _paced(rng, total_ms, 400, lambda: float(rng.uniform(0, 120)), 1)


def _tts_250_tail(rng: np.random.Generator, total_ms: int) -> Chunks:
    return _paced(rng, total_ms, 250, lambda: float(rng.exponential(35)), 1)


def _fast(rng: np.random.Generator, total_ms: int) -> Chunks:
    return _paced(rng, total_ms, 200, lambda: float(rng.exponential(10)), 3)


def _sentences(rng: np.random.Generator, total_ms: int) -> Chunks:
    """Synthesis sentence by sentence: each comes in one piece, a little before or after it is needed."""
    chunks, at, said = Chunks(), 0.0, 0
    while said < total_ms:
        ms = min(int(rng.integers(600, 2000)), total_ms - said)
        chunks.append((at, ms))
        said += ms
        at = max(at, said + float(rng.normal(-40, 60)))
    return chunks


PATTERNS: dict[str, Pattern] = {
    "20 ms, steady": _steady,
    "three times real time, 200 ms": _fast,
    "20 ms, 0 to 60 ms late": _jittery,
    "400 ms, 0 to 120 ms late": _tts_400,
    "250 ms, late with a tail": _tts_250_tail,
    "sentence by sentence": _sentences,
}


@dataclasses.dataclass
class Outcome:
    """Of all calls together."""

    utterances: int
    underruns: int
    missing_ms: float
    delays_ms: NDArray[np.float64]
    "[utterances] from the first chunk to the first packet"
    spoken_ms: int
    played_samples: int


class Bursty:
    """Calls that are spoken to in one pattern, each with its own seed."""

    def __init__(self, pattern: Pattern, calls: int, utterances: int, seed: int = 1, **agent: object) -> None:
        """`agent` are fields of `AgentParams`: prebuffer_ms, prebuffer_max_ms."""
        self.now_ns = 1_000_000_000_000
        self.table = Table(Columns(calls))
        self.downlink = Downlink(self.table, self, send_silence=True)
        self._asked_ns = np.zeros(calls, np.int64)
        self._delays: list[float] = []
        self._utterances = calls * utterances
        for _ in range(calls):
            message = start_message(RATE_HZ)
            params = msgspec.structs.replace(message.agent, **agent)
            row = running(self.table, msgspec.structs.replace(message, agent=params), self.now_ns).row
            self.downlink.begin(row, self.now_ns)
            self.now_ns += 3 * MS
        self._arrivals = list(
            heapq.merge(*(self._script(pattern, row, utterances, seed) for row in range(calls)))
        )

    def _script(self, pattern: Pattern, row: int, utterances: int, seed: int) -> Iterator[tuple[int, int, int, bool]]:
        """(time, row, samples, whether an utterance begins), in order."""
        rng = np.random.default_rng([seed, row])
        at_ns = self.now_ns
        for _ in range(utterances):
            at_ns += int(rng.uniform(*PAUSE_MS) * MS)
            chunks = pattern(rng, int(rng.integers(*LENGTH_MS)))
            for k, (late_ms, ms) in enumerate(chunks):
                yield at_ns + int(late_ms * MS), row, ms * RATE_HZ // 1000, k == 0
            longest_ms = max(chunks[-1][0], sum(ms for _, ms in chunks))
            at_ns += int(longest_ms * MS) + 600 * MS

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Be the packet sink: the first packet of a talkspurt has the marker."""
        opened = rows[(packets[:, 1] >= 0x80) & (self._asked_ns[rows] > 0)]
        self._delays += ((self.now_ns - self._asked_ns[opened]) / MS).tolist()
        self._asked_ns[opened] = 0
        return np.ones(len(rows), bool)

    def run(self) -> Outcome:
        """To the end of the last utterance."""
        spoken = 0
        for at_ns, row, samples, begins in self._arrivals:
            while self.now_ns + STEP_NS <= at_ns:
                self.now_ns += STEP_NS
                self.downlink.advance(self.now_ns)
            if begins:
                self._asked_ns[row] = at_ns
            spoken += samples
            self.downlink.push(np.array([row]), np.full((1, samples), 1000, np.int16), at_ns)
        for _ in range(10_000 * MS // STEP_NS):
            self.now_ns += STEP_NS
            self.downlink.advance(self.now_ns)
        c = self.table.shared
        return Outcome(
            self._utterances, int(c.underruns.sum()), float(c.underrun_ns.sum()) / MS, np.array(self._delays),
            spoken * 1000 // RATE_HZ, int(c.down_position.sum()),
        )  # fmt: skip
