# SPDX-License-Identifier: GPL-2.0-or-later
"""A network that loses, repeats, delays and reorders: the books must balance and the timeline hold."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from support.agents import Heard
from support.audio import compare, decode_g711, encode_g711, find, speechlike
from support.phone import Phone
from support.relay import Impairment, Relay
from support.stage import Stage
from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP

SECONDS = 4.0
SAID = encode_g711(speechlike(SECONDS, seed=6), 0)
PACKETS = len(SAID) // 160


def assert_exact_between_gaps(agent: Heard) -> None:
    """Frames that are not flagged as made up are what was said, sample by sample, at their place."""
    said = decode_g711(SAID, 0)
    start = find(said, agent.pcm)
    exact, wrong, after_gap = 0, [], True
    for frame in agent.frames:
        place = frame.position - agent.frames[0].position - start
        made_up = bool(frame.flags & (FLAG_CONCEALED | FLAG_COMFORT_NOISE | FLAG_GAP))
        # The first good frame after a gap may be blended with what was made up before it.
        if not (made_up or after_gap) and 0 <= place <= len(said) - 160:
            same = np.array_equal(frame.pcm, said[place : place + 160])
            exact += same
            wrong += [] if same else [place]
        after_gap = made_up
    assert not wrong and exact > PACKETS // 2, (exact, wrong)


def call(stage: Stage, relay: Relay) -> tuple[Phone, dict[str, object]]:
    """One call over the relay, to the end."""
    with Phone(
        stage.gateway,
        "uac_offer",
        said=SAID,
        relay=relay,
        hold_ms=int(SECONDS * 1000) + 900,
        keys={"called": "608"},
    ) as phone:
        summary = phone.wait_end()
    assert phone.relay is relay and relay.counts["to_gateway"].packets >= PACKETS
    return phone, summary


def test_order_is_restored_and_copies_are_dropped_without_a_trace_in_the_audio(stage: Stage) -> None:
    """Nothing is lost: every sample reaches the agent, in order, once."""
    relay = Relay(Impairment(reorder=0.1, reorder_ms=25, duplicate=0.05, delay_ms=10), seed=2)
    phone, summary = call(stage, relay)
    counts = relay.counts["to_gateway"]
    assert counts.overtaken > 5 and counts.duplicated > 3, "the network was bad"
    agent = stage.echo8.wait_call(phone.call_id)
    agent.assert_timeline()
    match = compare(decode_g711(SAID, 0), agent.pcm)
    # A first packet that is overtaken raises the delay that is waited for; before that one may come too late.
    assert match.correlation > 0.985, match
    assert summary["packets_lost"] == 0 and int(summary["frames_concealed"]) <= 20  # type: ignore[call-overload]
    drops = summary.get("drops", {})
    assert drops.get("duplicate", 0) + drops.get("late", 0) >= counts.duplicated - 2, drops  # type: ignore[attr-defined]


def test_what_is_lost_is_counted_concealed_and_flagged(stage: Stage) -> None:
    relay = Relay(Impairment(loss=0.05, jitter_ms=2), Impairment(loss=0.03), seed=3)
    phone, summary = call(stage, relay)
    lost = relay.counts["to_gateway"].lost
    assert lost >= 5, "the network was bad"
    # What is lost after the last packet that arrived is not known to be lost.
    assert lost - 2 <= int(summary["packets_lost"]) <= lost, (summary["packets_lost"], lost)  # type: ignore[call-overload]
    assert int(summary["packets_received"]) + lost == PACKETS  # type: ignore[call-overload]
    agent = stage.echo8.wait_call(phone.call_id)
    agent.assert_timeline()
    spoken = agent.frames[: PACKETS + 10]
    filled = sum(bool(frame.flags & (FLAG_CONCEALED | FLAG_COMFORT_NOISE)) for frame in spoken)
    assert filled >= lost - 2, "each lost packet has its frame"
    assert_exact_between_gaps(agent)
    heard = phone.rtp.audio
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(heard)}
    assert all(step % 160 == 0 for step in steps), "what the other way lost leaves whole holes"


def test_jitter_alone_costs_nothing(stage: Stage) -> None:
    """20 ms on average and up to 100: much of it is out of order, none of it is lost."""
    relay = Relay(Impairment(delay_ms=20, jitter_ms=8), seed=5)
    phone, summary = call(stage, relay)
    agent = stage.echo8.wait_call(phone.call_id)
    agent.assert_timeline()
    assert_exact_between_gaps(agent)
    match = compare(decode_g711(SAID, 0), agent.pcm)
    assert match.correlation > 0.97, match
    assert summary["packets_lost"] == 0 and float(summary["jitter_ms"]) > 2  # type: ignore[arg-type]


def test_a_dead_network_leaves_a_hole_and_not_a_shift(stage: Stage) -> None:
    """A second without any packet: what comes after it is a second later for the agent too."""
    hole = frozenset(range(60, 110))
    relay = Relay(Impairment(drop=hole))
    phone, summary = call(stage, relay)
    agent = stage.echo8.wait_call(phone.call_id)
    agent.assert_timeline()
    whole = decode_g711(SAID, 0)
    before, after = compare(whole[: 60 * 160], agent.pcm), compare(whole[110 * 160 :], agent.pcm)
    assert before.correlation > 0.99 and after.correlation > 0.99, (before, after)
    assert after.offset - before.offset == pytest.approx(110 * 160, abs=160 * 3)
    assert summary["packets_lost"] == 50
