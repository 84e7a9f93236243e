# SPDX-License-Identifier: GPL-2.0-or-later
"""Key tones in audio: how many are found, and how many are found in speech that has none.

    make bench-dtmf                (ARGS="--minutes 10")

Speech is all of Asterisk's prompts in five languages as Debian packages them (speech.py):
2,831 recordings of people, 131 minutes.  Each is heard three times over: as it is, through mu-law,
and 12 dB louder, clipped.  spandsp's receiver hears the same beside ours.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from bench.speech import LOCK, clips
from support import spandsp
from support.audio import decode_g711, encode_g711, read_wav
from support.debian_packages import cache_folder, unpacked
from trunkline.codecs.tone_detector import ToneDetector
from trunkline.codecs.tones import COLUMNS_HZ, KEYS, ROWS_HZ, amplitude

RATE_HZ, FRAME = 8000, 160
TRIES = 20
"tones of each key and kind, each at another place between two windows"

Pcm = NDArray[np.int16]


def recordings() -> Iterator[Pcm]:
    """Every prompt."""
    folder = unpacked(LOCK, cache_folder("speech")) / "usr/share/asterisk/sounds"
    for path in sorted(folder.rglob("*.wav")):
        pcm, rate_hz = read_wav(path)
        if rate_hz == RATE_HZ:
            yield pcm


def ours(pcm: Pcm) -> str:
    """Digits that our detector finds."""
    detector, row = ToneDetector(RATE_HZ, 1), np.zeros(1, np.intp)
    found = []
    for start in range(0, len(pcm) - FRAME + 1, FRAME):
        tones, _ = detector.process(row, pcm[None, start : start + FRAME])
        found += tones
    last = detector.finish(0)
    return "".join(tone.digit for tone in [*found, *([last] if last else [])])


def tone(
    key: str, ms: float, rng: np.random.Generator, *, beside: tuple[float, float] = (0, 0), dbm0: float = -15,
    twist_db: float = 0, snr_db: float | None = None, broken_ms: float = 0,
) -> Pcm:  # fmt: skip
    """A press between silences, no ramps; `twist_db` is the column over the row, `broken_ms` a hole in the middle."""
    index, count = KEYS.index(key), round(RATE_HZ * ms / 1000)
    hz = ROWS_HZ[index // 4] * (1 + beside[0]), COLUMNS_HZ[index % 4] * (1 + beside[1])
    moment = np.arange(count) / RATE_HZ
    row, column = amplitude(dbm0 - max(twist_db, 0)), amplitude(dbm0 + min(twist_db, 0))
    wave = row * np.sin(2 * np.pi * hz[0] * moment + rng.uniform(0, 2 * np.pi))
    wave += column * np.sin(2 * np.pi * hz[1] * moment + rng.uniform(0, 2 * np.pi))
    hole = round(RATE_HZ * broken_ms / 1000)
    wave[(count - hole) // 2 : (count + hole) // 2] = 0
    wave = np.concatenate([np.zeros(800 + int(rng.integers(160))), wave, np.zeros(1200)])
    if snr_db is not None:
        power = (row**2 + column**2) / 2
        wave += rng.standard_normal(len(wave)) * np.sqrt(power / 10 ** (snr_db / 10))
    return np.clip(np.rint(wave), -32768, 32767).astype(np.int16)


KINDS: dict[str, dict[str, object]] = {
    "40 ms": {"ms": 40},
    "40 ms, both tones 1.5 % beside": {"ms": 40, "beside": (0.015, -0.015)},
    "40 ms, -29 dBm0 a tone": {"ms": 40, "dbm0": -29},
    "40 ms, -3 dBm0 a tone": {"ms": 40, "dbm0": -3},
    "40 ms, column 4 dB above row": {"ms": 40, "twist_db": 4},
    "40 ms, row 8 dB above column": {"ms": 40, "twist_db": -8},
    "50 ms, noise 12 dB below": {"ms": 50, "snr_db": 12},
    "100 ms, 10 ms of it missing": {"ms": 100, "broken_ms": 10},
    "must not: 23 ms": {"ms": 23},
    "must not: 60 ms, row 3.5 % beside": {"ms": 60, "beside": (0.035, 0)},
    "must not: 60 ms, column 3.5 % beside": {"ms": 60, "beside": (0, 0.035)},
    "must not: 60 ms, both 3.5 % beside": {"ms": 60, "beside": (-0.035, 0.035)},
    "must not: 60 ms, -55 dBm0 a tone": {"ms": 60, "dbm0": -55},
}


def rates(hear: Callable[[Pcm], str]) -> dict[str, tuple[int, int, int]]:
    """Of each kind: presses, those found as they are, and those found otherwise or more than once."""
    result = {}
    for name, kind in KINDS.items():
        rng = np.random.default_rng(7)
        presses = hits = wrong = 0
        for key, _ in itertools.product(KEYS, range(TRIES)):
            found = hear(tone(key, rng=rng, **kind))  # type: ignore[arg-type]
            presses += 1
            hits += found == key
            wrong += found not in ("", key)
        result[name] = presses, hits, wrong
    return result


def talk_off(hear: Callable[[Pcm], str], minutes: float) -> tuple[int, float]:
    """Digits found in speech, and how many minutes of it were heard."""
    found, heard = 0, 0.0
    for pcm in recordings():
        louder = np.clip(pcm.astype(np.int32) * 4, -32768, 32767).astype(np.int16)
        for variant in (pcm, decode_g711(encode_g711(pcm, 0), 0), louder):
            found += len(hear(variant))
        heard += len(pcm) / RATE_HZ / 60
        if heard >= minutes:
            break
    return found, heard


def leak_ms(packet_ms: int = 20) -> tuple[float, float]:
    """What gets through of a tone before it is known, if no audio is held back: mean and most, in ms."""
    leaks, packet, row = [], RATE_HZ * packet_ms // 1000, np.zeros(1, np.intp)
    for key, _ in itertools.product(KEYS, range(TRIES)):
        pcm = tone(key, 60, np.random.default_rng(len(leaks)))
        detector, heard = ToneDetector(RATE_HZ, 1), []
        for start in range(0, len(pcm) - packet + 1, packet):
            left = pcm[start : start + packet].copy()
            for suspect in detector.process(row, left[None])[1]:
                left[max(0, suspect.start) : max(0, suspect.stop)] = 0
            heard.append(left)
        leaks.append(np.count_nonzero(np.concatenate(heard)) * 1000 / RATE_HZ)
    return float(np.mean(leaks)), max(leaks)


def cost_ms(rate_hz: int, calls: int) -> float:
    """CPU per call and second, of so many calls at once, all of them talking."""
    talk = np.concatenate(clips(1))
    width = rate_hz // 50
    talk = np.resize(talk, (calls + 200) * width)
    detector, rows = ToneDetector(rate_hz, calls), np.arange(calls, dtype=np.intp)
    frames = [talk[i * width : (i + calls) * width].reshape(calls, width) for i in range(100)]
    begun = time.process_time()
    for frame in frames:
        detector.process(rows, frame)
    return (time.process_time() - begun) * 1000 / (len(frames) / 50 * calls)


def main() -> None:
    """All figures of the README's section on keys."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1e9, help="of speech, of each of three variants")
    options = parser.parse_args()
    print(f"{'presses found of ' + str(len(KEYS) * TRIES):45} {'trunkline':>12} {'spandsp':>12}")
    mine, theirs = rates(ours), rates(spandsp.heard)
    for name in KINDS:
        shown = [f"{hits}" + (f" +{wrong} wrong" if wrong else "") for _, hits, wrong in (mine[name], theirs[name])]
        print(f"{name:45} {shown[0]:>12} {shown[1]:>12}")
    print("without holding back {:.1f} ms of a tone leak, {:.1f} at most".format(*leak_ms()))
    for rate_hz, calls in itertools.product((8000, 16000, 48000), (1, 10, 50, 200)):
        print(f"{rate_hz} Hz, {calls} calls at once: {cost_ms(rate_hz, calls):.2f} ms of CPU per call and second")
    for name, hear in (("trunkline", ours), ("spandsp", spandsp.heard)):
        begun = time.process_time()
        found, heard = talk_off(hear, options.minutes)
        cost = (time.process_time() - begun) / (heard * 180)
        print(f"{name}: {found} digits in 3 x {heard:.1f} minutes of speech, {cost * 1000:.2f} ms of CPU a second")


if __name__ == "__main__":
    main()
