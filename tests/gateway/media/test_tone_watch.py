# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that are searched, cut, both or neither, in one batch: each gets what it would get alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.media_rig import running, start_message
from trunkline.codecs.tones import ToneSender
from trunkline.gateway.media import control
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.table import Table
from trunkline.gateway.media.tone_watch import HOLD_MS, ToneWatch

Pcm = NDArray[np.int16]
KINDS = [
    control.DigitParams(detect="off"), control.DigitParams(detect="on"), control.DigitParams(cut=True),
    control.DigitParams(detect="on", cut=True),
]  # fmt: skip


def watch(*kinds: control.DigitParams) -> tuple[ToneWatch, NDArray[np.intp]]:
    """One call of each kind."""
    table = Table(Columns(8))
    streams = [running(table, start_message(digits=kind), 0) for kind in kinds]
    tones = ToneWatch(table)
    for stream in streams:
        tones.set(stream)
    return tones, np.array([stream.row for stream in streams], np.intp)


def hear(tones: ToneWatch, rows: NDArray[np.intp], audio: Pcm, frame: int) -> Pcm:
    """All of audio[n, samples] in frames."""
    heard = []
    for start in range(0, audio.shape[1] - frame + 1, frame):
        pcm, _ = tones.hear(8000, rows, audio[:, start : start + frame], np.zeros(len(rows), np.uint16))
        heard.append(pcm)
    return np.concatenate(heard, axis=1)


@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=6),
    st.integers(0, 1 << 32),
    st.sampled_from([80, 160, 240]),
)
@settings(deadline=None, max_examples=40)
def test_a_batch_is_its_calls_one_by_one(kinds: list[control.DigitParams], seed: int, frame: int) -> None:
    rng = np.random.default_rng(seed)
    audio = rng.integers(-300, 300, (len(kinds), 7200)).astype(np.int16)
    for row in audio:
        sender = ToneSender(8000)
        sender.queue("".join(rng.choice(list("159D"), 2)), int(rng.integers(45, 200)), 60)
        row[:5000] += sender.next_frame(5000)
    tones, rows = watch(*kinds)
    together = hear(tones, rows, audio, frame)
    told = [(tone.digit, tone.duration_ms) for row in rows for tone in tones.heard if tone.row == row]
    alone_told = []
    for place, kind in enumerate(kinds):
        one, row = watch(kind)
        alone = hear(one, row, audio[place : place + 1], frame)
        assert np.array_equal(together[place], alone[0])
        alone_told += [(tone.digit, tone.duration_ms) for tone in one.heard]
        if not kind.cut:
            assert np.array_equal(alone[0], audio[place, : alone.shape[1]])
        else:
            assert not alone[0, : 8 * HOLD_MS].any()
    assert told == alone_told


def test_a_row_that_is_used_again_has_nothing_of_the_call_before() -> None:
    tones, rows = watch(KINDS[3])
    sender = ToneSender(8000)
    sender.queue("5", 500, 60)
    hear(tones, rows, sender.next_frame(1600)[None], 160)
    tones.forget(int(rows[0]))
    assert tones.watching == 0 and not tones.heard
    tones.set(tones._table.streams[int(rows[0])])  # type: ignore[arg-type]
    assert not hear(tones, rows, np.zeros((1, 1600), np.int16), 160).any()
    assert not tones.heard
