# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller says reaches the agent and comes back: compared sample by sample, or by correlation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from support.audio import compare, decode_g711, encode_g711, find, speechlike
from support.phone import Phone
from support.rtp_endpoint import RtpEndpoint
from support.rtp_wire import rtcp_types
from support.stage import Stage
from support.waiting import wait_for

NAMES = {0: "PCMU", 8: "PCMA"}


def offer(payload_type: int = 0, ptime_ms: int = 20) -> dict[str, str]:
    """Keys of uac_offer."""
    codec = f"{payload_type} {NAMES[payload_type]}/8000"
    return {"formats": f"{payload_type} 101", "codec": codec, "ptime": str(ptime_ms)}


@pytest.mark.parametrize("payload_type", [0, 8], ids=["PCMU", "PCMA"])
def test_at_8_khz_every_code_that_was_said_comes_back_as_it_was(stage: Stage, payload_type: int) -> None:
    said = encode_g711(speechlike(1.6), payload_type)
    endpoint = RtpEndpoint(payload_type=payload_type)
    keys = {"called": "608", **offer(payload_type)}
    with Phone(stage.gateway, "uac_offer", said=said, endpoint=endpoint, hold_ms=2300, keys=keys) as phone:
        summary = phone.wait_end()
        heard = b"".join(one.payload for one in phone.rtp.audio)
    at = heard.find(said)
    assert at >= 0 and at % 160 == 0, "the whole speech, byte by byte, and cut into packets as it was"
    agent = stage.echo8.wait_call(phone.call_id)
    start = find(decode_g711(said, payload_type), agent.pcm)
    np.testing.assert_array_equal(agent.pcm[start : start + len(said)], decode_g711(said, payload_type))
    agent.assert_timeline()
    assert (summary["codec"], summary["packets_lost"]) == (NAMES[payload_type], 0)
    assert summary["packets_received"] == len(said) // 160


@pytest.mark.parametrize("ptime_ms", [10, 30, 40, 60])
def test_the_packet_time_that_the_caller_asks_for_is_used_both_ways(stage: Stage, ptime_ms: int) -> None:
    said = encode_g711(speechlike(1.2), 0)
    endpoint = RtpEndpoint(ptime_ms=ptime_ms)
    keys = {"called": "608", **offer(ptime_ms=ptime_ms)}
    with Phone(stage.gateway, "uac_offer", said=said, endpoint=endpoint, hold_ms=1900, keys=keys) as phone:
        summary = phone.wait_end()
        packets = phone.rtp.audio
    assert {len(one.payload) for one in packets} == {8 * ptime_ms}
    assert summary["ptime_ms"] == ptime_ms
    steps = {(b.timestamp - a.timestamp) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)}
    assert steps == {8 * ptime_ms}, "the timeline that is heard has no hole"
    assert (
        b"".join(one.payload for one in packets).find(said[: len(said) // (8 * ptime_ms) * 8 * ptime_ms]) >= 0
    )
    agent = stage.echo8.wait_call(phone.call_id)
    agent.assert_timeline()
    assert len(agent.frames[0].pcm) == 160, "the agent's frames stay at 20 ms"


def test_at_16_khz_agent_and_caller_hear_the_same_speech(stage: Stage) -> None:
    said = encode_g711(speechlike(2.0), 0)
    with Phone(stage.gateway, "uac_offer", said=said, hold_ms=2800, keys={"called": "600"}) as phone:
        phone.wait_end()
        back = compare(decode_g711(said, 0), phone.rtp.heard())
    agent = stage.echo.wait_call(phone.call_id)
    agent.assert_timeline()
    uplink = compare(decode_g711(said, 0), agent.pcm[::2])
    assert uplink.correlation > 0.999 and uplink.snr_db > 30, uplink
    # Back at the caller it has been coded by mu-law twice, which alone costs some 37 dB.
    assert back.correlation > 0.99 and back.snr_db > 25, back


def test_rtcp_reports_what_is_sent_and_heard_and_says_goodbye(stage: Stage) -> None:
    said = encode_g711(speechlike(3.0), 0)
    with Phone(stage.gateway, "uac_offer", said=said, hold_ms=4500, keys={"called": "608"}) as phone:
        phone.wait_end()
        wait_for(lambda: any(203 in rtcp_types(one) for one in phone.rtp.rtcp), "RTCP BYE")
        compounds = [(rtcp_types(one), one) for one in phone.rtp.rtcp]
    report = next(one for types, one in compounds if types[0] == 200)
    ssrc, sent = int.from_bytes(report[4:8], "big"), int.from_bytes(report[20:24], "big")
    assert ssrc == phone.rtp.received[0].ssrc and 0 < sent <= len(phone.rtp.received)
    assert report[0] & 31 == 1, "one report block: about us"
    assert int.from_bytes(report[28:32], "big") == phone.rtp.ssrc and report[32] == 0, (
        "nothing of ours was lost"
    )
    assert all(202 in types for types, _ in compounds), "each compound names its sender (RFC 3550 6.1)"


def test_a_peer_that_sends_other_packets_than_agreed_is_understood(stage: Stage) -> None:
    said = encode_g711(speechlike(1.2), 0)
    with Phone(
        stage.gateway,
        "uac_offer",
        said=said,
        endpoint=RtpEndpoint(ptime_ms=40),
        hold_ms=1900,
        keys={"called": "608"},
    ) as phone:
        phone.wait_end()
        packets = phone.rtp.audio
    assert {len(one.payload) for one in packets} == {160}, "ours are of the time that was agreed on"
    assert b"".join(one.payload for one in packets).find(said) >= 0
    stage.echo8.wait_call(phone.call_id).assert_timeline()


def test_what_the_agent_says_at_once_is_heard_in_real_time(stage: Stage) -> None:
    """Two seconds of speech in one chunk leave as one packet each 20 ms, none of it lost."""
    from support.agents import say

    speech = speechlike(2.0, 16000, seed=7)
    stage.scripted.script = say(speech)
    with Phone(stage.gateway, "uac_offer", hold_ms=2700, keys={"called": "609"}) as phone:
        summary = phone.wait_end()
        heard, packets = phone.rtp.heard(), phone.rtp.audio
    match = compare(speech[::2], heard)
    assert match.correlation > 0.99, match
    seconds = (packets[-1].time_ns - packets[0].time_ns) / 1e9
    assert len(packets) == pytest.approx(seconds / 0.02 + 1, abs=3), "one packet each 20 ms"
    assert {len(one.payload) for one in packets} == {160}
    assert packets[0].marker and summary["frames_played"] == 100
