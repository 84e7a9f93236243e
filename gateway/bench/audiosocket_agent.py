# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent of a bench run, for AudioSocket: one connection a call, each frame goes back as it came.

    python -m trunkline.gateway.bench.audiosocket_agent ADDRESS RECORD FROM TO

ADDRESS is HOST:PORT; port 0 takes any.  Says "ready PORT"; the end of standard input ends it, and it
writes RECORD.  A frame is usually read whole and alone, so that is the short way through the loop.
"""

from __future__ import annotations

import socket
import sys
from array import array
from pathlib import Path

import numpy as np

from trunkline.agent_bridge.audiosocket import HANGUP, RATE_OF_KIND, UUID
from trunkline.gateway.bench.agent_loop import Connection, serve
from trunkline.gateway.bench.numbering import call_number_of_bytes
from trunkline.gateway.bench.records import Frames, write_frames

HEADER_BYTES = 3


class Log:
    """What came, in columns that grow without an object a frame."""

    def __init__(self, first: int, last: int) -> None:
        self._from, self._to = HEADER_BYTES + 2 * first, HEADER_BYTES + 2 * last
        self.calls, self.times, self.windows = array("q"), array("q"), bytearray()

    def add(self, call: int, frame: bytes, read_ns: int) -> None:
        """An audio frame, header included."""
        window = frame[self._from : self._to]
        if len(window) == self._to - self._from:  # a shorter frame is not one packet of ours
            self.calls.append(call)
            self.times.append(read_ns)
            self.windows += window

    def frames(self) -> Frames:
        """Everything."""
        window = np.frombuffer(self.windows, "<i2").reshape(len(self.calls), -1)
        return Frames(np.array(self.calls, np.int64), np.array(self.times, np.int64), window)


class AudioSocket(Connection):
    """One call."""

    __slots__ = ("log",)

    def __init__(self, sock: socket.socket, log: Log) -> None:
        super().__init__(sock)
        self.log = log

    def take(self, data: bytes, read_ns: int) -> bool:
        """What has come; False when the call is over."""
        place, end = 0, len(data)
        echo = []
        while end - place >= HEADER_BYTES:
            after = place + HEADER_BYTES + (data[place + 1] << 8 | data[place + 2])
            if after > end:
                break
            frame = data[place:after] if after - place < end else data
            if frame[0] in RATE_OF_KIND:
                self.log.add(self.call, frame, read_ns)
                echo.append(frame)
            elif frame[0] == UUID:
                self.call = call_number_of_bytes(frame[HEADER_BYTES:])
            elif frame[0] == HANGUP:
                return False
            place = after
        self.waiting = data[place:]
        if echo:
            self.write(echo[0] if len(echo) == 1 else b"".join(echo))
        return True

def main(arguments: list[str]) -> None:
    """The program."""
    address, record = arguments[:2]
    first, last = map(int, arguments[2:])
    host, _, port = address.rpartition(":")
    log = Log(first, last)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(4096)
        print(f"ready {listener.getsockname()[1]}", flush=True)
        serve(listener, lambda sock: AudioSocket(sock, log))
    write_frames(Path(record), log.frames())


if __name__ == "__main__":
    main(sys.argv[1:])
