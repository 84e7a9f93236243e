# SPDX-License-Identifier: GPL-2.0-or-later
"""Offers and answers that change what is heard: forks, reliable early media, other codecs, hold in all its forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from support.agents import Heard, say
from support.audio import Pcm, compare, decode_g711, encode_g711, speechlike
from support.phone import Phone
from support.rtp_endpoint import RtpEndpoint
from support.stage import Stage
from support.waiting import wait_for
from trunkline.agent_bridge import Hold

WORDS = [speechlike(0.9, seed=seed) for seed in (11, 12, 13)]


def resampled(word: Pcm) -> Pcm:
    """The same at 16 kHz."""
    at = np.arange(2 * len(word)) / 2
    return np.interp(at, np.arange(len(word)), word).astype(np.int16)


def share(said: Pcm, heard: Heard) -> float:
    """How much of `said` the agent has heard, as a correlation."""
    return compare(resampled(said) if heard.call.info.sample_rate_hz == 16000 else said, heard.pcm).correlation


def test_of_forked_early_media_the_phone_that_answers_is_heard_in_the_end(stage: Stage) -> None:
    """Two forks with early media, PCMU and PCMA; the first answers, and from then on the second is a stranger."""
    gateway = stage.gateway
    stage.scripted.script = say(speechlike(4.0, 16000, seed=5))
    first, second, after = encode_g711(WORDS[0], 0), encode_g711(WORDS[1], 8), encode_g711(WORDS[2], 0)
    with (
        RtpEndpoint(payload_type=8) as other,
        Phone(gateway, "uas_forked_back", hold_ms=1800, keys={"moved_port": str(other.port)}) as phone,
    ):
        call_id = gateway.place(phone.uri, "scripted", trunk="local")
        phone.say(first)
        where = phone.wait_media()
        phone.rtp.wait_sent()
        wait_for(lambda: gateway.call(call_id)["media"]["codec"] == "PCMA", "another fork is listened to")
        other.send(where, second)
        gateway.wait_call("up", id=call_id)
        other.wait_sent()
        phone.rtp.wait_received(5)
        other.send(where, second)
        phone.rtp.send(where, after)
        phone.rtp.wait_sent()
        other.wait_sent()
        gateway.hang_up(call_id)
        phone.sipp.wait()
        line = gateway.wait_end(call_id)
    heard = stage.scripted.wait_call(call_id)
    assert not other.received, "nobody but who answers is spoken to"
    assert share(WORDS[0], heard) > 0.9 and share(WORDS[1], heard) > 0.9, "both announcements"
    late = heard.pcm[-round(1.2 * 16000) :]
    assert compare(resampled(WORDS[2]), late).correlation > 0.9, "after the answer: the phone that answered"
    assert abs(compare(resampled(WORDS[1]), late).correlation) < 0.5
    assert line["codec"] == "PCMU" and line["cause"] == "api_hangup"
    heard.assert_timeline()


def test_reliable_early_media_are_heard_and_move_by_update(stage: Stage) -> None:
    """What the agent says waits for the answer, and then goes where the UPDATE said."""
    gateway = stage.gateway
    stage.scripted.script = say(speechlike(3.0, 16000, seed=6))
    before, moved = encode_g711(WORDS[0], 0), encode_g711(WORDS[1], 0)
    with (
        RtpEndpoint() as second,
        Phone(gateway, "uas_early_prack", hold_ms=1300, keys={"moved_port": str(second.port)}) as phone,
    ):
        call_id = gateway.place(phone.uri, "scripted", trunk="local")
        phone.say(before)
        gateway.wait_call("early", id=call_id)
        wait_for(lambda: [one for one in phone.sipp.messages() if one.start_line.startswith("UPDATE")], "UPDATE")
        second.send(phone.wait_media(), moved)
        gateway.wait_call("up", id=call_id)
        second.wait_sent()
        second.wait_received(5)
        gateway.hang_up(call_id)
        messages = phone.sipp.wait()
        gateway.wait_end(call_id)
        assert not phone.rtp.received, "the address of the 183 is not spoken to any more"
    assert len([one for one in messages if one.start_line.startswith("PRACK")]) == 1
    heard = stage.scripted.wait_call(call_id)
    assert share(WORDS[0], heard) > 0.9 and share(WORDS[1], heard) > 0.9
    heard.assert_timeline()


def test_the_codec_changes_by_a_reinvite_and_nothing_else_does(stage: Stage) -> None:
    gateway = stage.gateway
    with Phone(gateway, "uac_codec_change", hold_ms=1800, keys={"called": "608"}) as phone:
        phone.say(encode_g711(WORDS[0], 0))
        phone.rtp.wait_sent()
        wait_for(lambda: phone.sipp.received("SIP/2.0 200")[1:], "the re-INVITE is answered")
        phone.rtp.payload_type = 8
        phone.rtp.catch_up()
        phone.rtp.send(phone.wait_media(), encode_g711(WORDS[1], 8))
        line = phone.wait_end()
        packets = list(phone.rtp.received)
    heard = stage.echo8.wait_call(phone.call_id)
    assert share(WORDS[0], heard) > 0.9 and share(WORDS[1], heard) > 0.9
    types = [one.payload_type for one in packets]
    assert types == [0] * types.count(0) + [8] * types.count(8), "one change, no mixture"
    assert len({one.ssrc for one in packets}) == 1
    pcma = b"".join(one.payload for one in packets if one.payload_type == 8)
    assert compare(WORDS[1], decode_g711(pcma, 8)).correlation > 0.9
    assert line["codec"] == "PCMA" and line["cause"] == "caller_hangup"
    heard.assert_timeline()


@pytest.mark.parametrize(
    ("host", "direction", "answered", "silent"),
    [
        ("127.0.0.1", "sendonly", "recvonly", True),
        ("127.0.0.1", "inactive", "inactive", True),
        ("0.0.0.0", "sendrecv", "recvonly", True),
        ("0.0.0.0", "sendonly", "recvonly", True),
        ("127.0.0.1", "recvonly", "sendonly", False),
    ],
)
def test_each_way_to_hold_is_answered_in_kind_and_taken_back(
    stage: Stage, host: str, direction: str, answered: str, silent: bool
) -> None:
    """RFC 3264, 8.4; an address of zeros is how RFC 2543 put on hold. `recvonly` is no hold: it wants to hear."""
    keys = {"called": "608", "hold_ip": host, "direction": direction}
    with Phone(stage.gateway, "uac_hold_variant", hold_ms=600, keys=keys) as phone:
        phone.wait_end()
        bodies = [one.body for one in phone.sipp.messages() if not one.sent and "m=audio" in one.body]
        times = [one.time_ns for one in phone.rtp.received]
    assert f"a={answered}" in bodies[1], bodies[1]
    assert "a=sendrecv" in bodies[2] or not any(f"a={one}" in bodies[2] for one in ("recvonly", "inactive", "sendonly"))
    pause_s = max((b - a) / 1e9 for a, b in itertools.pairwise(times))
    assert (pause_s > 0.4) == silent, pause_s
    agent = stage.echo8.wait_call(phone.call_id)
    holds = [event.held for event in agent.events if isinstance(event, Hold)]
    assert holds == ([True, False] if silent else []), holds
    agent.assert_timeline()


def test_a_refused_reinvite_costs_no_audio(stage: Stage) -> None:
    """488 to G.729 alone: what was agreed holds, and is heard, before and after."""
    with Phone(stage.gateway, "uac_refused_reinvite", hold_ms=1500, keys={"called": "608"}) as phone:
        phone.say(encode_g711(WORDS[0], 0))
        wait_for(lambda: phone.sipp.received("SIP/2.0 488"), "the re-INVITE is refused")
        phone.rtp.catch_up()
        phone.rtp.send(phone.wait_media(), encode_g711(WORDS[1], 0)[:4800])
        line = phone.wait_end()
    heard = stage.echo8.wait_call(phone.call_id)
    assert share(WORDS[0], heard) > 0.9 and share(WORDS[1][:4800], heard) > 0.9
    assert line["codec"] == "PCMU"
    heard.assert_timeline()
