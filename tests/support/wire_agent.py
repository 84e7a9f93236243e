# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent that speaks our dialect by hand: a test says each message itself, and sees each that comes.

    with WireAgent(address, accept={"answer": False}) as agent:
        call = agent.wait_call()
        call.say("progress")
        call.wait("call_state", state="answered")
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np

from support.audio import Pcm
from support.waiting import wait_for
from trunkline.agent_bridge import wire

Message = Mapping[str, Any]


@dataclasses.dataclass
class WireCall:
    """One call, as its messages have it."""

    agent: WireAgent
    start: Message
    heard: list[Message] = dataclasses.field(default_factory=list)
    "control messages about it, `start` not among them"
    frames: list[tuple[int, int, Pcm]] = dataclasses.field(default_factory=list)
    "position, flags and samples"

    @property
    def id(self) -> str:
        return str(self.start["call"]["call_id"])

    @property
    def pcm(self) -> Pcm:
        """All audio in one piece."""
        return np.concatenate([pcm for _, _, pcm in self.frames]) if self.frames else np.zeros(0, np.int16)

    def say(self, kind: str, **fields: Any) -> None:
        """One control message about this call."""
        self.agent.send(wire.control_message(kind, channel=self.start["channel"], **fields))

    def play(self, pcm: Pcm) -> None:
        """Speech, all at once."""
        channels, zeros = np.array([self.start["channel"]], np.uint32), np.zeros(1, np.int64)
        for first in range(0, len(pcm), 8000):
            piece = pcm[None, first : first + 8000]
            self.agent.send(b"".join(wire.audio_messages(channels, zeros, zeros.astype(np.uint16), piece)))

    def told(self, kind: str, **fields: Any) -> list[Message]:
        """Messages of a kind with these fields that have come."""
        same = [one for one in self.heard if one["type"] == kind]
        return [one for one in same if all(one.get(name) == value for name, value in fields.items())]

    def wait(self, kind: str, **fields: Any) -> Message:
        """The first of them; waits for it."""
        what = f"{kind} {fields} at the agent: {self.heard}"
        found: list[Message] = wait_for(lambda: self.told(kind, **fields), what)
        return found[0]


class WireAgent:
    """A listener for one connection of the gateway at a time."""

    def __init__(self, address: str, accept: Mapping[str, Any] | None = None) -> None:
        """`accept` are fields of the acceptance of each call."""
        self.address = address
        self.accept = dict(accept or {})
        self.calls: list[WireCall] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._serve, name="wire agent", daemon=True)

    def send(self, data: bytes) -> None:
        """Write to the gateway; from any thread."""
        with self._lock:
            assert self._connection is not None
            self._connection.sendall(data)

    def wait_call(self, call_id: str = "") -> WireCall:
        """The call of that id, or the latest, as soon as it is there."""

        def found() -> WireCall | None:
            return next((one for one in reversed(self.calls) if call_id in ("", one.id)), None)

        return wait_for(found, f"call {call_id} at the agent")  # type: ignore[return-value]

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # it is closed at the end
            while True:
                self._connection = self._listener.accept()[0]
                self._converse(self._connection)

    def _converse(self, connection: socket.socket) -> None:
        reader = wire.reassembler(wire.MAX_CONTROL_BYTES)
        self.send(wire.control_message("hello", version=1, agent="by hand"))
        while data := connection.recv(1 << 18):
            for kind, payload in reader.messages(data):
                if kind == wire.CONTROL:
                    self._take(wire.parse_control(payload))
                else:
                    self._hear(payload)

    def _take(self, message: Message) -> None:
        if message["type"] == "start":
            call = WireCall(self, message)
            self.calls.append(call)
            call.say("accept", **self.accept)
        elif message["type"] == "ping":
            self.send(wire.control_message("pong"))
        else:
            for call in self.calls:
                if call.start["channel"] == message.get("channel"):
                    call.heard.append(message)

    def _hear(self, payload: memoryview) -> None:
        for record in wire.parse_audio(payload):
            for call in self.calls:
                if call.start["channel"] == record["channel"]:
                    call.frames.append((int(record["position"]), int(record["flags"]), record["pcm"].copy()))

    def __enter__(self) -> Self:
        path = pathlib.Path(self.address.removeprefix("unix:"))
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._connection, self._listener):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        self._thread.join(5)
