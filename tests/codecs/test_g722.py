# SPDX-License-Identifier: GPL-2.0-or-later
"""G.722: exact by two independent implementations, row by row, and seen from behind a gap."""

from __future__ import annotations

import numpy as np
import pytest
from G722 import G722
from hypothesis import given, settings
from hypothesis import strategies as st

from support.g722 import codes, digest, ffmpeg_decode, ffmpeg_encode, loud_square, sounds
from trunkline.codecs.g722 import G722Codec

OF_REFERENCE = {
    "white": "42b91d1749287fd12d7a74d57d2df234",
    "low": "06f64a94b9b4254f4d22ddee016079a8",
    "syllables": "e57ee11b857b8a051f4d924e4f53310e",
    "faint": "23599eae4cc77ed30ab97aac2c7f8b9c",
}
"codes that ITU-T's reference (G.191, openitu/STL 139db49) makes of them; see bench/g722_reference.py"
DECODED_BY_REFERENCE = {
    "codes": "34702a3dc9c3557d2537e6019e474ff5",
    "square": "cccd45996a0504379a0e92272f7b88a2",
}

ROW = np.zeros(1, np.intp)


def encode(pcm: np.ndarray) -> np.ndarray:
    """A whole recording of one row."""
    payload, lengths = G722Codec(1).encode(ROW, pcm[None])
    assert lengths is None
    return payload[0]


def decode(payload: np.ndarray) -> np.ndarray:
    return G722Codec(1).decode(ROW, payload[None])[0]


@pytest.mark.parametrize("name", list(OF_REFERENCE))
def test_encoder_is_exact(name: str) -> None:
    """Codes equal those of ITU-T's reference, and FFmpeg's, to the bit."""
    pcm = sounds()[name]
    payload = encode(pcm)
    assert payload.dtype == np.uint8 and len(payload) == len(pcm) // 2
    assert digest(payload) == OF_REFERENCE[name]
    assert np.array_equal(payload, ffmpeg_encode(pcm))


def test_decoder_is_exact() -> None:
    """PCM equals that of ITU-T's reference, and FFmpeg's, for whatever codes."""
    for name, payload in {"codes": codes(), "square": encode(loud_square())}.items():
        pcm = decode(payload)
        assert pcm.dtype == np.int16
        assert digest(pcm) == DECODED_BY_REFERENCE[name]
        assert np.array_equal(pcm, ffmpeg_decode(payload))


def test_sound_beyond_full_scale_is_limited_not_wrapped() -> None:
    """A full-scale square overshoots in the bands: coded as FFmpeg codes it, it keeps its shape."""
    pcm = loud_square()
    payload = encode(pcm)
    assert np.array_equal(payload, ffmpeg_encode(pcm))
    heard = decode(payload)[22:].astype(float)  # the delay of the two filters
    assert np.corrcoef(heard, pcm[:-22])[0, 1] > 0.97


def test_sizes() -> None:
    """A byte is two samples, 8,000 bytes a second; the wrong way of decoding is refused."""
    codec = G722Codec(1)
    assert (codec.name, codec.sample_rate_hz, codec.variable) == ("G722", 16000, False)
    assert [codec.samples_for(size) for size in (0, 1, 160)] == [0, 2, 320]
    sizes = codec.durations(np.zeros((2, 160), np.uint8), np.array([160, 3], np.int32))
    assert sizes.tolist() == [320, 6] and sizes.dtype == np.int64
    assert codec.decode(ROW[:0], np.zeros((0, 160), np.uint8)).shape == (0, 320)
    assert codec.decode(ROW, np.zeros((1, 0), np.uint8)).shape == (1, 0)
    assert codec.encode(ROW[:0], np.zeros((0, 320), np.int16))[0].shape == (0, 160)
    with pytest.raises(TypeError, match="one length"):
        codec.decode_variable(ROW, np.zeros((1, 9), np.uint8), np.array([9], np.int32), 18)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.permutations(range(4)), st.integers(1, 4), st.integers(1, 30)), max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_rows_are_independent(steps: list[tuple[list[int], int, int]], seed: int) -> None:
    """In any order, number and length of frames, a row is coded as if it were alone."""
    rng = np.random.default_rng(seed)
    codec, alone = G722Codec(5), [G722(16000, 64000) for _ in range(5)]
    for order, count, half in steps:
        rows = np.array(order[:count], np.intp) + 1
        pcm = rng.integers(-20000, 20000, (count, 2 * half)).astype(np.int16)
        whole = np.zeros((count, 12 + half), np.uint8)  # payload as it lies in packets, behind a header
        whole[:, 12:], _ = codec.encode(rows, pcm)
        heard = codec.decode(rows, whole[:, 12:])
        heard_before = heard.copy()
        for row, sound, payload, back in zip(rows, pcm, whole[:, 12:], heard, strict=True):
            assert alone[row].encode(sound) == payload.tobytes()
            assert np.array_equal(alone[row].decode(payload.tobytes()), back)
        heard += 1  # what is returned belongs to the caller
        assert np.array_equal(heard - 1, heard_before)


