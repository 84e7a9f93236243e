# SPDX-License-Identifier: GPL-2.0-or-later
"""The callers' voices: one process that speaks for every call of a SIPp that only signals.

    python -m bench.speaker --host 127.0.0.1 [--record FILE] [--mute] [--silent-ms 1000]

One UDP socket stands for all callers: every SDP names it, and the gateway's own port
tells the calls apart.  A call is spoken to from the moment its first packet is heard
(the gateway sends silence while nobody speaks) until it has been silent for a while,
so nothing needs to be known of SIP.  Packets leave on a grid of 1 ms, each call at a
random place within its 20 ms, as calls of a real trunk do.

The time of each packet sent is that of the moment before `sendto`; of each packet
received, the kernel's (SO_TIMESTAMPNS).  Both are given as CLOCK_MONOTONIC.

Prints `port N` when it listens.  On standard input: `quiet` ends all speech until `speak`;
the end of input ends the program, which then writes what it has recorded.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import select
import socket
import sys
import time

import numpy as np

from bench.clip import FRAME, clip, first_frame
from support.rtp_wire import HEADER, kernel_time_ns, udp_pair

SLOT_NS = 1_000_000
SLOTS = 20
PACKET_BYTES = 12 + FRAME
BURST = 256
"packets read before the clock is looked at again"


@dataclasses.dataclass(slots=True)
class Line:
    """One call."""

    number: int
    remote: tuple[str, int]
    their_ssrc: bytes
    ssrc: int
    sequence: int
    timestamp: int
    heard_ns: int
    sent: int = 0
    live: bool = True


class Speaker:
    """All calls, their schedule, and what is recorded of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._rtp, self._rtcp = udp_pair(options.host)
        for sock in (self._rtp, self._rtcp):
            sock.setblocking(False)
        force = getattr(socket, "SO_RCVBUFFORCE", 33)
        try:
            self._rtp.setsockopt(socket.SOL_SOCKET, force, 8 << 20)
        except OSError:  # not root: what is allowed; drops are counted and told
            self._rtp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.port = int(self._rtp.getsockname()[1])
        self._payloads = [frame.tobytes() for frame in clip()]
        self._lines: dict[int, Line] = {}
        self._count = 0
        self._wheel: list[list[Line]] = [[] for _ in range(SLOTS)]
        self._rng = random.Random(7)
        self._mute, self._record = options.mute, options.record
        self._silent_ns = options.silent_ms * 1_000_000
        self._offset_ns = clock_offset_ns()
        self.sent: list[tuple[int, int, int]] = []
        "call, number of the packet, time"
        self.late: list[int] = []
        "how long after its slot each slot was served, ns"
        self.heard: list[tuple[int, int, bytes]] = []
        "call, kernel time, packet"
        self.ports: list[int] = []
        "gateway's port of each call"

    def run(self) -> None:
        """Until standard input ends."""
        slot = time.monotonic_ns() // SLOT_NS + 1
        stdin = sys.stdin.fileno()
        while True:
            wait_ns = slot * SLOT_NS - time.monotonic_ns()
            ready, _, _ = select.select([self._rtp, self._rtcp, stdin], [], [], max(wait_ns, 0) / 1e9)
            if self._rtp in ready:
                self._hear()
            if self._rtcp in ready:
                self._rtcp.recv(2048)
            if stdin in ready:
                words = os.read(stdin, 4096)
                if not words:
                    return
                self._mute = words.split()[-1:] == [b"quiet"]
            now_ns = time.monotonic_ns()
            while slot * SLOT_NS <= now_ns:
                if self._wheel[slot % SLOTS]:
                    self._speak(slot)
                slot += 1
            while not self._wheel[slot % SLOTS] and slot * SLOT_NS < now_ns + SLOTS * SLOT_NS:
                slot += 1  # nobody speaks in this millisecond: sleep on

    # --- sending -----------------------------------------------------------------------------

    def _speak(self, slot: int) -> None:
        lines = self._wheel[slot % SLOTS]
        started_ns = time.monotonic_ns()
        stale = started_ns - self._silent_ns
        for line in lines:
            if line.heard_ns < stale:
                line.live = False
                continue
            if self._mute:
                continue
            payload = self._payloads[
                (first_frame(line.number, len(self._payloads)) + line.sent) % len(self._payloads)
            ]
            number, marker = line.sent, 0x80 if line.sent == 0 else 0
            header = HEADER.pack(0x80, marker, line.sequence & 0xFFFF, line.timestamp & 0xFFFFFFFF, line.ssrc)
            line.sent += 1
            line.sequence += 1
            line.timestamp += FRAME
            now_ns = time.monotonic_ns()
            try:
                self._rtp.sendto(header + payload, line.remote)
            except OSError:  # it went nowhere, and its number is used
                continue
            if self._record:
                self.sent.append((line.number, number, now_ns))
        if self._record:
            self.late.append(started_ns - slot * SLOT_NS)
        if not all(line.live for line in lines):
            self._wheel[slot % SLOTS] = [line for line in lines if line.live]

    # --- receiving ---------------------------------------------------------------------------

    def _hear(self) -> None:
        receive = self._rtp.recvmsg
        for _ in range(BURST):
            try:
                packet, ancillary, _flags, source = receive(2048, 64)
            except OSError:
                return
            line = self._lines.get(source[1])
            if line is None or packet[8:12] != line.their_ssrc:
                line = self._begin(source, packet)
            kernel_ns = kernel_time_ns(ancillary, time.time_ns()) - self._offset_ns
            line.heard_ns = kernel_ns
            if self._record:
                self.heard.append((line.number, kernel_ns, packet))

    def _begin(self, source: tuple[str, int], packet: bytes) -> Line:
        """A port, or an SSRC, that has not been heard before: a new call."""
        old = self._lines.get(source[1])
        if old is not None:
            old.live = False
            old.heard_ns = 0
        rng = self._rng
        # Near the wraps of both, so that long calls cross them.
        first, stamp = rng.randrange(0xFF00, 0xFFF0), 0xFFFFFFFF - rng.randrange(80_000)
        line = Line(self._count, source, packet[8:12], rng.getrandbits(32), first, stamp, time.monotonic_ns())
        self._count += 1
        self._lines[source[1]] = line
        self._wheel[rng.randrange(SLOTS)].append(line)
        if self._record:
            self.ports.append(source[1])
        return line

    def save(self, path: str) -> None:
        """Everything recorded, for `matching.py`."""
        drift_ns = abs(clock_offset_ns() - self._offset_ns)
        packets = np.zeros((len(self.heard), PACKET_BYTES), np.uint8)
        for row, (_, _, packet) in enumerate(self.heard):
            packets[row, : len(packet)] = np.frombuffer(packet[:PACKET_BYTES], np.uint8)
        sent = np.array(self.sent, np.int64).reshape(-1, 3)
        np.savez(
            path, ports=np.array(self.ports, np.int64),
            sent_call=sent[:, 0], sent_number=sent[:, 1], sent_ns=sent[:, 2], late_ns=np.array(self.late, np.int64),
            heard_call=np.array([one[0] for one in self.heard], np.int64),
            heard_ns=np.array([one[1] for one in self.heard], np.int64),
            packets=packets, clock_drift_ns=drift_ns,
        )  # fmt: skip


def clock_offset_ns() -> int:
    """CLOCK_REALTIME - CLOCK_MONOTONIC: constant unless somebody sets the clock, since both are slewed alike."""
    best, offset = 1 << 62, 0
    for _ in range(50):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        if after - before < best:
            best, offset = after - before, real - (before + after) // 2
    return offset


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="bench.speaker")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--record", default="", help="file for what was sent and heard (.npz)")
    parser.add_argument("--mute", action="store_true", help="listen only")
    parser.add_argument("--silent-ms", type=int, default=1000, help="a call not heard for so long is over")
    options = parser.parse_args()
    speaker = Speaker(options)
    print(f"port {speaker.port}", flush=True)
    speaker.run()
    if options.record:
        speaker.save(options.record)


if __name__ == "__main__":
    main()
