# SPDX-License-Identifier: GPL-2.0-or-later
"""A measurement that cannot see a loss is worth nothing: losses and delays made by hand must be found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import histogram
from bench.clip import clip, first_frame, loudness
from bench.counting_agent import CONCEALED, GAP
from bench.matching import CLOCK_GRID_NS, CallResult, match_calls, spread, unwrap
from support.rtp_wire import HEADER

PACKETS = 200
STEP_NS = 20_000_000
START_NS = 1_000_000_000_000
UP_NS, WAIT_NS, LATE_NS = 1_500_000, 9_000_000, 300_000
PORT = 12_000

Log = dict[str, NDArray[Any]]


def logs(call: int = 3, silence: int = 10, gap_frames: int = 4) -> tuple[Log, Log]:
    """What speaker and agent record of one flawless call that is number `call` of the speaker."""
    frames = clip()
    spoken = frames[(first_frame(call, len(frames)) + np.arange(PACKETS)) % len(frames)]
    sent_ns = START_NS + 700_000 + np.arange(PACKETS) * STEP_NS
    slots = silence + PACKETS
    first_ns = START_NS + 700_000 + UP_NS + WAIT_NS - silence * STEP_NS
    due_ns = first_ns // CLOCK_GRID_NS * CLOCK_GRID_NS + np.arange(slots) * STEP_NS
    payloads = np.concatenate([np.full((silence, 160), 0xFF, np.uint8), spoken])
    packets = np.zeros((slots, 172), np.uint8)
    for i in range(slots):
        header = HEADER.pack(0x80, 0, (0xFFF0 + i) & 0xFFFF, (0xFFFFFC00 + 160 * i) & 0xFFFFFFFF, 7)
        packets[i] = np.frombuffer(header + payloads[i].tobytes(), np.uint8)
    voice: Log = {
        "ports": np.array([0] * call + [PORT]),
        "sent_call": np.full(PACKETS, call),
        "sent_number": np.arange(PACKETS),
        "sent_ns": sent_ns,
        "heard_call": np.full(slots, call),
        "heard_ns": due_ns + LATE_NS,
        "packets": packets,
    }
    read_ns = np.concatenate([sent_ns[0] - np.arange(gap_frames, 0, -1) * STEP_NS, sent_ns]) + UP_NS
    agent: Log = {
        "call_ids": np.array(["other", "mine"]),
        "call": np.full(gap_frames + PACKETS, 1),
        "flags": np.array([GAP] * gap_frames + [0] * PACKETS, np.uint16),
        "position": np.arange(gap_frames + PACKETS) * 320,
        "samples": np.full(gap_frames + PACKETS, 320),
        "level": np.concatenate([np.zeros(gap_frames), loudness(spoken)]).astype(np.float32),
        "read_ns": read_ns,
        "write_ns": read_ns + 100_000,
    }
    return voice, agent


def matched(voice: Log, agent: Log | None) -> CallResult:
    """The one call, measured over its whole length."""
    return match_calls(voice, agent, {"mine": PORT}, (0, 1 << 62))[0]


def drop(log: Log, which: int, *names: str) -> None:
    """Take one entry out of some columns."""
    for name in names:
        log[name] = np.delete(log[name], which, axis=0)


def test_a_flawless_call_is_found_flawless_and_its_delays_are_those_it_was_made_with() -> None:
    found = matched(*logs())
    losses = (found.lost_up, found.flagged, found.breaks, found.lost_down, found.holes, found.missing_down)
    assert losses == (0,) * 6 and not found.mismatched
    assert (found.sent, found.frames, found.echoed) == (PACKETS, PACKETS + 4, PACKETS)
    np.testing.assert_allclose(found.up_ms, UP_NS / 1e6)
    np.testing.assert_allclose(found.late_ms, LATE_NS / 1e6)
    wait_ms = (WAIT_NS + 700_000 + UP_NS) % CLOCK_GRID_NS / 1e6  # the packet clock's tick lies so much earlier
    np.testing.assert_allclose(found.down_ms, WAIT_NS / 1e6 - wait_ms + LATE_NS / 1e6 - 0.1)


def test_a_frame_that_was_made_up_counts_as_lost() -> None:
    voice, agent = logs()
    agent["flags"][50] = CONCEALED
    found = matched(voice, agent)
    assert (found.lost_up, found.flagged, found.breaks) == (1, 1, 0) and not found.mismatched


def test_a_packet_that_the_caller_sent_too_late_is_told_apart() -> None:
    voice, agent = logs()
    agent["flags"][[50, 60]] = CONCEALED
    voice["sent_ns"][50 - 4] += 50_000_000
    found = matched(voice, agent)
    assert (found.lost_up, found.sent_late, found.flagged) == (2, 1, 2)


def test_a_frame_that_never_came_breaks_the_positions() -> None:
    voice, agent = logs()
    drop(agent, 50, "call", "flags", "position", "samples", "level", "read_ns", "write_ns")
    drop(voice, 10 + 46, "heard_call", "heard_ns", "packets")
    found = matched(voice, agent)
    assert (found.lost_up, found.flagged, found.breaks, found.lost_down) == (1, 0, 1, 1)
    assert not found.mismatched, "what is there is matched all the same"


def test_a_hole_in_the_echo_is_seen_and_shifts_nothing() -> None:
    voice, agent = logs()
    hole = voice["packets"][100:101].copy()
    hole[:, 12:] = 0xFF
    for name, value in (("packets", hole), ("heard_ns", voice["heard_ns"][100:101]), ("heard_call", [3])):
        voice[name] = np.insert(voice[name], 100, value, axis=0)
    slots = np.arange(len(voice["packets"]))
    voice["packets"][:, 2:8] = np.concatenate(
        [
            (slots[:, None] >> np.array([8, 0])) & 255,
            (160 * slots[:, None] >> np.array([24, 16, 8, 0])) & 255,
        ],
        axis=1,
    )
    voice["heard_ns"][101:] += STEP_NS
    found = matched(voice, agent)
    assert (found.holes, found.missing_down, found.lost_down) == (1, 0, 0) and not found.mismatched
    assert spread(found.down_ms)["max_ms"] == pytest.approx(found.down_ms[0] + 20)


def test_a_late_packet_is_late_by_what_it_was_made_late() -> None:
    voice, agent = logs()
    voice["heard_ns"][100] += 7_000_000
    found = matched(voice, agent)
    assert spread(found.late_ms)["max_ms"] == pytest.approx(LATE_NS / 1e6 + 7)
    assert spread(found.down_ms)["max_ms"] == pytest.approx(float(np.median(found.down_ms)) + 7)


def test_another_calls_audio_is_not_taken_for_ours() -> None:
    voice, agent = logs()
    agent["level"] = logs(call=11)[1]["level"]
    assert matched(voice, agent).mismatched


def test_a_call_that_the_agent_never_had_is_all_lost() -> None:
    voice, agent = logs()
    agent["call_ids"] = np.array(["other", "another"])
    found = matched(voice, agent)
    assert found.lost_up == PACKETS and found.mismatched


def test_counters_are_unwrapped_in_both_directions() -> None:
    wire = [0xFFFE, 0xFFFF, 1, 0, 2, 0xFFFF]
    column = np.array([[value >> 8, value & 0xFF] for value in wire], np.uint8)
    assert unwrap(column, 16).tolist() == [0xFFFE, 0xFFFF, 0x10001, 0x10000, 0x10002, 0xFFFF]


def test_percentiles_of_the_gateways_histogram_are_upper_edges_of_what_was_added() -> None:
    page = "\n".join(
        f'trunkline_uplink_delay_seconds_bucket{{le="{edge}",worker="{worker}"}} {count}'
        for worker in (0, 1)
        for edge, count in (("0.001", 50), ("0.002", 99), ("+Inf", 100))
    )
    histogram_ = histogram.read(page, "uplink_delay_seconds")
    assert histogram.summary(histogram_) == {
        "p50_ms": 1.0, "p99_ms": 2.0, "max_ms": float("inf"), "count": 200.0,
    }  # fmt: skip
    nothing = histogram.between(histogram_, histogram_)
    assert np.isnan(histogram.percentile(nothing, 0.5))
