# SPDX-License-Identifier: GPL-2.0-or-later
"""The audio of a telephone: sends paced RTP from an array, keeps every packet that comes, with its time.

Its RTP (RFC 3550 5.1), its events (RFC 4733 2.3) and its look at RTCP are its own:
what measures shares no code with what is measured.
"""

from __future__ import annotations

import random
import select
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from support.audio import Pcm, decode_g711
from support.rtp_wire import EVENT, EVENT_CODES, HEADER, Received, Sent, kernel_time_ns, parse, udp_pair


class RtpEndpoint:
    """One side of a call's audio; a context manager. Receives from the start, sends when told where to."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        *,
        payload_type: int = 0,
        ptime_ms: int = 20,
        dtmf_type: int = 101,
        echo: bool = False,
    ) -> None:
        """`echo` sends every audio packet back to where it came from, as the far end of a test line."""
        self.host, self.payload_type, self.dtmf_type = host, payload_type, dtmf_type
        self.packet_samples = 8 * ptime_ms
        "codes of G.711 in a packet"
        self.timestamp_step, self.clock_hz = 8 * ptime_ms, 8000
        self.received: list[Received] = []
        self.rtcp: list[bytes] = []
        self.sent: list[Sent] = []
        self.lose: Callable[[int], bool] = lambda number: False
        "of packets of ours, by number: True is never sent"
        self._rtp, self._rtcp = udp_pair(host)
        self.port = self._rtp.getsockname()[1]
        self._echo = echo
        self.ssrc = random.getrandbits(32)
        # Near the wraps of both, so that every call crosses one.
        self._sequence = random.randrange(0xFF00, 0xFFF0)
        self._timestamp = 0xFFFFFFFF - random.randrange(8000)
        self._number = 0
        self._quiet_since_ns = time.monotonic_ns()
        self._running = True
        self._sender: threading.Thread | None = None
        self._changed = threading.Condition()
        self._receiver = threading.Thread(target=self._receive, name="rtp-receive", daemon=True)

    def __enter__(self) -> Self:
        self._receiver.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Vanish: both sockets are closed."""
        self._running = False
        if self._sender is not None:
            self._sender.join(5)
        if self._receiver.is_alive():
            self._receiver.join(5)
        self._rtp.close()
        self._rtcp.close()

    @property
    def rtcp_port(self) -> int:
        """Where reports are heard."""
        return int(self._rtcp.getsockname()[1])

    def send_rtcp(self, remote: tuple[str, int], compound: bytes) -> None:
        """A compound of the test's own."""
        self._rtcp.sendto(compound, remote)

    # --- sending -----------------------------------------------------------------------------

    def send(self, remote: tuple[str, int], payload: bytes | Sequence[bytes], digits: str = "") -> None:
        """Play `payload` (one code a sample, or one payload a packet) once, in real time; the digits after it.

        Returns at once.
        """
        self.wait_sent()
        self._sender = threading.Thread(
            target=self._send, args=(remote, payload, digits), name="rtp-send", daemon=True
        )
        self._sender.start()

    def catch_up(self) -> None:
        """The clock of the stream has gone on since the last packet, as a telephone's does while nothing is sent."""
        self.wait_sent()
        packets = (time.monotonic_ns() - self._quiet_since_ns) // (self.packet_samples * 125_000)
        self._timestamp += packets * self.packet_samples

    def wait_sent(self, timeout_s: float = 60) -> None:
        """Until all has been sent."""
        if self._sender is not None:
            self._sender.join(timeout_s)
            assert not self._sender.is_alive(), "still sending"
            self._sender = None

    def _send(self, remote: tuple[str, int], payload: bytes | Sequence[bytes], digits: str) -> None:
        size, chunks = self.packet_samples, payload
        if isinstance(payload, bytes):
            chunks = [payload[i : i + size] for i in range(0, len(payload) - size + 1, size)]
        start = time.monotonic_ns()
        step_ns = self.timestamp_step * 1_000_000_000 // self.clock_hz
        for index, chunk in enumerate(chunks):
            if not self._sleep_until(start + index * step_ns):
                return
            self.sent.append(Sent(time.time_ns(), self._timestamp & 0xFFFFFFFF, chunk))
            self._put(remote, self.payload_type, index == 0, self._timestamp, chunk)
            self._timestamp += self.timestamp_step
        self._send_digits(remote, digits, start + len(chunks) * step_ns, step_ns)
        self._quiet_since_ns = time.monotonic_ns()

    def _send_digits(self, remote: tuple[str, int], digits: str, start: int, step_ns: int) -> None:
        """Each 100 ms, three end packets, 100 ms pause (RFC 4733 2.5.1)."""
        size = self.packet_samples
        per_key = max(2, 100 // (size // 8))
        for digit in digits:
            code, first = EVENT_CODES.index(digit), self._timestamp
            for i in range(per_key + 3):
                if not self._sleep_until(start):
                    return
                duration = min(i + 1, per_key) * size
                body = EVENT.pack(code, (0x80 if i >= per_key else 0) | 10, duration)
                self._put(remote, self.dtmf_type, i == 0, first, body)
                start += step_ns
            start += 100_000_000
            self._timestamp += (per_key + 3) * size + 800

    def _put(
        self, remote: tuple[str, int], payload_type: int, marker: bool, timestamp: int, body: bytes
    ) -> None:
        header = HEADER.pack(
            0x80,
            payload_type | (0x80 if marker else 0),
            self._sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            self.ssrc,
        )
        self._sequence += 1
        self._number += 1
        if not self.lose(self._number - 1):
            try:
                self._rtp.sendto(self.protect(header + body), remote)
            except OSError:  # ICMP: the port is closed
                return

    def agree(self, sdp: str) -> None:
        """Told what the other side's SDP says, before the first `send`."""

    def protect(self, packet: bytes) -> bytes:
        """A packet as it goes out."""
        return packet

    def _sleep_until(self, deadline_ns: int) -> bool:
        while self._running and (left := deadline_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left / 1e9, 0.1))
        return self._running

    # --- receiving ---------------------------------------------------------------------------

    def _receive(self) -> None:
        while self._running:
            ready, _, _ = select.select([self._rtp, self._rtcp], [], [], 0.1)
            try:
                if self._rtcp in ready:
                    self.rtcp.append(self._rtcp.recv(2048))
                if self._rtp in ready:
                    self._take(*self._rtp.recvmsg(2048, 64))
            except OSError:  # ICMP error of an earlier packet
                continue

    def _take(
        self, packet: bytes, ancillary: Sequence[tuple[int, int, bytes]], flags: int, source: tuple[str, int]
    ) -> None:
        one = parse(packet, source, kernel_time_ns(ancillary, time.time_ns()))
        if one is None:
            return
        with self._changed:
            self.received.append(one)
            self._changed.notify_all()
        if self._echo and one.payload_type == self.payload_type:
            self._put(source, one.payload_type, one.marker, one.timestamp, one.payload)

    def wait_received(self, count: int, timeout_s: float = 10) -> None:
        """Until so many packets have come."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.received) >= count, timeout_s)
        assert arrived, f"{len(self.received)} of {count} packets came within {timeout_s} s"

    def wait_quiet(self, quiet_s: float = 0.3, timeout_s: float = 10) -> None:
        """Until nothing new has come for a while."""
        give_up, count = time.monotonic() + timeout_s, -1
        while count != len(self.received) and time.monotonic() < give_up:
            count = len(self.received)
            time.sleep(quiet_s)

    # --- what was heard ----------------------------------------------------------------------

    def arrived(self) -> list[Received]:
        """Packets that have come, in the clear."""
        return list(self.received)

    @property
    def audio(self) -> list[Received]:
        """Audio packets in the order of their sequence numbers, copies left out."""
        first: dict[int, Received] = {}
        arrived = self.arrived()
        base = arrived[0].sequence if arrived else 0
        for one in arrived:
            if one.payload_type == self.payload_type:
                first.setdefault((one.sequence - base + 0x8000) & 0xFFFF, one)
        return [first[key] for key in sorted(first)]

    def heard(self) -> Pcm:
        """All that was heard on its own timeline, silence where nothing came."""
        packets = self.audio
        if not packets:
            return np.zeros(0, np.int16)
        base = packets[0].timestamp
        places = [((one.timestamp - base + 0x80000000) & 0xFFFFFFFF) - 0x80000000 for one in packets]
        low = min(places)
        out = np.zeros(max(p + len(o.payload) for p, o in zip(places, packets, strict=True)) - low, np.int16)
        for place, one in zip(places, packets, strict=True):
            out[place - low : place - low + len(one.payload)] = decode_g711(one.payload, self.payload_type)
        return out

    def heard_digits(self) -> str:
        """Keys that came as RFC 4733 events, one for each event timestamp."""
        seen: dict[int, int] = {}
        for one in self.received:
            if one.payload_type == self.dtmf_type and len(one.payload) >= EVENT.size:
                seen.setdefault(one.timestamp, one.payload[0])
        return "".join(EVENT_CODES[code] for code in seen.values())

    def event_ends(self) -> list[int]:
        """How often the end of each RFC 4733 event came, in the order of the events."""
        ends: dict[int, int] = {}
        for one in list(self.received):
            if one.payload_type == self.dtmf_type and len(one.payload) >= EVENT.size:
                ends[one.timestamp] = ends.get(one.timestamp, 0) + (one.payload[1] >> 7)
        return list(ends.values())
