# SPDX-License-Identifier: GPL-2.0-or-later
"""What the media engine costs without its system calls for RTP: packets in, PCM to an agent and back, packets out.

    OPENBLAS_NUM_THREADS=1 python -m bench.engine_cost [--calls 100,1000] [--seconds 4] [--rate 16000]
                                                       [--codec PCMU,OPUS] [--srtp SUITE,...|all] [--profile]
                                                       [--replay-ms 10000]

Everything of a worker but the UDP sockets and the poller: packets are made up, those that would
leave are thrown away, time is virtual, ticks are 2.5 ms apart.  The agent echoes at the other end
of a socket pair, in this process; its time is not counted.  What is printed is CPU time per call
and second of audio; the rest of a worker's cost is the kernel's.  Of the codecs' own share, `codec` is
what `decode` and `encode` of the same packets cost alone, in batches of 50.  With --srtp the same is done
again, encrypted; what the peers' encryption costs is not counted.
"""

from __future__ import annotations

import argparse
import collections
import cProfile
import pstats
import random
import select
import socket
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench.tables import table as text_table
from support.media_rig import MS, PEER, start_message
from trunkline.agent_bridge.agent_events import AudioArrived, CallOffered
from trunkline.agent_bridge.agent_protocol import AgentConnection
from trunkline.codecs.registry import open_codec
from trunkline.gateway.media import agent_connecting, compiled, control
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.replay import MARGIN_MS
from trunkline.gateway.media.table import Table
from trunkline.rtp import sdes, srtp
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.packet import HEADER_BYTES, write_headers
from trunkline.rtp.payload import AUDIO_FORMATS

TICK_NS = 2_500_000
PACKET_NS = 20 * MS
WARM_UP_S = 1.0
PACKETS = 50
"Of speech, that come again and again."


