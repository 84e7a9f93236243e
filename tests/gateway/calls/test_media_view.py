# SPDX-License-Identifier: GPL-2.0-or-later
"""The view of a call's audio: read from its row, and closed with the worker's last figures."""

from __future__ import annotations

import base64
import dataclasses
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from support.call_rig import MEDIA
from trunkline.gateway.calls.call import Call
from trunkline.gateway.calls.media_view import _fill, finished, media_view
from trunkline.gateway.calls.turn_figures import KEPT, TurnFigures
from trunkline.gateway.calls.view import MediaView
from trunkline.gateway.cli.call_text import quality
from trunkline.gateway.logs import _MEDIA_KEYS
from trunkline.gateway.media import control
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.figures import NAMES, QUALITY_SLOTS, Figure
from trunkline.rtp.sdes import new_key


def view() -> MediaView:
    """A view without figures."""
    return MediaView(codec="PCMU", remote="a:1", local="b:2", ptime_ms=20)


def test_every_figure_has_its_place_in_the_view() -> None:
    """One name from the column to the API."""
    assert set(NAMES.values()) <= set(MediaView.model_fields)
    assert max(Figure) < QUALITY_SLOTS


def test_a_row_without_figures_has_none() -> None:
    """Before the first look: no score of 0."""
    media = view()
    _fill(media, Columns(2), 1, 8000, 16000)
    assert media.mos is None and media.bursts is None and media.peer_mos is None


def test_figures_of_the_row_are_shown_and_unknown_ones_are_not() -> None:
    """Rounded for people."""
    columns, media = Columns(2), view()
    columns.quality[1] = np.nan
    columns.quality[1, [Figure.MOS, Figure.BURSTS, Figure.BURST_MS]] = 4.1234, 2, 93.27
    _fill(media, columns, 1, 8000, 16000)
    assert (media.mos, media.bursts, media.burst_ms, media.peer_mos) == (4.12, 2, 93.3, None)


def test_the_workers_last_figures_close_the_view() -> None:
    """They are newer than the row that was read when the end began."""
    media = view()
    media.mos, media.recent_mos, media.rtt_ms = 4.0, 3.0, 10.0
    stats = {"packets_received": 90.0, "packets_lost": 10.0, "mos": 3.1, "bursts": 3.0, "rtt_ms": 41.23456}
    closed = finished(media, stats)
    assert closed is not None
    assert (closed.mos, closed.bursts, closed.rtt_ms, closed.recent_mos) == (3.1, 3, 41.235, 3.0)
    assert closed.loss_percent == pytest.approx(10)


def test_turns_and_underruns_are_shown() -> None:
    """Medians and maxima by name, from the turns that came and the row; one line for people has the medians."""
    figures, columns = TurnFigures(), Columns(2)
    for agent_ms in (300.0, 900.0, 400.0):
        figures.add({"agent_ms": agent_ms, "gateway_ms": 220.5, "total_ms": agent_ms + 220.5, "speech_ms": 1000.0})
    figures.add({"agent_ms": 100.0, "gateway_ms": 260.0, "total_ms": 360.0, "barge_in_ms": 71.3})
    columns.underruns[1], columns.underrun_ns[1] = 2, 61_400_000
    call = SimpleNamespace(
        media=MEDIA, remote="", local="b:2", turns=figures, agent=SimpleNamespace(sample_rate_hz=16000)
    )
    found = media_view(cast(Call, call), (columns, 1))
    assert found is not None
    assert (found.turns, found.turn_agent_ms_p50, found.turn_agent_ms_max) == (4, 350.0, 900.0)
    assert (found.turn_gateway_ms_p50, found.turn_gateway_ms_max) == (220.5, 260.0)
    assert (found.turn_total_ms_p50, found.turn_total_ms_max) == (570.5, 1120.5)
    assert (found.barge_in_ms_p50, found.barge_in_ms_max) == (71.3, 71.3)
    assert (found.underruns, found.underrun_ms) == (2, 61)
    assert "4 turns, agent 350 ms, gateway 220 ms" in quality(found)
    summed = {name for name in MediaView.model_fields if "turn" in name or "barge" in name or "underrun" in name}
    assert summed <= set(_MEDIA_KEYS)
    closed = finished(found, {"underrun_ms": 80.0, "underruns": 3.0})
    assert closed is not None and (closed.underruns, closed.underrun_ms, closed.turns) == (3, 80, 4)


def test_a_call_of_many_turns_is_summed_up_by_its_last_ones() -> None:
    """What is kept is bounded; the longest wait of all is not forgotten."""
    figures = TurnFigures()
    figures.add({"agent_ms": 5000.0})
    for _ in range(2 * KEPT):
        figures.add({"agent_ms": 100.0})
    assert figures.turns == 2 * KEPT + 1
    assert figures.summary() == {"turn_agent_ms_p50": 100.0, "turn_agent_ms_max": 5000.0}


def test_whether_a_call_is_encrypted() -> None:
    """The suite, and nothing of the key; in the view, the log line and on the screen."""
    for suite in (None, "AEAD_AES_128_GCM"):
        key = None if suite is None else new_key(suite)
        call = SimpleNamespace(
            media=dataclasses.replace(MEDIA, send_key=key, receive_key=key), remote="", local="b:2",
            turns=TurnFigures(),
        )  # fmt: skip
        found = media_view(cast(Call, call), None)
        assert found is not None
        assert found.encryption == suite
        assert ("20 ms, packets" if suite is None else f"20 ms, {suite}, packets") in quality(found)
        texts = found.model_dump_json() + repr(call.media) + repr(control.UpdateStream("x", call.media))
        for secret in (
            () if key is None else (base64.b64encode(key.master).decode(), repr(key.master)[2:8], "master")
        ):
            assert secret not in texts
        assert "encryption" in _MEDIA_KEYS
