# SPDX-License-Identifier: MIT
"""Twilio Media Streams: each message as Twilio writes it, and whatever an agent may send."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from support.websocket_peer import Peer
from trunkline.agent_bridge import mulaw, twilio_ids
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.link_events import Audio, Clear, LinkFailed, Mark
from trunkline.agent_bridge.links import create_link
from trunkline.agent_bridge.telnyx import Telnyx
from trunkline.agent_bridge.twilio import TwilioDialect
from trunkline.agent_bridge.websocket_link import WebSocketLink

CALL = "0b8f5e7e-6c2a-4a57-9d0e-3f6d9d4f8b11"
CALL_SID = "CA0b8f5e7e6c2a4a579d0e3f6d9d4f8b11"


@pytest.fixture
def talk(info):
    """A stream that has started, and what was said at its start."""

    def begin(**changes):
        settings = {"sample_rate_hz": 8000, "account": "AC" + "a" * 32}
        peer = Peer(TwilioDialect, **settings)
        peer.greet()
        peer.link.start(7, info(CALL, sample_rate_hz=8000, **changes), peer.now_ns)
        peer.link.handle_timeout(peer.now_ns)
        peer.first = [json.loads(text) for text in peer.texts()]
        peer.sid = peer.first[1]["streamSid"]
        return peer

    return begin


def said(peer):
    """Messages since the last look."""
    return [json.loads(text) for text in peer.texts()]


def test_the_start_is_twilios(talk):
    """`connected`, then `start` with ids in its form, and all that we know as custom parameters."""
    peer = talk(variables={"step": "2"}, headers={"X-Tenant": "acme", "language": "fr"})
    connected, start = peer.first
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert (start["event"], start["sequenceNumber"], start["streamSid"]) == ("start", "1", peer.sid)
    assert peer.sid.startswith("MZ") and len(peer.sid) == 34
    assert start["start"] == {
        "streamSid": peer.sid,
        "accountSid": "AC" + "a" * 32,
        "callSid": CALL_SID,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {
            "from": "+4930123456", "to": "600", "direction": "inbound", "trunk": "pbx", "route": "sales",
            "call_id": CALL, "X-Tenant": "acme", "step": "2", "language": "de",
        },
    }  # fmt: skip


def test_another_attempt_is_another_stream_of_the_same_call(talk):
    """An agent that gets a call after another one was lost, or after our own process was, is told so."""
    first, second = talk(), talk(attempt=2, position=8000)
    third = talk(resumed=True, position=16_000)
    assert len({peer.sid for peer in (first, second, third)}) == 3
    assert second.first[1]["start"]["callSid"] == CALL_SID
    assert second.first[1]["start"]["customParameters"]["attempt"] == "2"
    assert third.first[1]["start"]["customParameters"]["resumed"] == "true"


def test_a_call_that_still_rings_starts_with_the_answer(info):
    """Twilio streams calls that are up: ringing tones are nothing to listen to."""
    peer = Peer(TwilioDialect, sample_rate_hz=8000)
    peer.greet()
    peer.link.start(7, info(CALL, sample_rate_hz=8000, answered=False), peer.now_ns)
    audio = np.array([7], np.uint32), np.zeros(1, np.uint16), np.zeros((1, 160), np.int16)
    for state in ("ringing", "early"):
        peer.link.send_call_state(7, state)
    peer.link.send_audio(audio[0], np.array([0]), *audio[1:])
    peer.link.send_dtmf(7, "1", 160, "rfc4733")
    assert [one["event"] for one in said(peer)] == ["connected"]
    peer.link.send_call_state(7, "answered")
    peer.link.send_call_state(7, "answered")
    peer.link.send_audio(audio[0], np.array([4800]), *audio[1:])
    start, media = said(peer)
    assert (start["event"], start["sequenceNumber"], start["start"]["callSid"]) == ("start", "1", CALL_SID)
    assert (media["sequenceNumber"], media["media"]["timestamp"]) == ("2", "0")


def test_a_call_that_nobody_answers_never_started(info):
    """So it has no stop either."""
    peer = Peer(TwilioDialect, sample_rate_hz=8000)
    peer.greet()
    peer.link.start(7, info(CALL, sample_rate_hz=8000, answered=False), peer.now_ns)
    peer.link.stop(7, "no_answer", {})
    assert [one["event"] for one in said(peer)] == ["connected"]


def test_audio_is_numbered_and_timed_from_the_start_of_the_stream(talk):
    """Strings all of them; chunks count audio, sequence numbers everything."""
    peer = talk(position=8000)
    pcm = (np.arange(320, dtype=np.int16) * 100 - 16_000).reshape(2, 160)
    channels, flags = np.array([7, 7], np.uint32), np.zeros(2, np.uint16)
    peer.link.send_audio(channels, np.array([8000, 8160]), flags, pcm)
    peer.link.send_dtmf(7, "#", 160, "rfc4733")
    peer.link.send_audio(channels[:1], np.array([8320]), flags[:1], pcm[:1])
    one, two, key, three = said(peer)
    assert one == {
        "event": "media",
        "sequenceNumber": "2",
        "media": {
            "track": "inbound", "chunk": "1", "timestamp": "0",
            "payload": base64.b64encode(mulaw.encode(pcm[0])).decode(),
        },
        "streamSid": peer.sid,
    }  # fmt: skip
    assert (two["sequenceNumber"], two["media"]["chunk"], two["media"]["timestamp"]) == ("3", "2", "20")
    assert key["dtmf"] == {"track": "inbound_track", "digit": "#"} and key["sequenceNumber"] == "4"
    assert (three["sequenceNumber"], three["media"]["chunk"], three["media"]["timestamp"]) == ("5", "3", "40")


def test_marks_come_back_played_or_cut_off_and_the_end_is_told(talk):
    """With `clear`, each that was cut, once."""
    peer = talk()
    peer.link.send_mark(7, 'a "b" ü', 0, "played")
    peer.link.send_cleared(7, "", 100, 200, ["c", "d"])
    peer.link.send_mark(7, "e", 0, "cleared")
    peer.link.stop(7, "caller_hangup", {})
    *marks, stop = said(peer)
    assert [one["mark"]["name"] for one in marks] == ['a "b" ü', "c", "d"], "e was not heard, and nobody cut it off"
    assert stop["stop"] == {"accountSid": "AC" + "a" * 32, "callSid": CALL_SID}
    assert stop["sequenceNumber"] == "5"


@pytest.mark.parametrize("dialect", [TwilioDialect, Telnyx])
def test_before_the_stream_has_begun_no_mark_comes_back(info, dialect):
    """It would name no stream that the agent knows; nor does one that the end of the call has cut off."""
    peer = Peer(dialect, sample_rate_hz=8000).up(info(CALL, sample_rate_hz=8000, answered=False))
    peer.link.send_mark(7, "early", 0, "played")
    peer.link.send_cleared(7, "", 0, 0, ["cut"])
    assert said(peer) == []
    peer.link.send_call_state(7, "answered")
    peer.heard()
    peer.link.send_mark(7, "unheard", 0, "cleared")
    assert said(peer) == []
    peer.link.send_cleared(7, "", 0, 0, ["cut"])
    assert [one["mark"]["name"] for one in said(peer)] == ["cut"]


@pytest.mark.parametrize("sid", [{}, {"streamSid": ""}])
def test_a_message_that_names_no_stream_is_of_this_one(talk, sid):
    """Whatever its kind."""
    peer = talk()
    for message in (
        {"event": "media", "media": {"payload": "//8="}}, {"event": "mark", "mark": {"name": "m"}}, {"event": "clear"},
    ):  # fmt: skip
        peer.server.send_text(json.dumps({**message, **sid}).encode())
    assert [type(event) for event in peer.deliver()] == [Audio, Mark, Clear]


def test_what_it_has_no_words_for_is_not_said(talk):
    """Flow control, quality, hold and the rest."""
    peer = talk()
    link = peer.link
    link.send_flow(7, False, 100)
    link.send_hold(7, True)
    link.send_quality(7, {"mos": 4.0})
    link.send_network(7, True, 1000)
    link.send_speech(7, True, 0, -20.0)
    link.send_turn(7, {})
    link.send_underrun(7, 0, 20)
    link.send_call_state(7, "answered")
    link.send_transfer(7, "done", 200, "OK")
    link.send_status(7, {})
    link.send_error(7, "x", "y")
    assert said(peer) == []
    assert not link.supports_flow_control and link.supports_marks


def say(peer, event, **content):
    """A message of the agent."""
    peer.server.send_text(json.dumps({"event": event, "streamSid": peer.sid, **content}).encode())
    return peer.deliver()


def test_an_agents_messages(talk, readable):
    """Audio of any size, marks, clear; of another stream, or of a kind that there is not: nothing."""
    peer = talk()
    codes = bytes(range(256)) * 40
    got = say(peer, "media", media={"payload": base64.b64encode(codes).decode(), "track": "outbound"})
    assert readable(got) == readable([Audio(np.array([7]), mulaw.decode(codes).reshape(1, -1))])
    assert say(peer, "mark", mark={"name": "m"}) == [Mark(7, "m")]
    assert say(peer, "clear") == [Clear(7)]
    assert say(peer, "media", media={"payload": ""}) == []
    assert say(peer, "clear", streamSid="MZ" + "0" * 32) == []
    assert say(peer, "twist", twist={}) == []
    assert peer.link.ignored == {"other_stream": 1, "unknown_event": 1}
    peer.server.send_text(b'{"event":"clear"}')
    assert peer.deliver() == [Clear(7)], "many agents leave the stream's sid out"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "not JSON"),
        ("[1]", "not an object"),
        ("[" * 1000, "not JSON"),
        ('{"event":5.5}', '"event"'),
        ("{}", '"event"'),
        ('{"event":"media"}', '"media"'),
        ('{"event":"media","media":{"payload":"*"}}', '"payload"'),
        ('{"event":"media","media":{"payload":7}}', '"payload"'),
        ('{"event":"mark","mark":{}}', '"name"'),
        ('{"event":"mark","mark":{"name":"' + "n" * 300 + '"}}', "256"),
        ('{"event":"mark","mark":"m"}', '"mark"'),
    ],
)
def test_what_is_wrong_in_form_ends_the_stream_with_its_name(talk, text, says):
    """Guessing would hide a mistake that the agent's author wants to know of."""
    peer = talk()
    peer.server.send_text(text.encode())
    (failed,) = peer.deliver()
    assert isinstance(failed, LinkFailed) and failed.reason == "agent_protocol"
    assert says in failed.detail and len(failed.detail) < 300


