# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile SDP: any text gives a description or SdpSyntaxError, an answer or NegotiationError."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.rtp import sdp_attributes as attributes
from trunkline.rtp.negotiation import NegotiationError, Session
from trunkline.rtp.payload import PACKET_TIMES_MS
from trunkline.rtp.sdp import SdpSyntaxError, SessionDescription

SAMPLES = [
    path.read_text() for path in sorted((Path(__file__).parent.parent / "vectors" / "sdp").glob("*.sdp"))
]
WORDS = ["0", "8", "101", "65535", "65536", "-1", "IN", "IP4", "IP6", "192.0.2.1", "::", "0.0.0.0", "RTP/AVP"]
WORDS += [
    "audio",
    "sendonly",
    "rtpmap:",
    "fmtp:",
    "ptime:",
    "rtcp:",
    "PCMU/8000",
    "99999999999",
    "\u0663",
    "\x85",
]
LETTERS = "vosiuepcbtrzkamxA1"


@st.composite
def lines(draw: st.DrawFn) -> str:
    """Bodies made of lines that look right and words that need not be."""
    out = ["v=0"]
    for _ in range(draw(st.integers(0, 12))):
        value = " ".join(draw(st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=7)))
        out.append(f"{draw(st.sampled_from(LETTERS))}={value}")
    return draw(st.sampled_from(["\r\n", "\n", "\r"])).join(out)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """Real offers with words exchanged, lines dropped or doubled, and characters changed."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    body = rng.choice(SAMPLES).split("\n")
    for _ in range(draw(st.integers(1, 6))):
        at = rng.randrange(len(body))
        line = body[at]
        match rng.randrange(5):
            case 0:
                body.insert(at, body[rng.randrange(len(body))])
            case 1 if len(body) > 1:
                del body[at]
            case 2 if line:
                cut = rng.randrange(len(line))
                body[at] = line[:cut] + chr(rng.choice([0, 9, 32, 61, 0x85, 0x2028, 0xFF])) + line[cut + 1 :]
            case 3:
                words = line.split(" ")
                words[rng.randrange(len(words))] = rng.choice(WORDS)
                body[at] = " ".join(words)
            case _:
                body[at] = line + rng.choice(WORDS)
    return "\n".join(body)


ANYTHING = st.text(max_size=200) | lines() | mutated()


@settings(max_examples=400, deadline=None)
@given(ANYTHING)
def test_parser_gives_a_description_or_one_exception(text: str) -> None:
    """And what was read comes back equal after writing; attributes can be asked for anything."""
    try:
        description = SessionDescription.parse(text)
    except SdpSyntaxError as caught:
        error = caught
    else:
        error = None
    if error is not None:
        assert 1 <= error.line <= text.count("\n") + text.count("\r") + 1
        return
    assert SessionDescription.parse(str(description)) == description
    for media in description.media:
        assert 0 <= media.port <= 65535
        assert all(0 <= number <= 999 for number in attributes.rtpmaps(media))
        attributes.format_parameters(media)
        assert attributes.direction(media, description) in attributes.DIRECTIONS
        rtcp = attributes.rtcp(media)
        assert rtcp is None or 0 < rtcp[0] < 65536
        assert (attributes.ptime_ms(media) or 0) >= 0
        for parameters in attributes.format_parameters(media).values():
            assert attributes.events(parameters) <= set(range(256))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["answer", "accepted", "offer", "hold"]), ANYTHING), max_size=5))
def test_negotiation_gives_usable_media_or_one_exception(steps: list[tuple[str, str]]) -> None:
    """Any order of exchanges with any text: descriptions stay sound, and answers are SDP of our own."""
    session = Session(local_host="198.51.100.1", rtp_port=30000, rtcp_port=30001, session_id=1)
    for step, text in steps:
        before = session.description()
        error = None
        try:
            if step == "answer":
                written = session.answer(text)
                assert len(SessionDescription.parse(written).media) == len(
                    SessionDescription.parse(text).media
                )
            elif step == "accepted":
                session.accepted(text)
            elif step == "offer":
                assert "m=audio 30000 " in session.offer()
            else:
                session.hold(not session.on_hold)
        except NegotiationError as caught:
            error = caught
        if error is not None:
            assert error.code in (400, 488)
            assert str(error).isprintable()
            assert session.description() == before
        agreed = session.description()
        if agreed is not None:
            assert 0 < agreed.remote_port < 65536
            assert 0 <= agreed.remote_rtcp_port < 65536
            assert agreed.ptime_ms in PACKET_TIMES_MS
            assert 0 <= agreed.send_pt <= 127
            assert 0 <= agreed.receive_pt <= 127
            assert agreed.codec in ("PCMU", "PCMA")
    with contextlib.suppress(NegotiationError):
        session.answer(SAMPLES[0])
