# SPDX-License-Identifier: GPL-2.0-or-later
"""The DTMF sender and receiver of spandsp (LGPL 2.1, Debian's libspandsp2), to hold ours against."""

from __future__ import annotations

import ctypes
import functools

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL("libspandsp.so.2")
    for name in ("dtmf_rx_init", "dtmf_tx_init"):
        function = getattr(library, name)
        function.restype = ctypes.c_void_p
        function.argtypes = [ctypes.c_void_p] * 3
    for name in ("dtmf_rx", "dtmf_tx"):
        getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    library.dtmf_rx_get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.dtmf_rx_get.restype = ctypes.c_size_t
    library.dtmf_tx_put.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    for name in ("dtmf_rx_free", "dtmf_tx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    return library


def heard(pcm: Pcm) -> str:
    """Digits that spandsp finds in 8 kHz audio."""
    library = _library()
    receiver = library.dtmf_rx_init(None, None, None)
    found, buffer = "", ctypes.create_string_buffer(129)
    try:
        for start in range(0, len(pcm), 160):  # its buffer holds 128 digits
            chunk = np.ascontiguousarray(pcm[start : start + 160])
            library.dtmf_rx(receiver, chunk.ctypes.data, len(chunk))
            count = library.dtmf_rx_get(receiver, buffer, 128)
            found += buffer.raw[:count].decode()
    finally:
        library.dtmf_rx_free(receiver)
    return found


def sent(digits: str) -> Pcm:
    """What spandsp sends for these digits, at 8 kHz: 50 ms each and 55 ms between them."""
    library = _library()
    sender = library.dtmf_tx_init(None, None, None)
    buffer = np.zeros(8000 * (len(digits) + 1) // 5, np.int16)
    try:
        for start in range(0, len(digits), 32):
            assert library.dtmf_tx_put(sender, digits[start : start + 32].encode(), -1) == 0
        count = library.dtmf_tx(sender, buffer.ctypes.data, len(buffer))
    finally:
        library.dtmf_tx_free(sender)
    return buffer[:count]
