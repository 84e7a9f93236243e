# SPDX-License-Identifier: MIT
"""Messages of our dialect as bytes (PROTOCOL.md, section 3): both sides use this.

    0                   4         5         6         8
    +-------------------+---------+---------+---------+----------------+
    | payload bytes u32 | type u8 |  0  u8  |  0 u16  |    payload     |
    +-------------------+---------+---------+---------+----------------+

Type 1 is a JSON object, type 2 is audio, little-endian throughout:

    0               2       4               8
    +---------------+-------+---------------+-- record 0 .. record_count-1 --+
    | samples u16   | 0 u16 | record_count  |                                |
    +---------------+-------+---------------+--------------------------------+
    record:  channel u32 | flags u16 | 0 u16 | position u64 | samples x s16le

All records of a message have one length, so that both sides handle a tick of all
their calls as one NumPy array, with no loop over calls.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.reassembly import Buffer, ProtocolViolation, Reassembler

VERSIONS = (1,)
"Versions of the protocol that this code speaks, the best one last."
CONTROL = 1
AUDIO = 2
MAX_PAYLOAD_BYTES = 4 << 20
"""Longest payload: one tick of 2,000 calls at 16 kHz and 20 ms is 1.3 MB, and a longer tick can be split.
A bound is needed so that a lost byte, or a web browser on the wrong port, is noticed at once."""
MAX_MESSAGE_BYTES = MAX_PAYLOAD_BYTES + 8
"... with its header."
MAX_CONTROL_BYTES = 1 << 16
"""Longest control payload from an agent. The longest that says something has 2 KB, and to read one of 4 MiB as
JSON takes a tenth of a second, in which nobody hears anything. The gateway's own may be longer: `start` carries
headers and metadata, and agents have no other callers to keep waiting."""
MAX_SAMPLES = 0xFFFF
"Samples of one record: 1.4 s at 48 kHz."

_HEADER = struct.Struct("<IBBH")
_AUDIO_HEADER = struct.Struct("<HHI")
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_PREFIX = struct.Struct("<IBBHHHI")
"both"
_PREFIX_BYTES = _PREFIX.size
_RECORD_BYTES = 16
"of a record, before its samples"


@functools.lru_cache(maxsize=64)  # agents may use any length, but each uses few
def record_dtype(samples: int) -> np.dtype[np.void]:
    """One audio record of `samples` samples, packed as on the wire."""
    fields = [("channel", "<u4"), ("flags", "<u2"), ("reserved", "<u2"), ("position", "<u8")]
    return np.dtype([*fields, ("pcm", "<i2", (samples,))])


def _parse_header(header: memoryview, max_control_bytes: int) -> tuple[int, int]:
    size, kind, reserved, reserved2 = _HEADER.unpack(header)
    if kind not in (CONTROL, AUDIO) or reserved or reserved2:
        raise ProtocolViolation(f"bytes {bytes(header).hex(' ')} are not the header of a message")
    if size > MAX_PAYLOAD_BYTES:
        raise ProtocolViolation(f"a message of {size} bytes; at most {MAX_PAYLOAD_BYTES} are allowed")
    if kind == CONTROL and size > max_control_bytes:
        raise ProtocolViolation(f"a control message of {size} bytes; at most {max_control_bytes} are allowed")
    return kind, size


def reassembler(max_control_bytes: int = MAX_PAYLOAD_BYTES) -> Reassembler:
    """Cuts a stream of our dialect into (CONTROL | AUDIO, payload)."""
    return Reassembler(_HEADER.size, functools.partial(_parse_header, max_control_bytes=max_control_bytes))


def parse_audio(payload: memoryview) -> NDArray[np.void]:
    """Records of an audio payload as a structured array, without a copy: fields of `record_dtype`."""
    if len(payload) < _AUDIO_HEADER.size:
        raise ProtocolViolation(f"an audio message of {len(payload)} bytes has no audio header")
    samples, _, count = _AUDIO_HEADER.unpack_from(payload)
    if not samples or not count:
        raise ProtocolViolation(f"an audio message of {count} records of {samples} samples")
    dtype = record_dtype(samples)
    if len(payload) - _AUDIO_HEADER.size != count * dtype.itemsize:
        raise ProtocolViolation(
            f"an audio message of {len(payload)} bytes; {count} records of {samples} samples "
            f"need {_AUDIO_HEADER.size + count * dtype.itemsize}"
        )
    return np.frombuffer(payload, dtype, count, _AUDIO_HEADER.size)


def audio_messages(
    channels: NDArray[np.uint32],
    positions: NDArray[np.int64],
    flags: NDArray[np.uint16],
    pcm: NDArray[np.int16],
) -> Iterator[memoryview]:
    """Write n records pcm[n, samples] as one message, or as few as the longest payload allows."""
    dtype = record_dtype(pcm.shape[1])
    most = (MAX_PAYLOAD_BYTES - _AUDIO_HEADER.size) // dtype.itemsize
    for start in range(0, len(pcm), most):
        rows = slice(start, start + most)
        count = len(pcm[rows])
        message: NDArray[np.uint8] = np.empty(_PREFIX_BYTES + count * dtype.itemsize, np.uint8)
        payload_bytes = len(message) - _HEADER.size
        _PREFIX.pack_into(message.data, 0, payload_bytes, AUDIO, 0, 0, pcm.shape[1], 0, count)
        records = message[_PREFIX_BYTES:].view(dtype)
        records["channel"] = channels[rows]
        records["flags"] = flags[rows]
        records["reserved"] = 0
        records["position"] = positions[rows]
        records["pcm"] = pcm[rows]
        yield message.data


class AudioMessage:
    """An audio message whose records somebody else writes, in place."""

    __slots__ = "_count", "_out", "_samples", "then", "whole"

    def __init__(
        self, count: int, samples: int, out: list[bytes | memoryview], room: NDArray[np.uint8] | None = None
    ) -> None:
        """Room for `count` records of `samples` samples; the message is put into `out` when it is done.

        It takes the `room` that it is given, u8[message_bytes(count, samples) or more], or makes its own.
        """
        if room is None:
            room = np.empty(message_bytes(count, samples), np.uint8)
        self.whole = room
        "u8[bytes]: 16 that `done` writes, and behind them the records"
        self.then: tuple[Callable[[NDArray[np.void]], None], ...] = ()
        "called when it is done, with the records that were written: fields of `record_dtype`; not if there are none"
        self._count, self._samples, self._out = count, samples, out

    @property
    def records(self) -> NDArray[np.uint8]:
        """u8[count, bytes]: `record_dtype(samples)`; anything, to begin with."""
        whole = self.whole[: message_bytes(self._count, self._samples)]
        return whole[_PREFIX_BYTES:].reshape(self._count, -1)

    def done(self, count: int) -> None:
        """The first `count` records are written: send them, if there are any."""
        if not count:
            return
        size = _PREFIX_BYTES + count * (_RECORD_BYTES + 2 * self._samples)
        data = self.whole.data[:size]
        _PREFIX.pack_into(data, 0, size - _HEADER.size, AUDIO, 0, 0, self._samples, 0, count)
        self._out.append(data)
        if self.then:
            written = self.records[:count].view(record_dtype(self._samples))[:, 0]
            for told in self.then:
                told(written)


def message_bytes(count: int, samples: int) -> int:
    """Length of a whole audio message of so many records."""
    return _PREFIX_BYTES + count * (_RECORD_BYTES + 2 * samples)


def control_message(kind: str, **fields: Any) -> bytes:
    """A control message; text that is not valid Unicode (from a SIP header, say) is made so."""
    payload = _JSON({"type": kind, **fields}).encode("utf-8", "replace")
    return _HEADER.pack(len(payload), CONTROL, 0, 0) + payload


def parse_control(payload: Buffer) -> Mapping[str, Any]:
    """The JSON object of a control payload; its "type" is a string."""
    try:
        message = json.loads(str(payload, "utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ProtocolViolation(f"a control message that is not JSON: {error}") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ProtocolViolation('a control message that is not an object with a "type"')
    return message


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
