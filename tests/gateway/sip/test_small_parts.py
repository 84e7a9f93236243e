# SPDX-License-Identifier: GPL-2.0-or-later
"""INFO bodies, deadlines, redaction: parts that need neither PJSIP nor a peer."""

from __future__ import annotations

import base64
import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.sip import info
from trunkline.gateway.sip.account import by_transport
from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.hops import first_hop_transport
from trunkline.gateway.sip.messages import IncomingInvite
from trunkline.gateway.sip.negotiated import negotiated_answer
from trunkline.gateway.sip.pjlog import Faucet, redact
from trunkline.gateway.sip.timers import Timers
from trunkline.rtp.negotiation import Session
from trunkline.rtp.sdes import SUITES, new_key, write_crypto


@pytest.mark.parametrize(
    ("media_type", "body", "expected"),
    [
        (info.DTMF_RELAY, "Signal=5\r\nDuration=160\r\n", ("5", 160)),
        (info.DTMF_RELAY, "Signal= *\nDuration= 250", ("*", 250)),
        (info.DTMF_RELAY, "signal=d\r\n", ("D", 160)),
        (info.DTMF_RELAY, "Signal=11\r\nDuration=99999\r\n", ("#", 10_000)),
        (info.DTMF, "9\r\n", ("9", 160)),
        (info.DTMF, "10", ("*", 160)),
        (info.DTMF, "Signal=7\r\nDuration=90\r\n", ("7", 90)),
    ],
)
def test_digits_as_pbxs_send_them(media_type: str, body: str, expected: tuple[str, int]) -> None:
    press = info.parse(media_type, body)
    assert press is not None and (press.digit, press.duration_ms) == expected


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (info.DTMF_RELAY, "Signal=x"),
        (info.DTMF_RELAY, ""),
        (info.DTMF, "55"),
        ("text/plain", "5"),
        (info.DTMF, ""),
    ],
)
def test_what_is_no_digit(media_type: str, body: str) -> None:
    assert info.parse(media_type, body) is None


@given(st.sampled_from("0123456789*#ABCD"), st.integers(40, 10_000))
def test_what_we_send_reads_back(digit: str, duration_ms: int) -> None:
    assert info.parse(info.DTMF_RELAY, info.relay_body(digit, duration_ms)) == info.Press(digit, duration_ms)


@given(st.text())
def test_any_info_body_parses(body: str) -> None:
    for media_type in (info.DTMF, info.DTMF_RELAY):
        press = info.parse(media_type, body)
        assert press is None or press.digit in "0123456789*#ABCD"


def test_deadlines_fire_once_in_order_and_not_when_cancelled() -> None:
    timers, fired = Timers(), []
    timers.at(30, lambda: fired.append("c"))
    early = timers.at(5, lambda: fired.append("never"))
    timers.at(10, lambda: fired.append("a"))
    timers.at(10, lambda: fired.append("b"))
    early.cancel()
    assert timers.next_deadline_ns() == 10
    assert timers.due(9) == []
    for now_ns in (10, 30, 31):
        for action in timers.due(now_ns):
            action()
    assert fired == ["a", "b", "c"] and timers.next_deadline_ns() is None


def test_redaction_leaves_no_credentials_and_everything_else() -> None:
    text = (
        "TX 500 bytes Request msg REGISTER\r\nVia: x\r\n"
        'Authorization: Digest username="gw1", nonce="abc",\r\n response="0123456789abcdef"\r\nContact: <sip:a>\r\n'
        'proxy-authorization : Digest response="fedcba"\r\nX: response=secret nonce=n1, password="pw"\r\n'
    )
    shown = redact(text)
    assert not any(secret in shown for secret in ("0123456789", "fedcba", "secret", "n1", '"pw"', "gw1"))
    assert "Contact: <sip:a>" in shown and "Via: x" in shown


@pytest.mark.parametrize("suite", list(SUITES))
def test_redaction_leaves_no_key_of_srtp(suite: str) -> None:
    """Neither in SDP nor in what PJMEDIA says of its own transport."""
    key = new_key(suite)
    crypto = write_crypto(1, dataclasses.replace(key, mki=1, mki_bytes=4, lifetime=1 << 20))
    text = f"v=0\r\na=crypto:{crypto}\r\na=sendrecv\r\n"
    shown = redact(text)
    assert base64.b64encode(key.master).decode().rstrip("=") not in shown
    assert shown == f"v=0\r\na=crypto:1 {suite} inline:***|2^20|1:4\r\na=sendrecv\r\n"
    line = f"TX: {suite} key={key.master.hex()}"
    assert redact(line) == f"TX: {suite} key=***"


def test_an_invite_shows_no_sdp() -> None:
    """Whoever logs one by mistake logs no keys."""
    invite = IncomingInvite(
        "192.0.2.1:5060", "udp", "sip:600@x", "sip:1@x", "", "sip:600@x", "id", {}, "a=crypto:1"
    )
    assert "crypto" not in repr(invite)


