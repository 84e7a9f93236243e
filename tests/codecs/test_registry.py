# SPDX-License-Identifier: GPL-2.0-or-later
"""Codecs by name."""

from __future__ import annotations

import numpy as np
import pytest

from trunkline.codecs import g711
from trunkline.codecs.registry import get_codec
from trunkline.rtp.payload import AUDIO_FORMATS


@pytest.mark.parametrize("name", ["PCMU", "PCMA"])
def test_every_negotiable_encoding_has_a_codec(name: str) -> None:
    """Whatever SDP may agree on can be decoded, at the rate that SDP's table says."""
    codec = get_codec(name)
    assert codec.name == name
    assert codec.sample_rate_hz == AUDIO_FORMATS[name].sample_rate_hz


@pytest.mark.parametrize(("name", "law"), [("PCMU", "ulaw"), ("pcma", "alaw")])
def test_g711_rows(name: str, law: str) -> None:
    """A byte is a sample; each name has its own law."""
    codec = get_codec(name)
    pcm = np.linspace(-30000, 30000, 320).astype(np.int16).reshape(2, 160)
    payload = codec.encode(pcm)
    assert payload.shape == (2, 160) and payload.dtype == np.uint8
    assert np.array_equal(payload, getattr(g711, f"encode_{law}")(pcm))
    assert np.array_equal(codec.decode(payload), getattr(g711, f"decode_{law}")(payload))
    assert codec.samples_for(160) == 160


def test_unknown_codec_is_named_with_those_there_are() -> None:
    """The error helps to mend the configuration."""
    with pytest.raises(ValueError, match="no codec 'G729'; there are PCMU, PCMA"):
        get_codec("G729")
