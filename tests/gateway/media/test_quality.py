# SPDX-License-Identifier: GPL-2.0-or-later
"""Quality of calls: real packets with holes through receiver and timeline, figures by the definitions."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.media_rig import MS, UplinkRig, voice
from support.quality_rows import ROW
from trunkline.gateway.media.figures import Figure, told
from trunkline.gateway.media.quality import QualityWatch
from trunkline.gateway.media.table import Stream
from trunkline.rtp import emodel
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.loss_bursts import BurstCounter, burst_metrics
from trunkline.rtp.outcomes import Drop


class Watched(UplinkRig):
    """An uplink whose quality is watched."""

    def __init__(self, calls: int = 1) -> None:
        super().__init__(calls, TargetParams(max_ns=100 * MS))
        self.tales: list[tuple[int, int, dict[str, float]]] = []
        self.quality = QualityWatch(self.table, self._told)
        self.timeline.on_missing = self.quality.missing
        for stream in self.streams:
            self.quality.begin(stream, self.now_ns)
        self.c = self.table.shared

    def _told(self, stream: Stream, figures: dict[str, float]) -> None:
        self.tales.append((stream.row, self.now_ns, figures))

    def run(self, ms: float, step_ms: float = 2.5) -> None:
        end = self.now_ns + int(ms * MS)
        while self.now_ns < end:
            super().run(min(step_ms, (end - self.now_ns) / MS), step_ms)
            self.quality.advance(self.now_ns)

    def play(self, pattern: str, first: int = 0) -> None:
        """One packet time for each letter: it arrives (.), is lost (x), or comes 150 ms late (l)."""
        late: dict[int, list[int]] = {}
        for turn, letter in enumerate(itertools.chain(pattern, "?" * 8)):
            for seq in late.pop(turn, []):
                self.packet(voice(seq))
            if letter == ".":
                self.packet(voice(first + turn))
            elif letter == "l":
                late.setdefault(turn + 8, []).append(first + turn)
            self.run(20)

    def figures(self) -> dict[str, float]:
        """As of now."""
        self.quality.refresh(self.table.active)
        return self.quality.figures(0)


def expected(pattern: str) -> dict[str, float]:
    """By packet-by-packet counting and the scalar E-model; the delay is put in by the caller."""
    counter = BurstCounter()
    for letter in pattern:
        counter.packet(letter == ".")
    bursts = burst_metrics(np.array([counter.counts]), np.array([counter.received]))
    percent = 100 * (len(pattern) - pattern.count(".")) / len(pattern)
    ratio = max(1.0, float(bursts.loss_run[0]) * (1 - percent / 100))
    return {
        "loss_percent": 100 * pattern.count("x") / len(pattern),
        "discard_percent": 100 * pattern.count("l") / len(pattern),
        "bursts": float(bursts.bursts[0]),
        "burst_ms": 20 * float(bursts.burst_packets[0]),
        "burst_loss_percent": 100 * float(bursts.burst_density[0]),
        "gap_loss_percent": 100 * float(bursts.gap_density[0]),
        "equipment": emodel.effective_impairment_one(emodel.G711_CONCEALED, percent, ratio),
    }


PATTERNS = {
    "clean": "." * 200,
    "one lost": "." * 100 + "x" + "." * 100,
    "a burst": "." * 60 + "xx..x.x" + "." * 60,
    "apart": ("." * 30 + "x") * 5 + "." * 20,
    "late": "." * 50 + "l" + "." * 50 + "l" + "." * 50,
    "late in a burst": "." * 50 + "xl.x" + "." * 50,
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_figures_are_those_of_the_pattern(pattern: str) -> None:
    """Loss, discards, bursts and rating of what really went through the timeline."""
    rig = Watched()
    rig.play(pattern)
    found, wanted = rig.figures(), expected(pattern)
    for name in (
        "loss_percent",
        "discard_percent",
        "bursts",
        "burst_ms",
        "burst_loss_percent",
        "gap_loss_percent",
    ):
        assert found[name] == pytest.approx(wanted[name], abs=0.06), name
    delay_ms = 20 + float(rig.c.rx_target_ns[0]) / 1e6
    r = emodel.rating_one(emodel.delay_impairment_one(delay_ms), wanted["equipment"])
    assert found["r_factor"] == pytest.approx(r, abs=0.15)
    assert found["mos"] == pytest.approx(emodel.mos_one(r), abs=0.02)


def test_random_loss_lowers_the_score_and_bursts_lower_it_more() -> None:
    """The same share of loss, spread out and in heaps of eight."""
    rng = random.Random(4)
    scores = []
    for share in (0.0, 0.02, 0.05, 0.1):
        rig = Watched()
        rig.play("".join("x" if rng.random() < share else "." for _ in range(600)))
        scores.append(rig.figures()["mos"])
    assert scores == sorted(scores, reverse=True) and scores[0] > 4.3 and scores[-1] < 3.6
    heaps = Watched()
    heaps.play(("." * 72 + "x" * 8) * 7 + "." * 40)
    assert heaps.figures()["mos"] < scores[-1]


def test_a_new_source_keeps_the_bursts_of_the_old_one() -> None:
    """The call is judged, not the stream: 40 packets of one source and 40 of the next are one gap."""
    rig = Watched()
    rig.play("." * 20 + "xx" + "." * 40)
    rig.run(500)
    for seq in range(5000, 5042):
        rig.packet(voice(seq, ssrc=9))
        rig.run(20)
    found = rig.figures()
    assert rig.c.rx_ssrc[0] == 9
    assert (found["bursts"], found["burst_ms"]) == (1, 40)
    assert found["gap_ms"] == pytest.approx(20 * (20 + 40 + 41) / 2, abs=21)


def test_a_worker_that_takes_over_goes_on_counting() -> None:
    """All that matters is in shared memory."""
    rig = Watched()
    rig.play("." * 50 + "xx" + "." * 50)
    before = rig.figures()
    again = QualityWatch(rig.table, lambda stream, figures: None)
    again.begin(rig.streams[0], rig.now_ns)
    again.refresh(rig.table.active)
    assert again.figures(0) == before


def test_agents_are_told_every_five_seconds_and_at_once_when_it_changes() -> None:
    """A bad second after a good minute is news; a good one is not."""
    rig = Watched()
    rig.play("." * 50 * 21)
    times = [(now_ns - rig.tales[0][1]) / 1e9 for _, now_ns, _ in rig.tales]
    assert times == pytest.approx([0, 5, 10, 15][: len(times)], abs=0.3) and len(times) >= 4
    assert all(figures["recent_mos"] > 4.3 for _, _, figures in rig.tales)
    rig.tales.clear()
    rig.play("." * 10 + "x.x.xx.xxx..x.x.xxx" + "." * 20, first=50 * 21 + 8)
    assert len(rig.tales) == 1, "within a second and a half"
    figures = rig.tales[0][2]
    assert figures["recent_mos"] < 3.5 < figures["mos"] and figures["recent_loss_percent"] > 10
    assert figures["mos_min"] == figures["recent_mos"]
    rig.play("." * 150, first=50 * 21 + 8 + 57)
    assert rig.tales[-1][2]["recent_mos"] > 4.3
    assert rig.tales[-1][2]["mos_min"] == figures["mos_min"]


def test_each_call_is_looked_at_once_a_second() -> None:
    """Whatever its row; and only calls that are up."""
    rig = Watched(calls=25)
    for seq in range(60):
        for row in range(25):
            rig.packet(voice(seq), row=row)
        rig.run(20)
    assert (rig.c.quality[rig.table.active, Figure.MOS] > 4).all()


def test_nothing_heard_is_no_score() -> None:
    """Silence from the start is not a bad line, nor a good one."""
    rig = Watched()
    assert rig.quality.figures(0) == {}
    rig.run(2000)
    assert rig.figures() == {} or "mos" not in rig.figures()
    assert told([0.0] * 24) == {}


def test_what_the_peer_hears_is_its_own_word_or_else_an_estimate() -> None:
    """Receiver reports give loss; extended reports outrank what is made of it."""
    rig = Watched()
    rig.play("." * 60)
    assert "peer_mos" not in rig.figures()
    rig.c.peer_expected[0], rig.c.peer_lost[0], rig.c.rtt_ms[0], rig.c.peer_jitter_ms[0] = 1000, 50, 100, 7
    found = rig.figures()
    equipment = emodel.effective_impairment_one(emodel.G711_CONCEALED, 5)
    r = emodel.rating_one(emodel.delay_impairment_one(50 + 20), equipment)
    assert found["peer_r_factor"] == pytest.approx(r, abs=0.1)
    assert found["peer_mos"] == pytest.approx(emodel.mos_one(r), abs=0.01)
    assert (found["peer_loss_percent"], found["peer_jitter_ms"], found["rtt_ms"]) == (5, 7, 100)
    assert "peer_burst_ms" not in found
    assert found["delay_ms"] == pytest.approx(50 + 20 + float(rig.c.rx_target_ns[0]) / 1e6, abs=0.1)
    rig.c.peer_xr[0] = 1, 66, 3.3, 5, 2, 300, 40
    found = rig.figures()
    assert (found["peer_r_factor"], found["peer_mos"], found["peer_burst_ms"]) == (66, 3.3, 300)
    rig.c.peer_xr[0, 1:3] = np.nan  # it knows no score of its own
    assert rig.figures()["peer_mos"] < 3.85, "its discards count in our estimate"


def test_discards_are_the_drops_that_are_too_late() -> None:
    """Not duplicates, nor packets that were never admitted."""
    rig = Watched()
    rig.play("." * 99)
    rig.c.drops[0, Drop.DUPLICATE] = rig.c.drops[0, Drop.SOURCE] = 50
    assert rig.figures()["discard_percent"] == 0
    rig.c.drops[0, Drop.LATE] = 11
    assert rig.figures()["discard_percent"] == pytest.approx(100 / 9, abs=0.01)


@given(
    st.lists(st.fixed_dictionaries(ROW), min_size=1, max_size=4),
    st.lists(st.integers(0, 1000), min_size=4, max_size=4),
    st.sampled_from([0.0, 3.5, np.nan]),
)
@settings(deadline=None, max_examples=150)
def test_batch_equals_loop(rows: list[dict[str, Any]], before: list[int], recent: float) -> None:
    """Whatever the columns hold, a row looked at alone has the figures that it has among others."""
    rig = Watched(calls=len(rows))
    for row, values in enumerate(rows):
        for name, value in values.items():
            getattr(rig.c, name)[row] = value
        rig.c.drops[row, Drop.LATE] = row * 3
        rig.c.quality[row, [Figure.RECENT_MOS, Figure.RECENT_LOSS_PERCENT, Figure.MOS_MIN]] = recent
        rig.quality._before[row] = before
    table = rig.table.active
    saved = rig.c.quality[table].copy()
    rig.quality.refresh(table)
    batch = rig.c.quality[table].copy()
    rig.c.quality[table] = saved
    for row in table.tolist():
        rig.quality.refresh_one(row)
    np.testing.assert_allclose(rig.c.quality[table], batch, rtol=1e-4, atol=0.06)
