# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls on agent connections: what an agent says reaches its call, and costs nobody else anything."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.agent_rig import AgentRig
from trunkline.agent_bridge import link_events, wire
from trunkline.agent_bridge.dialect import FLAG_GAP
from trunkline.gateway.media import agent_link, agent_speech, control
from trunkline.gateway.media.agent_asks import AgentFailed
from trunkline.gateway.media.agent_audio import by_row, part, runs
from trunkline.rtp.outcomes import Drop


@pytest.fixture
def rig(short_path: pathlib.Path) -> Iterator[AgentRig]:
    rig = AgentRig(short_path)
    yield rig
    rig.links.close_all()
    rig.listener.close()


def frames(rig: AgentRig, rows: list[int]) -> None:
    n = len(rows)
    rig.links.deliver(
        np.array(rows, np.intp), np.zeros(n, np.int64), np.zeros(n, np.uint16), np.zeros((n, 160), np.int16)
    )


def test_calls_of_one_agent_share_a_connection(rig: AgentRig) -> None:
    """Two calls, one connection; each is offered once and told of its own acceptance."""
    agent, streams = rig.up(2)
    assert int(rig.table.shared.worker.agent_links[0]) == 1
    assert [s.accepted for s in streams] == [True, True]
    assert agent.heard() == []


@pytest.mark.parametrize(("dialect", "takes"), [("trunkline", True), ("audiosocket", False)])
def test_connections_of_one_call_are_not_looked_at_for_messages(
    short_path: pathlib.Path, dialect: str, takes: bool
) -> None:
    """What has been said to many at once is for those that carry many; all is over with the call."""
    rig = AgentRig(short_path, dialect=dialect)
    stream = rig.call()
    rig.tick(times=5)
    assert stream.link is not None and rig.links.index_of_row is not None
    assert rig.links.index_of_row[stream.row] == (stream.link.index if takes else -1)
    assert rig.links._index_of_row[stream.row] == stream.link.index
    row = stream.row
    rig.links.stop(stream, "x", {})
    assert rig.links.index_of_row[row] == rig.links._index_of_row[row] == -1


def test_frames_that_reach_an_agent_are_counted_and_dropped_ones_are_not(rig: AgentRig) -> None:
    """A slow agent loses whole frames: they are AGENT_SLOW, the next one has the gap flag, none was delivered."""
    agent, (stream,) = rig.up()
    c, row = rig.table.shared, stream.row
    frames(rig, [row])
    rig.tick()
    agent.heard()
    assert (agent.frames, int(c.frames_to_agent[row]), int(c.worker.frames_to_agent[0])) == (1, 1, 1)
    assert stream.link is not None
    stream.link.limit_bytes = -1
    frames(rig, [row])
    assert int(c.frames_to_agent[row]) == 1
    assert int(c.drops[row, Drop.AGENT_SLOW]) == 1
    assert int(c.up_flags[row]) & FLAG_GAP


def test_small_records_for_two_calls_cost_little(rig: AgentRig) -> None:
    """A second of speech as records of one sample, calls in turn: in order, and in no time."""
    agent, streams = rig.up(2)
    said = np.arange(8000, dtype=np.int16)
    channels = [s.channel for s in streams] * 4000
    agent.sock.setblocking(True)
    agent.sock.settimeout(5)
    agent.speak(channels, said[:, None])
    begin = time.process_time()
    rig.tick(times=5)
    assert time.process_time() - begin < 0.5
    queue = rig.table.formats.at(streams[0].row).queue
    assert queue.take_all(streams[0].row).tolist() == said[0::2].tolist()
    assert queue.take_all(streams[1].row).tolist() == said[1::2].tolist()
    assert int(rig.table.shared.frames_from_agent[streams[0].row]) == 25


