# SPDX-License-Identifier: GPL-2.0-or-later
"""Codecs by name."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.codecs import g711
from trunkline.codecs.registry import open_codec
from trunkline.rtp.payload import AUDIO_FORMATS


@pytest.mark.parametrize("name", list(AUDIO_FORMATS))
def test_every_negotiable_encoding_has_a_codec(name: str) -> None:
    """Whatever SDP may agree on can be decoded, at the rate that SDP's table says."""
    codec = open_codec(name, 4)
    assert codec.name == name
    assert codec.sample_rate_hz == AUDIO_FORMATS[name].sample_rate_hz


@pytest.mark.parametrize(("name", "law"), [("PCMU", "ulaw"), ("pcma", "alaw")])
def test_g711_rows(name: str, law: str) -> None:
    """A byte is a sample; each name has its own law."""
    codec = open_codec(name, 4)
    pcm = np.linspace(-30000, 30000, 320).astype(np.int16).reshape(2, 160)
    rows = np.array([3, 1], np.intp)
    payload, lengths = codec.encode(rows, pcm)
    assert lengths is None
    assert payload.shape == (2, 160) and payload.dtype == np.uint8
    assert np.array_equal(payload, getattr(g711, f"encode_{law}")(pcm))
    assert np.array_equal(codec.decode(rows, payload), getattr(g711, f"decode_{law}")(payload))
    assert np.array_equal(codec.look_ahead(rows, payload), codec.decode(rows, payload))
    assert codec.samples_for(160) == 160
    assert codec.durations(payload, np.array([160, 80], np.int32)).tolist() == [160, 80]
    assert codec.conceal(rows, 160, None) is None


def test_unknown_codec_is_named_with_those_there_are() -> None:
    """The error helps to mend the configuration."""
    with pytest.raises(ValueError, match="no codec 'G729'; there are PCMU, PCMA"):
        open_codec("G729", 4)
