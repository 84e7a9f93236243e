# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks of any size, bursts far above real time: all is kept up to the bound, in order, at nobody's cost."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support.agent_rig import Agent, AgentRig
from support.media_rig import MS
from trunkline.agent_bridge import wire
from trunkline.codecs import g711
from trunkline.gateway.media.table import Stream
from trunkline.rtp.outcomes import Drop


@pytest.fixture
def rig(short_path: pathlib.Path) -> Iterator[AgentRig]:
    rig = AgentRig(short_path, calls=44)
    yield rig
    rig.links.close_all()
    rig.listener.close()


def message(channels: list[int], pcm: NDArray[np.int16]) -> bytes:
    nothing = np.zeros(len(channels), np.int64)
    return b"".join(
        wire.audio_messages(np.array(channels, np.uint32), nothing, nothing.astype(np.uint16), pcm)
    )


def write(agent: Agent, data: memoryview) -> memoryview:
    """As much as the socket takes; returns the rest."""
    while data:
        try:
            data = data[agent.sock.send(data) :]
        except BlockingIOError:
            break
    return data


lengths = st.one_of(st.integers(1, 5), st.integers(100, 1000), st.sampled_from([159, 160, 161, 320, 65_535]))
messages = st.lists(st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=8), lengths), max_size=12)


def test_any_chunks_of_any_calls_come_out_as_they_were_said(rig: AgentRig) -> None:
    """Records of 1 to 65,535 samples, several of a call in one message, whatever a read cuts off."""
    agent, streams = rig.up(6)
    queue = rig.table.formats.at(streams[0].row).queue

    @settings(max_examples=40, deadline=None)
    @given(messages)
    def check(script: list[tuple[list[int], int]]) -> None:
        said: list[list[int]] = [[] for _ in streams]
        out, at = b"", 0
        for calls, samples in script:
            pcm = (
                ((np.arange(at, at + len(calls) * samples)) % 32_000).astype(np.int16).reshape(len(calls), -1)
            )
            at += pcm.size
            out += message([streams[call].channel for call in calls], pcm)
            for call, record in zip(calls, pcm, strict=True):
                said[call] += record.tolist()
        rest = memoryview(out)
        while rest:
            rest = write(agent, rest)
            rig.tick()
        rig.tick(times=3)
        bound = queue.limit * queue.block_samples
        for stream, samples_said in zip(streams, said, strict=True):
            heard = queue.take_all(stream.row).tolist()
            if len(samples_said) <= bound:
                assert heard == samples_said
            else:  # what is dropped is dropped from the end of a chunk, never from what waited before it
                assert len(heard) >= bound - 65_535
        agent.heard()

    check()


class Caller:
    """What the callers get, and when: each packet at the CPU time that was spent by then."""

    def __init__(self, rig: AgentRig, quiet: Stream) -> None:
        self.rig = rig
        self.row = quiet.row
        self.heard: list[bytes] = []
        self.late_ms: list[float] = []
        rig.downlink._writer._sink = self  # type: ignore[assignment]

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        mine = np.flatnonzero(rows == self.row)
        if len(mine):
            self.heard.append(packets[mine[0], 12:].tobytes())
            self.late_ms.append((self.rig.now_ns - int(self.rig.table.shared.tx_due_ns[self.row])) / MS)
        return np.ones(len(rows), bool)


def flood(kind: str, channels: list[int], samples: int) -> bytes:
    """So many samples for each call."""
    tone = np.full((len(channels), samples), 1000, np.int16)
    if kind == "one sample a record":
        return message(channels * samples, np.full((len(channels) * samples, 1), 1000, np.int16))
    if kind == "odd chunks, call by call":
        pieces = [tone[:1, at : at + 296] for at in range(0, samples, 296)]
        return b"".join(message([channel], piece) for piece in pieces for channel in channels)
    return message(channels, tone)


@pytest.mark.parametrize(
    ("kind", "samples", "speed"),
    [
        ("one sample a record", 3200, 5),
        ("odd chunks, call by call", 24_000, 25),
        ("as long as can be", 65_535, 50),
    ],
)
def test_a_flood_of_all_calls_makes_nobody_late(rig: AgentRig, kind: str, samples: int, speed: int) -> None:
    """40 calls at once, as fast as they are read; a call of another agent has each packet in time, as it was said.

    The clock is the CPU time of the worker's own work: on a machine with nothing else to do, it would be real.
    """
    other, streams = rig.up(40)
    rig.agent = msgspec.structs.replace(rig.agent, name="quiet")
    agent, (quiet,) = rig.up(1)
    for stream in (*streams, quiet):
        rig.table.run(stream.row)
        rig.downlink.begin(stream.row, rig.now_ns)
    caller = Caller(rig, quiet)
    said = g711.decode_ulaw(((np.arange(160 * 60) * 3) % 100 + 1).astype(np.uint8))
    rest = memoryview(flood(kind, [stream.channel for stream in streams], samples))
    begin_ns, told, arrived_ns = rig.now_ns, 0, 0
    while rig.now_ns - begin_ns < 1300 * MS:
        rest = write(other, rest)
        while told < 60 and rig.now_ns - begin_ns >= (told - 3) * 20 * MS:  # three packets ahead
            agent.speak([quiet.channel], said[None, told * 160 : (told + 1) * 160])
            told += 1
        arrived_ns = arrived_ns or (0 if rest else rig.now_ns)
        before = time.process_time_ns()
        rig.tick(2)
        rig.downlink.advance(rig.now_ns)
        spent = time.process_time_ns() - before
        rig.now_ns += max(spent - 2 * MS, 0)
        other.heard()
    c = rig.table.shared
    assert not rest
    assert int(c.underruns[quiet.row]) == 0 and int(c.drops[quiet.row].sum()) == 0
    heard = g711.decode_ulaw(np.frombuffer(b"".join(caller.heard), np.uint8))
    first = int(np.flatnonzero(heard)[0])
    assert np.array_equal(heard[first : first + len(said)], said)
    assert max(caller.late_ms) < 20
    assert np.percentile(caller.late_ms, 90) < 5
    assert samples / 8 / ((arrived_ns - begin_ns) / MS) > speed  # times real time, for each of the calls
    for stream in streams:
        assert int(c.drops[stream.row, Drop.AGENT_OVERFLOW]) == 0
        queued = int(rig.table.formats.at(stream.row).queue.queued_samples(np.array([stream.row]))[0])
        assert int(c.down_position[stream.row]) + queued == samples
