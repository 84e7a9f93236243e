# SPDX-License-Identifier: MIT
"""The gateway's side of our dialect, message by message (PROTOCOL.md)."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.link_events import (
    Accepted,
    Audio,
    Clear,
    Dtmf,
    Hangup,
    LinkFailed,
    LinkUp,
    Mark,
    Rejected,
)
from trunkline.agent_bridge.links import create_link

SECOND_NS = 1_000_000_000


def failure(events: list[Any]) -> LinkFailed:
    """The one failure in a list of events, which must be its end."""
    assert isinstance(events[-1], LinkFailed)
    return events[-1]


# --- opening -----------------------------------------------------------------------------------


def test_gateway_speaks_first_and_calls_may_start_after_the_agents_hello(talk):
    """hello goes out on connect; the agent's hello brings LinkUp with its name."""
    assert talk.said() == [{"type": "hello", "versions": [1], "gateway": "trunkline"}]
    assert talk.agent("hello", version=1, agent="receptionist") == [LinkUp("receptionist")]


def test_token_is_said_in_hello(talk_with):
    """A configured token travels in hello, and nowhere else."""
    assert talk_with("s3cret").said()[0]["token"] == "s3cret"


def test_agent_with_another_version_fails_with_both_versions_named(talk):
    """A version that was not offered ends the link, and the agent is told why."""
    talk.said()
    failed = failure(talk.agent("hello", version=2))
    assert failed.reason == "agent_version"
    assert "version 2" in failed.detail
    assert "speaks 1" in failed.detail
    assert talk.said()[0]["code"] == "version"


def test_agent_that_finds_no_common_version_is_a_version_failure(talk):
    """error with code version means the same as a wrong version."""
    assert failure(talk.agent("error", code="version", text="I speak 9")).reason == "agent_version"


def test_silent_agent_fails_two_seconds_after_connect(talk):
    """No hello within 2 s is agent_timeout, not a moment earlier."""
    assert talk.link.next_deadline_ns == 2 * SECOND_NS
    assert talk.link.handle_timeout(2 * SECOND_NS - 1) == []
    assert failure(list(talk.link.handle_timeout(2 * SECOND_NS))).reason == "agent_timeout"
    assert talk.link.next_deadline_ns is None


@pytest.mark.parametrize("kind", ["accept", "mark", "ping", "nonsense"])
def test_nothing_may_come_before_hello(talk, kind):
    """Any message but hello and error before hello breaks the protocol."""
    assert failure(talk.agent(kind, channel=1, name="x")).reason == "agent_protocol"


def test_audio_before_hello_breaks_the_protocol(talk):
    """Audio is no exception."""
    assert failure(talk.agent_audio([1], [[1, 2]])).reason == "agent_protocol"


def test_second_hello_breaks_the_protocol(talk):
    """There is one hello."""
    assert failure(talk.up().agent("hello", version=1)).detail == "a second hello"


# --- calls -------------------------------------------------------------------------------------


def test_start_says_everything_about_the_call(talk, info):
    """The start message has the fields that the protocol text lists."""
    talk.up().link.start(7, info(resumed=True, position=640), 0)
    assert talk.said() == [
        {
            "type": "start",
            "channel": 7,
            "call": {
                "call_id": "00000000-0000-4000-8000-000000000001",
                "direction": "inbound",
                "caller": "+4930123456",
                "called": "600",
                "trunk": "pbx",
                "route": "sales",
                "headers": {"X-Tenant": "acme"},
                "metadata": {"language": "de"},
            },
            "audio": {"encoding": "s16le", "sample_rate_hz": 16000, "frame_ms": 20, "frame_samples": 320},
            "resumed": True,
            "position": 640,
        }
    ]
    assert talk.agent("accept", channel=7) == [Accepted(7)]


def test_call_started_before_the_handshake_waits_for_it(talk, info):
    """start() is allowed at once; the offer leaves after the agent's hello, with its full 3 s to answer."""
    talk.link.start(1, info(), 0)
    assert [m["type"] for m in talk.said()] == ["hello"]
    talk.now_ns = SECOND_NS
    talk.agent("hello", version=1)
    assert [m["type"] for m in talk.said()] == ["start"]
    assert talk.link.next_deadline_ns == 4 * SECOND_NS


def test_text_that_is_no_unicode_is_sent_as_some(talk, info):
    """A SIP header with broken bytes does not stop a call from starting."""
    talk.up().link.start(1, info(headers={"X-Broken": "\udcff"}), 0)
    assert talk.said()[0]["call"]["headers"] == {"X-Broken": "?"}


def test_reject_carries_code_and_reason(talk, info):
    """The agent's SIP code reaches the owner; line breaks in the reason do not."""
    talk.up().link.start(1, info(), 0)
    assert talk.agent("reject", channel=1, code=486, reason="busy\r\nX: y") == [
        Rejected(1, 486, "busy  X: y")
    ]


