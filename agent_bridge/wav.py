# SPDX-License-Identifier: MIT
"""A WAV file (RIFF, "WAVE") in memory as samples: what programs that synthesise speech write.

The size of its data may be a lie: a program that writes to a pipe does not know it beforehand.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.encodings import ALAW, L16, ULAW, Encoding
from trunkline.agent_bridge.reassembly import ProtocolViolation

_HEADER_BYTES, _CHUNK_BYTES, _FORMAT_BYTES = 12, 8, 16
MAX_CHUNKS = 64
"In front of the data; programs write three or four."
_EXTENSIBLE = 0xFFFE
"The real format is then in the first two bytes of a GUID, 24 bytes on (Microsoft, WAVEFORMATEXTENSIBLE)."
_ENCODINGS: dict[tuple[int, int], Encoding] = {(1, 16): L16, (6, 8): ALAW, (7, 8): ULAW}
"By format and bits of a sample."


def parse_wav(data: bytes) -> tuple[int, NDArray[np.int16]]:
    """Rate and samples, int16[samples], channels mixed to one; raises ProtocolViolation."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ProtocolViolation("the agent's WAV is none: it does not begin with RIFF and WAVE")
    form: tuple[Encoding, int, int] | None = None
    place = _HEADER_BYTES
    for _ in range(MAX_CHUNKS):
        if place + _CHUNK_BYTES > len(data):
            break
        name, size = struct.unpack_from("<4sI", data, place)
        body = data[place + _CHUNK_BYTES : place + _CHUNK_BYTES + size]
        if name == b"fmt ":
            form = _format(body)
        elif name == b"data" and form is not None:
            encoding, channels, rate_hz = form
            width = encoding.sample_bytes * channels
            pcm = encoding.decode(body[: len(body) // width * width])
            return rate_hz, _mixed(pcm, channels)
        place += _CHUNK_BYTES + size + (size & 1)
    raise ProtocolViolation("the agent's WAV has no audio in it")


def _format(body: bytes) -> tuple[Encoding, int, int]:
    if len(body) < _FORMAT_BYTES:
        raise ProtocolViolation("the agent's WAV is cut off in its format")
    code, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if code == _EXTENSIBLE and len(body) >= 26:
        code = int.from_bytes(body[24:26], "little")
    encoding = _ENCODINGS.get((code, bits))
    if encoding is None or not 1 <= channels <= 8:
        raise ProtocolViolation(
            f"the agent's WAV has format {code}, {bits} bits and {channels} channels: 16-bit PCM, A-law and mu-law "
            "are understood"
        )
    return encoding, channels, rate_hz


def _mixed(pcm: NDArray[np.int16], channels: int) -> NDArray[np.int16]:
    if channels == 1:
        return pcm
    return pcm.reshape(-1, channels).mean(axis=1).astype(np.int16)
