# SPDX-License-Identifier: GPL-2.0-or-later
"""G.711 against the standard's own tables, its scalar twins and Python's audioop."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from trunkline.codecs import g711

ALL_CODES = np.arange(256, dtype=np.uint8)
ALL_SAMPLES = np.arange(65536, dtype=np.uint16).view(np.int16)

# G.711 tables 1a and 2a: by segment, the number of steps and the width of a step, in units of
# the uniform PCM that the tables use (13 and 14 bits with sign). Decision values follow by adding up.
ALAW_STEPS = [(32, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (16, 128)]
ULAW_STEPS = [(1, 1), (15, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (16, 128), (16, 256)]


def decision_values(steps: list[tuple[int, int]]) -> np.ndarray:
    """Upper edges of the intervals of the positive half, in order."""
    return np.cumsum([width for count, width in steps for _ in range(count)])


def outputs(steps: list[tuple[int, int]]) -> np.ndarray:
    """Quantized values: the middle of each interval, as the tables' last column has it."""
    edges = np.concatenate([[0], decision_values(steps)])
    return (edges[:-1] + edges[1:]) / 2


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_decoder_agrees_with_its_scalar_twin_on_every_code(law: str) -> None:
    """Batch decoding is the twin, code by code."""
    twin = getattr(g711, f"decode_{law}_sample")
    decoded = getattr(g711, f"decode_{law}")(ALL_CODES)
    assert decoded.dtype == np.int16
    assert decoded.tolist() == [twin(code) for code in range(256)]


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_encoder_agrees_with_its_scalar_twin_on_every_sample(law: str) -> None:
    """Batch encoding is the twin, for all 65536 samples."""
    twin = getattr(g711, f"encode_{law}_sample")
    encoded = getattr(g711, f"encode_{law}")(ALL_SAMPLES)
    assert encoded.dtype == np.uint8
    assert encoded.tolist() == [twin(sample) for sample in ALL_SAMPLES.tolist()]


def test_alaw_follows_the_decision_values_of_table_1a() -> None:
    """Each interval of table 1a has its own code, in order, and decodes to its middle."""
    interval = np.searchsorted(decision_values(ALAW_STEPS), np.arange(32768) / 8, side="right")
    codes = g711.encode_alaw(np.arange(32768).astype(np.int16))
    assert ((codes ^ 0x55) & 0x7F).tolist() == interval.tolist()
    assert (codes ^ 0x55 >= 0x80).all()
    positive = g711.decode_alaw(((np.arange(128) | 0x80) ^ 0x55).astype(np.uint8))
    assert (positive / 8).tolist() == outputs(ALAW_STEPS).tolist()


def test_ulaw_follows_the_decision_values_of_table_2a() -> None:
    """Each interval of table 2a has its own code, in order, and decodes to its middle (the first to 0)."""
    edges = decision_values(ULAW_STEPS)
    interval = np.minimum(np.searchsorted(edges, np.arange(32768) / 4, side="right"), 127)
    codes = g711.encode_ulaw(np.arange(32768).astype(np.int16))
    assert (~codes & 0xFF).tolist() == interval.tolist()
    positive = g711.decode_ulaw((~np.arange(128) & 0xFF).astype(np.uint8)) / 4
    middles = outputs(ULAW_STEPS)
    middles[0] = 0
    assert positive.tolist() == middles.tolist()
    assert edges[-1] == 8159


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_decoding_and_encoding_again_changes_no_code(law: str) -> None:
    """A relay that decodes and encodes is transparent; only mu-law's two zeros become one."""
    again = getattr(g711, f"encode_{law}")(getattr(g711, f"decode_{law}")(ALL_CODES))
    expected = ALL_CODES.copy()
    if law == "ulaw":
        expected[0x7F] = 0xFF
    assert again.tolist() == expected.tolist()


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_halves_mirror_each_other(law: str) -> None:
    """A negative sample has the code of its mirror image, but for the sign bit."""
    encode = getattr(g711, f"encode_{law}")
    positive = np.arange(1, 32768).astype(np.int16)
    mirror = -positive if law == "ulaw" else ~positive
    assert (encode(mirror) ^ 0x80).tolist() == encode(positive).tolist()


@pytest.mark.parametrize("law", ["ulaw", "alaw"])
def test_audioop_agrees(law: str) -> None:
    """Python's audioop, an independent implementation, gives the same codes and samples.

    It rounds negative mu-law input away from zero to 14 bits first, so there only
    the samples of 14 bits are comparable.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop")
    decoded = np.frombuffer(getattr(audioop, f"{law}2lin")(ALL_CODES.tobytes(), 2), np.int16)
    assert decoded.tolist() == getattr(g711, f"decode_{law}")(ALL_CODES).tolist()
    encoded = np.frombuffer(getattr(audioop, f"lin2{law}")(ALL_SAMPLES.tobytes(), 2), np.uint8)
    comparable = (ALL_SAMPLES >= 0) | (ALL_SAMPLES % 4 == 0) | (law == "alaw")
    ours = getattr(g711, f"encode_{law}")(ALL_SAMPLES)
    assert ours[comparable].tolist() == encoded[comparable].tolist()


def test_silence_constants_are_the_codes_of_zero() -> None:
    """What is sent as silence is what a zero sample encodes to."""
    zero = np.zeros((2, 3), dtype=np.int16)
    assert (g711.encode_ulaw(zero) == g711.SILENCE_ULAW).all()
    assert (g711.encode_alaw(zero) == g711.SILENCE_ALAW).all()


def test_any_shape_and_strided_rows() -> None:
    """Rows cut out of a wider packet buffer work, and keep their shape."""
    packets = np.arange(5 * 172, dtype=np.int64).astype(np.uint8).reshape(5, 172)
    payload = packets[:, 12:]
    assert np.array_equal(g711.decode_ulaw(payload), g711.decode_ulaw(payload.copy()))
    wide = np.arange(600, dtype=np.int16).reshape(3, 200)[:, 20:180]
    assert np.array_equal(g711.encode_alaw(wide), g711.encode_alaw(wide.copy()))
    assert g711.encode_ulaw(np.zeros((0, 160), np.int16)).shape == (0, 160)
