# SPDX-License-Identifier: MIT
"""However a byte stream is cut, it means the same; and whatever it holds, nothing is raised."""

from __future__ import annotations

import itertools
import json
import struct
from typing import Any, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.agent_bridge import audiosocket, wire
from trunkline.agent_bridge.agent_audiosocket import AudioSocketConnection
from trunkline.agent_bridge.agent_protocol import AgentConnection
from trunkline.agent_bridge.audiosocket import AudioSocketLink
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.link_events import Audio
from trunkline.agent_bridge.native import NativeLink
from trunkline.agent_bridge.reassembly import ProtocolViolation

CALL_ID = "00000000-0000-4000-8000-000000000001"
INFO = StartInfo(CALL_ID, "inbound", "a", "b", "t", "r", {}, {}, 8000, 20)


def native_link() -> NativeLink:
    """A gateway's end with calls 1 and 2 up."""
    link = NativeLink()
    link.connected(0)
    link.receive(wire.control_message("hello", version=1), 0)
    for channel in (1, 2):
        link.start(channel, INFO, 0)
        link.receive(wire.control_message("accept", channel=channel), 0)
    return link


def agent_connection() -> AgentConnection:
    """An agent's end after hello."""
    connection = AgentConnection()
    connection.connected(0)
    connection.receive(wire.control_message("hello", versions=[1], gateway="g"), 0)
    return connection


def audiosocket_link() -> AudioSocketLink:
    """A gateway's end with its call up."""
    link = AudioSocketLink(8000)
    link.connected(0)
    link.start(1, INFO, 0)
    link.handle_timeout(0)
    return link


def audiosocket_server() -> AudioSocketConnection:
    """A server's end before the UUID."""
    connection = AudioSocketConnection()
    connection.connected(0)
    return connection


ENDS = [native_link, agent_connection, audiosocket_link, audiosocket_server]


def run(end: Any, chunks: list[bytes]) -> list[Any]:
    """All events of the chunks, comparable; neighbouring audio of one call is joined."""
    events: list[Any] = []
    for chunk in chunks:
        for event in end.receive(chunk, 0) if chunk else []:
            values = [getattr(event, name) for name in event.__dataclass_fields__]
            plain = [v.tolist() if isinstance(v, np.ndarray) else v for v in values]
            last = events[-1] if events else None
            if isinstance(end, AudioSocketLink) and isinstance(event, Audio) and last and last[0] == "Audio":
                last[2][0].extend(plain[1][0])  # one event a read: how many is no part of the meaning
            else:
                events.append([type(event).__name__, *plain])
    return events


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(ends)]


def audio(channels: list[int], samples: int) -> bytes:
    """An audio message."""
    n = len(channels)
    pcm = np.arange(n * samples, dtype=np.int16).reshape(n, samples)
    zeros = np.zeros(n, np.int64)
    return b"".join(wire.audio_messages(np.array(channels), zeros, zeros, pcm))


_channels = st.integers(0, 3)
_agent_messages = st.one_of(
    st.builds(audio, st.lists(_channels, min_size=1, max_size=4), st.integers(1, 40)),
    st.builds(lambda c, n: wire.control_message("mark", channel=c, name=n), _channels, st.text(max_size=9)),
    st.builds(lambda c: wire.control_message("clear", channel=c), _channels),
    st.builds(lambda c, d: wire.control_message("dtmf", channel=c, digits=d), _channels, st.text(max_size=3)),
    st.builds(
        lambda c, r: wire.control_message("hangup", channel=c, reason=r), _channels, st.text(max_size=9)
    ),
    st.just(wire.control_message("ping")),
    st.just(wire.control_message("later", channel=1)),
    st.just(struct.pack("<IBBH", 7, 2, 0, 0) + b"garbage"),
)
_gateway_messages = st.one_of(
    st.builds(audio, st.lists(_channels, min_size=1, max_size=4), st.integers(1, 40)),
    st.builds(lambda c, d: wire.control_message("dtmf", channel=c, digit=d), _channels, st.text(max_size=2)),
    st.builds(lambda c, h: wire.control_message("hold", channel=c, held=h), _channels, st.booleans()),
    st.builds(lambda c, s: wire.control_message("network", channel=c, state=s), _channels, st.text(max_size=7)),
    st.builds(lambda c: wire.control_message("flow", channel=c, state="pause", queued_ms=1), _channels),
    st.builds(lambda c: wire.control_message("stop", channel=c, reason="r", stats={"a": 1}), _channels),
    st.just(struct.pack("<IBBH", 5 << 20, 1, 0, 0)),
)
_frames = st.builds(
    audiosocket.frame,
    st.sampled_from([0x10, 0x10, 0x10, 0x01, 0x03, 0x12, 0x00, 0xFF, 0x77]),
    st.binary(max_size=40),
)
_uuid = audiosocket.frame(1, bytes(16))


