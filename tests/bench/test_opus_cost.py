# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench of Opus compares like with like."""

from __future__ import annotations

import pathlib

import pytest

from bench import opus_cost
from bench.opus_cost import Cell
from support.opus_streams import speech


@pytest.mark.parametrize("cell", [Cell(8000, 0), Cell(48000, 5, 10)])
def test_both_sides_make_the_same_packets(
    cell: Cell, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bytes, with FEC and without; so what is compared is the same work."""
    monkeypatch.setattr(opus_cost, "FRAMES", 20)
    monkeypatch.setattr(opus_cost, "STREAMS", 4)
    pcm = speech(cell.rate_hz, 3)
    ours, theirs = opus_cost.trunkline(cell, pcm), opus_cost.floor(cell, pcm, tmp_path)
    assert ours.packet_bytes == theirs.packet_bytes > 4 * 20 * 20
    assert min(ours.encode_us, ours.decode_us, theirs.encode_us, theirs.decode_us) > 1


def test_what_is_not_the_same_work_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bench says so and stops."""
    monkeypatch.setattr(opus_cost, "speech", speech)
    monkeypatch.setattr(opus_cost, "trunkline", lambda *_: opus_cost.Cost(1, 1, 1000))
    monkeypatch.setattr(opus_cost, "floor", lambda *_: opus_cost.Cost(1, 1, 1001))
    with pytest.raises(RuntimeError, match="1000 bytes of packets, but 1001 by the C program"):
        opus_cost.measure(Cell(8000, 0), rounds=1)
