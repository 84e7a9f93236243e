# SPDX-License-Identifier: GPL-2.0-or-later
"""Missing frames by compiled kernels and by NumPy: the same columns, and the same frames at the agents."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support import kernels
from support.fake_codec import fake_opus
from support.media_rig import running, start_message
from trunkline.agent_bridge.dialect import FLAG_COMFORT_NOISE, FLAG_CONCEALED, FLAG_GAP
from trunkline.agent_bridge.wire import AudioMessage, parse_audio
from trunkline.codecs import voice_activity as va
from trunkline.codecs.conceal import SILENT_MS
from trunkline.gateway.media import compiled, control
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.fills import Fills
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.table import SILENT_RUN, Table
from trunkline.gateway.media.uplink import Uplink

pytestmark = pytest.mark.skipif(not kernels.there, reason="no kernels were built")

CALLS: list[tuple[str, int, int]] = [
    ("PCMU", 16000, 20), ("PCMU", 16000, 20), ("PCMA", 16000, 20), ("PCMU", 8000, 20), ("PCMU", 48000, 60),
    ("G722", 16000, 20), ("G722", 8000, 30), ("L16/16000", 48000, 20), ("L16/16000", 8000, 20),
    ("L16/44100", 16000, 20), ("L16/44100", 44100, 20),
]  # fmt: skip
"Encoding, the agent's rate, and milliseconds of its frame."
COUNTERS = (
    "frames_gap",
    "frames_concealed",
    "frames_comfort_noise",
    "frames_to_agent",
    "up_position",
    "up_flags",
    "speaking",
)
LOCAL = ("ahead_from", "noise_known", "comfort_until_voice", "up_history", "lost_run")
seeds = st.integers(0, 2**32 - 1)


class Sink:
    """An agent that takes ready records, or one that does not: keeps what it gets by channel."""

    def __init__(self, table: Table, *, takes_records: bool) -> None:
        self._table, self._takes_records = table, takes_records
        self.messages: list[bytes | memoryview] = []
        self.frames: list[tuple[int, int, int, np.ndarray]] = []
        "channel, position, flags, samples"

    def message(self, rows: np.ndarray, samples: int) -> AudioMessage | None:
        return AudioMessage(len(rows), samples, self.messages) if self._takes_records else None

    def deliver(self, rows: np.ndarray, positions: np.ndarray, flags: np.ndarray, pcm: np.ndarray) -> None:
        self._table.shared.frames_to_agent[rows] += 1
        self._table.shared.worker.frames_to_agent[0] += len(rows)
        frames = zip(
            self._table.channels[rows].tolist(), positions.tolist(), flags.tolist(), pcm.copy(), strict=True
        )
        self.frames += list(frames)

    def heard(self) -> list[tuple[int, int, int, np.ndarray]]:
        """Of each channel, in order."""
        for message in self.messages:
            records = parse_audio(memoryview(message)[8:])
            assert not records["reserved"].any()
            self.frames += [
                (int(r["channel"]), int(r["position"]), int(r["flags"]), r["pcm"]) for r in records
            ]
        self.messages.clear()
        return sorted(self.frames, key=lambda frame: frame[:2])


class Side:
    """An uplink and its agent."""

    def __init__(
        self, calls: Sequence[tuple[str, int, int]], *, by_kernels: bool, takes_records: bool, withheld: bool
    ) -> None:
        self._by_kernels = by_kernels
        with self._chosen():
            self.table = Table(Columns(len(calls) + 2))
            self.sink = Sink(self.table, takes_records=takes_records)
            self.uplink = Uplink(self.table, self.sink)
            self.streams = []
            turns = control.TurnParams(min_silence_ms=400, withhold_silence=withheld)
            for codec, rate_hz, frame_ms in calls:
                message = start_message(rate_hz, frame_ms, turns=turns, codec=codec)
                self.streams.append(running(self.table, message, 1))
                self.uplink.voice.set(self.streams[-1])
                self.uplink.withholding.set(self.streams[-1])
        self.rows = np.array([stream.row for stream in self.streams], np.intp)
        self.filled = 0
        self.told: list[Any] = []
        self._count(self.uplink.fills)

    def _count(self, fills: Fills) -> None:
        frames, write = fills.frames, fills.write

        def counted(work: Any, rows: np.ndarray, *rest: Any, **named: Any) -> Any:
            self.filled += len(rows)
            return work(rest[0], rows, *rest[1:], **named)

        fills.frames = lambda fmt, rows, *a, **k: counted(frames, rows, fmt, *a, **k)  # type: ignore[method-assign]
        fills.write = lambda fmt, rows, *a, **k: counted(write, rows, fmt, *a, **k)  # type: ignore[method-assign]

    def _chosen(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._by_kernels else kernels.without_kernels()

    def prepare(self, seed: int) -> None:
        """Whatever columns may hold."""
        rng, table, c, rows = np.random.default_rng(seed), self.table, self.table.shared, self.rows
        n = len(rows)
        for fmt in table.formats.list:
            fmt.line_history[:] = voices(rng, table.capacity, fmt.line_history.shape[1], fmt.line_hz)
        table.lost_run[rows] = rng.choice([1, 1, 1, 2, 3, 7, 11, 13, 40, SILENT_RUN, SILENT_RUN + 5], n)
        table.ahead_from[rows] = rng.choice([-1, -1, 0, 80], n)
        table.background[:] = rng.normal(0, 60, table.background.shape) * rng.choice(
            [0, 1, 3], (table.capacity, 1)
        )
        table.noise_dbov[rows] = rng.choice([100, -78, -60, -45, -12], n)
        table.noise_known[rows] = rng.random(n) < 0.3
        table.noise_reflection[:] = rng.uniform(-0.5, 0.5, table.noise_reflection.shape)
        table.comfort_until_voice[rows] = rng.random(n) < 0.5
        table.comfort_dbov[rows] = rng.choice([-90, -70, -50, -30], n)
        table.comfort_reflection[:] = rng.uniform(-0.6, 0.6, table.comfort_reflection.shape)
        table.receiving[rows] = rng.random(n) < 0.8
        table.agent_ready[rows] = rng.random(n) < 0.9
        table.up_history[:] = rng.integers(-3000, 3000, table.up_history.shape)
        c.up_flags[rows] = rng.choice([0, 0, FLAG_GAP], n)
        c.up_position[rows] = rng.integers(0, 1 << 40, n)
        c.speaking[rows] = rng.random(n) < 0.5
        state = self.uplink.voice.state
        state[rows, va.QUIET_MS] = rng.choice([0, 370, 390, 1000], n)
        state[rows, va.STOP_MS] = np.where(c.speaking[rows] == 1, 400, np.inf)

    def fill(
        self, which: np.ndarray, ms: float, waiting: dict[int, tuple[int, bytes]], loud: int = 0
    ) -> None:
        """A frame of so many ms that is missing of these calls; of some, what waits behind it; the first are loud."""
        rows, table = self.rows[which], self.table
        quiet = ((table.lost_run[rows] - 1) * ms >= SILENT_MS) & (np.arange(len(rows)) >= loud)
        clocks = table.clock_hz[rows]
        with self._chosen():
            for call, (gap_ms, payload) in waiting.items():
                row = self.rows[[call]]
                self.uplink.expect(row, gap_ms * table.clock_hz[row] // 1000, [payload])
            for clock_hz in np.unique(clocks):
                same = clocks == clock_hz
                self.uplink.fill(rows[same], int(ms * clock_hz / 1000), quiet[same])
        self.told += [(change, position) for change, position in self.uplink.changes]
        self.uplink.changes.clear()
        table.lost_run[rows] += 1


def voices(rng: np.random.Generator, n: int, samples: int, rate_hz: int) -> np.ndarray:
    """i16[n, samples]: of any pitch, more or less noisy."""
    period = rng.uniform(0.003, 0.014, (n, 1)) * rate_hz
    at = 2 * np.pi * np.arange(samples) / period
    sound = sum(np.sin(k * at + k) / k for k in range(1, 6)) * rng.choice([0, 2000, 20_000], (n, 1))
    return np.clip(
        sound + rng.normal(0, 1, at.shape) * rng.choice([0, 30, 5000], (n, 1)), -32768, 32767
    ).astype(np.int16)


def behind(codec: str, rng: np.random.Generator) -> bytes:
    """A payload of some length, or one that is none."""
    size = int(rng.choice([0, 40, 80, 160, 160, 240, 639, 1280, 1764]))
    return rng.integers(0, 256, size, dtype=np.uint8).tobytes()


def compare(one: Side, other: Side) -> None:
    for name in COUNTERS:
        np.testing.assert_array_equal(
            getattr(one.table.shared, name), getattr(other.table.shared, name), name
        )
    for name in LOCAL:
        ours, theirs = getattr(one.table, name).astype(np.int64), getattr(other.table, name).astype(np.int64)
        assert abs(ours - theirs).max() <= (1 if name == "up_history" else 0), name
    np.testing.assert_allclose(one.table.noise_reflection, other.table.noise_reflection, atol=1e-5)
    np.testing.assert_array_equal(one.uplink.voice.state, other.uplink.voice.state)
    assert one.table.shared.worker.frames_to_agent[0] == other.table.shared.worker.frames_to_agent[0]
    assert one.told == other.told
    assert not one.uplink._filler._ahead and not other.uplink._filler._ahead
    ours, theirs = one.sink.heard(), other.sink.heard()
    assert [frame[:3] for frame in ours] == [frame[:3] for frame in theirs]
    for mine, its in zip(ours, theirs, strict=True):
        assert abs(mine[3].astype(int) - its[3]).max() <= 2


def pair(calls: Sequence[tuple[str, int, int]] = CALLS, **how: bool) -> tuple[Side, Side]:
    how = {"takes_records": True, "withheld": False} | how
    return Side(calls, by_kernels=True, **how), Side(calls, by_kernels=False, **how)


@settings(max_examples=20, deadline=None)
@given(
    seeds,
    st.lists(
        st.sampled_from([0.125, 2.5, 6.25, 10, 20, 20, 20, 20.125, 33.5, 60, 117.75, 120]),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
@example(1, [20, 20, 20], True)
@example(1, [20, 20, 20], False)
@example(1, [20.125, 117.75, 6.25], True)
def test_a_missing_frame_is_the_same_by_kernels(
    seed: int, times_ms: list[float], takes_records: bool
) -> None:
    """Of any encoding, agent and packet time, anywhere in a loss; the packet behind it is there, malformed, or not."""
    rng = np.random.default_rng(seed)
    sides = pair(takes_records=takes_records)
    for side in sides:
        side.prepare(seed)
    for ms in times_ms:
        which = rng.permutation(len(CALLS))[: rng.integers(1, len(CALLS) + 1)]
        waiting = {
            int(call): (int(rng.choice([20, 20, 40, 7])), behind(CALLS[call][0], rng))
            for call in which if rng.random() < 0.5
        }  # fmt: skip
        for side in sides:
            side.fill(which, ms, waiting)
    compare(*sides)


@pytest.mark.parametrize("wish", ["muted", "hurried", "withheld", "waiting", "watched"])
def test_frames_that_are_not_passed_on_as_usual_are_the_same(wish: str) -> None:
    """The agent is deaf, the worker is behind, silence is withheld, part of a frame waits, or tones are looked for."""
    sides = pair(CALLS[:4], withheld=wish == "withheld")
    for side in sides:
        side.prepare(5)
        table, uplink = side.table, side.uplink
        table.agent_ready[side.rows] = True
        match wish:
            case "muted":
                table.mute(int(side.rows[1]), uplink=True, downlink=False)
            case "hurried":
                uplink.hurried = True
            case "waiting":
                side.fill(np.arange(4), 10, {})
            case "watched":
                uplink.tones.watching += 1
        for _ in range(8):
            side.fill(np.arange(4), 20, {2: (20, bytes(range(160)))})
    compare(*sides)
    assert sides[0].filled == (0 if wish == "watched" else 4 * 8 + 4 * (wish == "waiting"))
    assert not sides[1].filled


def test_the_usual_calls_have_kernels_and_the_others_do_without() -> None:
    """Whole multiples of a rate, frames of any length up to 120 ms; a peer cannot have one made for every length."""
    side, _ = pair()
    formats: list[Format] = [side.table.formats.at(row) for row in side.rows]
    known = [side.uplink.fills.knows(fmt, fmt.line_hz // 50) for fmt in formats]
    assert known == [min(fmt.up.up, fmt.up.down) == 1 for fmt in formats] and known.count(False) == 1
    for samples in range(1, 8000):
        assert side.uplink.fills.knows(formats[0], samples) == (samples <= 960)
    of_format = [kind for kind in side.uplink.fills._kernels if kind[0] == formats[0].index]
    assert len([kind for kind in of_format if side.uplink.fills._kernels[kind] is not None]) < 20
    assert len(of_format) < 120
    halved = next(fmt for fmt in formats if fmt.up.down == 2)
    assert side.uplink.fills.knows(halved, 322) and not side.uplink.fills.knows(halved, 321)


def test_all_kinds_of_missing_frames_were_made() -> None:
    """Otherwise the comparisons above would say little."""
    side, _ = pair(CALLS[:4])
    flags: set[int] = set()
    for seed in range(8):
        side.prepare(seed)
        side.table.agent_ready[side.rows] = True
        side.fill(np.arange(4), 20, {0: (20, bytes(range(160)))})
    for frame in side.sink.heard():
        flags.add(frame[2] & (FLAG_COMFORT_NOISE | FLAG_CONCEALED))
    assert flags == {0, FLAG_COMFORT_NOISE, FLAG_CONCEALED} and len(side.told) > 2
    assert side.filled == 32


@pytest.mark.parametrize("codec", ["PCMU", "G722", "L16/16000", "OPUS"])
def test_callers_that_pause_and_lose_nothing_have_kernels(codec: str) -> None:
    """From the first frame of a worker on: nothing need be lost before. Decoders that conceal are not asked, either."""
    with fake_opus():
        side, _ = pair([(codec, 16000, 20)] * 3)
    side.table.lost_run[side.rows] = SILENT_RUN
    for _ in range(5):
        side.fill(np.arange(3), 20, {})
    assert side.filled == 15 and len(side.sink.heard()) == 15


def test_what_a_decoder_conceals_itself_is_left_to_it() -> None:
    with fake_opus() as opened:
        side, _ = pair([("OPUS", 16000, 20)] * 3)
    side.table.lost_run[side.rows] = [1, 2, SILENT_RUN]
    side.fill(np.arange(3), 20, {})
    assert not side.filled and opened[0].decoded[side.rows].tolist() == [320, 320, 0]


def test_the_noise_of_very_many_is_the_same() -> None:
    """All of one format, in one batch, whether or not one of them is not silent."""
    for loud in (0, 1):
        sides = pair([CALLS[0]] * 300)
        for side in sides:
            side.prepare(3)
            side.table.lost_run[side.rows] = 30
            side.table.up_history[:] = 0
            side.fill(np.arange(300), 20, {}, loud)
        compare(*sides)
        assert sum(frame[3].any() for frame in sides[0].sink.heard()) > 100


# --- good audio behind a loss --------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from([0, 1, 39, 40, 160, 480]))
def test_good_audio_joins_on_by_the_kernel_as_by_numpy(seed: int, samples: int) -> None:
    """With a fade where the end was not known, as it is elsewhere; the same is forgotten."""
    rng = np.random.default_rng(seed)
    sides = pair(CALLS[:4])
    pcm = voices(rng, 4, samples, 8000) if samples else np.zeros((4, 0), np.int16)
    heard = []
    for side in sides:
        side.prepare(seed)
        side.table.lost_run[side.rows] = np.random.default_rng(seed).choice([0, 0, 1, 2, 30, SILENT_RUN], 4)
        with side._chosen():
            heard.append(side.uplink._filler.join(side.table.formats.at(int(side.rows[0])), side.rows, pcm))
    assert abs(heard[0].astype(int) - heard[1]).max(initial=0) <= 1
    for name in LOCAL:
        np.testing.assert_array_equal(getattr(sides[0].table, name), getattr(sides[1].table, name), name)


# --- what is refused -----------------------------------------------------------------------------


def bound(side: Side, **changed: Any) -> tuple[Any, list[Any]]:
    """The kernel of the first call's format, with columns replaced by their place; and what it is called with."""
    given_: list[Any] = []
    bind = compiled.bind

    def noting(name: str, *first: Any) -> Any:
        if name == "filled_frames":
            given_.extend(first)
        return bind(name, *first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "bind", noting)
        side.uplink.fills._bind(side.table.formats.at(int(side.rows[0])), 160)
    for place, value in changed.items():
        given_[int(place[1:])] = value
    n = 2
    call = [0, side.rows[:n], np.zeros(n, bool), np.zeros(0, np.int64), np.zeros(0, np.int64), b"",
            np.zeros(n, np.uint16), np.zeros(n, np.int64), np.zeros((n, 320), np.int16)]  # fmt: skip
    return bind("filled_frames", *given_), call