class Pair:
    """The agent of all calls, and the poller that the engine's connection is in."""

    def __init__(self) -> None:
        self.ours, self._sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        for sock in (self.ours, self._sock):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self._agent = AgentConnection()
        self._handler: Callable[[int], None] = lambda events: None
        self._reads = False

    def watch(self, _fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Be the poller."""
        self._handler, self._mask = handler, mask

    def forget(self, _fd: int) -> None:
        """Be the poller."""

    def deliver(self) -> None:
        """Let the engine read what the agent has said."""
        self._handler(select.EPOLLIN)

    def say(self, data: bytes) -> None:
        """Be an agent that says this."""
        self._sock.sendall(data)

    def connect_ex(self, _target: Any) -> int:
        """The connection is there already."""
        return 0

    def hear(self) -> bytes:
        """All that the agent has been sent."""
        data = b""
        while True:
            try:
                piece = self._sock.recv(1 << 22)
            except BlockingIOError:
                return data
            if not piece:
                raise RuntimeError("the engine has closed its connection to the agent; its output says why")
            data += piece

    def turn(self, now_ns: int) -> bool:
        """Echo everything; whether there was anything."""
        data = self.hear()
        if data:
            for event in self._agent.receive(data, now_ns):
                if isinstance(event, CallOffered):
                    self._agent.accept(event.channel)
                elif isinstance(event, AudioArrived):
                    self._agent.send_audio(event.channels.copy(), event.pcm.copy())
        out = b"".join(self._agent.data_to_send())
        if out:
            self._sock.sendall(out)
        return bool(out)


class Rig:
    """An engine with calls, a network that costs nothing, and the agent."""

    def __init__(self, calls: int, rate_hz: int, codec: str, suite: str = "", replay_ms: int = 0) -> None:
        rescue = control.RescueParams(replay_ms=replay_ms)
        self._peers = Peers(calls, suite) if suite else None
        self.clock_ts = AUDIO_FORMATS[codec].clock_hz // 50
        self.now_ns = 1_000_000_000_000
        self.table = Table(Columns(calls + 4))
        self.pair = Pair()
        self.compiled_send = compiled.bind("send_packets", self.table.rtp_fd, self.table.remotes)
        "what the engine sends with; rows without a descriptor, as all are here, have taken everything"
        self.spent: collections.Counter[str] = collections.Counter()
        self.engine = Engine(
            self.table, self, self.pair, lambda: self.now_ns, lambda message: None, random.Random(1),
            jitter=TargetParams(min_ns=40 * MS),
        )  # fmt: skip
        media = {"codec": codec, "dtmf_clock_hz": AUDIO_FORMATS[codec].clock_hz}
        media |= self._peers.keys if self._peers else {}
        message = start_message(rate_hz)
        for first in range(8):  # answered at different times, so that their packets fall due in different ticks
            for _ in range(first, calls, 8):
                one = start_message(rate_hz, rescue=rescue, **media)
                one = type(one)(one.info, one.media, message.agent, rescue=one.rescue)
                with mock.patch.object(agent_connecting, "open_socket", lambda address: (_Ours(self.pair), address)):
                    self.engine.start(self.table.take(one, None, None), self.now_ns)  # type: ignore[arg-type]
            for _ in range(9):
                self.now_ns += TICK_NS
                self.pair.deliver()
                self.engine.tick(self.now_ns)
                self.pair.turn(self.now_ns)
        assert self.table.agent_ready.sum() == calls
        self._payloads, self._lengths = spoken(codec, rate_hz)
        self._next_ns = self.now_ns + np.arange(calls) * PACKET_NS // calls
        self._count = np.zeros(calls, np.int64)

    @property
    def sent(self) -> int:
        """Packets that have left so far."""
        return int(self.table.shared.worker.packets_sent[0])

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Be the UDP sockets."""
        return np.ones(len(rows), bool)

    def send_rtcp(self, _stream: object, _data: bytes) -> bool:
        """Be the RTCP sockets."""
        return True

    def send_reports(self, _rows: object, _packets: object) -> None:
        """Be the RTCP sockets."""

    def send_datagram(self, _stream: object, _data: bytes) -> bool:
        """Be the RTP sockets of a handshake; there is none."""
        return True

    def timed(self, name: str, work: Callable[..., Any], *arguments: Any) -> None:
        """Do it, and count its CPU time under this name."""
        before = time.thread_time_ns()
        work(*arguments)
        self.spent[name] += time.thread_time_ns() - before

    def run(self, seconds: float) -> None:
        """Tick by tick."""
        end_ns = self.now_ns + int(seconds * 1e9)
        turn = 0
        while self.now_ns < end_ns:
            self.now_ns += TICK_NS
            turn += 1
            rows = np.flatnonzero(self._next_ns <= self.now_ns)
            if len(rows):
                self.timed("receive", self.engine.receive, self._batch(rows), self.now_ns)
            if turn % 2:  # as the worker does, just before packets fall due
                self.timed("agent read", self.pair.deliver)
            self.timed("tick", self.engine.tick, self.now_ns)
            self.pair.turn(self.now_ns)

    def _batch(self, rows: NDArray[np.intp]) -> Batch:
        number = self._count[rows]
        packets = np.zeros((len(rows), PACKET_BYTES), np.uint8)
        packets[:, HEADER_BYTES : HEADER_BYTES + self._payloads.shape[1]] = self._payloads[number % PACKETS]
        ssrc = (rows + 1).astype(np.uint32)
        zero = np.zeros(len(rows), np.uint8)
        write_headers(packets, zero, zero.astype(bool), number + 1, number * self.clock_ts + 1, ssrc)
        self._count[rows] += 1
        self._next_ns[rows] += PACKET_NS
        lengths = (HEADER_BYTES + self._lengths[number % PACKETS]).astype(np.int32)
        if self._peers is not None:
            self._peers.protect(rows, packets, lengths)
        return Batch(rows, packets, lengths, np.ones(len(rows), bool), [PEER] * len(rows))


class Peers:
    """Encryption at the other end; all have the same keys, as it makes no difference here."""

    def __init__(self, calls: int, suite: str) -> None:
        key = sdes.new_key(suite)
        self.keys = {"send_key": sdes.new_key(suite), "receive_key": key}
        self._senders = [srtp.Sender(key, row + 1) for row in range(calls)]
        self._handles = np.array([sender.handle for sender in self._senders], np.int64)
        self._mkis = np.zeros(calls, np.int64)

    def protect(self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32]) -> None:
        """Packets of these rows, in place."""
        assert srtp.protect(self._handles[rows], self._mkis[rows], packets, lengths).all()


