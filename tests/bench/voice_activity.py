# SPDX-License-Identifier: GPL-2.0-or-later
"""What the detectors of speech find in recorded speech with noise, and in noise alone; what they cost.

    make bench-vad                (ARGS="--clips 2 --energy-only")

Speech is Asterisk's prompts in five voices (speech.py), at -26 dBov, behind 6 s of noise that teaches the floor; it
goes through the gateway's Uplink, all clips at once, and what is judged are the speeches that an agent would be told
of, by their positions.  Truth is the clean recording: frames down to 20 dB below its level, pauses under 0.4 s
included.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import time

import numpy as np
from numpy.typing import NDArray

from bench.speech import clips
from bench.tables import table
from support.media_rig import UplinkRig
from support.talk import Pcm, at_level, fan, noise
from trunkline.codecs.level import level_dbov
from trunkline.gateway.media.call_policy import TurnParams

RATE_HZ, FRAME = 8000, 160
LEAD_S, TAIL_S = 6.0, 2.0
SPEECH_DBOV = -26.0
BELOW_DB = 20.0
PAUSE_FRAMES = 20
SKIP = 150
"Frames after which false alarms count: so long a floor may take to be known."


@dataclasses.dataclass
class Result:
    """One detector, one condition."""

    hit: float
    "share of the voice that lies within speeches told of"
    false: float
    "share of the rest that does"
    starts: float
    "speeches told of in a minute without any"
    delay_ms: float
    "median, from a speech's first frame to when it was told"
    late_ms: float
    "nine in ten are no later"


def clean(clip: Pcm) -> NDArray[np.float64]:
    """A clip at its level, between silences."""
    level = level_dbov(clip.reshape(-1, FRAME))
    voiced = clip.reshape(-1, FRAME)[level > -50].astype(np.float64)
    gain = 32768 * 10 ** (SPEECH_DBOV / 20) / np.sqrt(np.mean(voiced**2))
    return np.concatenate([np.zeros(round(LEAD_S * RATE_HZ)), clip * gain, np.zeros(round(TAIL_S * RATE_HZ))])


def truth(sound: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Frames of voice, and those with the pauses between them."""
    frames = np.clip(sound, -32768, 32767).astype(np.int16).reshape(-1, FRAME)
    voice = np.asarray(level_dbov(frames) > SPEECH_DBOV - BELOW_DB)
    whole = voice.copy()
    at = np.flatnonzero(voice)
    for first, second in itertools.pairwise(at):
        if second - first <= PAUSE_FRAMES:
            whole[first:second] = True
    return voice, whole


