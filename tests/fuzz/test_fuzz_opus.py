# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever comes as Opus: a duration or none, samples, and no neighbour harmed."""

from __future__ import annotations

import numpy as np
import pytest

from support.opus_peer import rows_of
from support.opus_streams import heard, sent, speech
from trunkline.codecs.opus import OpusCodec

BATCHES = 40
PACKETS = 100
"of a batch: 4000 a run, for each rate"


def mangled(rng: np.random.Generator, real: list[bytes]) -> bytes:
    """Noise, or a real packet with something wrong: other bits, another first byte, cut off, longer."""
    kind = rng.integers(5)
    if kind == 0:
        return rng.bytes(int(rng.integers(0, 300)))
    packet = bytearray(real[rng.integers(len(real))])
    if kind == 1:
        packet[rng.integers(len(packet))] ^= 1 << rng.integers(8)
    elif kind == 2:
        packet[0] = rng.integers(256)
    elif kind == 3:
        del packet[rng.integers(len(packet)) :]
    else:
        packet += rng.bytes(int(rng.integers(1, 1200)))
    return bytes(packet)


@pytest.mark.parametrize(("rate_hz", "seed"), [(8000, 1), (16000, 2), (48000, 3)])
def test_broken_packets_are_refused_or_heard(rate_hz, seed):
    """All that has a duration is decoded and is as long; all else is concealed; a good row hears what was said."""
    rng = np.random.default_rng(seed)
    real = sent(OpusCodec(1, rate_hz), speech(rate_hz, 1.2))
    codec, good = OpusCodec(PACKETS + 1, rate_hz), OpusCodec(1, rate_hz)
    kept = PACKETS
    for batch in range(BATCHES):
        packets = [mangled(rng, real) for _ in range(PACKETS)]
        payload, lengths = rows_of(packets)
        found = codec.durations(payload, lengths)
        assert ((found >= 0) & (found <= rate_hz * 0.12)).all()
        assert not found[lengths == 0].any()
        for samples in np.unique(found[found > 0]).tolist():
            rows = np.flatnonzero(found == samples)
            assert codec.decode_variable(rows, payload[rows], lengths[rows], samples).shape == (
                len(rows),
                samples,
            )
        bad = np.flatnonzero(found == 0)
        assert codec.decode_variable(bad, payload[bad], lengths[bad], rate_hz // 50).shape[0] == len(bad)
        rows = np.arange(0, PACKETS, 7)
        assert codec.conceal(rows, rate_hz // 50, [packets[row] for row in rows]).shape == (
            len(rows),
            rate_hz // 50,
        )
        packet = real[batch % len(real)]
        assert np.array_equal(heard(codec, [packet], row=kept), heard(good, [packet]))
