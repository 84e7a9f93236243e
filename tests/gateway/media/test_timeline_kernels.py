# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets that are not as expected, with the compiled kernels and without: the same columns, drops and frames."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import kernels
from support.media_rig import MS, UplinkRig, voice
from support.talker import Talker
from support.virtual_accounts import Places, unaccounted
from support.virtual_engine import VirtualEngine
from support.virtual_network import Callers, Network
from trunkline.gateway.media import compiled, timeline
from trunkline.gateway.media.arrivals import Arrivals
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.columns import ROW_FIELDS, Columns
from trunkline.gateway.media.reorder import HELD_PACKETS, SEQ, SLOTS, TO_GIVE_BACK, ReorderBuffer
from trunkline.gateway.media.table import Table
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import Packet

CALLS = 4
LOCAL = (
    "seen", "lost_run", "held", "late_since_ns", "late_by_ns", "slip", "payload_bytes", "payload_ts", "step",
    "late_counts", "late_weight", "noted_packets", "noted_ns", "ahead_from",
)  # fmt: skip

KINDS = (
    ["plain"] * 14 + ["lost"] * 4 + ["held", "back again"] * 3
    + ["twice", "swapped", "burst", "flood", "ssrc", "leap", "back", "nudge", "pause", "long pause", "event", "noise"]
    + ["short", "other size", "tiny", "empty", "marker", "padded", "other type", "old", "far", "anew"]
    + ["elsewhere", "overlong", "all extension", "mixed"] + ["extended", "long extension"] * 2
)  # fmt: skip
PAUSES_MS = [0, 1, 6, 7, 13, 20, 20, 20, 20, 45, 300]
rounds = st.lists(
    st.tuples(st.lists(st.sampled_from(KINDS), min_size=CALLS, max_size=CALLS), st.sampled_from(PAUSES_MS)),
    max_size=60,
)


class Caller(Talker):
    """... and its network."""

    def __init__(self, row: int) -> None:
        super().__init__(row, 65_520 - row)
        self.on_the_way: list[bytes] = []

    def next(self, size: int = 160, **fields: int) -> Packet:
        return dataclasses.replace(super().next(size), **fields)  # type: ignore[arg-type]

    def _extended(self, extension: bytes, **fields: Any) -> bytes:
        return bytes(self.next(extension_profile=0xBEDE, extension=extension, **fields))

    def packets(self, kind: str) -> list[bytes]:  # type: ignore[override]
        return [bytes(packet) for packet in self._packets(kind)]

    def _packets(self, kind: str) -> list[Packet | bytes]:
        match kind:
            case "held":
                self.on_the_way.append(bytes(self.next()))
                return []
            case "back again":
                back, self.on_the_way = self.on_the_way, []
                return [bytes(self.next()), *back]
            case "flood":
                self.next()
                return [self.next() for _ in range(HELD_PACKETS + 6)]
            case "nudge":
                self.timestamp += 70
            case "pause":
                self.timestamp += 3 * 160
            case "long pause":
                self.timestamp += 40 * 160
            case "noise":
                return [self.next(payload_type=13, payload=bytes([60]))]  # type: ignore[arg-type]
            case "tiny":
                return [self.next(1)]
            case "empty":
                return [self.next(payload=b"")]  # type: ignore[arg-type]
            case "padded":
                return [self.next(padding_bytes=4)]
            case "extended":
                return [self._extended(b"\x10\x80\0\0")]
            case "long extension":
                return [self._extended(bytes(36))]
            case "overlong":
                packet = bytearray(self._extended(bytes(4)))
                packet[14:16] = self.sequence % 3 * 127, 45 - self.sequence % 5
                return [bytes(packet)]
            case "all extension":
                return [self._extended(bytes(160), payload=b"")]
            case "mixed":
                return [self._extended(bytes(8), csrc=(1, 2), padding_bytes=3)]
            case "other type":
                return [self.next(payload_type=77)]
            case "old":
                return [dataclasses.replace(voice(self.sequence - 70), ssrc=self.ssrc, timestamp=5)]
            case "far":
                self.sequence += 5000
                return [self.next() for _ in range(2)]
            case "anew":
                self.sequence -= 3
        return super().packets(kind)


