# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets are found again, losses are told from lateness and from the generator's own, and a wrong match shows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import played_bench as played
from support.played_bench import CONCEALED, LEAD, MS
from trunkline.gateway.bench import lossy
from trunkline.gateway.bench.matching import match_down, match_up, unwrap

DIALECTS = ("trunkline", "audiosocket")
IN_SPAN = 150
"Number of a packet within the measured time."


def index_of(plan, call: int, packet: int) -> int:
    """Place in `played.frames` of a packet's frame."""
    return call * (plan.packets + LEAD) + LEAD + packet


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_run_in_which_nothing_goes_wrong(dialect: str) -> None:
    """Every packet of the measured time counts once, with the delay that it had."""
    plan = played.plan(dialect=dialect)
    sent = played.generated(plan)
    up = match_up(plan, sent, played.frames(plan, sent, 2.0))
    assert (up.sent, up.lost, up.sent_late, up.wrong, up.flagged, up.breaks, up.unmatched_calls) == (
        3 * 200, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    assert len(up.delay_ms) == 600 and np.allclose(up.delay_ms, 2.0)
    down = match_down(plan, sent)
    assert (down.lost, down.silent, down.unmatched_calls) == (0, 0, 0)
    assert down.heard == pytest.approx(600, abs=3) and np.allclose(down.delay_ms, 0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_frame_that_never_came_is_lost_and_the_others_keep_their_delay(dialect: str) -> None:
    """In a dialect without positions, too, where all later frames have moved up."""
    plan = played.plan(dialect=dialect)
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    drop = np.zeros(len(frames.call), bool)
    drop[index_of(plan, 1, IN_SPAN) : index_of(plan, 1, IN_SPAN + 2)] = True
    up = match_up(plan, sent, played.without(frames, drop))
    assert (up.lost, up.unmatched_calls) == (2, 0)
    assert np.allclose(up.delay_ms, 2.0)
    assert up.breaks == (1 if dialect == "trunkline" else 0)


def test_a_concealed_frame_does_not_stand_for_its_packet() -> None:
    plan = played.plan()
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    frames.flags[index_of(plan, 0, IN_SPAN)] = CONCEALED
    up = match_up(plan, sent, frames)
    assert (up.lost, up.flagged, up.wrong) == (1, 1, 0)


def test_concealment_shows_by_its_sound_where_there_are_no_flags() -> None:
    """It repeats the packet before, and neighbours always differ."""
    plan = played.plan(dialect="audiosocket")
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    at = index_of(plan, 2, IN_SPAN)
    frames.window[at] = frames.window[at - 1]
    assert match_up(plan, sent, frames).lost == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_lost_first_packet_does_not_shift_all_others(dialect: str) -> None:
    """The first frame is then packet 1: what it sounds like says so."""
    plan = played.plan(dialect=dialect)
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    drop = np.zeros(len(frames.call), bool)
    drop[index_of(plan, 0, 0)] = True
    up = match_up(plan, sent, played.without(frames, drop))
    assert (up.lost, up.wrong, up.unmatched_calls) == (0, 0, 0), "packet 0 is in the warm-up"
    assert np.allclose(up.delay_ms, 2.0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_calls_whose_audio_is_mixed_up_do_not_pass(dialect: str) -> None:
    plan = played.plan(dialect=dialect)
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    swapped = frames.call.copy()
    swapped[frames.call == 0], swapped[frames.call == 1] = 1, 0
    up = match_up(plan, sent, dataclasses.replace(frames, call=swapped))
    assert up.unmatched_calls == 2
    assert up.lost > 0.8 * 400


def test_a_packet_that_the_generator_itself_sent_late_is_not_the_worker_s() -> None:
    plan = played.plan()
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    sent.sent_ns[0, IN_SPAN] += 35 * MS
    drop = np.zeros(len(frames.call), bool)
    drop[[index_of(plan, 0, IN_SPAN), index_of(plan, 1, IN_SPAN)]] = True
    up = match_up(plan, sent, played.without(frames, drop))
    assert (up.lost, up.sent_late) == (1, 1)


def test_a_packet_that_was_never_sent_is_not_lost() -> None:
    plan = played.plan()
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    sent.sent_ns[0, IN_SPAN] = 0
    drop = np.zeros(len(frames.call), bool)
    drop[index_of(plan, 0, IN_SPAN)] = True
    up = match_up(plan, sent, played.without(frames, drop))
    assert (up.sent, up.lost) == (599, 0)


def test_an_agent_that_heard_nothing() -> None:
    plan = played.plan()
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    up = match_up(plan, sent, played.without(frames, np.ones(len(frames.call), bool)))
    assert (up.lost, up.unmatched_calls, len(up.delay_ms)) == (600, 3, 0)


def heard_of(sent, call: int) -> np.ndarray:
    """Indices of a call's packets that came back."""
    return np.flatnonzero(sent.heard["call"] == call)


def test_a_packet_behind_its_clock_is_late_by_as_much() -> None:
    plan = played.plan()
    sent = played.generated(plan)
    sent.heard["arrival_ns"][heard_of(sent, 1)[IN_SPAN]] += 7 * MS
    down = match_down(plan, sent)
    assert down.lost == 0
    assert sorted(down.delay_ms)[-2:] == pytest.approx([0, 7])


def test_packets_that_never_came_back_are_lost_also_at_the_end() -> None:
    plan = played.plan()
    sent = played.generated(plan)
    drop = np.zeros(len(sent.heard), bool)
    drop[heard_of(sent, 0)[IN_SPAN]] = True
    drop[heard_of(sent, 1)[-60:]] = True
    drop[heard_of(sent, 2)] = True
    down = match_down(plan, dataclasses.replace(sent, heard=sent.heard[~drop]))
    assert down.lost == pytest.approx(1 + 60 + 200, abs=3)
    assert down.unmatched_calls == 1


def test_silence_amid_the_echo_is_counted_and_does_not_shift_it() -> None:
    """The gateway had nothing to play: all that follows is a packet later."""
    plan = played.plan()
    sent = played.generated(plan)
    mine = heard_of(sent, 0)
    window = sent.heard["window"][mine]
    sent.heard["window"][mine[IN_SPAN]] = 0xFF
    sent.heard["window"][mine[IN_SPAN + 1 :]] = window[IN_SPAN:-1]
    down = match_down(plan, sent)
    assert (down.silent, down.lost, down.unmatched_calls) == (1, 0, 0)


def test_an_echo_of_another_call_does_not_pass() -> None:
    plan = played.plan()
    sent = played.generated(plan)
    window = sent.heard["window"].copy()
    sent.heard["window"][heard_of(sent, 0)] = window[heard_of(sent, 1)]
    assert match_down(plan, sent).unmatched_calls == 1


@given(
    st.lists(st.lists(st.integers(-3, 900), min_size=1, max_size=20), min_size=1, max_size=5),
    st.integers(0, 0xFFFF),
)
def test_unwrapped_numbers_are_those_that_were_counted(calls: list[list[int]], first: int) -> None:
    """Batch equals loop: each call's numbers from its first on, whatever wraps between."""
    call = np.repeat(np.arange(len(calls)), [len(steps) for steps in calls])
    true = np.concatenate([np.cumsum([0, *steps[1:]]) for steps in calls])
    assert unwrap(call, (true + first) & 0xFFFF, 16).tolist() == true.tolist()


@pytest.mark.parametrize(("more", "at"), [(4, 0), (4, 50), (-4, 50), (-1, 0)])
def test_a_timeline_that_moves_is_followed_and_told(more: int, at: int) -> None:
    """A worker that was behind made up frames beside the packets, or left some out: the audio is there all the same."""
    plan = played.plan()
    sent = played.generated(plan)
    frames = played.frames(plan, sent)
    begin = index_of(plan, 1, at)
    frames.position[begin : index_of(plan, 2, 0) - LEAD] += more * plan.frame_samples
    if more < 0:  # what lies where others do was dropped
        drop = np.zeros(len(frames.call), bool)
        drop[begin : begin - more] = True
        frames = played.without(frames, drop)
    up = match_up(plan, sent, frames)
    assert (up.unmatched_calls, up.lost, up.wrong) == (0, 0, 0), "what was dropped is of the warm-up"
    assert len(up.delay_ms) == 600 and np.allclose(up.delay_ms, 2.0)
    assert up.moved_calls == int(at > 0)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_packets_that_were_left_out_on_purpose_are_not_lost(dialect: str) -> None:
    """Frames made up for them count apart, and so do the delays of those that waited behind them."""
    plan = played.plan(dialect=dialect, loss_percent=2.0)
    sent = played.generated(plan)
    gone = lossy.left_out(2.0, plan.calls, plan.packets)
    assert not gone[:, 0].any() and gone.mean() == pytest.approx(0.02, abs=0.01)
    frames = played.frames(plan, sent)
    sent.sent_ns[gone] = 0
    for call, packet in np.argwhere(gone):
        at = index_of(plan, int(call), int(packet))
        frames.window[at] = frames.window[at - 1]
        if frames.flags is not None:
            frames.flags[at] = CONCEALED
        frames.read_ns[at : at + 3] = frames.read_ns[at + 2]  # held back
    up = match_up(plan, sent, frames)
    left_out = int(gone[:, 100:300].sum())
    assert left_out > 3
    assert (up.lost, up.wrong, up.flagged, up.unmatched_calls) == (0, 0, 0, 0)
    assert (up.left_out, up.made_up, up.sent) == (left_out, left_out, 600 - left_out)
    assert np.allclose(up.delay_ms, 2.0) and len(up.held_ms) > 2 * left_out
    assert up.held_ms.max() == pytest.approx(22) and len(up.delay_ms) + len(up.held_ms) == up.sent


def test_an_echo_with_frames_that_were_made_up_is_an_echo() -> None:
    """Some of them are too soft to be a loudness of ours."""
    plan = played.plan(loss_percent=5.0)
    sent = played.generated(plan)
    gone = lossy.left_out(5.0, plan.calls, plan.packets)
    for call in range(plan.calls):
        places = heard_of(sent, call)[gone[call]]
        sent.heard["window"][places] = 0xFF
    assert match_down(plan, sent).unmatched_calls == 0
    sent.heard["window"][heard_of(sent, 0)] = sent.heard["window"][heard_of(sent, 1)]
    assert match_down(plan, sent).unmatched_calls == 1
