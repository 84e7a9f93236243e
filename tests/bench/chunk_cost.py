# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents' speech costs the media engine, by the chunks in which it comes.

    OPENBLAS_NUM_THREADS=1 python -m bench.chunk_cost [--calls 500] [--seconds 3] [--rate 24000] [--profile]

Every call is spoken to all the time, in real time, each at its own moment; nobody says anything to the
agent.  Time is virtual, ticks are 2.5 ms apart, packets are made and thrown away.  What is printed is CPU
time per call and second of speech: `read` is what an agent's bytes cost until they are in the queues.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats

import numpy as np
from numpy.typing import NDArray

from bench.engine_cost import TICK_NS, Rig
from bench.tables import table as text_table
from trunkline.agent_bridge import wire

PATTERNS: dict[str, tuple[float, ...]] = {
    "20 ms": (20,),
    "100 ms": (100,),
    "100 ms as 37 + 37 + 26 ms": (37, 37, 26),
    "37 ms": (37,),
    "400 ms as 37 ms and the rest": (*(37,) * 10, 30),
    "20 ms as 10 ms": (10, 10),
}
"Pieces that come at once, one message each; as soon as they have been said, the next ones."
WARM_UP_S = 0.5
LEAD_MS = 100
"Said before all else, so that nobody runs dry."


class Speaker:
    """Says pieces for every call, as time passes."""

    def __init__(self, rig: Rig, pieces_ms: tuple[float, ...], rate_hz: int) -> None:
        self._rig = rig
        self._channels = rig.table.channels[rig.table.active].copy()
        self._pieces = [np.zeros((1, round(ms * rate_hz / 1000)), np.int16) for ms in pieces_ms]
        self._each_ns = int(sum(pieces_ms) * 1e6)
        n = len(self._channels)
        self._next_ns = rig.now_ns + np.arange(n) * self._each_ns // n
        lead = np.zeros((1, round((LEAD_MS + sum(pieces_ms)) * rate_hz / 1000)), np.int16)
        for i in range(n):
            rig.pair.say(b"".join(self._message(i, lead)))
            rig.pair.deliver()

    def speak(self, now_ns: int) -> None:
        """Call by call, as an agent does that has a task for each."""
        out: list[bytes | memoryview] = []
        for i in np.flatnonzero(self._next_ns <= now_ns).tolist():
            out += [message for pcm in self._pieces for message in self._message(i, pcm)]
            self._next_ns[i] += self._each_ns
        if out:
            self._rig.pair.say(b"".join(out))

    def _message(self, i: int, pcm: NDArray[np.int16]) -> list[bytes | memoryview]:
        nothing = np.zeros(1, np.int64)
        return list(wire.audio_messages(self._channels[i : i + 1], nothing, nothing.astype(np.uint16), pcm))


def measure(
    calls: int, seconds: float, rate_hz: int, pieces_ms: tuple[float, ...], profile: bool
) -> list[float]:
    """CPU time per call and second, us: reading the agent, packets, both."""
    rig = Rig(calls, rate_hz, "PCMU")
    speaker = Speaker(rig, pieces_ms, rate_hz)
    _run(rig, speaker, WARM_UP_S)
    rig.spent.clear()
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    before = rig.sent
    _run(rig, speaker, seconds)
    profiler.disable()
    assert rig.sent - before >= calls * (seconds * 50 - 1)
    assert not rig.table.shared.worker.drops.any()
    assert not rig.table.shared.underruns.any()
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)
    each = [rig.spent[name] / 1e3 / calls / seconds for name in ("agent read", "tick")]
    return [*each, sum(each)]


def _run(rig: Rig, speaker: Speaker, seconds: float) -> None:
    end_ns = rig.now_ns + int(seconds * 1e9)
    while rig.now_ns < end_ns:
        rig.now_ns += TICK_NS
        speaker.speak(rig.now_ns)
        rig.timed("agent read", rig.pair.deliver)
        rig.timed("tick", rig.engine.tick, rig.now_ns)
        rig.pair.hear()


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rate", type=int, default=24000, help="of the agent's PCM, Hz")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    rows = [
        [name, *measure(options.calls, options.seconds, options.rate, pieces, options.profile)]
        for name, pieces in PATTERNS.items()
    ]
    title = f"CPU, us per call and second of speech; {options.calls} calls at {options.rate} Hz"
    print(text_table(title, ["chunks", "read", "tick", "all"], rows))


if __name__ == "__main__":
    main()
