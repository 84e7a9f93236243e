# SPDX-License-Identifier: GPL-2.0-or-later
"""Lost, late and overtaken packets all the way in one call: what is left behind is what all the steps leave behind."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
import operator
import random
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from support import kernels
from support.media_rig import MS
from support.virtual_engine import VirtualEngine
from support.virtual_network import PEER, Callers, Network
from trunkline.codecs import g711
from trunkline.gateway.media import control
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.control import TurnParams
from trunkline.gateway.media.onward import Onward, _Open

pytestmark = pytest.mark.skipif(not kernels.there, reason="no kernels were built")

CALLS = 6
SPOKEN_MS = 2500
STEP_BY_STEP = mock.patch.object(Onward, "_open", return_value=None)
Packets = list[tuple[float, int, bytes]]
"ms, row, packet"
Rows = NDArray[np.intp]


# -- what comes ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Bad:
    """What may happen to a packet, each with its probability; `pause` to `source` exclude each other."""

    seed: int
    loss: float
    jitter_ms: float
    pause: float = 0.0
    comfort_noise: float = 0.0
    event: float = 0.0
    odd: float = 0.0
    slip: float = 0.0
    source: float = 0.0


def said(rng: random.Random, packet_ms: int, shares: dict[str, float]) -> Iterator[tuple[float, bytes]]:
    """Packets of a caller without end: when they are sent, ms, and what happens to some of them."""
    source = [rng.randrange(1 << 16), rng.randrange(1 << 32), rng.randrange(1, 1 << 32)]
    at_ms = 20 * rng.random()
    for number in itertools.count():
        (what,) = rng.choices([*shares, "nothing"], [*shares.values(), 1 - sum(shares.values())])
        units = packet_ms * 8 if what != "odd" else rng.choice([0, 40, 80, 161, 320])
        if what == "source":
            source = [rng.randrange(1 << 16), rng.randrange(1 << 32), rng.randrange(1, 1 << 32)]
        if what == "slip":
            source[1] += rng.choice([-100, -79, -40, 40, 60, 79])
        if what == "pause":
            pause = rng.choice([1, 2, 3, 5, 20])
            source[1] += units * pause
            at_ms += packet_ms * pause
        kind, payload = 0, spoken(source[1], units)
        if number // 15 % 2:
            payload = bytes(rng.choices(range(0xFC, 0x100), k=units))  # near silence
        if what == "comfort_noise":
            kind, payload = 13, bytes([60])
        if what == "event":
            kind, payload = 101, struct.pack("!BBH", 5, 0x8A, units)
        yield at_ms, header(kind, *source) + payload
        source = [source[0] + 1, source[1] + units, source[2]]
        at_ms += max(units / 8, 0.1)


def spoken(timestamp: int, units: int) -> bytes:
    """Something with a pitch, which is taken for a voice."""
    angle = 2 * np.pi * np.arange(timestamp % 64, timestamp % 64 + units) / 64
    return g711.encode_ulaw(
        (sum(np.sin(k * angle) / k for k in range(1, 9)) * 4000).astype(np.int16)
    ).tobytes()


def header(kind: int, sequence: int, timestamp: int, ssrc: int) -> bytes:
    return struct.pack("!BBHII", 0x80, kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)


def packets_of(bad: Bad, packet_ms: list[int]) -> Packets:
    """What all callers have sent, as it arrives; the packets of caller i are of packet_ms[i]."""
    rng, out = random.Random(bad.seed), []
    shares = {field.name: getattr(bad, field.name) for field in dataclasses.fields(bad)[3:]}
    for row, length in enumerate(packet_ms):
        for at_ms, packet in itertools.takewhile(lambda sent: sent[0] < SPOKEN_MS, said(rng, length, shares)):
            most_ms = rng.choices([0, bad.jitter_ms, 150], [50, 49, 1])[0]
            if rng.random() >= bad.loss:
                out.append((at_ms + most_ms * rng.random(), row, packet))
    return sorted(out)


def batches(packets: Packets) -> Iterator[Batch]:
    """With at most one packet of a row each."""
    of_turn: dict[int, list[tuple[int, bytes]]] = {}
    turns = Counter[int]()
    for _, row, packet in packets:
        of_turn.setdefault(turns[row], []).append((row, packet))
        turns[row] += 1
    for some in of_turn.values():
        some.sort()
        data = np.zeros((len(some), PACKET_BYTES), np.uint8)
        for place, (_, packet) in zip(data, some, strict=True):
            place[: len(packet)] = np.frombuffer(packet, np.uint8)
        lengths = np.array([len(packet) for _, packet in some], np.int32)
        rows = np.array([row for row, _ in some])
        yield Batch(rows, data, lengths, np.ones(len(some), bool), [PEER] * len(some))


class MixedEngine(VirtualEngine):
    """Calls of several kinds in turn."""

    def _messages(
        self, calls: int, rng: random.Random, fields: dict[str, object]
    ) -> Iterator[control.StartStream]:
        kinds = itertools.cycle(fields["kinds"])  # type: ignore[call-overload]
        for kind in itertools.islice(kinds, calls):
            yield from super()._messages(1, rng, kind)


SHARED = [
    "loss_counts", "frames_gap", "frames_concealed", "frames_comfort_noise", "frames_to_agent", "up_position",
    "packets_received", "drops", "rx_jitter_ts", "speaking", "quality",
]  # fmt: skip
OWN = ["lost_run", "slip", "late_since_ns", "late_by_ns", "held", "payload_bytes", "payload_ts"]


def seen(
    packets: Packets, kinds: list[dict[str, Any]], tick_ms: float = 5, *, calls: int = CALLS, ms: float = SPOKEN_MS,
    alone: Sequence[int] = (),
) -> dict[str, Any]:  # fmt: skip
    """All that there is to look at after these packets, and `flow` after each tick; agents of `alone` are on no way."""
    rig = MixedEngine(calls, seed=5, tick_ms=tick_ms, echo=True, kinds=kinds)
    rig.engine.agents.index_of_row[list(alone)] = -1
    flows, place = [], 0
    for tick in range(1, int(ms / tick_ms) + 1):
        end = bisect.bisect(packets, tick * tick_ms, lo=place, key=operator.itemgetter(0))
        rig.step(batches(packets[place:end]))
        place = end
        flows.append(rig.table.shared.flow[:calls].copy())
    found: dict[str, Any] = {"flow": np.array(flows), "heard": rig.agent.frames}
    found["all"], found["but samples"] = rig.digests()
    found |= {name: getattr(rig.table.shared, name).copy() for name in SHARED}
    return found | {name: getattr(rig.table, name).copy() for name in OWN}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What is not the same to the last bit, and where first."""
    out = []
    for name, value in one.items():
        if isinstance(value, str):
            out += [name] * (value != other[name])
        elif value.tobytes() != other[name].tobytes():
            out.append(f"{name} at {np.argwhere(value != other[name])[:3].tolist()}")
    return out