def streams(end: Any) -> st.SearchStrategy[bytes]:
    """Mostly valid streams for an end."""
    messages = {native_link: _agent_messages, agent_connection: _gateway_messages}.get(end, _frames)
    prefix = _uuid if end is audiosocket_server else b""
    return st.lists(messages, max_size=12).map(lambda parts: prefix + b"".join(parts))


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@given(data=st.data())
def test_events_do_not_depend_on_how_bytes_are_cut(end, data):
    """All at once, in random pieces, and byte by byte: the same events in the same order."""
    stream = data.draw(streams(end))
    whole = run(end(), [stream])
    assert run(end(), cut(stream, data.draw(st.lists(st.integers(0, 10_000), max_size=8)))) == whole
    assert run(end(), [stream[i : i + 1] for i in range(len(stream))]) == whole


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@given(noise=st.binary(max_size=300), place=st.integers(0, 10_000), data=st.data())
def test_hostile_bytes_raise_nothing(end, noise, place, data):
    """Noise in the middle of a good stream yields events, at most one failure, and silence after it."""
    stream = data.draw(streams(end))
    at = place % (len(stream) + 1)
    there = end()
    events = run(there, [stream[:at], noise, stream[at:]])
    names = [event[0] for event in events]
    failures = names.count("LinkFailed") + names.count("ConnectionFailed")
    assert failures <= 1
    if failures:
        assert names[-1] in ("LinkFailed", "ConnectionFailed")
        assert there.receive(stream + noise, 0) == []


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_types = ["hello", "accept", "reject", "mark", "clear", "dtmf", "hangup", "ping", "error", "start", "cleared"]
_types += ["flow", "hold", "network", "stop", "pong", "other"]
_types += ["ring", "progress", "answer", "pause", "mute", "transfer", "variables", "state", "ack", "status"]
_types += ["speech", "turn", "underrun", "call_state", "quality"]
_fields = [
    "channel",
    "name",
    "digits",
    "digit",
    "duration_ms",
    "reason",
    "code",
    "version",
    "versions",
    "call",
]
_fields += [
    "audio",
    "token",
    "state",
    "held",
    "stats",
    "marks",
    "played_ms",
    "discarded_ms",
    "text",
    "position",
    "headers",
    "target",
    "values",
    "data",
    "turn",
    "status",
    "attempt",
    "level_dbov",
    "variables",
]