@pytest.mark.parametrize("with_numpy", [True, False])
def test_what_is_seen_ahead_is_what_is_heard_then(with_numpy: bool) -> None:
    """However often it is asked for; with and without the library's own NumPy part."""
    payload = codes()[: 160 * 6].reshape(6, 160)
    alone = [G722(16000, 64000) for _ in range(2)]
    codec, rows = G722Codec(2), np.arange(2)
    codec._coders[:] = [G722(16000, 64000, with_numpy) for _ in rows]
    for packet in (0, 1):
        codec.decode(rows, payload[[packet, packet + 1]])
        for row in rows:
            alone[row].decode(payload[packet + row].tobytes())
    ahead = payload[[4, 5]]
    expected = np.stack([alone[row].decode(ahead[row].tobytes()) for row in rows])
    seen = [codec.look_ahead(rows[::-1], ahead[::-1]), codec.look_ahead(rows, ahead)[::-1]]
    assert np.array_equal(seen[0][::-1], expected) and np.array_equal(*seen)
    seen[0][:] = 0  # what is returned belongs to the caller
    assert np.array_equal(codec.decode(rows, ahead), expected)
    following = codec.decode(rows, payload[[0, 1]])
    assert np.array_equal(following[1], alone[1].decode(payload[1].tobytes()))


def test_a_packet_of_the_gap_that_comes_after_all() -> None:
    """It is decoded, behind what was seen ahead of it; rows where nothing was seen notice nothing."""
    payload = codes()[: 160 * 3].reshape(3, 160)
    codec = G722Codec(2)
    alone = [G722(16000, 64000) for _ in range(2)]
    codec.look_ahead(ROW, payload[[2]])
    late = codec.decode(np.arange(2), payload[[0, 0]])
    alone[0].decode(payload[2].tobytes())
    for row in range(2):
        assert np.array_equal(late[row], alone[row].decode(payload[0].tobytes()))
    due = codec.decode(np.arange(2), payload[[2, 2]])
    for row in range(2):
        assert np.array_equal(due[row], alone[row].decode(payload[2].tobytes()))


def test_a_new_call_begins_anew() -> None:
    """Nothing of a row that has ended is heard in the next call there, and other rows go on."""
    payload = codes()[:320].reshape(2, 160)
    codec, rows = G722Codec(2), np.arange(2)
    first = codec.decode(rows, payload)
    codec.look_ahead(rows, payload)
    codec.forget(0)
    codec.forget(0)
    again = codec.decode(rows, payload)
    assert np.array_equal(again[0], first[0])
    assert not np.array_equal(again[1], first[1])


def test_it_has_no_concealment_and_nothing_to_choose() -> None:
    """The rest of the interface may be called, and changes nothing."""
    codec = G722Codec(1)
    codec.configure(0, "bitrate=48000")
    codec.note_loss(ROW, np.array([50.0]))
    assert codec.conceal(ROW, 320, [b""]) is None
    assert np.array_equal(codec.decode(ROW, codes()[None, :160])[0], decode(codes()[:160]))