def test_reject_with_a_code_that_refuses_nothing_leaves_the_choice_to_the_gateway(talk, info):
    """200 is no way to refuse a call."""
    talk.up().link.start(1, info(), 0)
    assert talk.agent("reject", channel=1, code=200) == [Rejected(1, 0, "")]


def test_agent_that_does_not_answer_a_call_loses_it_after_three_seconds(talk, info):
    """Rejected with `timeout`, the agent is told, and a late accept is ignored."""
    talk.up().link.start(1, info(), SECOND_NS)
    assert talk.link.next_deadline_ns == 4 * SECOND_NS
    (rejected,) = talk.link.handle_timeout(4 * SECOND_NS)
    assert rejected == Rejected(1, 0, "agent did not answer within 3 s", timeout=True)
    assert {"type": "stop", "channel": 1, "reason": "answer_timeout", "stats": {}} in talk.said()
    assert talk.agent("accept", channel=1) == []
    assert talk.link.ignored["unknown_channel"] == 1


def test_the_owner_may_wait_shorter_or_longer():
    """A configured time-out holds for the hello, and its figure is in the sentence."""
    link = create_link("trunkline", LinkSettings(timeout_ms=300))
    link.connected(1_000)
    assert link.next_deadline_ns == 1_000 + 300_000_000
    assert "within 0.3 s" in failure(list(link.handle_timeout(1_000 + 300_000_000))).detail


def test_stop_is_said_once_and_ends_the_channel(talk):
    """A second stop says nothing; statistics that are no numbers become null."""
    talk.up(1)
    talk.link.stop(1, "caller_hangup", {"lost": 3.0, "jitter_ms": float("nan"), "level": np.float32(0.5)})
    talk.link.stop(1, "caller_hangup", {})
    stats = {"lost": 3, "jitter_ms": None, "level": 0.5}
    assert talk.said() == [{"type": "stop", "channel": 1, "reason": "caller_hangup", "stats": stats}]


def test_commands_for_a_call_that_is_over_are_ignored_and_counted(talk):
    """They crossed with stop on the wire."""
    talk.up(1).link.stop(1, "caller_hangup", {})
    assert talk.agent("mark", channel=1, name="x") == []
    assert talk.agent("hangup", channel=99) == []
    assert talk.link.ignored["unknown_channel"] == 2


def test_commands_before_accept_are_ignored_and_counted(talk, info):
    """An agent that has not taken the call has no say in it."""
    talk.up().link.start(1, info(), 0)
    assert talk.agent("clear", channel=1) == []
    assert talk.link.ignored["not_accepted"] == 1


def test_gateway_tells_only_calls_that_the_agent_has_taken(talk, info):
    """Nothing about a call leaves before accept or after stop."""
    talk.up().link.start(1, info(), 0)
    talk.said()
    talk.link.send_dtmf(1, "5", 100, "info")
    talk.link.send_hold(2, True)
    assert talk.said() == []


# --- during a call -----------------------------------------------------------------------------


def test_commands_become_events(talk):
    """Each command of the protocol text, with its defaults."""
    talk.up(1)
    assert talk.agent("mark", channel=1, name="m") == [Mark(1, "m")]
    assert talk.agent("clear", channel=1) == [Clear(1, "")]
    assert talk.agent("clear", channel=1, name="c") == [Clear(1, "c")]
    assert talk.agent("dtmf", channel=1, digits="19a#") == [Dtmf(1, "19A#", 160, 80)]
    assert talk.agent("dtmf", channel=1, digits="1", duration_ms=100.0, gap_ms=50) == [Dtmf(1, "1", 100, 50)]
    assert talk.agent("hangup", channel=1, reason="done", code=486) == [Hangup(1, "done", 486)]


def test_reports_become_messages(talk):
    """Each message of the gateway about a call, as the protocol text shows it."""
    link = talk.up(1).link
    link.send_dtmf(1, "5", 120, "rfc4733")
    link.send_mark(1, "greeting", np.int64(48000), "played")
    link.send_cleared(1, "c1", 1840, 3160, ["end"])
    link.send_flow(1, False, 45000)
    link.send_flow(1, True, 9000)
    link.send_hold(1, True)
    link.send_quality(1, {"mos": 4.25, "bursts": 2.0, "rtt_ms": float("nan")})
    link.send_network(1, True, 1840)
    link.send_network(1, False, 3000)
    link.send_error(1, "dtmf_not_sent", "415" + "x" * 500)
    *said, error = talk.said()
    assert error == {"type": "error", "channel": 1, "code": "dtmf_not_sent", "text": "415" + "x" * 253}
    assert said == [
        {"type": "dtmf", "channel": 1, "digit": "5", "duration_ms": 120, "method": "rfc4733"},
        {"type": "mark", "channel": 1, "name": "greeting", "position": 48000, "outcome": "played"},
        {
            "type": "cleared",
            "channel": 1,
            "name": "c1",
            "played_ms": 1840,
            "discarded_ms": 3160,
            "marks": ["end"],
        },
        {"type": "flow", "channel": 1, "state": "pause", "queued_ms": 45000},
        {"type": "flow", "channel": 1, "state": "resume", "queued_ms": 9000},
        {"type": "hold", "channel": 1, "held": True},
        {"type": "quality", "channel": 1, "stats": {"mos": 4.25, "bursts": 2, "rtt_ms": None}},
        {"type": "network", "channel": 1, "state": "silent", "idle_ms": 1840},
        {"type": "network", "channel": 1, "state": "heard", "idle_ms": 3000},
    ]