@pytest.mark.parametrize("end", [native_link, agent_connection], ids=lambda end: end.__name__)
@given(
    kind=st.sampled_from(_types),
    fields=st.dictionaries(st.sampled_from(_fields), _json),
    channel=_json | _channels,
)
def test_control_messages_of_any_content_raise_nothing(end, kind, fields, channel):
    """Right types with any fields, NaN and lone surrogates included: what comes out can be written as UTF-8."""
    payload = json.dumps({"type": kind, "channel": channel, **fields}).encode()
    there = end()
    for event in there.receive(struct.pack("<IBBH", len(payload), 1, 0, 0) + payload, 0):
        repr(event).encode()
    b"".join(there.data_to_send())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"type":1}',
        b"{}",
        b'\xff{"type":"ping"}',
        b'{"type":"mark","channel":1,"name":NaN}',
        b'{"type":"mark","channel":-1,"name":"x"}',
        b'{"type":"mark","channel":4294967296,"name":"x"}',
        b'{"type":"mark","channel":1e400,"name":"x"}',
        b'{"type":"mark","channel":true,"name":"x"}',
        b'{"type":"mark","channel":1.5,"name":"x"}',
        b'{"type":"mark","channel":"1","name":"x"}',
        b'{"type":"mark","channel":1}',
        b'{"type":"mark","channel":1,"name":"\\ud800"}',
        b'{"type":"mark","channel":1,"name":"' + b"x" * 257 + b'"}',
        b'{"type":"dtmf","channel":1,"digits":"1","duration_ms":' + b"9" * 5000 + b"}",
        b'{"type":"dtmf","channel":1,"digits":"1","gap_ms":7000}',
        b'{"type":"hangup","channel":1,"code":9999}',
        b'{"type":"ping","x":' + b"[" * 100_000,
    ],
)
def test_malformed_control_is_a_protocol_failure_that_the_agent_is_told(payload):
    """Each of them ends the link with agent_protocol, and an error message says why."""
    link = native_link()
    link.data_to_send()
    (failed,) = link.receive(struct.pack("<IBBH", len(payload), 1, 0, 0) + payload, 0)
    assert failed.reason == "agent_protocol"
    ((_, told),) = wire.reassembler().messages(b"".join(link.data_to_send()))
    assert wire.parse_control(told)["text"] == failed.detail


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("<IBBH", 0, 3, 0, 0),
        struct.pack("<IBBH", 0, 1, 1, 0),
        struct.pack("<IBBH", 0, 1, 0, 1),
        struct.pack("<IBBH", wire.MAX_PAYLOAD_BYTES + 1, 2, 0, 0),
        struct.pack("<IBBH", 4, 2, 0, 0) + bytes(4),
        struct.pack("<IBBHHHI", 8, 2, 0, 0, 1, 0, 0),
        struct.pack("<IBBHHHI", 8, 2, 0, 0, 0, 0, 1),
        struct.pack("<IBBHHHI", 8 + 17, 2, 0, 0, 1, 0, 1) + bytes(17),
        struct.pack("<IBBHHHI", 8 + 18, 2, 0, 0, 1, 0, 0xFFFF_FFFF) + bytes(18),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_malformed_headers_are_protocol_failures(message):
    """Wrong type, reserved bytes, sizes that do not add up, another protocol."""
    (failed,) = native_link().receive(message, 0)
    assert failed.reason == "agent_protocol"


def test_announced_bytes_cost_no_memory_until_they_come():
    """A header that promises 4 MiB makes the receiver hold the 8 bytes that came."""
    reader = wire.reassembler()
    assert list(reader.messages(struct.pack("<IBBH", wire.MAX_PAYLOAD_BYTES, 2, 0, 0))) == []
    assert reader.pending_bytes == 8


def test_a_message_in_many_pieces_is_not_copied_again_and_again():
    """The work for a message grows with its length, not with the square of it."""
    data = audio([1], 60_000) * 8
    copied = 0

    class Counting(bytearray):
        def __iadd__(self, more: Any) -> Self:
            nonlocal copied
            copied += len(more)
            return super().__iadd__(more)

    reader = wire.reassembler()
    reader._pending = Counting()
    found = []
    for i in range(0, len(data), 997):
        for message in reader.messages(data[i : i + 997]):
            found.append(message)
            reader._pending = Counting()
    assert len(found) == 8
    assert copied <= len(data)


def test_violation_is_the_only_exception_of_the_reader():
    """The reader says how a header is wrong."""
    with pytest.raises(ProtocolViolation, match="not the header"):
        list(wire.reassembler().messages(b"12345678"))
