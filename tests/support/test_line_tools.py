# SPDX-License-Identifier: GPL-2.0-or-later
"""The telephone with FFmpeg and pylibsrtp: what it says it also hears, and what is broken shows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from support.line_codecs import ENCODINGS, decode, encode
from support.line_endpoint import LineEndpoint
from support.rtp_wire import HEADER, parse
from support.sdes_wire import OTHER, PROFILES, Key, key_in, opened
from support.voice import likeness, resample, voice

SILENCE = np.zeros(6400, np.int16)


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_voice_is_like_itself_through_each_codec(name: str) -> None:
    encoding, said = ENCODINGS[name], voice(1.2, 3)
    for ptime in (10, 20, 30, 40, 60):
        if encoding.why_not(ptime):
            continue
        line = resample(np.concatenate([said, SILENCE]), 16000, encoding.rate_hz)
        payloads = encode(name, line, ptime)
        assert len(payloads) == len(line) // encoding.samples(ptime)
        parts = decode(name, payloads)
        assert {len(part) for part in parts} == {encoding.samples(ptime)}
        found = likeness(said, resample(np.concatenate(parts), encoding.rate_hz, 16000))
        assert found.whole and found.narrow.correlation > 0.96, (ptime, found)
        assert (found.wide > 0.85) == (encoding.rate_hz > 8000), (ptime, found)


def test_another_voice_and_a_cut_one_are_not_alike() -> None:
    said = voice(1.2, 3)
    assert likeness(said, np.concatenate([SILENCE, voice(1.2, 4)])).narrow.correlation < 0.6
    assert not likeness(said, np.concatenate([SILENCE, said[:-400]])).whole
    holed = np.concatenate([SILENCE, said, SILENCE])
    holed[12_000:12_320] = 0
    assert likeness(said, holed).narrow.snr_db < 30
    assert likeness(said, SILENCE).narrow.correlation < 0.1


@pytest.mark.parametrize("suite", [*PROFILES, *OTHER])
def test_only_the_right_key_opens_a_packet(suite: str) -> None:
    key = Key.new(suite)
    sender = LineEndpoint("PCMU", suite=suite)
    try:
        sealed = sender.protect(HEADER.pack(0x80, 0, 7, 160, 9) + b"speech")
        assert b"speech" not in sealed
        packet = parse(sealed, ("", 0), 0)
        assert packet is not None and sender.key is not None
        sdp = f"v=0\r\na=crypto:1 {key.line}\r\n".replace("\r", "")
        assert key_in(sdp, suite).master == key.master
        assert opened([packet], sender.key)[0].payload == b"speech"
        with pytest.raises(AssertionError, match="packet 7"):
            opened([packet], key)
        forged = dataclasses.replace(packet, timestamp=161)
        with pytest.raises(AssertionError, match="packet 7"):
            opened([forged], sender.key)
    finally:
        sender.stop()