class Side:
    """A rig, compiled or not."""

    def __init__(self, *, compiled: bool) -> None:
        self._compiled = compiled
        with self._chosen():
            self.rig = UplinkRig(CALLS)

    def _chosen(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._compiled else kernels.without_kernels()

    def receive(self, packets: dict[int, bytes], named: list[bool]) -> None:
        data = np.full((len(packets), PACKET_BYTES), 0xA5, np.uint8)
        for line, packet in zip(data, packets.values(), strict=True):
            line[: len(packet)] = np.frombuffer(packet, np.uint8)
        rows = np.array([self.rig.streams[call].row for call in packets], np.intp)
        lengths = np.array([len(packet) for packet in packets.values()], np.int32)
        sources = [self.rig.streams[call].remote if named[call] else ("192.0.2.66", 4000) for call in packets]
        with self._chosen():
            self.rig.receive(Batch(rows, data, lengths, np.array([named[call] for call in packets]), sources))

    def run(self, ms: int) -> None:
        with self._chosen():
            if ms < 300:
                self.rig.run(ms, step_ms=4)
            else:  # a stall of ours: nothing is looked at meanwhile
                self.rig.now_ns += ms * MS


@pytest.mark.skipif(not kernels.there, reason="no kernels were built")
@given(rounds)
@settings(max_examples=40, deadline=None)
def test_kernels_leave_the_same_behind(trace: list[tuple[list[str], int]]) -> None:
    """Whatever packets do: columns to the last bit, drops, what waits, and frames in their order."""
    play([(["plain"] * CALLS, 20)] * 4 + trace)


@pytest.mark.skipif(not kernels.there, reason="no kernels were built")
@pytest.mark.parametrize("seed", range(8))
def test_kernels_leave_the_same_behind_after_long_calls(seed: int) -> None:
    """The same of hundreds of oddities, from the first packet on, more of them with each seed."""
    rng = random.Random(seed)
    plain = [1.0 if kind != "plain" else 9 - seed for kind in KINDS]
    rig = play([(rng.choices(KINDS, plain, k=CALLS), rng.choice(PAUSES_MS)) for _ in range(150)])
    assert {Drop.DUPLICATE, Drop.LATE, Drop.SOURCE, Drop.SHORT} <= set().union(*map(rig.drops, range(CALLS)))


def play(trace: list[tuple[list[str], int]]) -> UplinkRig:
    """To both sides, and what they come to is compared; returns one of them."""
    talkers, sides = [Caller(row) for row in range(CALLS)], [Side(compiled=True), Side(compiled=False)]
    for what, pause_ms in trace + [(["plain"] * CALLS, 20)] * 3:
        waiting = [talker.packets(kind) for talker, kind in zip(talkers, what, strict=True)]
        named = [kind != "elsewhere" for kind in what]
        while any(waiting):
            batch = {call: packets.pop(0) for call, packets in enumerate(waiting) if packets}
            for side in sides:
                side.receive(batch, named)
        for side in sides:
            side.run(pause_ms)
    compare(*(side.rig for side in sides))
    return sides[0].rig


def compare(one: UplinkRig, other: UplinkRig) -> None:
    a, b = one.table.shared, other.table.shared
    for name in [name for name, _, _ in ROW_FIELDS if name != "call_id"]:
        tolerance = 1e-4 if name == "level_up_dbov" else 0
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance, err_msg=name)
    for name in ("packets_received", "drops"):
        np.testing.assert_array_equal(getattr(a.worker, name), getattr(b.worker, name), name)
    for name in LOCAL:
        np.testing.assert_array_equal(getattr(one.table, name), getattr(other.table, name), name)
    assert waiting(one.timeline.held) == waiting(other.timeline.held)
    # Both have drawn as often: the next draws are the same.
    turns = [[rig.receiver.lateness.all_now() for _ in range(64)] for rig in (one, other)]
    assert turns[0] == turns[1]
    assert one.presses == other.presses
    for stream in one.streams:
        mine, its = (rig.frames.get(stream.row, []) for rig in (one, other))
        assert [(f.position, f.flags, f.now_ns) for f in mine] == [
            (f.position, f.flags, f.now_ns) for f in its
        ]
        assert all(abs(f.pcm.astype(int) - g.pcm).max() <= 1 for f, g in zip(mine, its, strict=True))


def waiting(held: ReorderBuffer) -> dict[int, list[tuple[list[int], bytes]]]:
    """By row: what waits, in its order."""
    out: dict[int, list[tuple[list[int], bytes]]] = {}
    for row in np.flatnonzero(held.first >= 0).tolist():
        slot = int(held.first[row])
        while slot >= 0:
            seq, timestamp, kind, size, after = held.slots[slot].tolist()
            out.setdefault(row, []).append(([seq, timestamp, kind, size], held.payload(slot)))
            slot = after
    return out


@pytest.mark.skipif(not kernels.there, reason="no kernels were built")
def test_an_extension_in_each_packet_is_no_reason_to_think(monkeypatch: pytest.MonkeyPatch) -> None:
    """As browsers and their gateways send it; in order, overtaken, and of any length."""
    side, talker = Side(compiled=True), Caller(0)
    for _ in range(4):
        side.receive({0: talker.packets("plain")[0]}, [True])
        side.run(20)
    monkeypatch.setattr(side.rig.receiver, "_think", None)
    for kind in ("extended", "long extension", "held", "back again", "long extension", "extended"):
        for packet in talker.packets(kind):
            side.receive({0: packet}, [True])
        side.run(20)
    held = [talker.packets("extended")[0], talker.packets("long extension")[0]]
    for packet in reversed(held):
        side.receive({0: packet}, [True])
    side.run(60)
    assert side.rig.table.shared.packets_received[0] == 4 + 8
    assert len(side.rig.frames[0]) >= 4 + 8
    assert side.rig.drops(0) == {}


