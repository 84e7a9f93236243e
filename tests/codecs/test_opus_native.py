# SPDX-License-Identifier: GPL-2.0-or-later
"""Without a libopus that we can use, somebody reads what to install."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from trunkline.codecs import opus_native
from trunkline.codecs.opus_native import Native, OpusError, OpusUnavailable, Set, address_of


def test_the_library_is_there_and_says_its_version():
    """The tests' machine has it; so has each that carries Opus."""
    assert opus_native.library().version.startswith("libopus")


@pytest.mark.parametrize("name", ["libopus-that-is-not-there.so.0", "/dev/null"])
def test_no_library(name):
    """Missing, or a file that is none."""
    with pytest.raises(OpusUnavailable, match=f"{name} cannot be loaded.*apt install libopus0"):
        Native(name)


def test_another_library():
    """The C library has no opus_encode."""
    with pytest.raises(OpusUnavailable, match=r"is not the Opus library.*apt install libopus0"):
        Native("libc.so.6")


def test_an_old_library(monkeypatch):
    """Both versions are named; the one that is here stands for an old one."""
    monkeypatch.setattr(opus_native, "OLDEST", (99, 0))
    with pytest.raises(OpusUnavailable, match=r"libopus \S+ is too old, Opus needs 99\.0 or newer: install"):
        Native()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("libopus 1.3.1", (1, 3)),
        ("libopus 1.5.2-fixed", (1, 5)),
        ("libopus 2.0", (2, 0)),
        ("libopus unknown", (1, 3)),
    ],
)
def test_versions(text, number):
    """A build of the sources' latest has no number, and is taken."""
    assert opus_native._number(text) == number


def test_what_libopus_refuses_is_an_error():
    """With its words, and ours."""
    native = opus_native.library()
    state = native.new_encoder(16000)
    with pytest.raises(OpusError, match=r"did not set COMPLEXITY to 99: invalid argument"):
        native.set(address_of(state), Set.COMPLEXITY, 99)
    with pytest.raises(OpusError, match="did not make a decoder"):
        native.new_decoder(44100)


def test_states_can_be_copied():
    """What look_ahead rests on: a copy goes on like the original, and neither minds the other."""
    native = opus_native.library()
    first = native.new_encoder(16000)
    pcm = np.random.default_rng(1).integers(-9000, 9000, (6, 320)).astype(np.int16)
    out = np.zeros((2, 1275), np.uint8)
    for frame in pcm[:3]:
        native.encode(address_of(first), address_of(frame), 320, address_of(out), 1275)
    second = first.copy()
    for frame in pcm[3:]:
        sizes = [
            native.encode(address_of(state), address_of(frame), 320, address_of(line), 1275)
            for state, line in zip((first, second), out, strict=True)
        ]
        assert sizes[0] == sizes[1] > 0
        assert np.array_equal(out[0], out[1])


def test_importing_the_codec_needs_no_library():
    """A gateway without Opus starts without libopus."""
    program = "import ctypes; ctypes.CDLL = None; import trunkline.codecs.opus"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