@pytest.mark.parametrize(
    ("codec", "rate_hz", "pt", "event_clock_hz"),
    [
        ("PCMU", 8000, 0, 8000),
        ("G722", 16000, 9, 8000),
        ("opus", 48000, 96, 48000),
        ("L16", 16000, 97, 16000),
    ],
)
@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_an_answer_that_nobody_showed_us_is_written_from_what_pjsip_knows(
    codec: str, rate_hz: int, pt: int, event_clock_hz: int, host: str
) -> None:
    """Speech, keys of its clock, both addresses and the direction; a session of ours understands it."""
    bare = host.strip("[]")
    session = Session(
        ["PCMU", "G722", "OPUS", "L16/16000"],
        local_host="2001:db8::9" if ":" in bare else "192.0.2.9",
        rtp_port=30000,
        rtcp_port=30001,
    )
    offered = session.offer()
    event = next(
        int(line.removeprefix("a=rtpmap:").split()[0])
        for line in offered.split("\r\n")
        if line.endswith(f" telephone-event/{event_clock_hz}")
    )
    media: Any = SimpleNamespace(
        remoteRtpAddress=f"{host}:4000", remoteRtcpAddress=f"{host}:4005", dir=1, txPt=pt, audTxEventPt=event,
        codecName=codec, codecClockRate=rate_hz,
    )  # fmt: skip
    leg: Any = SimpleNamespace(remote_media=lambda: media)
    session.accepted(negotiated_answer(leg, offered), keys_unseen=True)
    agreed = session.description()
    assert agreed is not None
    assert (agreed.codec.partition("/")[0], agreed.send_pt) == (codec.upper(), pt)
    assert (agreed.send_dtmf_pt, agreed.dtmf_clock_hz) == (event, event_clock_hz)
    assert (agreed.remote_host, agreed.remote_port, agreed.remote_rtcp_port) == (bare, 4000, 4005)
    assert (agreed.send, agreed.receive) == (True, False)


@pytest.mark.parametrize(("codecs", "number"), [(["PCMA"], "8"), (["OPUS", "PCMU"], "111"), (["PCMU"], "0")])
def test_an_inactive_answer_that_nobody_showed_us_keeps_the_codec(codecs: list[str], number: str) -> None:
    """PJSIP has no stream to tell of then."""
    session = Session(codecs, local_host="192.0.2.9", rtp_port=30000, rtcp_port=30001)
    video = "m=video 4002 RTP/AVP 31\r\n"
    head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    session.answer(f"{head}m=audio 4000 RTP/AVP {number}\r\na=rtpmap:111 opus/48000/2\r\n{video}")
    before = session.description()

    def remote_media() -> Any:
        raise LegError("no stream")

    leg: Any = SimpleNamespace(remote_media=remote_media)
    session.accepted(negotiated_answer(leg, session.offer()), keys_unseen=True)
    after = session.description()
    assert before is not None and after is not None and session.held
    assert (after.codec, after.send_pt) == (before.codec, before.send_pt) == (codecs[0], int(number))
    assert (after.send, after.receive, after.remote_host) == (False, False, "192.0.2.1")


def test_log_lines_are_rationed_and_the_rest_counted() -> None:
    faucet = Faucet()
    assert sum(faucet.admit(100.0) for _ in range(1000)) == Faucet.BURST
    assert faucet.dropped == 1000 - Faucet.BURST
    assert sum(faucet.admit(101.0) for _ in range(1000)) == Faucet.PER_SECOND


@pytest.mark.parametrize(
    ("proxy", "target", "trunk", "found"),
    [
        ("", "sip:1@h", "tls", "tls"),
        ("", "sip:1@h;transport=UDP", "tls", "udp"),
        ("", "sip:1@h;transport=tls;transport=udp", "tls", "udp"),
        ("", "sip:1@h;transport=udp;transport=tls", "tls", "udp"),
        ("", "sip:1@h;trans%70ort=t%63p", "tls", "tcp"),
        ("", "sip:1;transport=tls@h", "udp", "udp"),
        ("", "sip:1@h?x=;transport=tls", "udp", "udp"),
        ("", "sips:1@h;transport=tcp", "udp", "tls"),
        ("sip:edge;transport=udp", "sip:1@h;transport=tls", "tls", "udp"),
        ("sip:edge;transport=tls", "sip:1@h", "udp", "tls"),
        ("sip:edge;lr", "sip:1@h;transport=udp", "tls", "tls"),
        ("sips:edge", "sip:1@h", "udp", "tls"),
        ("sip:edge;transport=udp", "sips:1@h", "tls", "tls"),
    ],
)
def test_the_transport_that_a_request_leaves_by(proxy: str, target: str, trunk: str, found: str) -> None:
    """The proxy counts before the target, and what is doubtful is not TLS."""
    assert first_hop_transport(proxy, target, trunk) == found


def test_a_user_that_looks_like_a_parameter_does_not_take_a_call_off_tls() -> None:
    assert by_transport("sip:1;transport=udp@h", "tls") == "sip:1;transport=udp@h;transport=tls"
