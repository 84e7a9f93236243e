# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech at rates that agents name: pieces join as if they were one, and all before a mark is heard."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.agent_rig import AgentRig
from trunkline.agent_bridge.encodings import RATES_HZ
from trunkline.agent_bridge.link_events import Audio, Clear, Mark
from trunkline.codecs.resample import get_resampler, resample_row
from trunkline.gateway.media.agent_audio import joined
from trunkline.gateway.media.agent_rates import AgentRates


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 1500), max_size=8),
    from_hz=st.sampled_from([8000, 16000, 22050, 24000, 44100, 48000]),
    to_hz=st.sampled_from([8000, 16000, 24000]),
)
def test_pieces_are_the_same_as_the_whole(seed, cuts, from_hz, to_hz):
    """Whatever the cuts: by the definition of the filter, over the whole at once, to the last place."""
    if from_hz == to_hz:
        return
    pcm = np.random.default_rng(seed).integers(-20000, 20000, 1500).astype(np.int16)
    rates = AgentRates()
    edges = [0, *sorted(cuts), len(pcm)]
    pieces = [rates.convert(3, pcm[a:b], from_hz, to_hz) for a, b in itertools.pairwise(edges)]
    made = np.concatenate([*pieces, rates.finish(3)])
    resampler = get_resampler(from_hz, to_hz)
    lag = -(-resampler.delay_samples * resampler.up // resampler.down)
    wanted = len(pcm) * resampler.up // resampler.down + lag
    assert len(made) >= wanted, "nothing is held back after finish()"
    fill = np.concatenate([pcm, np.zeros(resampler.delay_samples + 2 * resampler.down, np.int16)])
    whole = resample_row(resampler, fill.tolist())
    assert np.abs(made[:wanted].astype(int) - np.array(whole[:wanted])).max() <= 1


def test_calls_do_not_hear_each_other_and_nothing_is_remembered_after_the_end():
    """A memory per row, gone with drop() or finish()."""
    rates, loud = AgentRates(), np.full(160, 20000, np.int16)
    assert not rates
    rates.convert(1, loud, 16000, 8000)
    assert not rates.convert(2, np.zeros(160, np.int16), 16000, 8000).any()
    rates.drop(1)
    rates.finish(2)
    assert not rates and not len(rates.finish(1))


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_every_rate_that_an_agent_may_name_can_be_had(from_hz):
    """And a filter for it stays small."""
    for to_hz in (8000, 16000, 24000, 48000):
        if from_hz != to_hz:
            pcm = np.zeros(from_hz // 10, np.int16)
            assert len(AgentRates().convert(0, pcm, from_hz, to_hz)) <= to_hz // 10
            assert get_resampler(from_hz, to_hz).history_samples < 500


def test_audio_of_two_rates_is_not_joined():
    """Neither is their rate lost."""
    channels = np.array([1], np.uint32)
    pcm = np.zeros((1, 160), np.int16)
    events = [Audio(channels, pcm), Audio(channels, pcm, 16000), Audio(channels, pcm, 16000), Audio(channels, pcm)]
    assert [(len(e.pcm), e.sample_rate_hz) for e in joined(events)] == [(1, 0), (2, 16000), (1, 0)]


def test_through_the_links_of_a_worker(tmp_path):
    """A mark waits for what the resampler held; after a clear nothing of it is left."""
    rig = AgentRig(tmp_path)
    _, (stream,) = rig.up()
    channel, row = stream.channel, stream.row
    queue = rig.table.formats.at(row).queue

    def say(*events):
        rig.links._on_events(stream.link, events, rig.now_ns)

    def queued():
        return int(queue.queued_samples(np.array([row]))[0])

    speech = Audio(np.array([channel], np.uint32), np.full((1, 481), 1000, np.int16), 24000)
    say(speech)
    assert queued() == 160, "a third of 480; one sample waits for two others"
    lag = get_resampler(24000, 8000).delay_samples
    say(Mark(channel, "m"))
    assert queued() == 160 + -(-(1 + lag) // 3)
    assert [position for position, _ in stream.marks] == [queued()]
    say(speech, Clear(channel, "c"), Mark(channel, "n"))
    assert queued() == 0
    say(speech, Audio(np.array([channel], np.uint32), np.full((1, 160), 7, np.int16)))
    assert queued() == 160 + -(-(1 + lag) // 3) + 160, "what was held comes before speech at the call's own rate"
