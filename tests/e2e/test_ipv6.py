# SPDX-License-Identifier: GPL-2.0-or-later
"""A gateway that speaks IPv6: signalling, SDP and audio over ::1."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.agents import AgentHost
from support.audio import decode_g711, encode_g711, find, speechlike
from support.bare_caller import BareCaller
from support.gateway import GatewayProcess
from support.rtp_endpoint import RtpEndpoint
from support.waiting import wait_for
from trunkline.rtp.sdp import SessionDescription


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[GatewayProcess, AgentHost]]:
    """All on ::1; it is a trunk of its own."""
    with tempfile.TemporaryDirectory(prefix="tl-") as name:
        folder = pathlib.Path(name)
        address = f"unix:{folder}/echo.sock"
        with (
            AgentHost(address) as echo,
            GatewayProcess(
                folder,
                host="::1",
                trunk=[{"name": "six", "match": ["::1"]}],
                agent=[{"name": "echo", "address": address, "sample_rate_hz": 8000}],
                route=[{"name": "echo", "called": "600", "agent": "echo"}],
            ) as process,
        ):
            yield process, echo


def test_a_call_over_ipv6_is_heard_both_ways(gateway: tuple[GatewayProcess, AgentHost]) -> None:
    """Speech to the agent and back, code by code."""
    process, echo = gateway
    said = encode_g711(speechlike(1.2), 0)
    with RtpEndpoint("::1") as endpoint, BareCaller(process.sip_port, "::1") as caller:
        offer = (
            "v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\n"
            f"m=audio {endpoint.port} RTP/AVP 0\r\n"
        )
        reply = caller.invite(offer)
        assert reply.code == 200
        answer = SessionDescription.parse(reply.sdp)
        assert str(answer.connection) == "IN IP6 ::1"
        endpoint.send(("::1", answer.media[0].port), said)
        endpoint.wait_sent()
        call_id = str(process.calls()[0]["id"])
        endpoint.wait_received(len(said) // 160 + 20)
        heard = b"".join(one.payload for one in endpoint.audio)
    assert heard.find(said) >= 0
    agent = echo.wait_call(call_id)
    start = find(decode_g711(said, 0), agent.pcm)
    np.testing.assert_array_equal(agent.pcm[start : start + len(said)], decode_g711(said, 0))
    process.wait_end(call_id)


def test_a_call_is_placed_over_ipv6(gateway: tuple[GatewayProcess, AgentHost]) -> None:
    """To ourselves, by a URI with an IPv6 address: both calls come up and hear each other."""
    process, _ = gateway
    call_id = process.place(f"sip:600@[::1]:{process.sip_port}", agent="echo", trunk="six")
    process.wait_call("up", id=call_id)

    def heard() -> list[dict[str, Any]]:
        """The calls that have heard something."""
        return [call for call in process.calls() if call["media"]["packets_received"] > 20]

    wait_for(
        lambda: {call["direction"] for call in heard()} == {"inbound", "outbound"}, "audio in both calls"
    )
    assert {call["media"]["remote"].rpartition(":")[0] for call in heard()} == {"[::1]"}
    assert {call["media"]["local"].rpartition(":")[0] for call in heard()} == {"[::1]"}
    process.api.delete(f"/v1/calls/{call_id}")
    process.wait_end(call_id)


def test_ipv4_media_of_the_peer_is_refused_with_a_reason(gateway: tuple[GatewayProcess, AgentHost]) -> None:
    """488, and the log says which address it was."""
    process, _ = gateway
    with BareCaller(process.sip_port, "::1") as caller:
        reply = caller.invite(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
        )
    assert reply.code == 488
    assert "is at IP4 127.0.0.1; our media is at ::1" in process.log_text()
