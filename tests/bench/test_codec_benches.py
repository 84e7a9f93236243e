# SPDX-License-Identifier: GPL-2.0-or-later
"""The benches of codecs and resampling: they run, and what README says of resampling holds for each pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import codecs, filling_cost, resampling


@pytest.mark.parametrize(("from_hz", "to_hz"), resampling.PAIRS)
def test_every_pair_keeps_what_is_promised(from_hz: int, to_hz: int) -> None:
    """Ripple below 0.1 dB, images, aliases and stop band below -80 dB, the delay that the resampler states."""
    _, _, ripple, other, stopped, delay, _ = resampling.row(from_hz, to_hz)
    assert float(ripple) < 0.1 and float(other) < -80
    if from_hz > 1.13 * to_hz:  # the input reaches into the stop band
        assert float(stopped) < -80
    else:
        assert stopped == "-"
    assert float(delay) == pytest.approx(resampling.get_resampler(from_hz, to_hz).delay_ms, abs=0.006)


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """A PNG with something on it."""
    resampling.plot(tmp_path / "response.png")
    picture = (tmp_path / "response.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 20_000


def test_costs_are_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kernel has a figure above nothing for each batch."""
    monkeypatch.setattr(filling_cost, "CPU_S", 0.003)
    codecs.main([])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[4:]]
    names = {" ".join(words[:-3]) for words in lines}
    assert {"G.722: encode", "L16/44100: decode", "resample 44100 to 16000", "level at 48000"} <= names
    assert all(float(figure) > 0 for words in lines for figure in words[-3:])