def sound(rate_hz: int) -> NDArray[np.int16]:
    """A second that is no tone and no noise: i16[PACKETS, samples]."""
    t = np.arange(rate_hz) / rate_hz
    voice = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20)) * (1 + np.sin(2 * np.pi * 3 * t))
    noise = np.random.default_rng(1).normal(0, 0.02, rate_hz)
    return np.asarray((voice + noise) * 3000, np.int16).reshape(PACKETS, -1)


def spoken(name: str, rate_hz: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """That second as packets: u8[PACKETS, width] and their lengths."""
    codec = open_codec(name, 1, rate_hz)
    encoded = [codec.encode(np.zeros(1, np.intp), pcm[None]) for pcm in sound(codec.sample_rate_hz)]
    lengths = np.array([data.shape[1] if some is None else int(some[0]) for data, some in encoded])
    payloads = np.zeros((PACKETS, int(lengths.max())), np.uint8)
    for line, (data, _), length in zip(payloads, encoded, lengths.tolist(), strict=True):
        line[:length] = data[0, :length]
    return payloads, lengths


def codec_cost(name: str, rate_hz: int, rows: int, seconds: float) -> float:
    """CPU of decode and encode, us per call and second."""
    codec, (payloads, lengths) = open_codec(name, rows, rate_hz), spoken(name, rate_hz)
    every, pcm = np.arange(rows), sound(codec.sample_rate_hz)
    before = time.thread_time_ns()
    for number in range(round(seconds * PACKETS)):
        k = number % PACKETS
        data = np.repeat(payloads[k : k + 1], rows, axis=0)
        if codec.variable:
            codec.decode_variable(every, data, np.full(rows, lengths[k], np.int32), pcm.shape[1])
        else:
            codec.decode(every, data)
        codec.encode(every, np.repeat(pcm[k : k + 1], rows, axis=0))
    return (time.thread_time_ns() - before) / 1e3 / rows / seconds


class _Ours:
    """The engine's end; connecting costs nothing."""

    more = waiting = False

    def __init__(self, pair: Pair) -> None:
        self.connect_ex = pair.connect_ex
        for name in ("family", "recv_into", "sendmsg", "fileno", "getsockopt", "setsockopt", "close"):
            setattr(self, name, getattr(pair.ours, name))


def measure(
    codec: str, suite: str, calls: int, seconds: float, rate_hz: int, profile: bool, replay_ms: int = 0
) -> list[Any]:
    """CPU time per call and second, us, by stage."""
    rig = Rig(calls, rate_hz, codec, suite, replay_ms)
    rig.run(WARM_UP_S + (replay_ms + MARGIN_MS) / 1000 * bool(replay_ms))  # until each ring has been round
    rig.spent.clear()
    before = rig.sent
    profiler = cProfile.Profile()
    if profile:
        profiler.enable()
    rig.run(seconds)
    profiler.disable()
    assert rig.sent - before >= calls * (seconds * 50 - 1), rig.sent - before
    frames = int(rig.table.shared.worker.frames_from_agent[0])
    assert frames >= calls * seconds * 49, frames
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(35)
    each = {name: spent / 1e3 / calls / seconds for name, spent in rig.spent.items()}
    assert not rig.table.shared.worker.drops.any()
    alone = codec_cost(codec, rate_hz, min(calls, 50), seconds)
    stages = (each[name] for name in ("receive", "agent read", "tick"))
    return [codec, suite or "plain", calls, *stages, sum(each.values()), alone]


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", default="100,500,1000,2000")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rate", type=int, default=16000, help="of the agent's PCM, Hz")
    parser.add_argument("--codec", default="PCMU")
    parser.add_argument("--srtp", default="", help="suites, or `all`")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--replay-ms", type=int, default=0, help="of the callers' audio that is kept, as of a route")
    options = parser.parse_args()
    suites = ["", *(sdes.SUITES if options.srtp == "all" else filter(None, options.srtp.split(",")))]
    rows = [
        measure(codec, suite, int(calls), options.seconds, options.rate, options.profile, options.replay_ms)
        for codec in options.codec.split(",")
        for calls in options.calls.split(",")
        for suite in suites
    ]
    head = ["codec", "SRTP", "calls", "receive", "agent read", "tick", "all", "codec alone"]
    print(text_table("CPU, us per call and second", head, rows))


if __name__ == "__main__":
    main()
