# SPDX-License-Identifier: MIT
"""Whatever an agent sends in another platform's dialect: events within bounds, or one sentence; never an exception."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.encodings import ALAW, L16, L16_NETWORK, RATES_HZ, ULAW, Chunks
from trunkline.agent_bridge.link_events import Audio, Clear, Dtmf, Mark
from trunkline.agent_bridge.links import MESSAGE_DIALECTS
from trunkline.agent_bridge.message_dialect import MessageDialect
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.wav import parse_wav

INFO = StartInfo("00000000-0000-4000-8000-000000000001", "inbound", "a", "b", "t", "r", {}, {}, 8000, 20)
WORDS = [
    "media", "mark", "clear", "audio", "interrupt", "notify", "playAudio", "checkpoint", "clearAudio", "sendDTMF",
    "killAudio", "clearMarks", "disconnect", "MARK_MEDIA", "STOP_MEDIA_BUFFERING", "SET_MEDIA_DIRECTION",
    "FLUSH_MEDIA", "REPORT_QUEUE_DRAINED", "GET_STATUS", "PAUSE_MEDIA", "ANSWER", "HANGUP",
]  # fmt: skip
NAMES = [
    "event", "type", "action", "command", "media", "mark", "data", "payload", "name", "audio_b64", "contentType",
    "sampleRate", "sample_rate", "dtmf", "audioContent", "audioContentType", "queuePlay", "id", "correlation_id",
    "direction", "streamSid",
]  # fmt: skip
VALUES = [
    "AQACAAMABAA=", "/85OgA==", "AQAC", "=", "16000", "raw", "wav", "audio/x-l16", "audio/x-mulaw;rate=8000", "12#",
    "both", "in", "\ud800", "x" * 300,
]  # fmt: skip

scalars = (
    st.none() | st.booleans() | st.integers(-1, 50000) | st.floats() | st.text(max_size=8) | st.sampled_from(VALUES)
)
objects = st.recursive(
    scalars | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def likely(draw: st.DrawFn) -> str:
    """An object that has the kind of message at the right place, and anything beside it."""
    fields: dict[str, Any] = dict(draw(st.dictionaries(st.sampled_from(NAMES), objects, max_size=5)))
    fields[draw(st.sampled_from(["event", "type", "action", "command"]))] = draw(st.sampled_from(WORDS))
    return json.dumps(fields)


messages = (
    likely()
    | objects.map(json.dumps)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.tuples(st.sampled_from(WORDS), st.text(max_size=10)).map(" ".join)
)


def begun(name: str, rate_hz: int = 8000) -> MessageDialect:
    """A dialect whose call has begun on channel 3."""
    dialect = MESSAGE_DIALECTS[name](LinkSettings(url="ws://a", sample_rate_hz=rate_hz))
    dialect.channel = 3
    dialect.start(INFO)
    return dialect


@pytest.mark.parametrize("name", sorted(MESSAGE_DIALECTS))
@settings(max_examples=60, deadline=None)
@given(said=st.lists(messages, max_size=6))
def test_anything_is_events_or_a_sentence(name, said):
    """And what the gateway answers is text that a WebSocket can carry."""
    dialect = begun(name)
    for message in said:
        try:
            events = dialect.received(message)
        except ProtocolViolation as violation:
            sentence = str(violation)
            assert sentence.isprintable() and len(sentence) < 600
            return
        for reply in dialect.replies():
            assert isinstance(reply, bytes) or reply.encode()
        for event in events:
            assert event.channel == 3 if not isinstance(event, Audio) else event.channels.tolist() == [3]
            if isinstance(event, Audio):
                assert event.pcm.dtype == np.int16 and event.pcm.shape[0] == 1 and event.pcm.shape[1] > 0
                assert event.sample_rate_hz in (0, *RATES_HZ)
            elif isinstance(event, Mark):
                assert len(event.name) <= 256
                for answer in dialect.mark(event.name, 0, "played"):
                    assert isinstance(answer, bytes) or answer.encode()
            elif isinstance(event, Dtmf):
                assert set(event.digits) <= set("0123456789*#ABCD")
            elif isinstance(event, Clear):
                assert all(isinstance(one, bytes) or one.encode() for one in dialect.cleared(event.name, 0, 0, ["m"]))


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=6))
@pytest.mark.parametrize("encoding", [L16, L16_NETWORK, ULAW, ALAW], ids=["l16", "network", "ulaw", "alaw"])
def test_chunks_say_the_same_however_they_are_cut(encoding, data, cuts):
    """Samples that a cut goes through are completed; a last half is left."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = Chunks()
    got = [chunks.take(data[a:b], encoding) for a, b in itertools.pairwise(edges)]
    whole = encoding.decode(data[: len(data) // encoding.sample_bytes * encoding.sample_bytes])
    assert np.concatenate(got).tolist() == whole.tolist()


@settings(max_examples=100, deadline=None)
@given(pcm=st.lists(st.integers(-32768, 32767), max_size=50))
def test_linear_audio_is_carried_as_it_is(pcm):
    """Both byte orders, there and back; the orders differ by a swap of bytes."""
    samples = np.array(pcm, np.int16)
    for encoding in (L16, L16_NETWORK):
        assert encoding.decode(encoding.encode(samples)).tolist() == pcm
    assert L16_NETWORK.encode(samples) == samples.byteswap().tobytes()


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=80), at=st.integers(0, 60))
def test_any_wav_is_samples_or_a_sentence(data, at):
    """Whatever stands in the header."""
    good = bytearray(
        b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x08\0\0\0abcdefgh"
    )
    good[at : at + len(data)] = data
    try:
        rate_hz, pcm = parse_wav(bytes(good))
    except ProtocolViolation as violation:
        assert str(violation).startswith("the agent's WAV ")
    else:
        assert 0 <= rate_hz < 1 << 32
        assert pcm.dtype == np.int16 and pcm.ndim == 1
