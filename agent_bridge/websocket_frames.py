# SPDX-License-Identifier: MIT
"""Frames of RFC 6455 for the audio's path, 50 times a second each way for every call.

Handshake, control frames, fragments and whatever is wrong are `websockets`' business.  A whole
message in one frame is written and read here: its way takes 1.8 us to write 350 bytes of text and
3.5 to read them, this 0.7 and 1.4.
"""

from __future__ import annotations

import os
import struct

from websockets.frames import Frame, Opcode

from trunkline.agent_bridge.reassembly import Buffer

try:
    from websockets.speedups import apply_mask
except ImportError:  # no compiler where it was installed: 20 us instead of 0.1
    from websockets.utils import apply_mask

_SHORT, _MEDIUM, _LONG = struct.Struct("!BB"), struct.Struct("!BBH"), struct.Struct("!BBQ")
_FIN, _MASKED = 0x80, 0x80
_WHOLE_TEXT, _WHOLE_BINARY = _FIN | Opcode.TEXT, _FIN | Opcode.BINARY
OTHER = -1
_KEYS_BYTES = 4096
"Random bytes drawn at once: a system call for each key would cost as much as all the rest."


class FrameWriter:
    """Messages as frames of a client: unfragmented, masked with a fresh key each (section 5.3)."""

    def __init__(self) -> None:
        self._keys = b""
        self._used = 0

    def text(self, message: str) -> bytes:
        """A text message; what is no valid Unicode (half a surrogate pair, out of a header) becomes `?`."""
        return self._frame(Opcode.TEXT, message.encode("utf-8", "replace"))

    def binary(self, message: bytes) -> bytes:
        """A binary message."""
        return self._frame(Opcode.BINARY, message)

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        size = len(payload)
        if size < 126:
            head = _SHORT.pack(_FIN | opcode, _MASKED | size)
        elif size < 1 << 16:
            head = _MEDIUM.pack(_FIN | opcode, _MASKED | 126, size)
        else:
            head = _LONG.pack(_FIN | opcode, _MASKED | 127, size)
        key = self._key()
        return head + key + apply_mask(payload, key)

    def _key(self) -> bytes:
        if self._used == len(self._keys):
            self._keys, self._used = os.urandom(_KEYS_BYTES), 0
        key = self._keys[self._used : self._used + 4]
        self._used += 4
        return key


class FrameCutter:
    """Cuts what an agent sends into frames; bytes are copied once, and held as long as their frame is not whole."""

    def __init__(self, longest_bytes: int) -> None:
        self._longest_bytes = longest_bytes
        self._data = bytearray()
        self._at = 0
        self._in_fragments = False

    def add(self, data: Buffer) -> None:
        """More of the stream."""
        del self._data[: self._at]
        self._at = 0
        self._data += data

    @property
    def left(self) -> int:
        """Bytes that have not been taken."""
        return len(self._data) - self._at

    def next(self) -> tuple[int, str | bytes] | None:
        """The next frame: TEXT or BINARY with a whole message, or OTHER with the frame as it came.

        None: it is not whole yet. Raises UnicodeDecodeError. Of a frame that is too long, or masked, only the
        header comes: that is where whoever parses it stops.
        """
        data, at = self._data, self._at
        if len(data) < at + 2:
            return None
        first, size = data[at], data[at + 1]
        body = at + 2
        if size >= 126:
            body += 2 if size == 126 else 8 if size == 127 else 0
            if len(data) < body:
                return None
            size = int.from_bytes(data[at + 2 : body], "big") if body > at + 2 else 1 << 64
        if size > self._longest_bytes:
            end = body
        elif (end := body + size) > len(data):
            return None
        self._at = end
        if size <= self._longest_bytes and first in (_WHOLE_TEXT, _WHOLE_BINARY) and not self._in_fragments:
            with memoryview(data) as view:
                if first == _WHOLE_TEXT:
                    return Opcode.TEXT, str(view[body:end], "utf-8")
                return Opcode.BINARY, bytes(view[body:end])
        if first & 0x0F <= Opcode.BINARY:
            self._in_fragments = not first & _FIN
        return OTHER, bytes(data[at:end])


class MessageJoiner:
    """Fragments to messages (section 5.4). Sizes and order are checked by whoever parses the frames."""

    def __init__(self) -> None:
        self._kind: int = Opcode.BINARY
        self._parts = bytearray()
        "One buffer, not a list of pieces: a million pieces of one byte each would take 40 MB."

    def take(self, frame: Frame) -> str | bytes | None:
        """The message that this data frame completes, or None; raises UnicodeDecodeError for text that is none."""
        if frame.opcode is not Opcode.CONT:
            if frame.fin:
                return _message(frame.opcode, bytes(frame.data))
            self._kind = frame.opcode
        self._parts += frame.data
        if not frame.fin:
            return None
        whole, self._parts = bytes(self._parts), bytearray()
        return _message(self._kind, whole)


def _message(kind: int, payload: bytes) -> str | bytes:
    return payload.decode() if kind == Opcode.TEXT else payload
