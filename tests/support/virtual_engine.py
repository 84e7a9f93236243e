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
from support.virtual_agent import MemoryPoller, VirtualAgent
from support.virtual_network import MS, Callers, Network, Traffic
from trunkline.gateway.media import agent_connecting, control
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.outcomes import Drop

START_NS = 1_000_000_000_000
WALL_NS = 1_790_000_000_000_000_000
"Unix time at the start."
UPLINK_DROPS = [
    Drop.SOURCE, Drop.PAYLOAD_TYPE, Drop.SSRC, Drop.PROBATION, Drop.DUPLICATE, Drop.LATE, Drop.OVERFLOW,
    Drop.NOT_RECEIVING, Drop.BAD_PAYLOAD, Drop.TOO_FAST,
]  # fmt: skip


class RecordingSockets:
    """Takes what would go to the callers; `on_packets` sees the RTP."""

    def __init__(self, calls: int, digest: hashlib._Hash) -> None:
        self._digest = digest
        self.sent = np.zeros(calls, np.int64)
        self.out_of_sequence = 0
        self._next_seq = np.full(calls, -1, np.int64)
        self.on_packets = lambda rows, packets: None
        self.lengths: NDArray[np.int32] | None = None
        "of the packets that `on_packets` sees; None: all of each"
        self.rtcp: list[bytes] = []
        self.on_datagram = lambda data: None
        self.keep_rtcp = False

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        if lengths is None:
            self._digest.update(np.ascontiguousarray(packets))
        else:  # what lies behind is anything
            self._digest.update(b"".join(cut(packets, lengths)))
        self._digest.update(rows.tobytes())
        self.lengths = lengths
        self.sent[rows] += 1
        seq = packets[:, 2].astype(np.int64) << 8 | packets[:, 3]
        expected = self._next_seq[rows]
        self.out_of_sequence += int(((expected >= 0) & (seq != expected)).sum())
        self._next_seq[rows] = seq + 1 & 0xFFFF
        self.on_packets(rows, packets)
        return np.ones(len(rows), bool)

    def send_datagram(self, stream: Stream, data: bytes) -> bool:
        self.on_datagram(data)
        return True

    def send_rtcp(self, stream: Stream, data: bytes) -> bool:
        self._digest.update(data)
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
        self.digest = hashlib.sha256()
        self.posted: list[control.Message] = []
        self.poller = MemoryPoller()
        self.sockets = RecordingSockets(calls, self.digest)
        self.agent = VirtualAgent(calls, echo=echo)
        self.agent.on_bytes = self.digest.update
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
        self.digest.update(control.encode(message))
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

    def drops(self) -> dict[str, int]:
        """Drops of all calls by reason, without zeros."""
        total = self.table.shared.drops[: self.calls].sum(axis=0)
        return {Drop(int(i)).name: int(total[i]) for i in np.flatnonzero(total)}

    def uplink_drops(self) -> NDArray[np.int64]:
        """[calls] packets of the callers that did not become audio."""
        return np.asarray(self.table.shared.drops[: self.calls][:, UPLINK_DROPS].sum(axis=1), np.int64)
