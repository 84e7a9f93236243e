# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent of a bench run, for the dialects over WebSocket: one connection a call, all audio goes back as it came.

    python -m trunkline.gateway.bench.websocket_agent ADDRESS RECORD FROM TO DIALECT

As `audiosocket_agent.py`, with frames of RFC 6455 and what the dialect puts audio into.  No JSON is parsed: the
payload is found by the words before it.  So its CPU is the least that such an agent can need in Python; one with a
WebSocket library and a JSON parser needs several times as much.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import re
import socket
import sys
from array import array
from pathlib import Path

import numpy as np

from trunkline.codecs import g711
from trunkline.gateway.bench.agent_loop import Connection, serve
from trunkline.gateway.bench.records import Frames, write_frames

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"RFC 6455, section 1.3"
_CALL = re.compile(rb"0{8}-?0{4}-?4000-?8000-?(\d{12})")
"Of numbering.py, with hyphens or, in Twilio's ids, without."
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """How a dialect carries audio."""

    found: bytes = b""
    "what stands before the payload in a message to the agent; empty: audio is binary"
    before: bytes = b""
    "and in one from it"
    after: bytes = b""
    ulaw: bool = False


DIALECTS = {
    "twilio": Words(b'"payload":"', b'{"event":"media","media":{"payload":"', b'"}}', ulaw=True),
    "telnyx": Words(b'"payload":"', b'{"event":"media","media":{"payload":"', b'"}}', ulaw=True),
    "plivo": Words(
        b'"payload":"',
        b'{"event":"playAudio","media":{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"',
        b'"}}',
        ulaw=True,
    ),
    "teler": Words(b'"audio_b64":"', b'{"type":"audio","audio_b64":"', b'","chunk_id":1}'),
    "vonage": Words(),
    "jambonz": Words(),
    "asterisk-websocket": Words(),
}


class Log:
    """What came, in columns that grow without an object a frame."""

    def __init__(self, first: int, last: int, words: Words) -> None:
        size = 1 if words.ulaw else 2
        self._from, self._to, self._ulaw = first * size, last * size, words.ulaw
        self.calls, self.times, self.windows = array("q"), array("q"), bytearray()

    def add(self, call: int, audio: bytes, read_ns: int) -> None:
        """An audio payload."""
        window = audio[self._from : self._to]
        if len(window) == self._to - self._from:
            self.calls.append(call)
            self.times.append(read_ns)
            self.windows += window

    def frames(self) -> Frames:
        """Everything."""
        if self._ulaw:
            samples = g711.decode_ulaw(np.frombuffer(self.windows, np.uint8))
        else:
            samples = np.frombuffer(self.windows, "<i2").astype(np.int16)
        window = samples.reshape(len(self.calls), -1) if self.calls else samples.reshape(0, 0)
        return Frames(np.array(self.calls, np.int64), np.array(self.times, np.int64), window)


class WebSocket(Connection):
    """One call."""

    __slots__ = ("log", "open", "words")

    def __init__(self, sock: socket.socket, log: Log, words: Words) -> None:
        super().__init__(sock)
        self.log, self.words, self.open = log, words, False

    def take(self, data: bytes, read_ns: int) -> bool:
        """What has come; False when the call is over."""
        if not self.open:
            head, found, data = data.partition(b"\r\n\r\n")
            self.waiting = b"" if found else head
            if not found:
                return True
            self.write(_accepting(head))
            self.open = True
        return self._frames(data, read_ns)

    def _frames(self, data: bytes, read_ns: int) -> bool:
        place, end = 0, len(data)
        echo: list[bytes] = []
        while end - place >= 2:
            size, begin = data[place + 1] & 0x7F, place + 2
            if size == 126:
                size, begin = int.from_bytes(data[begin : begin + 2], "big"), begin + 2
            elif size == 127:
                size, begin = int.from_bytes(data[begin : begin + 8], "big"), begin + 8
            after = begin + 4 + size
            if after > end:
                break
            opcode = data[place] & 0x0F
            payload = apply_mask(data[begin + 4 : after], data[begin : begin + 4])
            place = after
            if opcode == _CLOSE:
                self.write(_frame(_CLOSE, payload))
                return False
            if opcode == _PING:
                echo.append(_frame(_PONG, payload))
            else:
                self._message(opcode, payload, read_ns, echo)
        self.waiting = data[place:]
        if echo:
            self.write(b"".join(echo))
        return True

    def _message(self, opcode: int, payload: bytes, read_ns: int, echo: list[bytes]) -> None:
        words = self.words
        if opcode == _BINARY:
            self.log.add(self.call, payload, read_ns)
            echo.append(_frame(_BINARY, payload))
            return
        at = payload.find(words.found) if words.found else -1
        if at >= 0:
            begin = at + len(words.found)
            text = payload[begin : payload.index(b'"', begin)]
            self.log.add(self.call, binascii.a2b_base64(text), read_ns)
            echo.append(_frame(_TEXT, words.before + text + words.after))
        elif self.call < 0 and (found := _CALL.search(payload)):
            self.call = int(found[1])


def _accepting(request: bytes) -> bytes:
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in request.split(b"\r\n")[1:])
    }
    proof = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _GUID).digest())  # noqa: S324
    lines = [
        b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + proof,
    ]  # fmt: skip
    if offered := headers.get(b"sec-websocket-protocol"):
        lines.append(b"Sec-WebSocket-Protocol: " + offered.split(b",")[0].strip())
    return b"\r\n".join([*lines, b"", b""])


def _frame(opcode: int, payload: bytes) -> bytes:
    """Of a server: without a mask."""
    size = len(payload)
    if size < 126:
        return bytes([0x80 | opcode, size]) + payload
    if size < 1 << 16:
        return bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big") + payload
    return bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big") + payload


def main(arguments: list[str]) -> None:
    """The program."""
    address, record = arguments[:2]
    first, last = map(int, arguments[2:4])
    words = DIALECTS[arguments[4]]
    host, _, port = address.rpartition(":")
    log = Log(first, last, words)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(4096)
        print(f"ready {listener.getsockname()[1]}", flush=True)
        serve(listener, lambda sock: WebSocket(sock, log, words))
    write_frames(Path(record), log.frames())


if __name__ == "__main__":
    main(sys.argv[1:])
