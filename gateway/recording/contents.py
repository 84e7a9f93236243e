# SPDX-License-Identifier: GPL-2.0-or-later
"""What a recording says: who called, what the agent was told and when, and what it said."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import fields, wire
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.gateway.recording import pcapng

Pcm = NDArray[np.int16]
MAX_FILE_BYTES = 2_000_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A control message."""

    at_ns: int
    "since the agent was offered the call"
    message: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its type."""
        return str(self.message["type"])


@dataclasses.dataclass(frozen=True, slots=True)
class Sound:
    """Samples, int16[n]."""

    at_ns: int
    pcm: Pcm
    position: int = 0
    flags: int = 0


Item = Word | Sound


@dataclasses.dataclass(slots=True)
class Contents:
    """One call."""

    start: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    "the first `start` message"
    told: list[Item] = dataclasses.field(default_factory=list)
    "to the agent"
    said: list[Item] = dataclasses.field(default_factory=list)
    "by the agent"
    rtp_in: int = 0
    "packets, RTCP among them"
    rtp_out: int = 0

    @property
    def rate_hz(self) -> int:
        """Of the audio, both ways."""
        return int(self.start["audio"]["sample_rate_hz"])

    @property
    def frame_ms(self) -> int:
        """Packet time."""
        return int(self.start["audio"]["frame_ms"])

    @property
    def position(self) -> int:
        """Of the first sample."""
        return int(self.start.get("position") or 0)


def read(path: Path) -> Contents:
    """A file; raises OSError or pcapng.NotARecording, with a text for people."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise pcapng.NotARecording(f"it has more than {MAX_FILE_BYTES // 1_000_000} MB")
    return parse(pcapng.packets(path.read_bytes()))


def parse(packets: Iterable[pcapng.Packet]) -> Contents:
    """Packets of a file, in the order in which they are there."""
    found, begun_ns = Contents(), 0
    for packet in packets:
        if packet.interface == pcapng.RTP:
            if pcapng.payload(packet.data)[:1] >= b"\x80":  # version 2; SIP is text, and nothing that a replay needs
                found.rtp_in += packet.inbound
                found.rtp_out += not packet.inbound
            continue
        try:
            items = list(_items(packet, begun_ns or packet.time_ns))
        except ProtocolViolation as problem:
            raise pcapng.NotARecording(f"a message in it is broken: {problem}") from None
        if not begun_ns:
            begun_ns = packet.time_ns
        for item in items:
            if isinstance(item, Word) and item.kind == "start":
                found.start = found.start or item.message
            else:
                (found.said if packet.inbound else found.told).append(item)
    if not isinstance(found.start.get("audio"), dict) or not isinstance(found.start.get("call"), dict):
        raise pcapng.NotARecording("no agent was offered a call in it")
    try:
        rate_hz, frame_ms, _ = found.rate_hz, found.frame_ms, found.position
    except (KeyError, TypeError, ValueError, OverflowError):  # OverflowError: 1e999 is infinite, and legal JSON
        raise pcapng.NotARecording("its call has no sample rate, frame length or position") from None
    if rate_hz not in (8000, 16000, 24000, 48000) or not 1 <= frame_ms <= 120:
        raise pcapng.NotARecording(f"audio of {rate_hz} Hz in frames of {frame_ms} ms is none of ours")
    return found


def _items(packet: pcapng.Packet, begun_ns: int) -> Iterable[Item]:
    at_ns = packet.time_ns - begun_ns
    for kind, payload in wire.reassembler().messages(packet.data):
        if kind == wire.CONTROL:
            message = wire.parse_control(payload)
            if message["type"] not in ("hello", "ping", "pong"):
                yield Word(at_ns, message)
        else:
            for record in wire.parse_audio(payload):
                pcm = np.array(record["pcm"], np.int16)
                yield Sound(at_ns, pcm, int(record["position"]), int(record["flags"]))


def texts(message: Mapping[str, Any], name: str) -> dict[str, str]:
    """An object of texts in a message that may be anything."""
    return fields.texts({"type": "start", name: message.get(name)}, name)
