# SPDX-License-Identifier: GPL-2.0-or-later
"""The caller's voice and ears: a program of its own, so that nothing delays its packets.

    python -m trunkline.gateway.demo.talker --host 127.0.0.1 --clip FILE --record FILE

It binds an RTP and an RTCP port and says `{"port": N}` on standard output.  A line
`{"host": H, "port": P}` on standard input starts it: it plays the clip, one packet
each 20 ms, records whatever comes back from there, and reports ten times a second.
It ends when the clip is over and nothing new comes, or when standard input ends.

Its few lines of RTP (RFC 3550 5.1) are its own on purpose: what measures should
share no code with what is measured.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from trunkline.gateway.demo.recording import Recording
from trunkline.gateway.demo.speech import FRAME_SAMPLES, load_clip

FRAME_NS = 20_000_000
REPORT_EVERY = 5
"frames, a tenth of a second"
LINGER_NS = 200_000_000
"After the last packet: what is on its way back still counts."
HEADER = struct.Struct("!BBHII")
SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
"Linux: the kernel's arrival time with each packet (SCM_TIMESTAMPNS); Python 3.11 lacks the name."


def bind_pair(host: str) -> tuple[socket.socket, socket.socket]:
    """An even port for RTP and the next one for RTCP (RFC 3550 11)."""
    for _ in range(200):
        port = random.randrange(20_000, 60_000, 2)
        rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            rtp.bind((host, port))
            rtcp.bind((host, port + 1))
        except OSError:
            rtp.close()
            rtcp.close()
            continue
        rtp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        rtp.setblocking(False)
        return rtp, rtcp
    raise OSError(f"no free pair of UDP ports on {host}")


class Talker:
    """Plays a clip to one address and keeps what comes back."""

    def __init__(self, rtp: socket.socket, remote: tuple[str, int], said: np.ndarray[Any, Any]) -> None:
        self._rtp = rtp
        self._remote = remote
        self._said = said
        self._frames = said.reshape(-1, FRAME_SAMPLES)
        self._ssrc = random.getrandbits(32)
        self._sequence = random.getrandbits(15)
        self._timestamp = random.getrandbits(32)
        self._sent: list[int] = []
        self._received: list[tuple[int, int, int, bytes]] = []

    def run(self) -> Recording:
        """Play everything, wait for the rest of the echo, return the record."""
        start = time.monotonic_ns()
        for index in range(len(self._frames)):
            if not self._listen_until(start + index * FRAME_NS):
                break
            self._send(index)
            if index % REPORT_EVERY == 0:
                self._report(index)
        self._listen_until(time.monotonic_ns() + LINGER_NS)
        self._report(len(self._sent) - 1)
        return self._record()

    def _send(self, index: int) -> None:
        # The marker opens the talkspurt (RFC 3551 4.1).
        header = HEADER.pack(
            0x80, 0x80 if index == 0 else 0, (self._sequence + index) & 0xFFFF,
            (self._timestamp + index * FRAME_SAMPLES) & 0xFFFFFFFF, self._ssrc,
        )  # fmt: skip
        packet = header + self._frames[index].tobytes()
        self._sent.append(time.time_ns())
        self._rtp.sendto(packet, self._remote)

    def _listen_until(self, deadline_ns: int) -> bool:
        """Take packets until then; False when standard input has ended and all should stop."""
        while (left := deadline_ns - time.monotonic_ns()) > 0:
            ready, _, _ = select.select([self._rtp, sys.stdin], [], [], left / 1e9)
            if sys.stdin in ready and not sys.stdin.readline():
                return False
            if self._rtp in ready:
                self._receive()
        return True

    def _receive(self) -> None:
        try:
            packet, ancillary, _, source = self._rtp.recvmsg(2048, 64)
        except OSError:  # an ICMP error of an earlier packet: the far end has no such port (any more)
            return
        arrival = time.time_ns()
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", data[:16])
                arrival = seconds * 1_000_000_000 + nanoseconds
        if source != self._remote or len(packet) != HEADER.size + FRAME_SAMPLES:
            return
        first, kind, sequence, timestamp, _ = HEADER.unpack_from(packet)
        if first == 0x80 and kind & 0x7F == 0:
            self._received.append((arrival, sequence, timestamp, packet[HEADER.size :]))

    def _report(self, index: int) -> None:
        heard = b"".join(payload for *_, payload in self._received[-REPORT_EVERY:])
        report = {
            "sent": len(self._sent),
            "received": len(self._received),
            "said": loudness(self._frames[max(0, index - REPORT_EVERY + 1) : index + 1]),
            "heard": loudness(np.frombuffer(heard, np.uint8)),
        }
        print(json.dumps(report), flush=True)

    def _record(self) -> Recording:
        arrivals, sequences, timestamps, payloads = (
            zip(*self._received, strict=True) if self._received else ([], [], [], [])
        )
        return Recording(
            sent_ns=np.array(self._sent, np.int64),
            said=self._said[: len(self._sent) * FRAME_SAMPLES],
            received_ns=np.array(arrivals, np.int64),
            sequence=np.array(sequences, np.int64),
            timestamp=np.array(timestamps, np.int64),
            payload=np.frombuffer(b"".join(payloads), np.uint8).reshape(-1, FRAME_SAMPLES),
        )


def loudness(codes: np.ndarray[Any, Any]) -> float:
    """0 to 1 for a meter.

    Inverted, a mu-law code is sign and seven bits of nearly logarithmic magnitude, and
    those are a meter's scale already.
    """
    return round(float((~codes & 0x7F).max(initial=0)) / 127, 3)


def main() -> None:
    """Command line of the program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", required=True, help="address to bind")
    parser.add_argument("--clip", required=True, type=Path, help="raw mu-law, 8 kHz")
    parser.add_argument("--record", required=True, type=Path, help="where the record goes")
    options = parser.parse_args()
    rtp, rtcp = bind_pair(options.host)
    with rtp, rtcp:  # RTCP is bound so that reports to us are no ICMP errors; they are not read
        print(json.dumps({"port": rtp.getsockname()[1]}), flush=True)
        if not (line := sys.stdin.readline()):
            return
        remote = json.loads(line)
        Talker(rtp, (remote["host"], remote["port"]), load_clip(options.clip)).run().save(options.record)


if __name__ == "__main__":
    main()