def test_binary_messages_are_a_mistake(talk):
    """It is the first that people make who come from another platform."""
    peer = talk()
    peer.server.send_binary(bytes(160))
    (failed,) = peer.deliver()
    assert "Media Streams are JSON in text messages" in failed.detail


words = st.sampled_from(["media", "mark", "clear", "start", "name", "payload", "event", "streamSid", "//8=", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(words, values, max_size=5).map(json.dumps) | st.text(max_size=40), max_size=5))
@settings(max_examples=200, deadline=None)
def test_whatever_an_agent_says_is_events_or_one_failure(texts):
    """No exception leaves the link, and after a failure nothing more comes."""
    peer = Peer(TwilioDialect, sample_rate_hz=8000)
    peer.greet()
    peer.link._channel = peer.link._dialect.channel = 7
    failed = False
    for text in texts:
        if failed:
            break
        peer.server.send_text(text.encode("utf-8", "replace"))
        events = peer.deliver()
        failed = any(isinstance(event, LinkFailed) for event in events)
        for event in events:
            assert isinstance(event, Audio | Mark | Clear | LinkFailed)
            assert not isinstance(event, Audio) or event.pcm.dtype == np.int16


def test_the_signature_is_one_that_twilios_own_check_accepts():
    """With and without a port; it is no bearer token, and without a token there is none."""
    for url in ("wss://agent.example/media", "wss://agent.example:8443/media?to=%2B49"):
        (request,) = Peer(TwilioDialect, url=url, sample_rate_hz=8000, token="secret").heard()
        assert RequestValidator("secret").validate(url, {}, request.headers["X-Twilio-Signature"])
        assert "Authorization" not in request.headers
    (request,) = Peer(TwilioDialect, sample_rate_hz=8000).heard()
    assert "X-Twilio-Signature" not in request.headers


def test_ids_go_both_ways():
    """A REST client has the call's SID, and we find our call."""
    assert twilio_ids.call_id(twilio_ids.call_sid(CALL)) == CALL
    for wrong in ("", "CA", CALL, "MZ" + CALL_SID[2:], CALL_SID + "0", CALL_SID.upper()):
        assert twilio_ids.call_id(wrong) is None
    assert twilio_ids.ACCOUNT_SID.fullmatch(twilio_ids.account_sid(""))
    assert twilio_ids.account_sid("AC1") == "AC1"


def test_it_is_made_by_its_name_and_at_its_rate_only():
    """Any other would play too fast or too slow."""
    link = create_link("twilio", LinkSettings(url="ws://h/", sample_rate_hz=8000))
    assert isinstance(link, WebSocketLink)
    with pytest.raises(ValueError, match="twilio at 16000 Hz"):
        create_link("twilio", LinkSettings(url="ws://h/", sample_rate_hz=16000))
