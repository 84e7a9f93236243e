# SPDX-License-Identifier: GPL-2.0-or-later
"""`AgentLinks` of a media worker with real sockets, a poller that the test turns, and a virtual clock."""

from __future__ import annotations

import pathlib
import socket
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from support.media_rig import MS, start_message
from trunkline.agent_bridge import wire
from trunkline.agent_bridge.link_events import Accepted
from trunkline.gateway.media import control
from trunkline.gateway.media.agents import AgentLinks
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.downlink import Downlink
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.poller import EpollPoller
from trunkline.gateway.media.table import Stream, Table


class Agent:
    """The agent's end of one connection: writes and reads messages of our dialect."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self._reader = wire.reassembler()
        self.frames = 0

    def say(self, kind: str, **fields: Any) -> None:
        """One control message."""
        self.sock.sendall(wire.control_message(kind, **fields))

    def speak(self, channels: list[int], pcm: NDArray[np.int16]) -> None:
        """One audio message: a record of pcm[n, samples] for each channel."""
        nothing = np.zeros(len(channels), np.int64)
        messages = wire.audio_messages(np.array(channels, np.uint32), nothing, nothing.astype(np.uint16), pcm)
        self.sock.sendall(b"".join(messages))

    def heard(self) -> list[Mapping[str, Any]]:
        """Control messages of the gateway since the last look; audio frames are counted."""
        found = []
        while True:
            try:
                data = self.sock.recv(1 << 20)
            except (BlockingIOError, ConnectionResetError):
                return found
            if not data:
                return found
            for kind, payload in self._reader.messages(data):
                if kind == wire.CONTROL:
                    found.append(wire.parse_control(payload))
                else:
                    self.frames += len(wire.parse_audio(payload))


class AgentRig:
    """A listener of the test's, and the worker's side of everything that connects to it."""

    def __init__(
        self, folder: pathlib.Path, dialect: str = "trunkline", backlog: int = 16, calls: int = 8
    ) -> None:
        self.now_ns = 1_000_000_000_000
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "agent.sock"))
        self.listener.listen(backlog)
        self.listener.settimeout(5)
        self.agent = control.AgentParams("a", f"unix:{folder / 'agent.sock'}", dialect, 8000, 20)
        self.table = Table(Columns(calls))
        self.posted: list[control.Message] = []
        self.poller = EpollPoller()
        self.downlink = Downlink(self.table, self, send_silence=True)
        self.playback = Playback(self.table, self.downlink, self.posted.append)
        self.links = AgentLinks(
            self.table, self.playback, self.poller, lambda: self.now_ns, self.posted.append
        )
        self.links.on_accepted = self._accepted

    def _accepted(self, stream: Stream, now_ns: int, how: Accepted) -> None:
        self.table.agent_ready[stream.row] = True

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Be the packet sink: the caller's network takes everything."""
        return np.ones(len(rows), bool)

    def call(self, **changes: Any) -> Stream:
        """A new call for the agent."""
        message = msgspec.structs.replace(start_message(), agent=self.agent, **{"answered": True, **changes})
        stream = self.table.take(message, None, None)  # type: ignore[arg-type]
        self.table.apply(stream, stream.media)
        self.links.start(stream, self.now_ns)
        return stream

    def tick(self, ms: float = 1, times: int = 1) -> None:
        """What a worker does: look at the sockets, then at the time, then write."""
        for _ in range(times):
            self.now_ns += int(ms * MS)
            for fd, events in self.poller.epoll.poll(0.001):
                handler = self.poller.handlers.get(fd)
                if handler is not None:
                    handler(events)
            self.links.handle_timeouts(self.now_ns)
            self.links.flush()

    def accept(self) -> Agent:
        """The agent takes a connection."""
        return Agent(self.listener.accept()[0])

    def up(self, calls: int = 1) -> tuple[Agent, list[Stream]]:
        """A connection with calls that the agent has accepted."""
        streams = [self.call() for _ in range(calls)]
        agent = self.accept()
        self.tick(times=2)
        agent.say("hello", version=1, agent="test")
        self.tick(times=3)
        for stream in streams:
            agent.say("accept", channel=stream.channel)
        self.tick(times=3)
        agent.heard()
        return agent, streams

    def of(self, kind: type[control.Message]) -> list[Any]:
        """Messages to the gateway process of one kind."""
        return [message for message in self.posted if isinstance(message, kind)]