# -- what comes of it ---------------------------------------------------------------------------

bad = st.builds(
    Bad, st.integers(0, 1 << 32), st.floats(0, 0.3), st.floats(0, 90),
    *(st.sampled_from([0, 0, most]) for most in (0.1, 0.05, 0.03, 0.03, 0.1, 0.01)),
)  # fmt: skip
LISTENS = TurnParams(min_speech_ms=20, min_silence_ms=40)
kind = st.fixed_dictionaries(
    {
        "rate_hz": st.sampled_from([8000, 16000, 24000]),
        "frame_ms": st.sampled_from([20, 20, 40]),
        "codec": st.sampled_from(["PCMU", "PCMA"]),
        "turns": st.sampled_from([LISTENS, TurnParams()]),
    }
)


@pytest.mark.timeout(400)  # where something differs, it takes a while to say what matters
@settings(max_examples=30)
@given(
    bad,
    st.lists(kind, min_size=1, max_size=2),
    st.lists(st.sampled_from([20, 40]), min_size=1, max_size=3),
    st.integers(3, 20),
)
def test_whatever_comes_all_is_as_the_steps_leave_it(
    bad: Bad, kinds: list[dict[str, Any]], packet_ms: list[int], tick_ms: int
) -> None:
    packets = packets_of(bad, list(itertools.islice(itertools.cycle(packet_ms), CALLS)))
    with STEP_BY_STEP:
        by_steps = seen(packets, kinds, tick_ms)
    assert not differences(seen(packets, kinds, tick_ms), by_steps)