# -- the reorder buffer ---------------------------------------------------------------------

ROWS = 5
puts = st.tuples(st.just("put"), st.integers(0, ROWS - 1), st.integers(0, 90))
takes = st.tuples(st.sampled_from(["take", "pass", "forget"]), st.integers(0, ROWS - 1), st.integers(0, 90))


@given(st.lists(st.one_of(puts, puts, puts, takes), max_size=200))
def test_what_waits_is_given_back_in_order(plan: list[tuple[str, int, int]]) -> None:
    """A dictionary of dictionaries says what must be there; slots are neither lost nor given twice."""
    table = Table(Columns(ROWS))
    held, model = ReorderBuffer(table), [dict[int, bytes]() for _ in range(ROWS)]
    for what, row, seq in plan:
        one, mine = np.array([row], np.intp), model[row]
        match what:
            case "put":
                data = bytes([seq, row]) * (seq % 5)
                packets = np.frombuffer(bytes(12) + data, np.uint8)[None]
                lengths = np.array([12 + len(data)], np.int32)
                arrivals = Arrivals.of(Batch(one, packets, lengths, np.ones(1, bool), [("", 0)]))
                arrivals.seq[:], arrivals.timestamp[:] = seq, seq * 160
                refused = held.put(arrivals, np.arange(1))
                assert bool(len(refused)) == (len(mine) >= HELD_PACKETS)
                if not len(refused):
                    mine[seq] = data
            case "take":
                first = min(mine, default=-1)
                found = held.take_next(one, np.array([first if seq % 2 else seq]))
                assert (found is not None) == (first >= 0 and (seq % 2 == 1 or seq == first))
                if found is not None:
                    assert found.payload(0) == mine.pop(first) and found.timestamp[0] == first * 160
            case "pass":
                old = [number for number in mine if number < seq]
                assert len(held.drop_before(one, np.array([seq]))) == len(old)
                for number in old:
                    del mine[number]
            case "forget":
                assert held.forget(row) == len(mine)
                mine.clear()
    assert table.held.tolist() == [len(mine) for mine in model]
    assert {row: [(seq[SEQ], data) for seq, data in found] for row, found in waiting(held).items()} == {
        row: sorted(mine.items()) for row, mine in enumerate(model) if mine
    }
    free = held.free[1 : int(held.free[0]) + 1].tolist()
    assert len(set(free)) == len(free) == held.in_use - sum(map(len, model))


def test_many_rows_may_wait_at_once() -> None:
    """A stall in the network of three times as many packets as there were slots: nothing is lost of it."""
    calls = SLOTS
    rig = UplinkRig(calls)
    rows = np.array([stream.row for stream in rig.streams])

    def batch(seq: int) -> Batch:
        data = np.zeros((calls, PACKET_BYTES), np.uint8)
        data[:, :172] = np.frombuffer(bytes(voice(seq)), np.uint8)
        addresses = [stream.remote for stream in rig.streams]
        return Batch(rows, data, np.full(calls, 172, np.int32), np.ones(calls, bool), addresses)

    for seq in (0, 2, 3, 4, 1, 5):
        rig.receive(batch(seq))
    assert not rig.table.held.any()
    assert all(len(rig.frames[row]) == 6 for row in rows.tolist())
    held = rig.timeline.held
    assert held.in_use == held.free[0] >= 3 * SLOTS
    held.reserve(1)
    assert held.in_use == held.free[0] == SLOTS