@pytest.mark.parametrize(
    "changed",
    [
        {"_0": np.zeros((13, 99), np.int16)}, {"_0": np.zeros((13, 2401), np.int16)}, {"_1": 0}, {"_1": 2**32 + 8000},
        {"_2": np.zeros(255, np.int16)}, {"_2": np.zeros(512, np.int16)[::2]}, {"_11": np.zeros((13, 9), np.float32)},
        {"_12": np.zeros((13, 11), np.float32)}, {"_13": np.zeros((13, 161), np.int16)}, {"_14": np.zeros(159)},
        {"_15": np.zeros((0, 258))}, {"_15": np.zeros((64, 256))}, {"_16": np.zeros((1, 256))},
        {"_16": np.zeros((2, 254))}, {"_20": np.zeros((13, 11))}, {"_21": np.zeros((13, 3), np.int16)},
        {"_22": np.zeros((1, 20), np.float32)}, {"_22": np.zeros((2, 600), np.float32)}, {"_23": 0}, {"_24": 2},
        {"_23": 2**32 + 2}, {"_24": 0},
    ],
)  # fmt: skip
def test_columns_that_do_not_go_together_are_refused(changed: dict[str, Any]) -> None:
    side, _ = pair(CALLS[:2])
    kernel, call = bound(side, **changed)
    with pytest.raises(ValueError, match="fill: the shapes"):
        kernel(*call)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (2, np.zeros(1, bool)), (2, np.zeros(3, bool)), (3, np.zeros(1, np.int64)), (4, np.zeros(2, np.int64)),
        (4, np.zeros(1, np.int64)), (6, np.zeros(1, np.uint16)), (7, np.zeros(1, np.int64)),
        (8, np.zeros((1, 320), np.int16)), (8, np.zeros((2, 321), np.int16)), (8, np.zeros((2, 512 * 2), np.int16)),
        (8, np.zeros((2, 20_000), np.int16)),
    ],
)  # fmt: skip
def test_batches_that_do_not_go_together_are_refused(place: int, value: Any) -> None:
    side, _ = pair(CALLS[:2])
    kernel, call = bound(side)
    assert kernel(*call) >= 0
    call[place] = value
    with pytest.raises(ValueError, match="fill: the shapes"):
        kernel(*call)


@pytest.mark.parametrize("ends", [[-1, 160], [160, -5], [0, 2**62], [200, 100], [2**62, 160]])
def test_ends_beyond_the_payloads_are_not_followed(ends: list[int]) -> None:
    """Nothing waits there, then."""
    side, _ = pair(CALLS[:2])
    kernel, call = bound(side)
    side.table.lost_run[side.rows] = 1
    blind = list(call)
    kernel(*blind)
    call[3], call[4], call[5] = np.full(2, 160), np.array(ends), bytes(160)
    call[8] = np.zeros((2, 320), np.int16)
    side.table.up_history[:] = 0
    kernel(*call)
    assert side.table.ahead_from[side.rows].max() <= 0
