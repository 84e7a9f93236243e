# SPDX-License-Identifier: GPL-2.0-or-later
"""What codecs, resampling and concealment cost: CPU of one thread for 20 ms of one call, kernel by kernel.

    make bench-codecs                     all
    make bench-codecs ARGS="resample"     only what has that in its name
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from G722 import G722

from bench.filling_cost import cost_us
from bench.tables import table
from trunkline.codecs import g711
from trunkline.codecs.conceal import conceal, conceal_between, history_samples
from trunkline.codecs.g722 import G722Codec
from trunkline.codecs.l16 import L16Codec
from trunkline.codecs.level import level_dbov
from trunkline.codecs.resample import get_resampler

BATCHES = (1, 50, 200)
RATES = (8000, 16000, 24000, 44100, 48000)

Work = Callable[[], object]


def sound(rows: int, rate_hz: int) -> np.ndarray:
    """20 ms for each row, as loud as speech."""
    return np.random.default_rng(rows).normal(0, 2000, (rows, rate_hz // 50)).astype(np.int16)


def codecs(n: int) -> Iterator[tuple[str, Work]]:
    """Each way of each codec; for G.722 also the library alone, called row by row."""
    rows, narrow, wide, cd = np.arange(n), sound(n, 8000), sound(n, 16000), sound(n, 44100)
    mu_law = g711.encode_ulaw(narrow)
    yield "G.711 mu-law: decode", partial(g711.decode_ulaw, mu_law)
    yield "G.711 mu-law: encode", partial(g711.encode_ulaw, narrow)
    g722 = G722Codec(n)
    coded = g722.encode(rows, wide)[0]
    yield "G.722: decode", partial(g722.decode, rows, coded)
    yield "G.722: encode", partial(g722.encode, rows, wide)
    coders, pieces, sounds = [G722(16000, 64000) for _ in rows], [one.tobytes() for one in coded], [*wide]
    yield "G.722: decode, library alone", lambda: [c.decode(one) for c, one in zip(coders, pieces, strict=True)]
    yield "G.722: encode, library alone", lambda: [c.encode(one) for c, one in zip(coders, sounds, strict=True)]
    for name, pcm in (("L16/8000", narrow), ("L16/16000", wide), ("L16/44100", cd)):
        codec = L16Codec(name)
        wire = codec.encode(rows, pcm)[0]
        yield f"{name}: decode", partial(codec.decode, rows, wire)
        yield f"{name}: encode", partial(codec.encode, rows, pcm)


def resampling(n: int) -> Iterator[tuple[str, Work]]:
    """All pairs."""
    for from_hz in RATES:
        for to_hz in RATES:
            if from_hz != to_hz:
                resampler = get_resampler(from_hz, to_hz)
                work = partial(resampler.process, resampler.new_history(n), sound(n, from_hz))
                yield f"resample {from_hz} to {to_hz}", work


def others(n: int) -> Iterator[tuple[str, Work]]:
    """Level of every frame; concealment of one that is lost."""
    zero = np.zeros(n, np.int64)
    for rate_hz in (8000, 16000, 44100, 48000):
        pcm = sound(n, rate_hz)
        samples = pcm.shape[1]
        yield f"level at {rate_hz}", partial(level_dbov, pcm)
        history = np.concatenate([pcm, pcm, pcm], axis=1)[:, : history_samples(rate_hz)]
        yield f"conceal at {rate_hz}, blind", partial(conceal, history, samples, zero, rate_hz)
        both = partial(conceal_between, history, pcm, samples, zero, zero, zero + samples, rate_hz)
        yield f"conceal at {rate_hz}, both sides", both


def main(arguments: list[str]) -> None:
    """Measure and print."""
    wanted = arguments[0] if arguments else ""
    figures: dict[str, list[float]] = {}
    for n in BATCHES:
        for part in (codecs, resampling, others):
            for name, work in part(n):
                if wanted in name:
                    figures.setdefault(name, []).append(cost_us(work, n))
    rows = [[name, *costs] for name, costs in figures.items()]
    print(table("us of CPU for 20 ms of one call, in batches of", ["", *map(str, BATCHES)], rows))


if __name__ == "__main__":
    main(sys.argv[1:])
