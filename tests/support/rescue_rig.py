# SPDX-License-Identifier: GPL-2.0-or-later
"""A media engine with several agents that die, hang and come back, under a virtual clock.

Ground truth is what the uplink hands on, frame by frame; what each agent heard is compared with it.
"""

from __future__ import annotations

import errno
import random
import select
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self
from unittest import mock

import msgspec
import numpy as np
from numpy.typing import NDArray

from support.audio import encode_g711
from support.media_rig import MS, PEER, UNHEARD, start_message
from support.virtual_agent import HEADER_BYTES, MemorySocket
from support.virtual_engine import START_NS, WALL_NS, Digests, RecordingSockets
from support.virtual_network import Callers, Network, Traffic
from trunkline.agent_bridge import wire
from trunkline.gateway.media import agent_connecting, control
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.packet import Packet

TICK_NS = 10 * MS
RESCUE = control.RescueParams(within_ms=2000, replay_ms=5000)


class Line(MemorySocket):
    """One connection: the gateway's end."""

    def __init__(self, agent: Agent, fd: int) -> None:
        super().__init__(agent)  # type: ignore[arg-type]
        self.agent, self.fd = agent, fd
        self.ended = False
        self.channels: dict[int, str] = {}

    def fileno(self) -> int:
        return self.fd

    def connect_ex(self, target: object) -> int:
        return 0 if self.agent.listens else errno.ECONNREFUSED

    def sendmsg(self, pieces: Sequence[memoryview]) -> int:
        if self.ended:
            raise BrokenPipeError(errno.EPIPE, "gone")
        if self.agent.hangs:
            raise BlockingIOError(errno.EAGAIN, "not read")
        for piece in pieces:
            self.agent.hear(self, piece)
        return sum(len(piece) for piece in pieces)

    def recv_into(self, buffer: bytearray) -> int:
        if not self.inbox and self.ended:
            return 0
        return super().recv_into(buffer)

    def close(self) -> None:
        self.ended = True