def tell(rows: list[Pcm], turns: TurnParams) -> tuple[list[NDArray[np.bool_]], list[list[tuple[int, int]]]]:
    """Frames within speeches told of, and (frame told, frame meant) of each beginning, for each row."""
    rig = UplinkRig(len(rows), turns=turns)
    uplink, count = rig.uplink, len(rows[0]) // FRAME
    pcm = np.stack(rows)[:, : count * FRAME].reshape(len(rows), count, FRAME)
    every, fmt = np.arange(len(rows)), rig.table.formats.at(0)
    told = [np.zeros(count + 1, np.int64) for _ in rows]
    begun: list[list[tuple[int, int]]] = [[] for _ in rows]
    for k in range(count):
        uplink.hear(fmt, every, np.ascontiguousarray(pcm[:, k]))
        uplink.draw()
        for change, position in uplink.changes:
            told[change.row][min(position // FRAME, count)] += 1 if change.started else -1
            if change.started:
                begun[change.row].append((k, position // FRAME))
        uplink.changes.clear()
    return [np.cumsum(one)[:count] > 0 for one in told], begun


def judge(sounds: list[NDArray[np.float64]], noises: list[Pcm], turns: TurnParams) -> Result:
    """Clips, each with its noise."""
    length = min(len(sound) for sound in sounds)
    mixed = [sound[:length] + beside[:length] for sound, beside in zip(sounds, noises, strict=True)]
    rows = [np.clip(both, -32768, 32767).astype(np.int16) for both in mixed]
    told, begun = tell(rows, turns)
    hits, false, rest, delays, wrong = 0, 0, 0, [], 0
    voices = 0
    for sound, speaks, starts in zip(sounds, told, begun, strict=True):
        voice, whole = (one[: len(speaks)] for one in truth(sound[:length]))
        hits, voices = hits + int((voice & speaks).sum()), voices + int(voice.sum())
        near = np.convolve(whole, np.ones(11), "same") > 0  # 100 ms beside it are no mistake
        false += int((speaks & ~near)[SKIP:].sum())
        rest += int((~near)[SKIP:].sum())
        wrong += sum(meant > SKIP and not near[meant : known + 1].any() for known, meant in starts)
        for first in np.flatnonzero(np.diff(whole.astype(int)) == 1) + 1:
            known = [k for k, _ in starts if first <= k < first + 50]
            if known and not speaks[max(first - 8, 0) : first - 3].any():
                delays.append((known[0] - first + 1) * 20)
    spread = np.percentile(delays, [50, 90]) if delays else (np.nan, np.nan)
    return Result(hits / voices, false / max(rest, 1), wrong * 3000 / max(rest, 1), *spread)


def cost_us(turns: TurnParams, calls: int) -> float:
    """CPU per call and second, of so many frames at once, at best."""
    rig = UplinkRig(calls, turns=turns)
    pcm = np.stack([noise(0.02, -50, seed) for seed in range(calls)])
    every, fmt = np.arange(calls), rig.table.formats.at(0)
    spent = []
    for _ in range(10):
        before = time.process_time_ns()
        for _ in range(64):
            rig.uplink.voice.hear(fmt, every, pcm)
            rig.uplink.draw()
        spent.append((time.process_time_ns() - before) / 64)
    return min(spent) / 1000 * 50 / calls


def music(seconds: float, dbov: float, seed: int = 1) -> Pcm:
    """Plucked chords, as queues have them."""
    rng, out = np.random.default_rng(seed), np.zeros(round(seconds * RATE_HZ) + RATE_HZ)
    for beat in range(round(seconds * 4)):
        t = np.arange(RATE_HZ) / RATE_HZ
        for step in rng.choice([0, 4, 7, 12, 16], 2):
            hz = 220 * 2 ** (step / 12) * 2 ** (rng.integers(3) * 5 / 12)
            pluck = sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 5)) * np.exp(-3 * t)
            out[beat * 2000 : beat * 2000 + RATE_HZ] += pluck
    return at_level(out[: round(seconds * RATE_HZ)], dbov)


def gain_leaps(seconds: float, dbov: float, seed: int = 1) -> Pcm:
    """Line noise whose level an automatic gain moves by up to 15 dB, every 4 s."""
    rng = np.random.default_rng(seed)
    parts = [noise(4, dbov + float(rng.uniform(-15, 0)), seed + k) for k in range(round(seconds / 4) + 1)]
    return np.concatenate(parts)[: round(seconds * RATE_HZ)]


def clicks(seconds: float, dbov: float, seed: int = 1) -> Pcm:
    """1 ms each, at any time, two a second, in noise of -60 dBov."""
    rng, out = np.random.default_rng(seed), noise(seconds, -60, seed)
    peak = round(32768 * 10 ** (dbov / 20))
    for at in rng.integers(0, len(out) - 8, round(seconds * 2)):
        out[at : at + 8] = rng.choice([-peak, peak])
    return out


NOISES = {"line": noise, "fan": fan}
BESIDE = [("line", -60), ("line", -50), ("line", -40), ("line", -35), ("fan", -50), ("fan", -40), ("fan", -35)]
ALONE = {
    "line noise, -35 dBov": lambda s, seed: noise(s, -35, seed),
    "fan, -40 dBov": lambda s, seed: fan(s, -40, seed),
    "gain leaps, -45 dBov": lambda s, seed: gain_leaps(s, -45, seed),
    "clicks, -3 dBov": lambda s, seed: clicks(s, -3, seed),
    "music, -28 dBov": lambda s, seed: music(s, -28, seed),
}


def main() -> None:
    """The tables of the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=3, help="of each of five voices")
    parser.add_argument("--energy-only", action="store_true")
    options = parser.parse_args()
    detectors = {"energy": TurnParams(min_speech_ms=40)}
    if not options.energy_only:
        detectors["neural"] = TurnParams(detector="neural", min_speech_ms=40)
    sounds = [clean(clip) for clip in clips(options.clips)]
    seconds = max(len(sound) for sound in sounds) / RATE_HZ
    rows = []
    for kind, dbov in BESIDE:
        noises = [NOISES[kind](seconds, dbov, seed) for seed in range(len(sounds))]
        for name, turns in detectors.items():
            r = judge(sounds, noises, turns)
            shown = [f"{100 * r.hit:.1f}", f"{100 * r.false:.1f}", f"{r.starts:.1f}"]
            shown += [f"{r.delay_ms:.0f}", f"{r.late_ms:.0f}"]
            rows.append([f"{kind} noise, {dbov} dBov, {SPEECH_DBOV - dbov:.0f} dB below", name, *shown])
    head = ["noise", "detector", "voice found, %", "of the rest, %", "false, a minute", "told after, ms", "9 in 10"]
    print(table(f"{len(sounds)} clips of speech at {SPEECH_DBOV:.0f} dBov", head, rows))
    rows = []
    for what, make in ALONE.items():
        sound = [make(60.0, seed) for seed in range(4)]
        for name, turns in detectors.items():
            told, begun = tell(sound, turns)
            starts = sum(meant > SKIP for one in begun for _, meant in one)
            share = np.mean([one[SKIP:].mean() for one in told])
            rows.append([what, name, f"{starts / 4:.1f}", f"{100 * share:.1f}"])
    print(table("4 minutes of each without speech", ["what", "detector", "false, a minute", "of the time, %"], rows))
    rows = [[name, n, f"{cost_us(turns, n):.0f}"] for n in (12, 125) for name, turns in detectors.items()]
    print(table("what it costs", ["detector", "calls in a batch", "CPU, us per call and second"], rows))


if __name__ == "__main__":
    main()