def test_memory_is_given_back_while_some_still_wait() -> None:
    """All rows fill their room; when all but a few have gone on, what those have is kept, and little else."""
    calls = TO_GIVE_BACK // HELD_PACKETS + 9
    table = Table(Columns(calls))
    held, rows, every = ReorderBuffer(table), np.arange(calls), np.arange(calls)
    packets = np.full((calls, 12 + 160), 0xEE, np.uint8)
    packets[:, 12:] = rows[:, None] % 251
    lengths, addresses = np.full(calls, 172, np.int32), [("", 0)] * calls
    for seq in range(1, HELD_PACKETS + 1):
        packets[:, -1] = seq
        arrivals = Arrivals.of(Batch(rows, packets.copy(), lengths, np.ones(calls, bool), addresses))
        arrivals.seq[:] = seq
        assert not len(held.put(arrivals, every))
    assert len(held.put(arrivals, every)) == calls, "no more than that"
    most, few = held.with_memory, rows[::40]
    held.drop_before(np.setdiff1d(rows, few), np.full(calls - len(few), HELD_PACKETS + 1))
    held.drop_before(few, np.full(len(few), HELD_PACKETS))
    before = waiting(held)
    assert sorted(before) == few.tolist()
    for _ in range(2 + most // TO_GIVE_BACK):
        held.reserve(1)
        assert waiting(held) == before
    assert held.in_use == held.with_memory <= SLOTS + len(few)
    assert not held.payloads[held.with_memory + 1 :].any(), "pages that were given back are empty"
    assert held.free[0] == held.in_use - len(few)
    payloads = [payload for ((_, payload),) in before.values()]
    assert payloads == [bytes([row % 251] * 159 + [HELD_PACKETS]) for row in few]


# -- the raster -----------------------------------------------------------------------------


def test_many_calls_are_filled_at_points_of_a_raster() -> None:
    """And few at once; either way each frame is filled once, and late by no more than the raster."""
    late_ms = {}
    for calls in (timeline.MANY_ROWS - 1, timeline.MANY_ROWS):
        rig = VirtualEngine(calls, tick_ms=1)
        traffic = rig.traffic(2, Callers(calls), Network(delay_ms=5))
        rig.run(1, traffic)
        traffic.stopped = True
        rig.run(7, traffic)
        before, worst = rig.agent.frames.copy(), 0
        for _ in range(100):
            soonest_ns = int(rig.table.shared.rx_deadline_ns[:calls].min())
            rig.step()
            if (rig.agent.frames > before).any():
                worst = max(worst, rig.now_ns - soonest_ns)
                assert calls < timeline.MANY_ROWS or rig.now_ns % timeline.RASTER_NS < 1 * MS
            before = rig.agent.frames.copy()
        late_ms[calls] = worst / MS
        elapsed = (rig.now_ns - rig.table.shared.started_ns[:calls]) / (20 * MS)
        assert (abs(elapsed - rig.agent.frames - 2.5) < 1.5).all()
    assert late_ms[timeline.MANY_ROWS - 1] <= 1
    assert 1 < late_ms[timeline.MANY_ROWS] <= timeline.RASTER_NS / MS + 1


def test_a_raster_moves_no_frame_from_its_time() -> None:
    """Losses, pauses and jitter in ticks of 4 ms: every packet lies at its own place all the same."""
    calls = timeline.MANY_ROWS
    rig = VirtualEngine(calls, seed=3, tick_ms=4)
    places = Places(rig)
    bad = Network(loss=0.02, burst=0.002, duplicate=0.002, jitter_ms=4, stall=0.001)
    traffic = rig.traffic(3, Callers(calls, drift_ppm=200, speech=0.9), bad)
    rig.run(15, traffic)
    traffic.stopped = True
    rig.run(8, traffic)
    assert not unaccounted(rig, traffic, places).any()
    assert not places.moves.any() and not places.not_in_order
    assert set(rig.drops()) <= {"DUPLICATE", "LATE"}


@pytest.mark.skipif(not kernels.there, reason="no kernels were built")
def test_columns_of_other_shapes_are_refused() -> None:
    """Kernels look at what they are given before they touch it."""
    rig = UplinkRig()
    line, one = rig.timeline, np.zeros(1, np.intp)
    moment, out = line.moment(0), np.zeros((7, 4), np.int64)
    slots, payloads, free = moment[3:]
    follow, lacks = line._follow, line._schedule._lacks
    admit, expect = rig.receiver._admit, rig.express and rig.express._expect
    decode = compiled.bind("decode", np.zeros(256, np.int16))
    assert follow and lacks and admit and expect and decode
    with pytest.raises(ValueError, match="no room"):
        follow(*moment, one, out[:2])
    with pytest.raises(ValueError, match="no room"):
        lacks(*moment, 0, one, out)
    for others in (
        (slots[:, :2].copy(), payloads, free),
        (slots, payloads[1:], free),
        (slots, payloads, free[:5]),
    ):
        with pytest.raises(ValueError, match="do not go together"):
            follow(*moment[:3], *others, one, out)
    with pytest.raises(IndexError):
        follow(*moment, one + rig.table.capacity, out)
    packets, lengths, may = np.zeros((1, PACKET_BYTES), np.uint8), np.full(1, 12, np.int32), np.ones(1, bool)
    for batch in ((packets[:, :8], lengths, may), (packets, lengths[:0], may), (packets, lengths, may[:0])):
        with pytest.raises(ValueError, match="do not go together"):
            admit(*moment, 0.0, 0.0, 0, one, *batch, out, np.zeros(1))
    with pytest.raises(ValueError, match="do not go together"):
        decode(one, packets, np.full(1, PACKET_BYTES - 4, np.int32), np.zeros((1, 5), np.int16))
