# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech of agents with one call a connection: gathered over a tick, and at rates of their own without a seam."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.agent_rig import AgentRig
from trunkline.agent_bridge.encodings import RATES_HZ
from trunkline.agent_bridge.link_events import Audio, Clear, LinkEvent, Mark
from trunkline.codecs.resample import get_resampler, resample_row
from trunkline.gateway.media.agent_rates import AgentRates
from trunkline.gateway.media.gathering import parted
from trunkline.gateway.media.table import Stream


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
    assert not rates.speech
    rates.convert(1, loud, 16000, 8000)
    assert not rates.convert(2, np.zeros(160, np.int16), 16000, 8000).any()
    rates.drop(1)
    rates.finish(2)
    assert not rates.speech and not len(rates.finish(1))


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_every_rate_that_an_agent_may_name_can_be_had(from_hz):
    """And a filter for it stays small."""
    for to_hz in (8000, 16000, 24000, 48000):
        if from_hz != to_hz:
            pcm = np.zeros(from_hz // 10, np.int16)
            assert len(AgentRates().convert(0, pcm, from_hz, to_hz)) <= to_hz // 10
            assert get_resampler(from_hz, to_hz).history_samples < 500


@pytest.fixture
def rig(tmp_path):
    """Links to agents that take one call on each connection."""
    return AgentRig(tmp_path, "audiosocket")


def up(rig: Any) -> Stream:
    """A call whose agent is connected, as long as the stream is there."""
    stream = rig.call()
    rig.held = [*getattr(rig, "held", []), rig.accept()]  # nobody else keeps its socket
    rig.tick(times=3)
    assert stream.accepted
    return stream


def say(rig: AgentRig, stream: Stream, *events: LinkEvent) -> None:
    """As if its agent had."""
    rig.links._on_events(stream.link, events, rig.now_ns)


def speech(stream: Stream, samples: int, value: int = 1000, rate_hz: int = 0) -> Audio:
    """A piece."""
    return Audio(np.array([stream.channel], np.uint32), np.full((1, samples), value, np.int16), rate_hz)


def queued(rig: AgentRig, stream: Stream) -> int:
    """Samples that wait to be played."""
    queue = rig.table.formats.at(stream.row).queue
    return int(queue.queued_samples(np.array([stream.row]))[0])


def test_another_rate_in_a_worker(rig):
    """A mark waits for what the resampler held; after a clear nothing of it is left."""
    stream = up(rig)
    say(rig, stream, speech(stream, 481, rate_hz=24000))
    rig.links.settle(rig.now_ns)
    assert queued(rig, stream) == 160, "a third of 480; one sample waits for two others"
    tail = -(-(1 + get_resampler(24000, 8000).delay_samples) // 3)
    say(rig, stream, Mark(stream.channel, "m"))
    assert queued(rig, stream) == 160 + tail
    assert [position for position, _ in stream.marks] == [160 + tail]
    say(rig, stream, speech(stream, 481, rate_hz=24000), Clear(stream.channel, "c"), Mark(stream.channel, "n"))
    assert queued(rig, stream) == 0
    say(rig, stream, speech(stream, 481, rate_hz=24000), speech(stream, 160))
    rig.links.settle(rig.now_ns)
    assert queued(rig, stream) == 160 + tail + 160, "what was held comes before speech at the call's own rate"


def test_a_ticks_speech_is_pushed_once_for_all_calls_and_in_order(rig):
    """Pieces of a call end to end; calls with as much speech together."""
    streams = [up(rig) for _ in range(4)]
    pushed: list[tuple[list[int], list[list[int]]]] = []
    rig.links.gathering._push = lambda rows, pcm, now_ns: pushed.append((rows.tolist(), pcm.tolist()))
    a, b, c, d = streams
    say(rig, a, speech(a, 1, 1), speech(a, 1, 2))
    say(rig, b, speech(b, 2, 3))
    say(rig, c, speech(c, 3, 4))
    say(rig, a, speech(a, 1, 5))
    assert pushed == []
    rig.links.settle(rig.now_ns)
    rig.links.settle(rig.now_ns)
    assert pushed == [([a.row, c.row], [[1, 2, 5], [4, 4, 4]]), ([b.row], [[3, 3]])]
    pushed.clear()
    say(rig, d, speech(d, 1, 6), Mark(d.channel, "m"), speech(d, 1, 7))
    assert pushed == [([d.row], [[6]])], "before its mark"
    rig.tick()
    assert pushed[1:] == [([d.row], [[7]])]


def test_speech_of_a_call_that_ends_in_the_same_tick_is_nobodys(rig):
    """A row may be another call's by the time that it is settled."""
    stream = up(rig)
    row = stream.row
    say(rig, stream, speech(stream, 100))
    rig.links.stop(stream, "over", {})
    rig.links.settle(rig.now_ns)
    assert int(rig.table.formats.at(row).queue.queued_samples(np.array([row]))[0]) == 0


@given(values=st.lists(st.integers(-1, 6), max_size=20))
def test_parted_is_all_of_them_in_order(values):
    """Each value once, with its places."""
    indices = np.array(values, np.int64)
    found = {value: np.arange(len(values))[which].tolist() for value, which in parted(indices)}
    assert found == {value: [i for i, one in enumerate(values) if one == value] for value in sorted(set(values))}