@pytest.mark.parametrize("name", ["", "a", "ab", "abc"])  # audio behind it begins at any address
@pytest.mark.parametrize("samples", [160, 161, 1])
def test_audio_behind_other_messages_of_one_read_is_heard(rig: AgentRig, name: str, samples: int) -> None:
    """Nothing of it is lost, whatever the lengths of what is before it, and nobody loses an agent over it."""
    agent, streams = rig.up(3)
    channels = [s.channel for s in streams]
    links = [s.link for s in streams]
    first = np.arange(3 * samples, dtype=np.int16).reshape(3, -1)
    second, third = first[:, : samples // 2 + 1] + 1000, first + 2000
    agent.say("mark", channel=channels[0], name=name)
    agent.speak(channels, first)
    agent.speak(channels, second)
    agent.say("mark", channel=channels[1], name=name + "x")
    agent.say("mark", channel=channels[2], name=name)
    agent.speak(channels[::-1], third[::-1])
    rig.tick()
    queue = rig.table.formats.at(streams[0].row).queue
    marked = len(first[0]) + len(second[0])
    assert [list(s.marks) for s in streams] == [[], [(marked, name + "x")], [(marked, name)]]
    for i, stream in enumerate(streams):
        said = np.concatenate([first[i], second[i], third[i]])
        assert queue.take_all(stream.row).tolist() == said.tolist()
    assert [s.link for s in streams] == links and all(link is not None and link.open for link in links)
    assert not rig.of(AgentFailed)


def test_audio_for_a_call_of_somebody_else_is_not_heard(rig: AgentRig) -> None:
    """A channel number that is not on this connection plays nothing."""
    agent, (stream,) = rig.up()
    agent.speak([stream.channel, stream.channel + 1], np.ones((2, 160), np.int16))
    rig.tick()
    queue = rig.table.formats.at(stream.row).queue
    assert int(queue.queued_samples(np.arange(len(queue.count))).sum()) == 160


@given(st.lists(st.tuples(st.lists(st.integers(-1, 5), max_size=12), st.integers(1, 3)), min_size=1, max_size=8))
def test_joining_by_row_keeps_every_rows_order(messages: list[tuple[list[int], int]]) -> None:
    """Whatever the order and length of records: each row comes once, with its records in order of arrival."""
    run, said, at = [], dict[int, list[int]](), 0
    for rows, samples in messages:
        pcm = np.arange(at, at + len(rows) * samples, dtype=np.int16).reshape(-1, samples)
        at += pcm.size
        run.append(pcm)
        for row, record in zip(rows, pcm.tolist(), strict=True):
            if row >= 0:
                said.setdefault(row, []).extend(record)
    every = np.array([row for rows, _ in messages for row in rows], np.intp)
    of_rows, pcm, lengths = by_row(every, run)
    if lengths is None:
        lengths = np.full(len(of_rows), pcm.shape[1])
    heard = {
        row: part(pcm.reshape(-1), lengths, np.array([i])).tolist() for i, row in enumerate(of_rows.tolist())
    }
    assert heard == said
    assert len(set(of_rows.tolist())) == len(of_rows)


def test_audio_of_consecutive_messages_is_joined_up_to_the_next_command() -> None:
    """Commands cut, and so do rates; lengths do not; order is kept."""
    channel = np.array([1], np.uint32)

    def audio(*samples: int, rate: int = 0) -> link_events.Audio:
        return link_events.Audio(channel, np.array([samples], np.int16), rate)

    events = [audio(1), audio(2), link_events.Mark(1, "m"), audio(3), audio(4, 5), audio(6, rate=8000)]
    out = [[a.pcm.tolist() for a in e] if isinstance(e, list) else e.name for e in runs(events)]  # type: ignore[union-attr]
    assert out == [[[[1]], [[2]]], "m", [[[3]], [[4, 5]]], [[[6]]]]


def test_a_tick_takes_a_limited_number_of_messages_and_the_rest_in_order(rig: AgentRig) -> None:
    """A flood waits its turn: 200 messages a tick, nothing lost, nothing out of order, also what follows the end."""
    agent, (stream,) = rig.up()
    many = 3 * agent_link.MESSAGES_PER_TICK
    names = [f"m{i}" for i in range(many)]
    data = b"".join(wire.control_message("mark", channel=stream.channel, name=name) for name in names)
    agent.sock.sendall(data + wire.control_message("hangup", channel=stream.channel))
    taken = []
    for _ in range(6):
        rig.tick()
        taken.append([m["name"] for m in agent.heard()])
    assert max(len(tick) for tick in taken) == agent_link.MESSAGES_PER_TICK
    assert [name for tick in taken for name in tick] == names
    assert len(rig.of(control.AgentHangup)) == 1


def test_a_tick_takes_a_limited_number_of_messages_of_speech_without_room(
    rig: AgentRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever floods a full queue keeps nobody waiting; what is said behind it comes in order, and all of it."""
    rig.agent = msgspec.structs.replace(rig.agent, flood_ms=1_000_000)
    agent, (mad, other) = rig.up(2)
    queue = rig.table.formats.at(mad.row).queue
    queue.push(np.array([mad.row]), np.ones((1, queue.limit * queue.block_samples), np.int16))
    parse = mock.Mock(wraps=wire.parse_audio)
    monkeypatch.setattr(wire, "parse_audio", parse)
    monkeypatch.setattr(agent_speech, "parse_audio", parse)
    many, data = 6 * agent_link.MESSAGES_PER_TICK, bytearray()
    for i in range(many):
        for channel, pcm in ((mad.channel, np.ones((1, 160), np.int16)), (other.channel, np.full((1, 1), i, np.int16))):
            one = np.array([channel], np.uint32)
            data += b"".join(wire.audio_messages(one, one.astype(np.int64), np.zeros(1, np.uint16), pcm))
    rest, parsed = memoryview(data + wire.control_message("mark", channel=other.channel, name="end")), []
    for _ in range(60):
        with contextlib.suppress(BlockingIOError):
            rest = rest[agent.sock.send(rest) if rest else 0 :]
        before = parse.call_count
        rig.tick()
        parsed.append(parse.call_count - before)
    assert 0 < max(parsed) <= 2 * agent_link.MESSAGES_PER_TICK  # by kernels, and behind those as events
    assert [position for position, _ in other.marks] == [many]
    assert rig.table.formats.at(other.row).queue.take_all(other.row).tolist() == list(range(many))
    assert rig.table.shared.drops[mad.row, Drop.AGENT_OVERFLOW] == many


def test_last_words_of_an_agent_that_has_gone_are_heard(rig: AgentRig) -> None:
    """It hangs up all its calls and closes at once: what it said counts, though nothing can be written to it."""
    agent, streams = rig.up(2)
    flood = wire.control_message("mark", channel=streams[0].channel, name="x") * 500
    agent.sock.sendall(flood + b"".join(wire.control_message("hangup", channel=s.channel) for s in streams))
    agent.sock.close()
    rig.tick(times=8)
    assert [m.call_id for m in rig.of(control.AgentHangup)] == [s.call_id for s in streams]
    assert not rig.of(control.StreamFailed), "the calls are over already"


def test_a_control_message_that_is_too_long_ends_the_connection(rig: AgentRig) -> None:
    """64 KiB of JSON is more than any message needs."""
    agent, _ = rig.up()
    agent.say("x", padding="x" * wire.MAX_CONTROL_BYTES)
    rig.tick(times=2)
    assert [m.reason for m in rig.of(control.StreamFailed)] == ["agent_lost"]
    assert agent.heard()[-1]["code"] == "protocol"


def test_a_bug_costs_one_connection_and_no_tick(rig: AgentRig, monkeypatch: Any, capsys: Any) -> None:
    """An exception in the handling of an agent fails its link, with a traceback in the log, once."""
    agent, (stream,) = rig.up()

    def broken(*_: object) -> None:
        raise RuntimeError("never thought of")

    monkeypatch.setattr(rig.playback, "mark", broken)
    agent.say("mark", channel=stream.channel, name="x")
    agent.say("mark", channel=stream.channel, name="y")
    rig.tick(times=3)
    (failed,) = rig.of(control.StreamFailed)
    assert failed.reason == "agent_lost"
    assert "never thought of" in failed.detail
    assert capsys.readouterr().out.count("Traceback") == 1
    assert int(rig.table.shared.worker.agent_links[0]) == 0


def test_a_call_that_goes_on_says_so_and_tells_of_a_hold(rig: AgentRig) -> None:
    """`resumed` is what the table found, and a hold that began on the old connection is said again."""
    first, generation = rig.call(), 0
    generation = int(rig.table.shared.generation[first.row])
    held = dataclasses.replace(first.media, send=False)
    rig.links.stop(first, "worker_lost", {})
    rig.table.release(first)  # and then as a successor's table finds the row:
    rig.table._free.remove(first.row)
    rig.table._reserved.add(first.row)
    again = rig.call(slot=first.row, generation=generation, media=held)
    fresh = rig.call(slot=first.row, generation=generation + 7)
    agent = rig.accept()
    rig.tick(times=2)
    agent.say("hello", version=1)
    rig.tick(times=3)
    starts = {m["channel"]: m for m in agent.heard() if m["type"] == "start"}
    assert starts[again.channel]["resumed"] is True
    assert starts[fresh.channel]["resumed"] is False
    for stream in (again, fresh):
        agent.say("accept", channel=stream.channel)
    rig.tick(times=2)
    assert [(m["type"], m["channel"], m["held"]) for m in agent.heard()] == [("hold", again.channel, True)]
    assert again.on_hold
