# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of payload formats."""

from __future__ import annotations

import pytest

from trunkline.rtp import payload


@pytest.mark.parametrize(
    ("name", "rtpmap", "clock_hz", "rate_hz", "static"),
    [
        ("PCMU", "PCMU/8000", 8000, 8000, 0),
        ("PCMA", "PCMA/8000", 8000, 8000, 8),
        ("G722", "G722/8000", 8000, 16000, 9),
        ("OPUS", "opus/48000/2", 48000, 48000, None),
        ("L16/8000", "L16/8000", 8000, 8000, None),
        ("L16/16000", "L16/16000", 16000, 16000, None),
        ("L16/44100", "L16/44100", 44100, 44100, 11),
    ],
)
def test_speech(name: str, rtpmap: str, clock_hz: int, rate_hz: int, static: int | None) -> None:
    """Names, clocks, sample rates and static numbers of RFC 3551 table 4 and RFC 7587 7."""
    one = payload.AUDIO_FORMATS[name]
    assert (one.name, one.rtpmap) == (name, rtpmap)
    assert (one.clock_hz, one.sample_rate_hz, one.static_pt) == (clock_hz, rate_hz, static)


@pytest.mark.parametrize("one", payload.FORMATS.values(), ids=lambda one: one.name)
def test_what_is_written_is_found_again(one: payload.PayloadFormat) -> None:
    """Each rtpmap of ours, in any case, means the format that wrote it."""
    name, clock, *channels = one.rtpmap.split("/")
    for spelled in (name, name.upper(), name.lower()):
        assert payload.find_format(spelled, int(clock), int((channels or ["1"])[0])) is one
    assert payload.audio_format(name, int(clock), one.channels) is payload.AUDIO_FORMATS.get(one.name)


def test_static_numbers_mean_what_the_formats_say() -> None:
    """The two tables do not contradict each other."""
    static = {one.static_pt: one for one in payload.FORMATS.values() if one.static_pt is not None}
    for number, one in static.items():
        assert payload.find_format(*payload.STATIC_NAMES[number]) is one
    assert sorted(static) == [0, 8, 9, 11, 13]


@pytest.mark.parametrize(
    ("name", "clock_hz", "channels", "found"),
    [
        ("G722", 16000, 1, "G722"),
        ("opus", 48000, 1, "OPUS"),
        ("opus", 16000, 1, None),
        ("L16", 44100, 2, None),
        ("L16", 48000, 1, None),
        ("PCMU", 16000, 1, None),
        ("telephone-event", 8000, 1, None),
        ("", 0, 1, None),
    ],
)
def test_sloppy_and_foreign_names(name: str, clock_hz: int, channels: int, found: str | None) -> None:
    """Two usual mistakes are understood; what we do not carry is not."""
    audio = payload.audio_format(name, clock_hz, channels)
    assert (audio.name if audio else None) == found


def test_noise_goes_with_speech_whose_clock_is_its_sample_rate() -> None:
    """RFC 3389 4; Opus has DTX of its own."""
    noises = {name: payload.noise_of(one) for name, one in payload.AUDIO_FORMATS.items()}
    assert {name: noise.rtpmap if noise else "" for name, noise in noises.items()} == {
        "PCMU": "CN/8000",
        "PCMA": "CN/8000",
        "G722": "",
        "OPUS": "",
        "L16/8000": "CN/8000",
        "L16/16000": "CN/16000",
        "L16/44100": "",
    }
