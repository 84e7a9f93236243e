# SPDX-License-Identifier: GPL-2.0-or-later
"""What Opus costs, beside libopus alone: CPU time per packet of 20 ms, in us.

    make bench-opus                          complexities and sample rates; a minute and a half of CPU
    make bench-opus ARGS="--quick"           two cells
    make bench-opus ARGS="--pesq"            what it sounds like, too (PESQ); 3 minutes more

Recorded speech in 50 streams at once, encoded and decoded by `OpusCodec` as a media worker
does it, and by a C program that calls libopus with the same frames and settings
(opus_floor.c).  Both make packets of the same bytes, which is checked.  The two are measured
in turn, and of each the least of some rounds counts, as neighbours on the machine only add.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.speech import RATE_HZ, clips
from bench.tables import table
from trunkline.codecs.opus import OpusCodec
from trunkline.codecs.opus_native import BANDWIDTHS
from trunkline.codecs.opus_sending import OpusSettings
from trunkline.codecs.resample import get_resampler
from trunkline.gateway.bench import build

FLOOR = pathlib.Path(__file__).with_name("opus_floor.c")
STREAMS = 50
FRAMES = 50
ROUNDS = 4
WANTED_RATIO = 1.3

Pcm = NDArray[np.int16]


class Cell(NamedTuple):
    """One line of the table."""

    rate_hz: int
    complexity: int
    loss_percent: int = 0
    "that the peer reports; FEC is on with it"


class Cost(NamedTuple):
    """CPU time of one packet, and the bytes of all, to compare."""

    encode_us: float
    decode_us: float
    packet_bytes: int


FULL = [Cell(rate, complexity) for rate in (8000, 16000, 24000, 48000) for complexity in (0, 5, 10)]
FULL += [Cell(rate, 5, 10) for rate in (16000, 48000)]
QUICK = [Cell(16000, 5), Cell(48000, 5)]


def speech(rate_hz: int) -> Pcm:
    """Half a minute or so of five voices."""
    pcm = np.concatenate(clips(1))[None, :]
    resampler = get_resampler(RATE_HZ, rate_hz)
    return resampler.process(resampler.new_history(1), pcm)[0][0]


def trunkline(cell: Cell, pcm: Pcm) -> Cost:
    """By our codec."""
    codec, rows, samples = _codec(cell), np.arange(STREAMS), cell.rate_hz // 50
    pieces = pcm[: len(pcm) // samples * samples].reshape(-1, samples)
    encoding = decoding = total = 0
    for frame in range(FRAMES):
        sound = pieces[(frame + samples * rows) % len(pieces)]
        begin = time.process_time_ns()
        payload, lengths = codec.encode(rows, sound)
        middle = time.process_time_ns()
        assert (codec.durations(payload, lengths) == samples).all()
        codec.decode_variable(rows, payload, lengths, samples)
        decoding += time.process_time_ns() - middle
        encoding += middle - begin
        total += int(lengths.sum())
    return Cost(encoding / FRAMES / STREAMS / 1000, decoding / FRAMES / STREAMS / 1000, total)


def floor(cell: Cell, pcm: Pcm, folder: pathlib.Path) -> Cost:
    """By libopus alone."""
    file = folder / str(cell.rate_hz)
    file.write_bytes(pcm.tobytes())
    set_to = _codec(cell).sending(0)
    numbers = [cell.rate_hz, cell.rate_hz // 50, STREAMS, FRAMES, cell.complexity, set_to.bitrate_bps]
    numbers += [BANDWIDTHS[set_to.bandwidth_hz], set_to.loss_percent]
    command = [str(build.program(FLOOR)), str(file), *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    encode_ns, decode_ns, total = map(int, done.stdout.split())
    return Cost(encode_ns / 1000, decode_ns / 1000, total)


def _codec(cell: Cell) -> OpusCodec:
    codec = OpusCodec(STREAMS, cell.rate_hz, OpusSettings(complexity=cell.complexity))
    for row in range(STREAMS):
        codec.configure(row, "useinbandfec=1")
    codec.note_loss(np.arange(STREAMS), cell.loss_percent)
    return codec


def measure(cell: Cell, rounds: int = ROUNDS) -> tuple[Cost, Cost]:
    """Ours and libopus's, the least of some rounds."""
    pcm = speech(cell.rate_hz)
    with tempfile.TemporaryDirectory() as name:
        pairs = [(trunkline(cell, pcm), floor(cell, pcm, pathlib.Path(name))) for _ in range(rounds)]
    ours, theirs = (Cost(*map(min, zip(*costs, strict=True))) for costs in zip(*pairs, strict=True))
    if ours.packet_bytes != theirs.packet_bytes:
        raise RuntimeError(
            f"{cell}: {ours.packet_bytes} bytes of packets, but {theirs.packet_bytes} by the C program"
        )
    return ours, theirs


def main(arguments: list[str] | None = None) -> int:
    """Measure, print; 1 when we cost more than 1.3 times what libopus does, at the complexity that is the default."""
    options = argparse.ArgumentParser(
        prog="bench.opus_cost", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="two cells")
    options.add_argument("--pesq", action="store_true", help="MOS as well")
    chosen = options.parse_args(arguments)
    worst, rows = 0.0, []
    for cell in QUICK if chosen.quick else FULL:
        ours, theirs = measure(cell)
        ratio = (ours.encode_us + ours.decode_us) / (theirs.encode_us + theirs.decode_us)
        if cell.complexity == OpusSettings().complexity:
            worst = max(worst, ratio)
        kbps = 8 * ours.packet_bytes / FRAMES / STREAMS / 20
        rows.append(
            [cell.rate_hz, cell.complexity, f"{cell.loss_percent} %", f"{kbps:.0f}"]
            + [f"{us:.1f}" for us in (ours.encode_us, theirs.encode_us, ours.decode_us, theirs.decode_us)]
            + [f"{ratio:.2f}"]
        )
    head = ["Hz", "complexity", "loss", "kbit/s", "encode", "libopus", "decode", "libopus", "ratio"]
    print(table("CPU per packet of 20 ms, us; ratio: of both ways together", head, rows))
    if chosen.pesq:
        from bench.opus_quality import complexities, losses

        print(complexities())
        print(losses())
    return int(worst > WANTED_RATIO)


if __name__ == "__main__":
    sys.exit(main())
