# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole media engine under a virtual clock: no sockets, no processes, no waiting.

    rig = VirtualEngine(calls=100)
    rig.run(seconds=60, traffic=rig.traffic(seed, Callers(...), Network(...)))

Everything that leaves (frames and messages to the agent, RTP and RTCP to the callers, messages to
the gateway process) goes into `digest`, so two runs can be compared byte for byte.
"""

from __future__ import annotations

import hashlib
import random
import struct
import uuid
import zlib
from collections.abc import Callable, Iterable
from unittest import mock

import msgspec
import numpy as np
from numpy.typing import NDArray

from support.media_rig import cut, start_message
from support.virtual_agent import Before, Grouped, MemoryPoller, VirtualAgent
from support.virtual_network import MS, Callers, Network, Traffic
from trunkline.gateway.media import agent_connecting, control
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import HEADER_BYTES

START_NS = 1_000_000_000_000
WALL_NS = 1_790_000_000_000_000_000
"Unix time at the start."
_FACTORS = np.random.default_rng(64).integers(0, 1 << 63, 1 << 13, np.uint64) * 2 + 1
BLOCK_BYTES = 8 * len(_FACTORS)
_AGAIN = 0x9E3779B97F4A7C15
_HEAD = f"V{HEADER_BYTES}"
_HEAD_OF_ROW = np.dtype([("row", np.intp), ("head", _HEAD)])
UNREAD_BATCHES = 32
"Sent packets are looked at when there are so many batches of them."
UPLINK_DROPS = [
    Drop.SOURCE, Drop.PAYLOAD_TYPE, Drop.SSRC, Drop.PROBATION, Drop.DUPLICATE, Drop.LATE, Drop.OVERFLOW,
    Drop.NOT_RECEIVING, Drop.BAD_PAYLOAD, Drop.TOO_FAST, Drop.GIVEN_UP,
]  # fmt: skip


class Sum:
    """Of much: a CRC, and a sum, modulo 2^64, of the words of each block times odd numbers drawn at random.

    What is another on purpose might get by; what is another by mistake does not, and an hour of it takes seconds.
    It is of a stream of bytes, in whatever pieces these come.
    """

    def __init__(self) -> None:
        self._crc = self._words = 0
        self._rest = b""
        "less than a block"

    def update(self, piece: bytes | NDArray[np.uint8]) -> None:
        """A piece."""
        data = memoryview(piece)
        self._crc = zlib.crc32(data, self._crc)
        first = -len(self._rest) % BLOCK_BYTES
        if first > len(data):
            self._rest += data
            return
        if first:
            self._blocks(memoryview(self._rest + bytes(data[:first])))
        whole = first + (len(data) - first) // BLOCK_BYTES * BLOCK_BYTES
        self._blocks(data[first:whole])
        self._rest = bytes(data[whole:])

    def _blocks(self, data: memoryview) -> None:
        for of_block in (np.frombuffer(data, np.uint64).reshape(-1, len(_FACTORS)) @ _FACTORS).tolist():
            self._words = (self._words * _AGAIN + of_block) & (1 << 64) - 1

    def digest(self) -> bytes:
        """Of all until now."""
        return struct.pack("<IQ", self._crc, self._words) + self._rest


class Digests:
    """Of everything that leaves, in its order: two runs are alike to the last byte if these are.

    With each message or report goes what had left before it.  Among themselves, packets of one moment to different
    callers have no order: it depends on what is done in one go, as it does which frames are in one message.
    """

    def __init__(self) -> None:
        self._sound, self._samples = Sum(), Sum()
        self._others, self._packets, self._frames = (hashlib.sha256() for _ in range(3))
        self.sound = self._sound.update
        """takes packets to the callers, by their time and row, samples and all; these may differ by one in the last
        place where they are computed otherwise"""
        self.packets = self._packets.update
        "takes rows and headers of these"
        self.samples = self._samples.update
        "takes frames to the agent, samples and all"
        self.frames = self._frames.update
        "takes channels, flags and positions of these"
        self._sums = [0] * (2 + HEADER_BYTES // 4)
        "packets that have been reckoned, their rows and the words of their headers;"
        self._packet_count = self._frame_count = 0
        "packets that have left since, and all frames"
        self._messages: list[tuple[bytes, int, int]] = []
        "messages and reports since, and these counts before each"

    def count_packets(self, count: int) -> None:
        """So many packets leave now, which are reckoned later;"""
        self._packet_count += count

    def count_frames(self, count: int) -> None:
        """... or frames."""
        self._frame_count += count

    def others(self, data: bytes) -> None:
        """Bytes without samples in them."""
        self._messages.append((data, self._packet_count, self._frame_count))

    def reckon(self, rows: NDArray[np.intp], heads: NDArray[np.void]) -> None:
        """Sum up the packets that have left, in their order: their rows, and heads of HEADER_BYTES."""
        assert len(rows) == self._packet_count
        sums = np.empty((1 + HEADER_BYTES // 4, len(rows) + 1), np.int64)
        sums[:, 0] = self._sums[1:]
        sums[0, 1:], sums[1:, 1:] = rows, heads.view("<u4").reshape(-1, HEADER_BYTES // 4).T
        sums.cumsum(axis=1, out=sums)
        counts = [count for _, count, _ in self._messages]
        before = sums[:, counts].T.tolist() if counts else []
        for (data, count, frames), packets in zip(self._messages, before, strict=True):
            self._others.update(b"%a %d%b" % ([self._sums[0] + count, *packets], frames, data))
        self._sums = [self._sums[0] + len(rows), *sums[:, -1].tolist()]
        self._packet_count, self._messages = 0, []

    def hexdigest(self) -> str:
        """Of all bytes."""
        sound = self._sound.digest() + self._samples.digest()
        return hashlib.sha256(sound + self._exact()).hexdigest()

    def exact_hexdigest(self) -> str:
        """Of what is no sample: headers, positions, flags, messages and reports."""
        return hashlib.sha256(self._exact()).hexdigest()

    def _exact(self) -> bytes:
        assert not self._messages and not self._packet_count, "they are reckoned up to now"
        return b"".join(part.digest() for part in (self._others, self._packets, self._frames))


class RecordingSockets:
    """Takes what would go to the callers; `on_packets` sees the RTP.

    Packets are looked at by the thousand, as a `VirtualAgent` does it.
    """

    def __init__(self, calls: int, digests: Digests, clock: Callable[[], int]) -> None:
        self._digests, self._clock = digests, clock
        self._unread: list[tuple[NDArray[np.intp], NDArray[np.uint8] | list[bytes]]] = []
        "rows, and whole packets: u8[n, size] where they are of one size,"
        self._times: list[int] = []
        "and when they left"
        self._sent = np.zeros(calls, np.int64)
        self._all_sent = np.ones(4 * calls, bool)
        self._all_sent.flags.writeable = False
        self._out_of_sequence = 0
        self._last_seq = Before(calls, -1)
        self.on_packets = lambda rows, packets: None
        self.lengths: NDArray[np.int32] | None = None
        "of the packets that `on_packets` sees; None: all of each"
        self.rtcp: list[bytes] = []
        self.on_datagram = lambda data: None
        self.keep_rtcp = False

    @property
    def sent(self) -> NDArray[np.int64]:
        """[calls] packets."""
        self.read()
        return self._sent

    @property
    def out_of_sequence(self) -> int:
        """Packets whose sequence number does not follow the one before."""
        self.read()
        return self._out_of_sequence

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        now_ns = self._clock()
        if len(self._unread) > UNREAD_BATCHES and now_ns != self._times[-1]:  # all of a moment at once
            self.read()
        whole = packets.copy() if lengths is None else cut(packets, lengths)  # what lies behind is anything
        self._digests.count_packets(len(rows))
        self._unread.append((rows.copy(), whole))
        self._times.append(now_ns)
        self.lengths = lengths
        self.on_packets(rows, packets)
        return self._all_sent[: len(rows)]

    def read(self) -> None:
        """Look at all that has been sent."""
        rows = np.concatenate([of_rows for of_rows, _ in self._unread]) if self._unread else np.zeros(0, np.intp)
        batches = [packets for _, packets in self._unread]
        moment = np.cumsum(np.diff(self._times, prepend=self._times[:1]) != 0).repeat(list(map(len, batches)))
        self._unread, self._times = [], []
        order = np.argsort(rows.astype(np.int16), kind="stable")  # of 16 bits: by their digits, in no time
        in_time = order[np.argsort(moment[order].astype(np.int16), kind="stable")]
        heads = self._look(batches, in_time)
        self._digests.reckon(rows, heads)
        if not len(rows):
            return
        of_row = np.empty(len(rows), _HEAD_OF_ROW)
        of_row["row"], of_row["head"] = rows, heads
        self._digests.packets(of_row.view(f"V{_HEAD_OF_ROW.itemsize}")[in_time].view(np.uint8))
        rows, seq = rows[order], heads[order].view(">u2").reshape(-1, HEADER_BYTES // 2)[:, 1].astype(np.int64)
        of = Grouped(rows)
        before = self._last_seq.step(of, seq)
        self._out_of_sequence += int(((before >= 0) & (seq != before + 1 & 0xFFFF)).sum())
        self._sent[of.calls] += of.counts

    def _look(
        self, batches: list[NDArray[np.uint8] | list[bytes]], in_time: NDArray[np.intp]
    ) -> NDArray[np.void]:
        """Whole packets, in this order for the digest; returns their heads of HEADER_BYTES, as they left."""
        arrays = [batch for batch in batches if isinstance(batch, np.ndarray)]
        if arrays and len(arrays) == len(batches) and len({array.shape[1] for array in arrays}) == 1:
            every = np.concatenate(arrays)
            packets = every.view(f"V{every.shape[1]}")[:, 0]  # quicker to put in order than rows of bytes
            self._digests.sound(packets[in_time].view(np.uint8))
            return np.ascontiguousarray(every[:, :HEADER_BYTES]).view(_HEAD)[:, 0]
        each = [bytes(packet) for batch in batches for packet in batch]
        self._digests.sound(b"".join([each[i] for i in in_time.tolist()]))
        return np.frombuffer(b"".join([packet[:HEADER_BYTES] for packet in each]), _HEAD)

    def send_datagram(self, stream: Stream, data: bytes) -> bool:
        self.on_datagram(data)
        return True

    def send_reports(self, rows: NDArray[np.intp], packets: NDArray[np.uint8]) -> None:
        for packet in packets:
            self._report(packet.tobytes())

    def send_rtcp(self, stream: Stream, data: bytes) -> bool:
        self._report(data)
        return True

    def _report(self, data: bytes) -> None:
        self._digests.others(data)
        if self.keep_rtcp:
            self.rtcp.append(data)


class VirtualEngine:
    """`calls` running calls (row i is call i) with one agent, on a clock that the test moves."""

    def __init__(
        self, calls: int = 1, *, seed: int = 1, tick_ms: float = 10.0, echo: bool = False,
        jitter: TargetParams | None = None, before: VirtualEngine | None = None, **start: object,
    ) -> None:  # fmt: skip
        """`start` is for `start_message`: codec, rates, packet times. `before` is for `successor`."""
        self.now_ns = START_NS if before is None else before.now_ns
        self.tick_ns = int(tick_ms * MS)
        self.calls = calls
        self.digest = Digests()
        self.posted: list[control.Message] = []
        self.poller = MemoryPoller()
        self.sockets = RecordingSockets(calls, self.digest, lambda: self.now_ns)
        self.agent = VirtualAgent(calls, echo=echo)
        self.agent.on_message, self.agent.on_count = self.digest.others, self.digest.count_frames
        self.agent.on_records, self.agent.on_heads = self.digest.samples, self.digest.frames
        self.table = Table(Columns(calls) if before is None else before.table.shared)
        self.engine = Engine(
            self.table, self.sockets, self.poller, lambda: self.now_ns, self._post, random.Random(seed),
            jitter=jitter or TargetParams(), wall_offset_ns=WALL_NS - START_NS,
        )  # fmt: skip
        messages = (
            self._messages(calls, random.Random(seed), start) if before is None else before.left_behind()
        )
        self.streams = self._start(messages)

    def _post(self, message: control.Message) -> None:
        self.digest.others(control.encode(message))
        self.posted.append(message)

    def _messages(
        self, calls: int, rng: random.Random, fields: dict[str, object]
    ) -> Iterable[control.StartStream]:
        for _ in range(calls):
            message = start_message(**fields)  # type: ignore[arg-type]
            call_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            yield msgspec.structs.replace(
                message, info=msgspec.structs.replace(message.info, call_id=call_id)
            )

    def left_behind(self) -> list[control.StartStream]:
        """What the gateway tells a worker that takes over the rows of this one."""
        generation = self.table.shared.generation
        return [
            msgspec.structs.replace(
                s.start,
                media=s.media if s.media.send_key else self.engine.handshakes.wanted(s),
                slot=s.row,
                generation=int(generation[s.row]),
            )
            for s in self.streams
        ]

    def successor(self, *, echo: bool = False) -> VirtualEngine:
        """This worker has died at this moment; another one goes on with its shared memory."""
        return VirtualEngine(self.calls, seed=2, tick_ms=self.tick_ns / MS, echo=echo, before=self)

    def _start(self, messages: Iterable[control.StartStream]) -> list[Stream]:
        streams = []
        with mock.patch.object(agent_connecting, "open_socket", return_value=(self.agent.socket, "")):
            for message in messages:
                stream = self.table.take(message, None, None)  # type: ignore[arg-type]
                self.engine.start(stream, self.now_ns)
                streams.append(stream)
        for _ in range(3):  # hello, accept, first frames
            self.turn()
        return streams

    def turn(self) -> None:
        """What the agent has said, then everything that time demands."""
        self.poller.turn(readable=bool(self.agent.socket.inbox))
        self.engine.tick(self.now_ns)

    def step(self, batches: Iterable[Batch] = ()) -> None:
        """One tick later, with what has arrived by then."""
        self.now_ns += self.tick_ns
        for batch in batches:
            self.engine.receive(batch, self.now_ns)
        self.turn()

    def traffic(self, seed: int, callers: Callers, network: Network) -> Traffic:
        """Callers whose clock starts now."""
        return Traffic(seed, callers, network, self.now_ns, self.tick_ns)

    def run(self, seconds: float, traffic: Traffic | None = None) -> None:
        """Let time pass."""
        ticks = round(seconds * 1e9) // self.tick_ns
        if traffic is None:
            for _ in range(ticks):
                self.step()
        else:
            for batches in traffic.batches(ticks):
                self.step(batches)

    # -- accounting -------------------------------------------------------------------------

    def digests(self) -> tuple[str, str]:
        """Of all bytes that have left, and of those that are no samples."""
        self.agent.read()
        self.sockets.read()
        return self.digest.hexdigest(), self.digest.exact_hexdigest()

    def drops(self) -> dict[str, int]:
        """Drops of all calls by reason, without zeros."""
        total = self.table.shared.drops[: self.calls].sum(axis=0)
        return {Drop(int(i)).name: int(total[i]) for i in np.flatnonzero(total)}

    def uplink_drops(self) -> NDArray[np.int64]:
        """[calls] packets of the callers that did not become audio."""
        return np.asarray(self.table.shared.drops[: self.calls][:, UPLINK_DROPS].sum(axis=1), np.int64)