def test_audio_and_commands_keep_their_order(talk, readable):
    """audio, mark, audio, clear, audio in one read come out in that order."""
    talk.up(1, 2)
    zeros = np.zeros(1, np.int64)

    def audio(*samples):
        pcm = np.array([samples], np.int16)
        return b"".join(wire.audio_messages(np.array([1]), zeros, zeros, pcm))

    data = audio(1, 2) + wire.control_message("mark", channel=1, name="a") + audio(3)
    data += wire.control_message("clear", channel=1) + audio(4, 5, 6)
    assert readable(talk.link.receive(data, 0)) == [
        ("Audio", [1], [[1, 2]]),
        ("Mark", 1, "a"),
        ("Audio", [1], [[3]]),
        ("Clear", 1, ""),
        ("Audio", [1], [[4, 5, 6]]),
    ]


def test_audio_of_many_calls_is_one_event_without_a_copy(talk):
    """Hundreds of records in one message stay one array, a view of what was received."""
    talk.up()
    n = 700
    pcm = np.arange(n * 320, dtype=np.int64).astype(np.int16).reshape(n, 320)
    zeros = np.zeros(n, np.int64)
    data = bytearray(b"".join(wire.audio_messages(np.arange(n), zeros, zeros, pcm)))
    (audio,) = talk.link.receive(memoryview(data), 0)
    assert isinstance(audio, Audio)
    assert audio.channels.tolist() == list(range(n))
    assert (audio.pcm == pcm).all()
    assert np.shares_memory(audio.pcm, np.frombuffer(data, np.uint8))


def test_frames_of_a_tick_leave_as_one_message(talk):
    """send_audio makes one buffer; its records carry channel, flags, position and samples."""
    link = talk.up(1, 2).link
    pcm = np.array([[1, 2, 3], [-1, -2, -3]], np.int16)
    link.send_audio(np.array([1, 2], np.uint32), np.array([320, 1 << 40]), np.array([1, 8], np.uint16), pcm)
    (message,) = link.data_to_send()
    ((kind, payload),) = wire.reassembler().messages(message)
    records = wire.parse_audio(payload)
    assert kind == wire.AUDIO
    assert records["channel"].tolist() == [1, 2]
    assert records["position"].tolist() == [320, 1 << 40]
    assert records["flags"].tolist() == [1, 8]
    assert (records["pcm"] == pcm).all()


def test_a_tick_longer_than_the_longest_message_is_split(talk):
    """2,000 calls at 48 kHz and 60 ms are 11.5 MB, in messages that the other side accepts."""
    link = talk.up().link
    n, samples = 2000, 2880
    zeros = np.zeros(n, np.int64)
    link.send_audio(
        np.arange(n, dtype=np.uint32), zeros, zeros.astype(np.uint16), np.zeros((n, samples), np.int16)
    )
    messages = [m for data in link.data_to_send() for m in wire.reassembler().messages(data)]
    channels = np.concatenate([wire.parse_audio(payload)["channel"] for _, payload in messages])
    assert len(messages) == 3
    assert channels.tolist() == list(range(n))


def test_wrong_digits_are_refused_without_hurting_the_connection(talk):
    """A language model's "1-2-3" costs the command, not everybody's calls."""
    talk.up(1)
    assert talk.agent("dtmf", channel=1, digits="1-2-3") == []
    assert talk.said()[0]["code"] == "bad_digits"
    assert talk.agent("mark", channel=1, name="still here") == [Mark(1, "still here")]


def test_unknown_messages_and_fields_are_ignored(talk):
    """That is how the protocol can grow."""
    talk.up(1)
    assert talk.agent("teleport", channel=1, to="sip:x") == []
    assert talk.agent("mark", channel=1, name="m", colour="blue", channel2=None) == [Mark(1, "m")]
    assert talk.link.ignored["unknown_type"] == 1


# --- time and the end --------------------------------------------------------------------------


