# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent that writes down all it hears before it says anything, so that a SIGKILL leaves the truth behind.

    python -m bench.keeping_agent --listen /path/agent.sock --log FILE [--ack-every 25]

Lines: `start CHANNEL CALL ATTEMPT POSITION REPLAY_MS`, `frame CHANNEL POSITION SAMPLES FLAGS`, `ack CHANNEL POSITION`.
Each is written to the file (not to a buffer) before the acknowledgement leaves.  It speaks the agent protocol
(agent_bridge/PROTOCOL.md) with code of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import socket
import struct
from collections import Counter
from typing import Any

HEADER = struct.Struct("<IBBH")
AUDIO = struct.Struct("<HHI")
RECORD = struct.Struct("<IHHQ")
CONTROL_TYPE, AUDIO_TYPE = 1, 2


class Connection:
    """One connection of the gateway."""

    def __init__(self, sock: socket.socket, log: int, ack_every: int) -> None:
        self.sock, self._log, self._ack_every = sock, log, ack_every
        self._waiting = b""
        self._counts: Counter[int] = Counter()

    def read(self) -> bool:
        """What has come; False at the end."""
        data = self.sock.recv(1 << 20)
        if not data:
            return False
        data, place, lines, out = self._waiting + data, 0, [], []
        while len(data) - place >= HEADER.size:
            size, kind, _, _ = HEADER.unpack_from(data, place)
            body = data[place + HEADER.size : place + HEADER.size + size]
            if len(body) < size:
                break
            place += HEADER.size + size
            if kind == AUDIO_TYPE:
                self._audio(body, lines, out)
            else:
                self._control(json.loads(body), lines, out)
        self._waiting = data[place:]
        if lines:
            os.write(self._log, "".join(f"{line}\n" for line in lines).encode())
        if out:
            self.sock.sendall(b"".join(out))
        return True

    def _audio(self, body: bytes, lines: list[str], out: list[bytes]) -> None:
        samples, _, count = AUDIO.unpack_from(body)
        for i in range(count):
            channel, flags, _, position = RECORD.unpack_from(body, AUDIO.size + i * (RECORD.size + 2 * samples))
            lines.append(f"frame {channel} {position} {samples} {flags}")
            self._counts[channel] += 1
            if self._counts[channel] % self._ack_every == 0:
                lines.append(f"ack {channel} {position + samples}")
                out.append(_message(type="ack", channel=channel, position=position + samples))

    def _control(self, message: dict[str, Any], lines: list[str], out: list[bytes]) -> None:
        match message["type"]:
            case "hello":
                out.append(_message(type="hello", version=1, agent="keeping"))
            case "start":
                channel, call = message["channel"], message["call"]["call_id"]
                told = message.get("attempt", 1), message["position"], message.get("replay_ms", 0)
                lines.append(f"start {channel} {call} {told[0]} {told[1]} {told[2]}")
                out.append(_message(type="accept", channel=channel))
            case "ping":
                out.append(_message(type="pong"))


def _message(**message: Any) -> bytes:
    payload = json.dumps(message).encode()
    return HEADER.pack(len(payload), CONTROL_TYPE, 0, 0) + payload


def main() -> None:
    """Until it is killed."""
    parser = argparse.ArgumentParser(prog="bench.keeping_agent")
    parser.add_argument("--listen", required=True, help="path of the Unix socket")
    parser.add_argument("--log", required=True)
    parser.add_argument("--ack-every", type=int, default=25, help="frames of a call")
    options = parser.parse_args()
    log = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(options.listen)
    listener.listen()
    print("ready", flush=True)
    connections: dict[int, Connection] = {}
    poller = select.epoll()
    poller.register(listener.fileno(), select.EPOLLIN)
    while True:
        for fd, _ in poller.poll():
            if fd == listener.fileno():
                sock = listener.accept()[0]
                connections[sock.fileno()] = Connection(sock, log, options.ack_every)
                poller.register(sock.fileno(), select.EPOLLIN)
                continue
            try:
                alive = connections[fd].read()
            except OSError:
                alive = False
            if not alive:
                poller.unregister(fd)
                connections.pop(fd).sock.close()


if __name__ == "__main__":
    main()