KINDS_OF_CALLS: list[dict[str, Any]] = [
    {},
    {"rate_hz": 16000, "turns": TurnParams(min_speech_ms=20)},
    {"rate_hz": 24000, "turns": LISTENS},
    {"frame_ms": 40},
    {"codec": "PCMA", "rate_hz": 16000},
]
KINDS_OF_CALLERS = [Callers(12, drift_ppm=200, speech=0.5), Callers(12, restart=0.1, ptime_ms=40)]
NETWORK = Network(loss=0.08, burst=0.005, duplicate=0.01, jitter_ms=15, stall=0.001)


@pytest.mark.parametrize("start", KINDS_OF_CALLS, ids=repr)
@pytest.mark.parametrize("callers", KINDS_OF_CALLERS, ids=repr)
def test_networks_stall_and_callers_begin_anew(start: dict[str, Any], callers: Callers) -> None:
    """Losses, pauses, stalls, other sources, packets that are two frames: to the last byte, in the same order."""

    def digests() -> tuple[str, str]:
        rig = VirtualEngine(12, seed=5, tick_ms=10, echo=True, **start)
        rig.run(10, rig.traffic(5, callers, NETWORK))
        return rig.digests()

    with STEP_BY_STEP:
        by_steps = digests()
    with counted() as done:
        assert digests() == by_steps
    if start.get("frame_ms", 20) == callers.ptime_ms and not callers.restart:
        assert done["rounds"] > 300 and done["frames"] > 300 and done["stopped"]


