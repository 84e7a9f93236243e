# SPDX-License-Identifier: MIT
"""Every message of our dialect, both ways: what one side says is what the other side understands."""

from __future__ import annotations

import dataclasses
import math
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.agent_bridge import agent_events as ev
from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.agent_commands import command_fields
from trunkline.agent_bridge.agent_protocol import AgentConnection
from trunkline.agent_bridge.dialect import FLAG_REPLAY, StartInfo
from trunkline.agent_bridge.native import NativeLink
from trunkline.agent_bridge.native_commands import COMMANDS, MAX_STATE_BYTES

CHANNEL = 7
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PROSE = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=20)
TEXTS = st.dictionaries(TEXT, TEXT, max_size=3)
FLAG = st.none() | st.booleans()
DIGITS = st.text("0123456789*#ABCD", min_size=1, max_size=9)
POSITION = st.integers(0, 1 << 48)
MS = st.integers(0, 1 << 31)
NUMBERS = st.dictionaries(TEXT, st.integers(-1000, 1000) | st.sampled_from([0.5, -1.25]), max_size=4)

_c = st.just(CHANNEL)
COMMAND = {
    said.Ring: st.builds(said.Ring, _c, TEXTS),
    said.Progress: st.builds(said.Progress, _c, TEXTS),
    said.Answer: st.builds(said.Answer, _c, TEXTS),
    said.Mark: st.builds(said.Mark, _c, TEXT),
    said.Clear: st.builds(said.Clear, _c, TEXT),
    said.Pause: st.builds(said.Pause, _c, st.booleans()),
    said.Dtmf: st.builds(said.Dtmf, _c, DIGITS, st.integers(40, 6000), st.integers(40, 6000)),
    said.Mute: st.builds(said.Mute, _c, FLAG, FLAG),
    said.HoldCall: st.builds(said.HoldCall, _c, st.booleans(), TEXT),
    said.Transfer: st.builds(said.Transfer, _c, TEXT, TEXT, TEXTS),
    said.Variables: st.builds(said.Variables, _c, TEXTS),
    said.State: st.builds(said.State, _c, st.binary(max_size=99)),
    said.Acknowledge: st.builds(said.Acknowledge, _c, POSITION),
    said.AskStatus: st.builds(said.AskStatus, _c),
    said.Hangup: st.builds(said.Hangup, _c, PROSE, st.sampled_from([0, 400, 486, 699]), TEXTS),
}


def both(answer: bool = True) -> tuple[NativeLink, AgentConnection]:
    """The two ends, with one call up."""
    link, agent = NativeLink(), AgentConnection()
    link.connected(0)
    agent.connected(0)
    agent.receive(b"".join(link.data_to_send()), 0)
    link.receive(b"".join(agent.data_to_send()), 0)
    link.start(CHANNEL, StartInfo("id", "inbound", "a", "b", "t", "r", {}, {}, 8000, 20), 0)
    agent.receive(b"".join(link.data_to_send()), 0)
    agent.accept(CHANNEL, answer)
    (accepted,) = link.receive(b"".join(agent.data_to_send()), 0)
    assert accepted == said.Accepted(CHANNEL, answer)
    return link, agent


def test_no_command_is_forgotten():
    """All that an agent may say has a strategy here, a word on the wire, and a reader."""
    assert set(COMMAND) == set(typing.get_args(said.Command))
    assert {command_fields(kind(*[CHANNEL, *_needed(kind)]))[0] for kind in COMMAND} == set(COMMANDS)


def _needed(kind):
    given = {"name": "n", "paused": True, "digits": "1", "held": True, "target": "t", "values": {}, "data": b"",
             "position": 0}  # fmt: skip
    needed = [
        f for f in dataclasses.fields(kind)[1:] if f.default is f.default_factory is dataclasses.MISSING
    ]
    return [given[f.name] for f in needed]