class Agent:
    """Takes calls, keeps all it hears by call id and position, and does what the test wants."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.listens = True
        self.hangs = False
        self.accepts = True
        self.answers = True
        self.rejects: int | None = None
        self.lines: list[Line] = []
        self.starts: list[Mapping[str, Any]] = []
        self.heard: dict[str, list[tuple[int, int, bytes]]] = {}
        "call id -> (position, flags, samples) since its last start"
        self.control: list[Mapping[str, Any]] = []
        self.on_start: Callable[[Line, Mapping[str, Any]], None] = lambda line, start: None

    def die(self) -> None:
        """All connections break, and nobody listens."""
        self.listens = False
        for line in self.lines:
            line.ended = True

    def hear(self, line: Line, message: memoryview) -> None:
        payload = message[HEADER_BYTES:]
        if message[4] == wire.AUDIO:
            records = wire.parse_audio(payload)
            for channel, flags, position, pcm in zip(
                records["channel"].tolist(), records["flags"].tolist(), records["position"].tolist(),
                records["pcm"], strict=True,
            ):  # fmt: skip
                self.heard[line.channels[channel]].append((position, flags, pcm.tobytes()))
        else:
            self._answer(line, wire.parse_control(payload))

    def _answer(self, line: Line, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "hello":
                self.say(line, "hello", version=1, agent=self.name)
            case "start":
                call_id = message["call"]["call_id"]
                line.channels[message["channel"]] = call_id
                self.starts.append(message)
                self.heard[call_id] = []
                if self.rejects is not None:
                    self.say(line, "reject", channel=message["channel"], code=self.rejects, reason="no")
                elif self.accepts:
                    self.say(line, "accept", channel=message["channel"], answer=self.answers)
                    self.on_start(line, message)
            case "ping":
                self.say(line, "pong")
            case _:
                self.control.append(message)

    def say(self, line: Line, kind: str, **fields: Any) -> None:
        line.inbox += wire.control_message(kind, **fields)

    def tell(self, call_id: str, kind: str, **fields: Any) -> None:
        """A command about a call."""
        line, channel = self.place(call_id)
        self.say(line, kind, channel=channel, **fields)

    def place(self, call_id: str) -> tuple[Line, int]:
        for line in reversed(self.lines):
            for channel, name in line.channels.items():
                if name == call_id and not line.ended:
                    return line, channel
        raise KeyError(call_id)

    def speak(self, call_id: str, pcm: NDArray[np.int16]) -> None:
        line, channel = self.place(call_id)
        nothing = np.zeros(1, np.int64)
        channels, flags = np.array([channel], np.uint32), nothing.astype(np.uint16)
        for message in wire.audio_messages(channels, nothing, flags, pcm[None]):
            line.inbox += message


class Poller:
    """`agent_link.Poller` for many lines."""

    def __init__(self) -> None:
        self.handlers: dict[int, tuple[int, Callable[[int], None]]] = {}

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        self.handlers[fd] = mask, handler

    def forget(self, fd: int) -> None:
        self.handlers.pop(fd, None)


class RescueRig:
    """`calls` calls with a list of agents; one tick is 10 ms."""

    def __init__(
        self, calls: int = 1, agents: Sequence[str] = ("a", "b"), rescue: control.RescueParams = RESCUE, *,
        seed: int = 1, before: RescueRig | None = None, settle: bool = True, down: Sequence[str] = (),
        turns: control.TurnParams = UNHEARD, **agent: Any,
    ) -> None:  # fmt: skip
        self.now_ns = START_NS if before is None else before.now_ns
        self.agents = {name: Agent(name) for name in agents} if before is None else before.agents
        for name in down:
            self.agents[name].listens = False
        self.params = tuple(control.AgentParams(name, f"unix:/{name}", "trunkline", 8000, **agent) for name in agents)
        self.posted: list[control.Message] = []
        self.packets: dict[int, list[tuple[int, bytes]]] = {}
        self.poller = Poller()
        self.sockets = RecordingSockets(calls, Digests(), lambda: self.now_ns)
        self.sockets.on_packets = self._sent
        self.table = Table(Columns(calls) if before is None else before.table.shared)
        self.engine = Engine(
            self.table, self.sockets, self.poller, lambda: self.now_ns, self.posted.append, random.Random(seed),
            jitter=TargetParams(), wall_offset_ns=WALL_NS - START_NS,
        )  # fmt: skip
        self.truth: dict[int, list[tuple[int, bytes]]] = {}
        self._watch_truth()
        self._fd, self._seq = 1000, 0
        self._patch = mock.patch.object(agent_connecting, "open_socket", self._open)
        self._patch.start()
        messages = self._messages(calls, random.Random(seed), rescue, turns) if before is None else before.left_behind()
        self.streams: list[Stream] = []
        for message in messages:
            stream = self.table.take(message, None, None)  # type: ignore[arg-type]
            self.engine.start(stream, self.now_ns)
            self.streams.append(stream)
        if settle:
            self.run(0.05)

    def close(self) -> None:
        self._patch.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _messages(
        self, calls: int, rng: random.Random, rescue: control.RescueParams, turns: control.TurnParams
    ) -> list[control.StartStream]:
        first, *others = self.params
        messages = []
        for _ in range(calls):
            one = start_message(rescue=rescue, turns=turns)
            info = msgspec.structs.replace(one.info, call_id=str(uuid.UUID(int=rng.getrandbits(128), version=4)))
            messages.append(msgspec.structs.replace(one, info=info, agent=first, others=tuple(others)))
        return messages

    def left_behind(self) -> list[control.StartStream]:
        """What the gateway tells a successor of this worker."""
        out = []
        for stream in self.streams:
            case = self.engine.agents.rescue._cases[stream.row]
            start = msgspec.structs.replace(
                stream.start, slot=stream.row, generation=int(self.table.shared.generation[stream.row]),
                agent=case.agent, others=tuple(a for a in case.agents if a is not case.agent),
                agent_state=case.state, attempt=case.attempt,
            )  # fmt: skip
            out.append(start)
        return out

    def _open(self, address: str) -> tuple[Line, str]:
        agent = self.agents[address.removeprefix("unix:/")]
        self._fd += 1
        line = Line(agent, self._fd)
        agent.lines.append(line)
        return line, address

    def _watch_truth(self) -> None:
        deliver = self.engine.agents.deliver

        def watched(rows: Any, positions: Any, flags: Any, pcm: Any) -> None:
            for row, position, samples in zip(rows.tolist(), positions.tolist(), pcm, strict=True):
                self.truth.setdefault(row, []).append((position, samples.tobytes()))
            deliver(rows, positions, flags, pcm)

        self.engine.agents.deliver = watched  # type: ignore[method-assign]
        self.engine.agents.message = lambda rows, samples: None  # type: ignore[method-assign]
        self.engine.agents.message_to = lambda index, count, samples: None  # type: ignore[method-assign]

    def _sent(self, rows: NDArray[np.intp], packets: NDArray[np.uint8]) -> None:
        for row, packet in zip(rows.tolist(), packets, strict=True):
            self.packets.setdefault(row, []).append((self.now_ns, packet[12:172].tobytes()))

    def turn(self) -> None:
        """What the agents have said, then everything that time demands."""
        for agent in self.agents.values():
            for line in agent.lines:
                if line.fd in self.poller.handlers:
                    mask, handler = self.poller.handlers[line.fd]
                    readable = bool(line.inbox) or line.ended or not agent.listens
                    events = mask & (select.EPOLLOUT | (select.EPOLLIN if readable and not agent.hangs else 0))
                    if events:
                        handler(events)
        self.engine.tick(self.now_ns)

    def run(self, seconds: float, traffic: Traffic | None = None) -> None:
        """Let time pass."""
        ticks = round(seconds * 1e9) // TICK_NS
        for batches in traffic.batches(ticks) if traffic is not None else [()] * ticks:
            self.now_ns += TICK_NS
            for batch in batches:
                self.engine.receive(batch, self.now_ns)
            self.turn()

    def hear(self, pcm: NDArray[np.int16]) -> None:
        """The caller of the only call says this (G.711 at 8 kHz), in real time."""
        for start in range(0, len(pcm) - 159, 160):
            self._seq += 1
            data = bytes(Packet(0, self._seq & 0xFFFF, self._seq * 160, 5, encode_g711(pcm[start : start + 160], 0)))
            packets = np.zeros((1, PACKET_BYTES), np.uint8)
            packets[0, : len(data)] = np.frombuffer(data, np.uint8)
            lengths, row = np.array([len(data)], np.int32), np.zeros(1, np.intp)
            self.now_ns += TICK_NS
            self.engine.receive(Batch(row, packets, lengths, np.ones(1, bool), [PEER]), self.now_ns)
            self.turn()
            self.run(0.01)

    def traffic(self, seed: int = 1, **network: float) -> Traffic:
        """Callers who speak, from now on."""
        return Traffic(seed, Callers(len(self.streams)), Network(**network), self.now_ns, TICK_NS)

    def of(self, kind: type[control.Message]) -> list[Any]:
        return [message for message in self.posted if isinstance(message, kind)]

    def ids(self) -> list[str]:
        return [stream.call_id for stream in self.streams]

    def missing(self, stream: Stream, agent: Agent, start: int) -> list[int]:
        """Positions from `start` on that the agent has not heard as they were, once, in order."""
        heard = agent.heard[stream.call_id]
        assert [p for p, _, _ in heard] == sorted({p for p, _, _ in heard}), "twice, or out of order"
        got = {position: pcm for position, _, pcm in heard}
        return [position for position, pcm in self.truth[stream.row] if position >= start and got.get(position) != pcm]