def all_ways(packets: Packets, **more: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Of plain calls: at once, step by step, and without any kernel."""
    at_once = seen(packets, [{}], **more)
    with STEP_BY_STEP:
        by_steps = seen(packets, [{}], **more)
    with kernels.without_kernels():
        return at_once, by_steps, seen(packets, [{}], **more)


def test_a_caller_who_has_sent_nothing_but_comfort_noise_has_a_frame_each_packet_time() -> None:
    """There is no schedule to go by, only our own clock: to set its deadline twice is a frame the less."""
    numbers = [number for number in range(200) if number % 3 or not number]  # each third is lost
    packets = [(100 * number + 1.0, 0, header(13, number, 800 * number, 7) + b"\x3c") for number in numbers]
    at_once, by_steps, by_numpy = all_ways(packets, calls=1, ms=20_000)
    assert at_once["heard"].tolist() == by_steps["heard"].tolist() == by_numpy["heard"].tolist()
    assert at_once["heard"][0] == pytest.approx(1000, abs=2)
    assert not differences(at_once, by_steps)
    assert at_once["but samples"] == by_numpy["but samples"]


def test_what_is_filled_behind_a_gap_changes_nothing_of_the_gap() -> None:
    """Three callers lose a packet each; what waits behind one of these gaps leaves out time, which is filled then."""
    packets = []
    for row, number in itertools.product(range(3), range(60)):
        left_out = 3 if row == 2 and number >= 22 else 0
        at_ms = 406.0 if number in (21, 22) else 20.0 * number + 1
        payload = random.Random(100 * row + number).randbytes(160)
        if number != 20:
            packets.append((at_ms, row, header(0, number, 160 * (number + left_out), 7 + row) + payload))
    at_once, by_steps, by_numpy = all_ways(sorted(packets), calls=3, ms=1300)
    assert not differences(at_once, by_steps)
    assert at_once["but samples"] == by_numpy["but samples"]


# -- that it is done at all ---------------------------------------------------------------------


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """What `catch_up` and `refill` are asked for, and what they do; rounds of packets behind them."""
    done, catch_up, refill, finish = Counter[str](), Onward.catch_up, Onward.refill, Onward._done

    def catching_up(self: Onward, *args: Any, **more: Any) -> Any:
        found = catch_up(self, *args, **more)
        done["calls"] += 1
        done["made"] += found is not None and found[1]
        done["frames"] += len(found[0].filled[0]) if found is not None and found[1] else 0
        return found

    def refilling(self: Onward, rows: Rows, count: NDArray[np.int64], *args: Any, **more: Any) -> int:
        rounds = refill(self, rows, count, *args, **more)
        done["wanted"] += int(count.sum())
        done["refilled"] += int(np.minimum(count, rounds).sum())
        done["ceased"] += int(self._said[5]) if rounds else 0
        return rounds

    def finishing(self: Onward, *args: Any) -> tuple[bool, Rows]:
        done["rounds"] += int(self._notes[1])
        is_heard, rows = finish(self, *args)
        done["stopped"] += len(rows) > 0
        return is_heard, rows

    with mock.patch.multiple(Onward, catch_up=catching_up, refill=refilling, _done=finishing):
        yield done


@pytest.mark.parametrize(("frame_ms", "rate_hz"), [(20, 8000), (20, 16000), (40, 8000)])
def test_frames_of_plain_calls_are_all_made_up_at_once(frame_ms: int, rate_hz: int) -> None:
    """What is lost, and what was left out, where packets are as long as frames."""
    packets = packets_of(Bad(1, 0.15, 60, pause=0.05), [frame_ms] * CALLS)
    with counted() as done:
        found = seen(packets, [{"frame_ms": frame_ms, "ptime_ms": frame_ms, "rate_hz": rate_hz}])
    assert done["made"] > 0.9 * done["calls"] > 50
    assert done["refilled"] == done["wanted"] > 0
    made_up = found["frames_gap"].sum() + found["frames_concealed"].sum()
    assert made_up == done["frames"] + done["refilled"] > 100


@pytest.mark.parametrize("ms", [0, 40, 60, 100])
def test_a_pause_before_a_packet_of_two_frames_is_filled_at_once_if_that_before_it_was_one(
    ms: int,
) -> None:
    """So long is a frame that is made up; where it would be two of the agent's, it goes step by step.

    Who is heard ceases to speak with it, after so many `ms`: in the midst of what is filled, or with the last.
    """
    start = {"turns": TurnParams(min_speech_ms=20, min_silence_ms=ms)} if ms else {}
    packets = []
    for row in range(CALLS):
        at_ms, timestamp = row + 1.0, 0
        for number in range(60):
            pause, units = (3, 320) if number % 4 == 2 else (2 * (number % 4 == 3), 160)
            at_ms, timestamp = at_ms + 20 * pause, timestamp + 160 * pause
            payload = spoken(timestamp, units) if number % 20 > 9 else b"\xff" * units
            packet = header(0, number, timestamp, 7 + row) + payload
            packets.append((at_ms, row, packet))
            at_ms, timestamp = at_ms + units / 8, timestamp + units
    with counted() as done:
        at_once = seen(sorted(packets), [start])
    assert done["wanted"] > done["refilled"] > 100
    assert done["ceased"] >= CALLS or not start
    with STEP_BY_STEP:
        assert not differences(at_once, seen(sorted(packets), [start]))


def test_a_call_without_a_way_does_not_stand_in_that_of_others() -> None:
    """The first one's agent has a connection of its own, which takes no such messages."""
    packets = packets_of(Bad(1, 0.15, 60), [20] * CALLS)
    with counted() as done:
        at_once = seen(packets, [{}], alone=[0])
    with STEP_BY_STEP:
        assert not differences(at_once, seen(packets, [{}], alone=[0]))
    assert done["made"] > done["calls"] / 2 > 30


# -- what does not go together ------------------------------------------------------------------


def opened(frames: int) -> tuple[VirtualEngine, Onward, _Open]:
    """A worker in mid-talk, and a way to its agent with room for so many frames."""
    rig = VirtualEngine(12, seed=5)
    rig.run(1, rig.traffic(5, Callers(12), NETWORK))
    onward = rig.engine.timeline.onward
    assert onward is not None
    to = onward._open(0, frames)
    assert to is not None
    return rig, onward, to


def test_onward_wants_what_goes_together() -> None:
    """Columns, kernels and packets that are not of one worker, or too few: errors, and no memory is touched."""
    rig, onward, to = opened(12)
    rows, moment, records = np.arange(3), rig.engine.timeline.moment(rig.now_ns), to.message.records
    call, none = (to.link, *rig.engine.uplink.drawn), np.zeros(0, np.intp)
    packets = np.zeros((3, 200), np.uint8)
    first, sizes = np.full(3, 12), np.full(3, 160)
    heard = (rows, rows, packets, first, sizes)
    to.way.onward(*moment, *call, *heard, records)
    assert onward._notes.tolist()[:2] == [3, 1]
    link, turns, _ = call
    for others in (link + 1, *call[1:], *heard), (*call, *heard[:4], sizes - 1):
        to.way.onward(*moment, *others, records)
        assert onward._notes.tolist()[:2] == [0, 0], "they are on no way of ours"
    bad: list[tuple[Any, ...]] = [
        (link, turns, len(turns), *heard, records),
        (link, turns, -1, *heard, records),
        (*call, rows, rows, packets, first[:2], sizes, records),
        (*call, rows, rows, packets, first, sizes[:2], records),
        (*call, rows, rows[:2], packets, first, sizes, records),
        (*call, *heard, records[:2]),
        (*call, *heard, records[:, :-2]),
        (*call, rows, rows + 1, packets, first, sizes, records),
        (*call, rows, rows, packets, first + 60, sizes, records),
        (*call, rows, rows, packets, first - 13, sizes, records),
        (*call, rows + 10**6, rows, packets, first, sizes, records),
        (*call, np.tile(rows, 9), none, packets, none, none, records),
    ]
    for arguments in bad:
        with pytest.raises((ValueError, IndexError)):
            to.way.onward(*moment, *arguments)
    with pytest.raises(ValueError, match="do not go together"):
        to.way.onward(*moment[:3], moment[3][:5], *moment[4:], *call, *heard, records)


def test_frames_are_made_up_of_what_goes_together() -> None:
    """As of `onward`; what there is no room for, or is of no row on this way, is left to others."""
    rig, onward, to = opened(6)
    columns = rig.table.shared
    moment, records, link = rig.engine.timeline.moment(rig.now_ns + 100 * MS), to.message.records, to.link
    rows, one, before = np.arange(3), np.ones(3, np.intp), columns.flow.copy()
    fewer_slots = (*moment[:3], moment[3][:5], *moment[4:])
    left = [
        (rows + 10**6, 0, link, records, one),
        (rows - 3, 0, link, records, one),
        (rows, 0, link + 1, records, one),
        (rows, 0, link, records[:2], one),
        (rows, 0, link, records, one - 9),
    ]
    for arguments in left:
        to.way.refill(*moment, *arguments)
        assert onward._said.tolist() == [0] * 6 and (columns.flow == before).all()
    for arguments in (rows, 0, link, records, one[:2]), (rows[:2], 0, link, records, one):
        with pytest.raises(ValueError, match="one count for each row"):
            to.way.refill(*moment, *arguments)
    with pytest.raises(ValueError, match="one count for each row"):
        to.way.refill(*moment, np.arange(13) % 12, 0, link, records, np.ones(13, np.intp))
    with pytest.raises(ValueError, match="do not go together"):
        to.way.refill(*fewer_slots, rows, 0, link, records, one)
    with pytest.raises(ValueError, match="do not go together"):
        to.way.catch_up(*fewer_slots, rows, 0, link, records, *rig.engine.uplink.drawn)
    for others in rows + 10**6, rows - 3:
        with pytest.raises(IndexError):
            to.way.catch_up(*moment, others, 0, link, records, *rig.engine.uplink.drawn)
    for narrow in records[:, :15], records[:, :-1]:
        with pytest.raises(ValueError, match="fill: "):
            to.way.refill(*moment, rows, 0, link, narrow, one)
        with pytest.raises(ValueError, match="fill: "):
            to.way.catch_up(*moment, rows + 3, 0, link, narrow, *rig.engine.uplink.drawn)
        columns.flow[:] = before
    to.way.refill(*moment, rows, 0, link, records, 2 * one)
    assert onward._said.tolist() == [6, 0, 0, 2, 6, 0], "frames, rounds, records"