@pytest.mark.parametrize("kind", COMMAND, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_what_an_agent_says_is_what_the_gateway_hears(kind, data):
    """Command to JSON to command, nothing lost and nothing added."""
    command = data.draw(COMMAND[kind])
    link, agent = both()
    agent.say(command)
    assert link.receive(b"".join(agent.data_to_send()), 0) == [command]


def test_the_short_forms_say_the_same():
    """For programs that use the connection without the SDK's loop."""
    link, agent = both()
    agent.mark(CHANNEL, "m")
    agent.clear(CHANNEL, "c")
    agent.hangup(CHANNEL, "bye", 486)
    assert link.receive(b"".join(agent.data_to_send()), 0) == [
        said.Mark(CHANNEL, "m"),
        said.Clear(CHANNEL, "c"),
        said.Hangup(CHANNEL, "bye", 486),
    ]


@pytest.mark.parametrize("answer", [True, False])
def test_accept_says_whether_the_call_is_answered(answer):
    """The one thing about a call that is said before it is up."""
    both(answer)


NEWS = {
    "send_dtmf": (st.tuples(DIGITS, MS, TEXT), ev.DtmfPressed),
    "send_mark": (st.tuples(TEXT, POSITION, TEXT), ev.MarkReported),
    "send_cleared": (st.tuples(TEXT, MS, MS, st.lists(TEXT, max_size=3)), ev.ClearDone),
    "send_flow": (st.tuples(st.booleans(), MS), ev.FlowChanged),
    "send_hold": (st.tuples(st.booleans()), ev.HoldChanged),
    "send_quality": (st.tuples(NUMBERS), ev.QualityReported),
    "send_network": (st.tuples(st.booleans(), MS), ev.NetworkChanged),
    "send_speech": (
        st.tuples(st.booleans(), POSITION, st.sampled_from([-20.5, 0.0, -90.0])),
        ev.SpeechChanged,
    ),
    "send_turn": (st.tuples(NUMBERS), ev.TurnReported),
    "send_underrun": (st.tuples(POSITION, MS), ev.UnderrunReported),
    "send_call_state": (st.tuples(st.sampled_from(["ringing", "early", "answered"])), ev.CallStateChanged),
    "send_transfer": (
        st.tuples(st.sampled_from(["trying", "ringing", "done", "failed"]), st.integers(0, 699), PROSE),
        ev.TransferReported,
    ),
    "send_status": (st.tuples(NUMBERS), ev.StatusReported),
    "send_error": (st.tuples(PROSE, PROSE), ev.CommandRefused),
}


def test_no_news_is_forgotten():
    """All that a gateway may say about a call that is up has a strategy here."""
    assert {event for _, event in NEWS.values()} == set(typing.get_args(ev.CallNews))


@pytest.mark.parametrize("method", NEWS)
@given(data=st.data())
def test_what_a_gateway_says_is_what_the_agent_hears(method, data):
    """The other way."""
    strategy, event = NEWS[method]
    values = data.draw(strategy)
    link, agent = both()
    getattr(link, method)(CHANNEL, *values)
    expected = event(CHANNEL, *(tuple(v) if isinstance(v, list) else v for v in values))
    assert agent.receive(b"".join(link.data_to_send()), 0) == [expected]


def test_level_that_is_not_known():
    """JSON has no NaN."""
    link, agent = both()
    link.send_speech(CHANNEL, True, 5, math.nan)
    (event,) = agent.receive(b"".join(link.data_to_send()), 0)
    assert math.isnan(event.level_dbov)


RATE = st.sampled_from([8000, 16000, 24000, 48000])
STATE = st.binary(max_size=99) | st.just(b"x" * MAX_STATE_BYTES)
START = st.builds(
    StartInfo,
    *[PROSE] * 6, TEXTS, TEXTS, RATE, st.sampled_from([10, 20, 60]),
    st.booleans(), POSITION, MS, st.booleans(), TEXTS, st.integers(2, 99), STATE, MS, MS,
)  # fmt: skip


@given(START)
def test_start_says_all_there_is_to_know(info):
    """Every field, of a call that had another agent before."""
    link, agent = both()
    link.start(9, info, 0)
    assert agent.receive(b"".join(link.data_to_send()), 0) == [ev.CallOffered(9, info)]


def test_replayed_frames_are_flagged():
    """The bit passes through."""
    link, agent = both()
    one = np.array([CHANNEL])
    link.send_audio(
        one.astype(np.uint32), one, np.array([FLAG_REPLAY], np.uint16), np.ones((1, 160), np.int16)
    )
    (audio,) = agent.receive(b"".join(link.data_to_send()), 0)
    assert audio.flags.tolist() == [FLAG_REPLAY]


def test_a_single_frame_is_the_same_as_an_array_of_one():
    """send_frame says what send_audio says."""
    pcm = np.arange(160, dtype=np.int16)
    (alone, _), (among, _) = both(), both()
    alone.send_frame(CHANNEL, 1 << 40, FLAG_REPLAY, pcm)
    one = np.array([CHANNEL], np.uint32), np.array([1 << 40]), np.array([FLAG_REPLAY], np.uint16)
    among.send_audio(*one, pcm[None])
    assert b"".join(alone.data_to_send()) == b"".join(among.data_to_send()) != b""


def test_state_that_is_too_long_does_not_end_the_connection():
    """Whoever keeps states refuses it, for that call; there are others on the connection."""
    link, agent = both()
    agent.say(said.State(CHANNEL, bytes(MAX_STATE_BYTES + 1)))
    assert link.receive(b"".join(agent.data_to_send()), 0) == [said.State(CHANNEL, bytes(MAX_STATE_BYTES + 1))]


def test_that_a_connection_ends_is_no_word_of_the_message():
    """Only `hangup` itself is written."""
    kind, content = command_fields(said.Hangup(CHANNEL, "bye", parting=True))
    assert (kind, content) == ("hangup", {"channel": CHANNEL, "reason": "bye", "code": 0})
