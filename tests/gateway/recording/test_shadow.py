# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents say in any dialect is written in our protocol so that our protocol's own reader understands it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge import wire
from trunkline.agent_bridge.native_commands import COMMANDS, parse_command
from trunkline.gateway.recording import shadow

ONE = shadow.CHANNEL
EVENTS = [
    said.Ring(ONE, {"X-A": "b"}), said.Progress(ONE, {}), said.Answer(ONE, {"X-A": "b"}), said.Mark(ONE, "m"),
    said.Clear(ONE, "c"), said.Pause(ONE, False), said.Dtmf(ONE, "12#", 100, 90), said.Mute(ONE, True, None),
    said.HoldCall(ONE, True, "jazz"), said.Transfer(ONE, "sip:600@example.com", "", {"X-A": "b"}),
    said.Variables(ONE, {"a": "b"}), said.State(ONE, bytes(range(256))), said.Acknowledge(ONE, 4711),
    said.AskStatus(ONE), said.Hangup(ONE, "done", 486, {"X-A": "b"}),
]  # fmt: skip


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_a_command_is_read_as_what_it_was(event: said.Command) -> None:
    message = shadow.spoken(event)
    assert message is not None
    ((kind, payload),) = wire.reassembler().messages(message)
    assert kind == wire.CONTROL and parse_command(wire.parse_control(payload)) == event


def test_every_command_of_the_protocol_has_a_word() -> None:
    assert {type(event) for event in EVENTS} == {kind for kind, word in shadow.KINDS.items() if word in COMMANDS}
    assert {shadow.KINDS[type(event)] for event in EVENTS} == set(COMMANDS)
    assert shadow.spoken(said.LinkUp("somebody")) is None


def test_long_speech_is_in_pieces() -> None:
    pcm = np.arange(150_000).astype(np.int16)
    found = []
    for message in shadow.speech(pcm):
        ((kind, payload),) = wire.reassembler().messages(message)
        assert kind == wire.AUDIO
        found.append(np.array(wire.parse_audio(payload)["pcm"][0]))
    assert (np.concatenate(found) == pcm).all() and max(map(len, found)) == wire.MAX_SAMPLES


@given(st.integers(0, (1 << 63) - 1), st.integers(0, 0xFFFF), st.binary(min_size=2, max_size=200))
def test_a_frame_is_the_message_that_the_protocol_makes_of_it(position: int, flags: int, samples: bytes) -> None:
    pcm = np.frombuffer(samples[: len(samples) & ~1], "<i2").astype(np.int16)
    columns = np.array([ONE], np.uint32), np.array([position]), np.array([flags], np.uint16)
    (message,) = wire.audio_messages(*columns, pcm[None])
    assert shadow.audio(position, flags, pcm) == bytes(message)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_numbers_are_not_in_a_redacted_recording(event: said.Command) -> None:
    """Whom it transfers to, what headers and variables say; that it did so, and all else, is there."""
    message = shadow.spoken(event, redact=True)
    assert message is not None
    ((_, payload),) = wire.reassembler().messages(message)
    read = parse_command(wire.parse_control(payload))
    assert type(read) is type(event)
    for name in ("headers", "values"):
        texts = getattr(event, name, {})
        assert getattr(read, name, {}) == dict.fromkeys(texts, "***")
    assert getattr(read, "target", "") == ("***" if getattr(event, "target", "") else "")
    if isinstance(event, said.Dtmf | said.State | said.Hangup):
        kept = {"digits", "data", "reason", "sip_code"}
        assert all(getattr(read, name, None) == getattr(event, name, None) for name in kept)
