# SPDX-License-Identifier: GPL-2.0-or-later
"""The load generator in Python, for a machine without a C compiler: the arguments, words and record of generator.c.

It serves about a hundred calls; like the other it writes down when each packet left, so its own lateness
is seen and not taken for the worker's.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from pathlib import Path

import numpy as np

from trunkline.gateway.bench.lossy import MILLION, left_out
from trunkline.gateway.bench.records import HEARD, WINDOW_BYTES, Generated, write_generated

SLOT_NS = 1_000_000
START_NS = 50_000_000
SO_TIMESTAMPNS = 35
HEADER = struct.Struct(">BBHII")
BURST = 50


class Generator:
    """All callers."""

    def __init__(self, arguments: list[str]) -> None:
        numbers, (_, host, plan, record) = list(map(int, arguments[:11])), arguments[11:]
        self.calls, self.packet_ns, self.step, self.payload_type, count, width, length, self.stride = numbers[
            :8
        ]
        self.window = numbers[8]
        assert numbers[9] == 0, "no SRTP here"
        self.loss_percent = numbers[10] * 100 / MILLION
        self.host, self.record = host, Path(record)
        data = Path(plan).read_bytes()
        self.pattern = np.frombuffer(data, np.uint16, length).tolist()
        sizes = np.frombuffer(data, np.uint16, count, 2 * length).tolist()
        first = 2 * (length + count)
        self.payloads = [data[first + width * i :][:size] for i, size in enumerate(sizes)]
        self.reports = _socket(host)
        self.sockets = [_socket(host) for _ in range(self.calls)]
        slots = self.packet_ns // SLOT_NS
        self.phase = np.array([i * slots // self.calls * SLOT_NS for i in range(self.calls)], np.int64)
        self.heard: list[tuple[int, int, bytes]] = []
        self.errors = self.reports_heard = 0

    def run(self, packets: int, tail: int, ports: list[int]) -> None:
        """Send, listen, write down."""
        offset = _clock_offset()
        sent = np.zeros((self.calls, packets), np.int64)
        gone = left_out(self.loss_percent, self.calls, packets).tolist()
        for sock, port in zip(self.sockets, ports, strict=True):
            sock.connect((self.host, port))
            while _receive(sock) is not None:  # said to us before we spoke
                pass
        start = time.monotonic_ns() + START_NS
        print(f"started {start}", flush=True)
        for k in range(packets + tail):
            for call in range(self.calls):
                ahead_ns = start + k * self.packet_ns + int(self.phase[call]) - time.monotonic_ns()
                if ahead_ns > 0:
                    time.sleep(ahead_ns / 1e9)
                if k < packets and not gone[call][k]:
                    sent[call, k] = self._send(call, k)
                self._hear(call, offset)
            with contextlib.suppress(OSError):
                while self.reports.recv(2048):
                    self.reports_heard += 1
        heard = np.zeros(len(self.heard), HEARD)
        for i, (call, arrival_ns, data) in enumerate(self.heard):
            _, _, sequence, timestamp, _ = HEADER.unpack_from(data)
            window = data[12 + self.window :][:WINDOW_BYTES].ljust(WINDOW_BYTES, b"\0")
            heard[i] = (arrival_ns, call, timestamp, sequence, len(data), np.frombuffer(window, np.uint8))
        drift = _clock_offset() - offset
        write_generated(
            self.record,
            Generated(start, self.phase, sent, heard, drift, self.errors, 0, self.reports_heard),
        )

    def _send(self, call: int, k: int) -> int:
        """Packet k; returns when, 0 if it was refused."""
        level = self.pattern[(call * self.stride + k) % len(self.pattern)]
        marker = 0 if k else 0x80
        stamp = (0xFFFFFFFF - self.step * (50 + call % 32) + k * self.step) & 0xFFFFFFFF
        sequence = (0xFFD0 - call % 32 + k) & 0xFFFF
        head = HEADER.pack(0x80, self.payload_type | marker, sequence, stamp, 0x54000000 + call)
        now_ns = time.monotonic_ns()
        try:
            self.sockets[call].send(head + self.payloads[level])
        except OSError:
            self.errors += 1
            return 0
        return now_ns

    def _hear(self, call: int, offset: int) -> None:
        for _ in range(BURST):
            found = _receive(self.sockets[call])
            if found is None:
                return
            data, stamped_ns = found
            if len(data) >= HEADER.size:
                self.heard.append((call, stamped_ns - offset, data))


def _socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind((host, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return sock


def _receive(sock: socket.socket) -> tuple[bytes, int] | None:
    """A datagram and when the kernel got it (CLOCK_REALTIME); None when there is none."""
    try:
        data, ancillary, _, _ = sock.recvmsg(2048, 64)
    except BlockingIOError:
        return None
    except OSError:  # an ICMP error
        return b"", 0
    for _level, kind, value in ancillary:
        if kind == SO_TIMESTAMPNS and len(value) >= 16:
            seconds, nanoseconds = struct.unpack("=qq", value[:16])
            return data, seconds * 1_000_000_000 + nanoseconds
    return data, time.time_ns()


def _clock_offset() -> int:
    """CLOCK_REALTIME - CLOCK_MONOTONIC."""
    best, offset = 1 << 62, 0
    for _ in range(50):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after - before < best:
            best, offset = after - before, real - (before + after) // 2
    return offset


def main(arguments: list[str]) -> None:
    """The program."""
    generator = Generator(arguments)
    ports = [sock.getsockname()[1] for sock in (generator.reports, *generator.sockets)]
    print("ports", *ports, flush=True)
    words = sys.stdin.readline().split()
    if words[:1] == ["go"]:
        packets, tail, *theirs = map(int, words[1:])
        generator.run(packets, tail, theirs)
        print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
