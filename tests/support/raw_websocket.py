# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent's end of a WebSocket by hand: frames that are legal and unfriendly, for a worker's `AgentLinks`."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import socket
import struct
from typing import Any

import msgspec

from support.agent_rig import AgentRig
from trunkline.agent_bridge.links import MESSAGE_DIALECTS
from trunkline.gateway.media.table import Stream

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


def frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def text(message: Any) -> bytes:
    """A text message: a string as it is, anything else as JSON."""
    return frame(TEXT, (message if isinstance(message, str) else json.dumps(message)).encode())


def close(code: int) -> bytes:
    """A close frame."""
    return frame(CLOSE, struct.pack("!H", code))


def websocket_rig(folder: pathlib.Path, dialect: str) -> AgentRig:
    """An `AgentRig` whose agent speaks this dialect."""
    rig = AgentRig(folder, dialect)
    rig.agent = msgspec.structs.replace(rig.agent, url="ws://agent.example/x")
    return rig


def answered(rig: AgentRig, **changes: Any) -> tuple[Stream, socket.socket]:
    """A call that is up, whose agent has answered the handshake, and the agent's socket."""
    stream = rig.call(**{"answered": True, **changes})
    rig.tick(times=2)
    sock, _ = rig.listener.accept()
    sock.settimeout(5)
    request = b""
    while b"\r\n\r\n" not in request:
        rig.tick()
        request += sock.recv(4096)
    lines = request.split(b"\r\n")
    (key,) = [line.split(b": ")[1] for line in lines if line.lower().startswith(b"sec-websocket-key")]
    proof = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    offered = MESSAGE_DIALECTS[rig.agent.dialect].subprotocols
    chosen = f"Sec-WebSocket-Protocol: {offered[0]}\r\n".encode() if offered else b""
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    sock.sendall(head + chosen + b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n")
    rig.tick(times=4)
    assert stream.accepted, rig.posted
    return stream, sock


def messages(data: bytes) -> list[bytes]:
    """What the gateway has said, unmasked: the payloads of its data frames."""
    found, at = [], 0
    while at + 2 <= len(data):
        opcode, size, at = data[at] & 15, data[at + 1] & 127, at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        key, at = data[at : at + 4], at + 4
        if opcode in (TEXT, BINARY):
            found.append(bytes(b ^ key[i % 4] for i, b in enumerate(data[at : at + size])))
        at += size
    return found
