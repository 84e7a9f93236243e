# SPDX-License-Identifier: GPL-2.0-or-later
"""Quality of calls over a bad network: the wire, the log, the API and the agent tell what the relay did."""

from __future__ import annotations

import time
from typing import Any

import pytest

from support import rtcp_wire
from support.audio import encode_g711, speechlike
from support.phone import Phone
from support.relay import Impairment, Relay
from support.stage import Stage
from support.waiting import wait_for
from trunkline.agent_bridge import Quality

SECONDS = 11.0
SAID = encode_g711(speechlike(SECONDS, seed=8), 0)
PACKETS = len(SAID) // 160
DROPPED = frozenset({100, 101, 102, 105, 107, *range(300, 306)})
"A burst of 8 packets, 5 of them lost, and one of 6, all lost."


def tell(phone: Phone, kept_s: float = 0.0, *, metrics: bool = True) -> None:
    """The phone reports: 10 of our packets lost, jitter 5 ms; R 77 and MOS 3.9."""
    remote, compound = phone.wait_media(), phone.rtp.rtcp[-1]
    clock = wait_for(lambda: rtcp_wire.sender_clock(compound), "a sender report")
    assert clock is not None
    ours, middle = clock
    highest, me = phone.rtp.received[-1].sequence, phone.rtp.ssrc
    data = rtcp_wire.report(
        me, ours, fraction=5, lost=10, highest=highest, jitter_ts=40, lsr=middle, dlsr=round(kept_s * 65536)
    )
    if metrics:
        data += rtcp_wire.metrics(me, ours, loss=8, r_factor=77, mos_lq=40, mos_cq=39)
    phone.rtp.send_rtcp((remote[0], remote[1] + 1), data)


def call(stage: Stage, impairment: Impairment) -> tuple[Phone, dict[str, Any], dict[str, Any]]:
    """One call to its end: the phone, the API's view of its middle, its log line."""
    relay = Relay(impairment, seed=11)
    phone = Phone(stage.gateway, "uac_rtcp_xr", relay=relay, hold_ms=int(SECONDS * 1000) + 700)
    phone._keys |= {"called": "608", "rtcp_port": str(phone.rtp.rtcp_port)}
    with phone:
        phone.say(SAID)
        call_id = phone.wait_up()
        answer = next(m.body for m in phone.sipp.messages() if not m.sent and "m=audio" in m.body)
        assert "a=rtcp-xr:rcvr-rtt=all voip-metrics" in answer and "a=rtcp-rsize" in answer
        wait_for(lambda: phone.rtp.rtcp, "a first report", 10)
        came = time.monotonic()
        time.sleep(0.2)
        tell(phone, time.monotonic() - came)
        view = wait_for(
            lambda: (v := stage.gateway.call(call_id)["media"]) and v["peer_mos"] is not None and v,
            "a score",
            5,
        )
        summary = phone.wait_end()
        wait_for(lambda: 203 in dict(rtcp_wire.packets(phone.rtp.rtcp[-1])), "RTCP BYE")
    return phone, view, summary


def assert_all_agree(stage: Stage, phone: Phone, summary: dict[str, Any]) -> None:
    """Wire, log line, finished call of the API and the agent have the same figures."""
    voip = rtcp_wire.voip_block(phone.rtp.rtcp[-1])
    assert voip is not None and voip.ssrc == phone.rtp.ssrc
    finished = stage.gateway.call(phone.call_id)["media"]
    agent = stage.echo8.wait_call(phone.call_id)
    stopped = wait_for(lambda: agent.call.stopped, "stop at the agent")
    assert stopped is not None
    for name in ("mos", "r_factor", "bursts", "burst_ms", "burst_loss_percent", "discard_percent", "mos_min"):
        assert summary[name] == finished[name] == pytest.approx(stopped.stats[name]), name
    assert summary["loss_percent"] == finished["loss_percent"] == pytest.approx(stopped.stats["loss_percent"])
    assert voip.r_factor == pytest.approx(summary["r_factor"], abs=0.51)
    assert voip.mos_cq == pytest.approx(summary["mos"], abs=0.051)
    assert voip.loss * 100 == pytest.approx(summary["loss_percent"], abs=0.4)
    assert voip.burst_density * 100 == pytest.approx(summary["burst_loss_percent"], abs=0.4)
    assert voip.burst_ms == pytest.approx(summary["burst_ms"], abs=1)
    assert voip.round_trip_ms == pytest.approx(summary["rtt_ms"], abs=0.51)
    told = [event for event in agent.events if isinstance(event, Quality)]
    assert len(told) >= 2 and agent.call.quality == told[-1]
    assert min(event.recent_mos or 9 for event in told) >= summary["mos_min"]


def test_bursts_that_the_network_made_are_what_everybody_is_told(stage: Stage) -> None:
    """Eleven packets, of which it is known where they were."""
    before = stage.gateway.metric("trunkline_call_mos_count", way="uplink")
    phone, view, summary = call(stage, Impairment(drop=DROPPED))
    assert summary["packets_lost"] == len(DROPPED)
    assert summary["loss_percent"] == pytest.approx(100 * len(DROPPED) / PACKETS, abs=0.01)
    assert summary["bursts"] == 2
    assert summary["burst_ms"] == pytest.approx(20 * (8 + 6) / 2, abs=0.1)
    assert summary["burst_loss_percent"] == pytest.approx(100 * 11 / 14, abs=0.1)
    assert_all_agree(stage, phone, summary)
    assert view["mos"] > 3.5 and 0.01 <= view["rtt_ms"] < 60
    for said in (view, summary):
        assert (said["peer_mos"], said["peer_jitter_ms"]) == (3.9, 5.0)
    assert view["peer_r_factor"] == 77 and 0 < view["peer_loss_percent"] < 10
    assert stage.gateway.metric("trunkline_call_mos_count", way="uplink") == before + 1
    assert any(4 in rtcp_wire.blocks(one) for one in phone.rtp.rtcp), (
        "reference times, for a listener's round trip"
    )


def test_the_score_falls_with_loss(stage: Stage) -> None:
    """One packet of eight, against none."""
    scores = []
    for loss in (0.0, 0.125):
        phone, _, summary = call(stage, Impairment(loss=loss))
        lost = phone.relay.counts["to_gateway"].lost  # type: ignore[union-attr]
        assert lost - 2 <= summary["packets_lost"] <= lost
        assert_all_agree(stage, phone, summary)
        scores.append(summary["mos"])
    assert scores[0] > 4.2 and scores[1] < 3.4, scores
