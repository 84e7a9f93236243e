# SPDX-License-Identifier: GPL-2.0-or-later
"""Pauses that both sides tell of (RFC 3389), from the SDP to the agent's frames and the packets on the wire."""

from __future__ import annotations

import pathlib
import re
import time

import numpy as np
import pytest

from support.agents import AgentHost, say
from support.audio import encode_g711, speechlike
from support.gateway import GatewayProcess
from support.phone import Phone
from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE

KEYS = {"formats": "0 13 101", "codec": "0 PCMU/8000", "ptime": "20"}


def pause(phone: Phone, level: int) -> None:
    """One packet of comfort noise, which takes the place of the next audio packet."""
    phone.rtp.wait_sent()
    phone.rtp._put(phone.wait_media(), 13, False, phone.rtp._timestamp, bytes([level]))


def test_a_caller_that_pauses_and_an_agent_that_pauses(tmp_path: pathlib.Path) -> None:
    """The agent gets noise of the level that the caller named, flagged; the caller gets a packet a second."""
    address = f"unix:{tmp_path}/agent.sock"
    with (
        AgentHost(address, say(speechlike(0.5, 16000))) as agent,
        GatewayProcess(
            tmp_path,
            media={"silence": "suppress"},
            agent=[{"name": "a", "address": address}],
            route=[{"name": "all", "agent": "a"}],
        ) as gateway,
        Phone(gateway, "uac_offer", said=encode_g711(speechlike(0.5), 0), hold_ms=3500, keys=KEYS) as phone,
    ):
        phone.wait_media()
        answer = next(one.body for one in phone.sipp.messages() if "m=audio" in one.body and not one.sent)
        assert "RTP/AVP 0 13 101" in answer and "a=rtpmap:13 CN/8000" in answer
        pause(phone, 50)
        summary = phone.wait_end()
        heard = agent.wait_call(phone.call_id)
        noise = [frame.pcm for frame in heard.frames if frame.flags == FLAG_COMFORT_NOISE]
        kinds = [one.payload_type for one in phone.rtp.received]
    assert len(noise) > 100, "about three seconds"
    level = 10 * np.log10(np.mean(np.square(np.concatenate(noise).astype(float))) / 32768**2)
    assert level == pytest.approx(-50, abs=2)  # resampling takes what is beyond the telephone band
    heard.assert_timeline()
    assert int(summary["frames_comfort_noise"]) == pytest.approx(len(noise), abs=3)  # type: ignore[call-overload]
    assert 3 <= kinds.count(13) <= 6 and 20 <= kinds.count(0) <= 40, kinds


def test_a_callee_that_takes_comfort_noise(tmp_path: pathlib.Path) -> None:
    """Offered where silence is suppressed; and a callee that does not take it gets none."""
    address = f"unix:{tmp_path}/agent.sock"
    with (
        AgentHost(address, say(speechlike(0.3, 16000))),
        GatewayProcess(
            tmp_path,
            media={"silence": "suppress"},
            trunk=[{"name": "local", "match": ["127.0.0.0/8"]}],
            agent=[{"name": "a", "address": address}],
        ) as gateway,
        Phone(gateway, "uas_basic") as phone,
    ):
        call_id = gateway.place(phone.uri, "a", trunk="local")
        gateway.wait_call("up", id=call_id)
        invite = phone.sipp.received("INVITE")[0].body
        time.sleep(1.5)
        gateway.hang_up(call_id)
        phone.sipp.wait()
        kinds = {one.payload_type for one in phone.rtp.received}
    formats = re.search(r"m=audio \d+ RTP/AVP (.+)", invite)
    assert formats is not None and formats[1].split().index("0") < formats[1].split().index("13")
    assert "a=rtpmap:13 CN/8000" in invite
    assert kinds == {0}