def test_keepalive_asks_after_five_seconds_and_gives_up_after_ten(talk):
    """A ping, then agent_hung."""
    talk.up()
    assert talk.link.next_deadline_ns == 5 * SECOND_NS
    assert talk.link.handle_timeout(5 * SECOND_NS) == []
    assert talk.said() == [{"type": "ping"}]
    assert talk.link.next_deadline_ns == 10 * SECOND_NS
    assert failure(list(talk.link.handle_timeout(10 * SECOND_NS))).reason == "agent_hung"


def test_any_byte_is_a_sign_of_life(talk):
    """A pong, or half a message, starts the clock anew."""
    talk.up().link.handle_timeout(5 * SECOND_NS)
    talk.link.receive(wire.control_message("pong")[:3], 9 * SECOND_NS)
    assert talk.link.next_deadline_ns == 14 * SECOND_NS
    assert talk.link.handle_timeout(10 * SECOND_NS) == []


def test_the_owner_may_take_audio_only_where_a_message_begins(talk):
    """Once up, and not in the middle of a message; it is a sign of life then."""
    assert not talk.link.hears_records(SECOND_NS)
    talk.up()
    assert talk.link.hears_records(3 * SECOND_NS)
    assert talk.link.next_deadline_ns == 8 * SECOND_NS
    message = wire.control_message("pong")
    talk.link.receive(message[:3], 4 * SECOND_NS)
    assert not talk.link.hears_records(5 * SECOND_NS)
    assert talk.link.next_deadline_ns == 9 * SECOND_NS
    talk.link.receive(message[3:], 6 * SECOND_NS)
    assert talk.link.hears_records(7 * SECOND_NS)
    failure(talk.agent("hello", version=1))
    assert not talk.link.hears_records(8 * SECOND_NS)


def test_a_stall_of_our_own_does_not_kill_the_agent(talk):
    """After a minute in a debugger the agent is asked before it is given up."""
    talk.up()
    assert talk.link.handle_timeout(60 * SECOND_NS) == []
    assert talk.said() == [{"type": "ping"}]
    assert talk.link.next_deadline_ns == 65 * SECOND_NS


def test_ping_is_answered(talk):
    """With a pong."""
    talk.up().agent("ping")
    assert talk.said() == [{"type": "pong"}]


@pytest.mark.parametrize(
    ("before", "detail"),
    [
        (b"", "before it said hello"),
        (wire.control_message("hello", version=1), "the agent closed the connection"),
        (wire.control_message("hello", version=1) + b"\1", "in the middle of a message"),
    ],
)
def test_end_of_stream_is_agent_lost(talk, before, detail):
    """The detail says at which point."""
    if before:
        talk.link.receive(before, 0)
    failed = failure(list(talk.link.receive(b"", 0)))
    assert failed.reason == "agent_lost"
    assert detail in failed.detail


def test_dead_link_says_and_hears_nothing(talk, info):
    """After LinkFailed, only the error for the agent is left to send."""
    talk.up(1).agent("hello", version=1)
    assert [m["type"] for m in talk.said()] == ["error"]
    talk.link.start(2, info(), 0)
    talk.link.send_hold(1, True)
    talk.link.stop(1, "x", {})
    assert talk.agent("mark", channel=1, name="m") == []
    assert talk.link.handle_timeout(100 * SECOND_NS) == []
    assert talk.said() == []


def test_a_message_keeps_its_bytes_for_as_long_as_somebody_has_them(talk):
    """One that an agent has not read yet stays as it is; memory that nobody looks at is used again."""
    link, written = talk.up(1).link, []
    link.data_to_send()
    for number in range(6):
        message = link.audio_message(2, 3)
        message.then += (written.append,) if number == 1 else ()
        records = message.records
        records[0].view(wire.record_dtype(3))["channel"] = number
        assert records.shape == (2, wire.record_dtype(3).itemsize)
        message.done(1)
        del message, records
    kept = [bytes(data) for data in link.data_to_send()]
    assert [int(wire.parse_audio(memoryview(data)[8:])["channel"][0]) for data in kept] == list(range(6))
    assert written[0]["channel"].tolist() == [1]
    written.clear()

    def looked_at(*, by_whom):
        message = link.audio_message(2, 3)
        message.done(1)
        data = link.data_to_send()
        by_whom.extend(data)
        return weakref.ref(message.whole)

    first = looked_at(by_whom=[])
    assert looked_at(by_whom=[]) is first, "memory that nobody looks at is used again"
    unread = []
    assert looked_at(by_whom=unread) is first
    other = looked_at(by_whom=[])
    assert other is not first and other() is None, "an agent that has not read yet has its own"
    unread.clear()
    assert looked_at(by_whom=[]) is first
    assert link.audio_message(100_000, 320) is None, "too long for one message"
