# SPDX-License-Identifier: MIT
"""Audio on the wires of other platforms: the laws of G.711 to the last bit, WAV files, settings that cannot be."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest

from trunkline.agent_bridge import alaw
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.links import MESSAGE_DIALECTS, create_link
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.wav import parse_wav
from trunkline.codecs import g711

ALL_PCM = np.arange(65536, dtype=np.uint16).view(np.int16)


def test_a_law_is_that_of_the_codecs_for_every_value():
    """Written anew for the MIT part, and no different."""
    codes = np.arange(256, dtype=np.uint8)
    assert alaw.encode(ALL_PCM) == g711.encode_alaw(ALL_PCM).tobytes()
    assert alaw.decode(codes.tobytes()).tolist() == g711.decode_alaw(codes).tolist()


def wav(pcm: np.ndarray, rate_hz: int, channels: int = 1) -> bytes:
    """By the standard library."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(pcm.astype("<i2").tobytes())
    return file.getvalue()


def test_wav_of_the_standard_library():
    """Mono as it is, stereo mixed."""
    pcm = np.array([1, -2, 300, 32767], np.int16)
    assert parse_wav(wav(pcm, 22050))[0] == 22050
    assert parse_wav(wav(pcm, 22050))[1].tolist() == pcm.tolist()
    assert parse_wav(wav(pcm, 44100, 2))[1].tolist() == [0, 16533]


def test_wav_with_a_lie_about_its_size_and_other_chunks():
    """As programs write it that do not know yet how long it will be."""
    plain = wav(np.array([5, 6], np.int16), 8000)
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    data = plain[:36] + odd + b"data\xff\xff\xff\xff" + plain[44:]
    assert parse_wav(data)[1].tolist() == [5, 6]


@pytest.mark.parametrize(
    ("form", "payload", "expected"),
    [(7, b"\xff\xce", [0, 988]), (6, b"\xd5\xfa", [8, 1008])],
    ids=["mu-law", "A-law"],
)
def test_wav_in_g711(form, payload, expected):
    """Formats 6 and 7."""
    head = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, form, 1, 8000, 8000, 1, 8)
    rate_hz, pcm = parse_wav(head + b"data" + struct.pack("<I", len(payload)) + payload)
    assert rate_hz == 8000 and pcm.tolist() == expected


def test_wav_without_audio():
    """Said in words."""
    with pytest.raises(ProtocolViolation, match="has no audio"):
        parse_wav(wav(np.zeros(0, np.int16), 8000)[:36])
    with pytest.raises(ProtocolViolation, match="does not begin with RIFF"):
        parse_wav(b"ID3")


@pytest.mark.parametrize(
    ("dialect", "settings", "sentence"),
    [
        ("teler", {"sample_rate_hz": 24000}, "teler at 24000 Hz: it is one of 8000, 16000"),
        ("telnyx", {"sample_rate_hz": 16000}, "PCMU is of 8000 Hz, not 16000: choose the encoding L16"),
        ("plivo", {"sample_rate_hz": 16000}, "audio/x-mulaw is of 8000 Hz, not 16000"),
        ("vonage", {"sample_rate_hz": 48000}, "vonage at 48000 Hz"),
        (
            "asterisk-websocket",
            {"sample_rate_hz": 16000, "options": {"codec": "ulaw"}},
            "ulaw is of 8000 Hz, not 16000: choose the codec slin",
        ),
        ("telnyx", {"sample_rate_hz": 8000, "options": {"encoding": "G722"}}, "it is one of PCMU, PCMA, L16, L16LE"),
        ("vonage", {"options": {"encoding": "x"}}, "vonage has no option 'encoding'; there is none"),
    ],
)
def test_settings_that_cannot_be(dialect, settings, sentence):
    """Said when the link is made, which is when the configuration is checked."""
    with pytest.raises(ValueError, match=sentence):
        create_link(dialect, LinkSettings(url="ws://agent", **settings))


@pytest.mark.parametrize("dialect", sorted(MESSAGE_DIALECTS))
def test_secrets_are_in_no_repr(dialect):
    """Settings go around with the dialect."""
    made = MESSAGE_DIALECTS[dialect](
        LinkSettings(url="ws://agent", sample_rate_hz=8000, token="s3cret", password="pa55")
    )
    assert "s3cret" not in repr(made.settings) and "pa55" not in repr(made.settings)


def test_only_chan_websocket_may_wait_for_the_agents_answer():
    """Its option n; all others are answered when they are connected."""
    for name, dialect in MESSAGE_DIALECTS.items():
        assert dialect(LinkSettings(url="ws://agent", sample_rate_hz=8000)).answers(), name
    waiting = LinkSettings(url="ws://agent", options={"answer": "agent"})
    assert not MESSAGE_DIALECTS["asterisk-websocket"](waiting).answers()
