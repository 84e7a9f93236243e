# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the digests in tests/codecs/test_g722.py come from: G.722 against ITU-T's reference code of G.191.

    git clone https://github.com/openitu/STL /tmp/STL
    PYTHONPATH=tests .venv/bin/python -m bench.g722_reference /tmp/STL

Builds the reference (with the C compiler that is there), compares our codec with it on all sounds of
`support.g722` and on the speech, codes and output that come with it, and prints the reference's digests.
The reference is not part of trunkline: its licence is ITU-T's own.
"""

from __future__ import annotations

import ctypes
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from support.g722 import Bytes, Pcm, codes, digest, loud_square, sounds
from trunkline.codecs.g722 import G722Codec

OPERATORS = ("basop32", "control", "count", "enh1632")
SOURCES = ("g722/funcg722.c", "g722/g722.c", *(f"basop/{name}.c" for name in OPERATORS))
FRAME = 320


class Reference:
    """Encoder and decoder of G.191."""

    def __init__(self, source: pathlib.Path, folder: str) -> None:
        target = f"{folder}/reference.so"
        files = [str(source / "src" / name) for name in SOURCES]
        folders = [f"-I{source}/src/{name}" for name in ("basop", "utl", "g722")]
        subprocess.run(["cc", "-O2", "-w", "-fPIC", "-shared", *folders, *files, "-o", target], check=True)
        self._library = ctypes.CDLL(target)
        self._state = (ctypes.c_short * 512)()

    def encode(self, pcm: Pcm) -> Bytes:
        """A whole recording from the beginning."""
        self._library.g722_reset_encoder(self._state)
        pcm, out = np.ascontiguousarray(pcm), np.zeros(len(pcm) // 2, np.int16)
        self._library.g722_encode(_at(pcm), _at(out), ctypes.c_int(len(pcm)), self._state)
        return out.astype(np.uint8)

    def decode(self, payload: Bytes) -> Pcm:
        """A whole recording from the beginning, in mode 1 (64 kbit/s)."""
        self._library.g722_reset_decoder(self._state)
        out = np.zeros((len(payload) * 2 // FRAME, FRAME), np.int16)
        mode, bytes_each = ctypes.c_short(1), ctypes.c_short(FRAME // 2)
        for piece, sound in zip(payload.reshape(-1, FRAME // 2).astype(np.int16), out, strict=True):
            self._library.g722_decode(_at(piece), _at(sound), mode, bytes_each, self._state)
        return out.ravel()


def _at(array: Pcm) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def ours(values: Pcm | Bytes) -> Pcm | Bytes:
    """Encode PCM, decode codes: a whole recording, in frames."""
    codec, row = G722Codec(1), np.zeros(1, np.intp)
    if values.dtype == np.uint8:
        return np.concatenate([codec.decode(row, piece[None])[0] for piece in values.reshape(-1, FRAME // 2)])
    return np.concatenate([codec.encode(row, piece[None])[0][0] for piece in values.reshape(-1, FRAME)])


def compare(name: str, reference: Pcm | Bytes, own: Pcm | Bytes) -> bool:
    """Print one line."""
    differ = int(np.count_nonzero(reference != own))
    print(f"{name:24} {digest(reference)}  {differ:6} of {len(own)} differ")
    return not differ


def main(arguments: list[str]) -> int:
    """0 when all is exact but what the module of the codec names."""
    source = pathlib.Path(arguments[0])
    data = source / "src/g722/test_data"
    with tempfile.TemporaryDirectory() as folder:
        reference = Reference(source, folder)
        exact = [compare(f"encode {name}", reference.encode(pcm), ours(pcm)) for name, pcm in sounds().items()]
        exact.append(compare("decode random codes", reference.decode(codes()), ours(codes())))
        square = ours(loud_square())
        exact.append(compare("decode loud square", reference.decode(square), ours(square)))
        compare("encode loud square *", reference.encode(loud_square()), square)
    speech = np.fromfile(data / "inpsp.bin", "<i2").astype(np.int16)
    coded = np.fromfile(data / "codspw.cod", "<i2").astype(np.uint8)
    decoded = np.fromfile(data / "outsp1.bin", "<i2").astype(np.int16)
    whole = len(coded) // (FRAME // 2) * (FRAME // 2)
    exact.append(compare("encode ITU's speech", coded[:whole], ours(speech[: 2 * whole])))
    exact.append(compare("decode ITU's codes", decoded[: 2 * whole], ours(coded[:whole])))
    print("* beyond full scale in the bands, where the reference limits and others do not")
    return int(not all(exact))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
