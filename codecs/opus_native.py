# SPDX-License-Identifier: GPL-2.0-or-later
"""The few functions of libopus that we call, through ctypes, with plain addresses.

Nothing is copied and nothing is made per frame: arguments are integers, and libopus reads
and writes the rows of NumPy arrays where they are.  A call costs 0.6 us by ctypes, and as
much by cffi; a frame of 20 ms costs libopus ten to two hundred times that.

Encoders and decoders live in memory of ours (`opus_*_get_size`, `opus_*_init`).  The state
is one block without pointers into itself, which libopus allows to copy byte by byte.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "libopus.so.0"
OLDEST = (1, 3)
"2018, and in every distribution that has Python 3.11; before it, DTX worked at low bit rates only"
CURE = "install libopus (Debian, Ubuntu: apt install libopus0)"

APPLICATION_VOIP = 2048
BANDWIDTHS = {8000: 1101, 12000: 1102, 16000: 1103, 24000: 1104, 48000: 1105}
"OPUS_BANDWIDTH_* by the sampling rate that is enough for it"


class Set(enum.IntEnum):
    """OPUS_SET_*_REQUEST of an encoder (opus_defines.h)."""

    BITRATE = 4002
    MAX_BANDWIDTH = 4004
    VBR = 4006
    COMPLEXITY = 4010
    INBAND_FEC = 4012
    PACKET_LOSS_PERCENT = 4014
    DTX = 4016


class Get(enum.IntEnum):
    """OPUS_GET_*_REQUEST of an encoder."""

    BITRATE = 4003
    MAX_BANDWIDTH = 4005
    VBR = 4007
    COMPLEXITY = 4011
    INBAND_FEC = 4013
    PACKET_LOSS_PERCENT = 4015
    DTX = 4017
    LOOKAHEAD = 4027


class OpusUnavailable(RuntimeError):
    """There is no libopus, or none that we can use; the message says what to install."""

    def __init__(self, found: str) -> None:
        super().__init__(f"{found}: {CURE}")
        self.found = found
        "without the cure"


class OpusError(RuntimeError):
    """libopus refused something that it should do."""


class Native:
    """libopus, loaded. Raises OpusUnavailable."""

    def __init__(self, name: str = LIBRARY) -> None:
        try:
            library = ctypes.CDLL(name)
            self.version = _version(library)
            if _number(self.version) < OLDEST:
                oldest = ".".join(map(str, OLDEST))
                raise OpusUnavailable(f"{self.version} is too old, Opus needs {oldest} or newer")
            address, number = ctypes.c_void_p, ctypes.c_int
            self.encode: Callable[[int, int, int, int, int], int] = _function(
                library, "opus_encode", address, address, number, address, ctypes.c_int32
            )
            "(state, pcm, samples, payload, bytes) -> bytes used; negative: an error"
            self.decode: Callable[[int, int | bytes | None, int, int, int, int], int] = _function(
                library, "opus_decode", address, address, ctypes.c_int32, address, number, number
            )
            "(state, payload, bytes, pcm, samples, fec) -> samples; negative: an error"
            self._init_encoder = _function(
                library, "opus_encoder_init", address, ctypes.c_int32, number, number
            )
            self._init_decoder = _function(library, "opus_decoder_init", address, ctypes.c_int32, number)
            # Variadic: declaring only the fixed arguments tells ctypes where the others begin.
            self._control = _function(library, "opus_encoder_ctl", address, number)
            self._strerror = _function(library, "opus_strerror", number, result=ctypes.c_char_p)
            self.encoder_bytes: int = _function(library, "opus_encoder_get_size", number)(1)
            self.decoder_bytes: int = _function(library, "opus_decoder_get_size", number)(1)
        except OSError as error:
            raise OpusUnavailable(f"{name} cannot be loaded ({error})") from None
        except AttributeError as error:
            raise OpusUnavailable(f"{name} is not the Opus library ({error})") from None

    def new_encoder(self, rate_hz: int) -> NDArray[np.uint8]:
        """A mono encoder's state, for speech."""
        state = np.zeros(self.encoder_bytes, np.uint8)
        self._check(self._init_encoder(address_of(state), rate_hz, 1, APPLICATION_VOIP), "make an encoder")
        return state

    def new_decoder(self, rate_hz: int) -> NDArray[np.uint8]:
        """A mono decoder's state; it mixes what is sent in stereo."""
        state = np.zeros(self.decoder_bytes, np.uint8)
        self._check(self._init_decoder(address_of(state), rate_hz, 1), "make a decoder")
        return state

    def set(self, encoder: int, request: Set, value: int) -> None:
        """Change one setting of the encoder at that address."""
        done = self._control(encoder, int(request), ctypes.c_int(value))
        self._check(done, f"set {request.name} to {value}")

    def get(self, encoder: int, request: Get) -> int:
        """One setting of the encoder at that address."""
        found = ctypes.c_int32()
        self._check(self._control(encoder, int(request), ctypes.byref(found)), f"tell {request.name}")
        return found.value

    def _check(self, code: int, what: str) -> None:
        if code < 0:
            raise OpusError(f"{self.version} did not {what}: {self._strerror(code).decode()}")


@functools.cache
def library() -> Native:
    """libopus, loaded at the first request. Raises OpusUnavailable."""
    return Native()


def address_of(array: NDArray[np.generic]) -> int:
    """Where an array begins; `array.ctypes.data` says the same and takes ten times as long."""
    return int(array.__array_interface__["data"][0])


def _function(
    library: ctypes.CDLL, name: str, *arguments: type, result: type = ctypes.c_int
) -> Callable[..., Any]:
    function = library[name]  # an object of its own, unlike the attribute
    function.argtypes, function.restype = arguments, result
    return function


def _version(library: ctypes.CDLL) -> str:
    function = library["opus_get_version_string"]
    function.argtypes, function.restype = (), ctypes.c_char_p
    return bytes(function()).decode("ascii", "replace")


def _number(version: str) -> tuple[int, ...]:
    """`libopus 1.3.1-fixed` to (1, 3); what has no number was built from the sources' latest."""
    match = re.search(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else OLDEST
