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
import uuid
from collections.abc import Iterable
from unittest import mock

import msgspec
import numpy as np
from numpy.typing import NDArray

from support.media_rig import cut, start_message
from support.virtual_agent import Before, MemoryPoller, VirtualAgent
from support.virtual_network import MS, Callers, Network, Traffic
from trunkline.agent_bridge import wire
from trunkline.agent_bridge.reassembly import Buffer
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
UNREAD_BATCHES = 100
"Sent packets are looked at when there are so many batches of them."
UPLINK_DROPS = [
    Drop.SOURCE, Drop.PAYLOAD_TYPE, Drop.SSRC, Drop.PROBATION, Drop.DUPLICATE, Drop.LATE, Drop.OVERFLOW,
    Drop.NOT_RECEIVING, Drop.BAD_PAYLOAD, Drop.TOO_FAST, Drop.GIVEN_UP,
]  # fmt: skip


class Digests:
    """Of everything that leaves, in its order: two runs are alike to the last byte if these are."""

    def __init__(self) -> None:
        self._all, self._exact, self._frames = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()

    def sound(self, data: Buffer) -> None:
        """Bytes with samples in them, which may differ by one in the last place where they are computed otherwise."""
        self._all.update(data)

    def exact(self, data: Buffer) -> None:
        """What must be the same however samples are computed, of `sound`."""
        self._exact.update(data)

    def both(self, data: Buffer) -> None:
        """Bytes without samples in them."""
        self._all.update(data)
        self._exact.update(data)

    def message(self, message: memoryview) -> None:
        """A message to the agent; if it is frames, `frames` follows some time, or has come before."""
        if message[4] == wire.AUDIO:
            self._all.update(message)
        else:
            self.both(message)

    def frames(self, heads: NDArray[np.uint8]) -> None:
        """Channels, flags and positions of frames."""
        self._frames.update(heads)

    def hexdigest(self) -> str:
        """Of all bytes."""
        return self._all.hexdigest()

    def exact_hexdigest(self) -> str:
        """Of what is no sample: headers, positions, flags, messages and reports."""
        return hashlib.sha256(self._exact.digest() + self._frames.digest()).hexdigest()


class RecordingSockets:
    """Takes what would go to the callers; `on_packets` sees the RTP.

    Sequence numbers are looked at by the thousand, as a `VirtualAgent` does it.
    """

    def __init__(self, calls: int, digests: Digests) -> None:
        self._digests = digests
        self._unread: list[tuple[NDArray[np.intp], NDArray[np.uint8]]] = []
        self._sent = np.zeros(calls, np.int64)
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
        self._read()
        return self._sent

    @property
    def out_of_sequence(self) -> int:
        """Packets whose sequence number does not follow the one before."""
        self._read()
        return self._out_of_sequence

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        if lengths is None:
            self._digests.sound(np.ascontiguousarray(packets))
        else:  # what lies behind is anything
            self._digests.sound(b"".join(cut(packets, lengths)))
        kept, head = rows.copy(), packets[:, :HEADER_BYTES].copy()
        self._digests.both(kept)
        self._digests.exact(head)
        self._unread.append((kept, head))
        if len(self._unread) > UNREAD_BATCHES:
            self._read()
        self.lengths = lengths
        self.on_packets(rows, packets)
        return np.ones(len(rows), bool)

    def _read(self) -> None:
        if not self._unread:
            return
        rows, heads = (np.concatenate(column) for column in zip(*self._unread, strict=True))
        self._unread = []
        order = np.argsort(rows.astype(np.int16), kind="stable")
        rows, seq = rows[order], heads[order, 2].astype(np.int64) << 8 | heads[order, 3]
        before = self._last_seq.step(rows, seq)
        self._out_of_sequence += int(((before >= 0) & (seq != before + 1 & 0xFFFF)).sum())
        self._sent += np.bincount(rows, minlength=len(self._sent))

    def send_datagram(self, stream: Stream, data: bytes) -> bool:
        self.on_datagram(data)
        return True

    def send_rtcp(self, stream: Stream, data: bytes) -> bool:
        self._digests.both(data)
        if self.keep_rtcp:
            self.rtcp.append(data)
        return True


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
        self.sockets = RecordingSockets(calls, self.digest)
        self.agent = VirtualAgent(calls, echo=echo)
        self.agent.on_message, self.agent.on_heads = self.digest.message, self.digest.frames
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
        self.digest.both(control.encode(message))
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
        return self.digest.hexdigest(), self.digest.exact_hexdigest()

    def drops(self) -> dict[str, int]:
        """Drops of all calls by reason, without zeros."""
        total = self.table.shared.drops[: self.calls].sum(axis=0)
        return {Drop(int(i)).name: int(total[i]) for i in np.flatnonzero(total)}

    def uplink_drops(self) -> NDArray[np.int64]:
        """[calls] packets of the callers that did not become audio."""
        return np.asarray(self.table.shared.drops[: self.calls][:, UPLINK_DROPS].sum(axis=1), np.int64)
