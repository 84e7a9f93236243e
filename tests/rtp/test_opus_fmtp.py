# SPDX-License-Identifier: GPL-2.0-or-later
"""a=fmtp of Opus (RFC 7587): read tolerantly, written exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.opus_fmtp import OpusFmtp, parse, receiving, write

RFC_EXAMPLE = (
    "maxplaybackrate=16000; sprop-maxcapturerate=16000; maxaveragebitrate=20000;"
    " stereo=1; useinbandfec=1; usedtx=0"
)


def test_the_example_of_the_rfc_is_read_whole():
    """RFC 7587 7.1."""
    assert parse(RFC_EXAMPLE) == OpusFmtp(
        max_playback_rate_hz=16000,
        sprop_max_capture_rate_hz=16000,
        max_average_bitrate_bps=20000,
        stereo=True,
        use_inband_fec=True,
    )


def test_what_browsers_write_is_read():
    """minptime is in no RFC, and in every browser's offer."""
    assert parse("minptime=10;useinbandfec=1") == OpusFmtp(min_ptime_ms=10, use_inband_fec=True)


def test_flags_are_booleans():
    """So that what was parsed equals what was built by hand, in repr too."""
    assert repr(parse("stereo=1;sprop-stereo=1;cbr=1;usedtx=1")) == repr(
        OpusFmtp(stereo=True, sprop_stereo=True, cbr=True, use_dtx=True)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";;;",
        "stereo",
        "stereo=2",
        "stereo=yes",
        "stereo=-1",
        "maxplaybackrate=7999",
        "maxplaybackrate=96000",
        "maxplaybackrate=1e4",
        "maxplaybackrate=١٦٠٠٠",
        "maxaveragebitrate=5999",
        "maxaveragebitrate=510001",
        "maxaveragebitrate=99999999999999999999",
        "minptime=0",
        "mode=foo;x-google-min-bitrate=100",
    ],
)
def test_what_the_rfc_does_not_allow_counts_as_not_said(text):
    """A peer with one odd parameter can still be spoken to."""
    assert parse(text) == OpusFmtp()


def test_one_bad_value_does_not_hide_the_others():
    """Case and spaces do not matter either."""
    assert parse(" Stereo = 1 ;maxplaybackrate=oops; CBR=1;") == OpusFmtp(stereo=True, cbr=True)


@pytest.mark.parametrize(
    ("rate_hz", "bandwidth_hz"), [(8000, 8000), (11025, 8000), (16000, 16000), (44100, 24000), (48000, 48000)]
)
def test_bandwidth_is_the_widest_that_can_be_played(rate_hz, bandwidth_hz):
    """maxplaybackrate may be any number; Opus knows five bands."""
    assert parse(f"maxplaybackrate={rate_hz}").bandwidth_hz == bandwidth_hz


def test_the_peers_limit_bounds_the_bit_rate():
    """Without one we send what we want."""
    assert OpusFmtp().bitrate_bps(24000) == 24000
    assert parse("maxaveragebitrate=20000").bitrate_bps(24000) == 20000
    assert parse("maxaveragebitrate=64000").bitrate_bps(24000) == 24000


@pytest.mark.parametrize(
    ("rate_hz", "text"),
    [
        (16000, "maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1"),
        (48000, "useinbandfec=1"),
    ],
)
def test_ours_names_a_rate_only_below_full_band(rate_hz, text):
    """48000 is what a peer assumes."""
    assert write(receiving(rate_hz)) == text


@given(
    st.builds(
        OpusFmtp,
        max_playback_rate_hz=st.integers(8000, 48000),
        sprop_max_capture_rate_hz=st.integers(8000, 48000),
        max_average_bitrate_bps=st.just(0) | st.integers(6000, 510000),
        stereo=st.booleans(),
        sprop_stereo=st.booleans(),
        cbr=st.booleans(),
        use_inband_fec=st.booleans(),
        use_dtx=st.booleans(),
        min_ptime_ms=st.just(0) | st.integers(3, 120),
    )
)
def test_what_is_written_is_read_again(parameters):
    """Round trip."""
    assert parse(write(parameters)) == parameters


_WORDS = st.lists(st.sampled_from(["stereo", "=", ";", "1", "cbr", "maxplaybackrate", " ", "-"])).map("".join)


@given(st.text() | _WORDS)
def test_no_text_raises(text):
    """Whatever it says, it is parameters within their ranges."""
    found = parse(text)
    assert parse(write(found)) == found
