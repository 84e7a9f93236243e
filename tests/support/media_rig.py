# SPDX-License-Identifier: GPL-2.0-or-later
"""Halves of the media engine under a virtual clock: no sockets, no processes.

`UplinkRig` feeds RTP and records the frames that an agent would get;
`DownlinkRig` feeds agents' audio and records the packets that a caller would get.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import Unsaid
from trunkline.codecs import g711
from trunkline.gateway.media import control
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.downlink import Downlink
from trunkline.gateway.media.express import Express
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.receive import Receiver
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.timeline import Timeline
from trunkline.gateway.media.uplink import Uplink
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.packet import Packet

MS = 1_000_000
PEER = ("192.0.2.1", 4000)
DIGITS = control.DigitParams()
NO_RESCUE = control.RescueParams(within_ms=0)
UNHEARD = control.TurnParams(detector="off")
"Whatever is loud is flagged as speech: the flag tells what came from what was made up."


@dataclasses.dataclass
class Frame:
    """What an agent got."""

    position: int
    flags: int
    pcm: NDArray[np.int16]
    now_ns: int


@dataclasses.dataclass
class Reply:
    """What a link was told (mark, cleared, flow)."""

    kind: str
    data: tuple[object, ...]


class RecordingLink(Unsaid):
    """Stands where an AgentLink stands; keeps what playback tells the agent."""

    def __init__(self) -> None:
        self.said: list[Reply] = []
        self.protocol = self

    def speak(self) -> RecordingLink:
        """Be the connection, too."""
        return self

    def send_mark(self, channel: int, name: str, position: int, outcome: str) -> None:
        self.said.append(Reply("mark", (name, position, outcome)))

    def send_cleared(
        self, channel: int, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]
    ) -> None:
        self.said.append(Reply("cleared", (name, played_ms, discarded_ms, tuple(marks))))

    def send_flow(self, channel: int, ready: bool, queued_ms: int) -> None:
        self.said.append(Reply("flow", (ready, queued_ms)))

    def send_underrun(self, channel: int, position: int, missing_ms: int) -> None:
        self.said.append(Reply("underrun", (position, missing_ms)))

    def send_turn(self, channel: int, turn: Mapping[str, float]) -> None:
        self.said.append(Reply("turn", (dict(turn),)))

    def send_status(self, channel: int, status: Mapping[str, float]) -> None:
        self.said.append(Reply("status", (dict(status),)))


def start_message(
    rate_hz: int = 8000,
    frame_ms: int = 20,
    queue_ms: int = 60000,
    digits: control.DigitParams = DIGITS,
    rescue: control.RescueParams = NO_RESCUE,
    turns: control.TurnParams = UNHEARD,
    **media: object,
) -> control.StartStream:
    """A call as the gateway would start it: PCMU, 20 ms, telephone-event 101; it ends with its agent."""
    description = {
        "codec": "PCMU", "send_pt": 0, "receive_pt": 0, "remote_host": PEER[0], "remote_port": PEER[1],
        "remote_rtcp_host": PEER[0], "remote_rtcp_port": PEER[1] + 1, "ptime_ms": 20,
        "send_dtmf_pt": 101, "receive_dtmf_pt": 101,
    } | media  # fmt: skip
    return control.StartStream(
        control.CallInfo(str(uuid.uuid4()), "inbound", "100", "600", "pbx", "all"),
        MediaDescription(**description),  # type: ignore[arg-type]
        control.AgentParams("echo", "unix:/nowhere", "trunkline", rate_hz, frame_ms, max_queue_ms=queue_ms),
        digits=digits,
        rescue=rescue,
        turns=turns,
    )


def running(table: Table, message: control.StartStream, now_ns: int) -> Stream:
    """Take a row and put it into service, as the engine does."""
    stream = table.take(message, None, None)  # type: ignore[arg-type]
    table.shared.started_ns[stream.row] = now_ns
    table.shared.tx_ssrc[stream.row] = 77
    table.apply(stream, stream.media)
    stream.accepted = True
    stream.link = RecordingLink()  # type: ignore[assignment]
    table.agent_ready[stream.row] = True
    table.run(stream.row)
    return stream


class UplinkRig:
    """RTP in, frames out."""

    def __init__(
        self, calls: int = 1, jitter: TargetParams | None = None, *, express: bool = True, **start: object
    ) -> None:
        """Without `express` every packet takes the long way, with the same result."""
        self.now_ns = 1_000_000_000_000
        self.table = Table(Columns(max(calls, 4)))
        self.frames: dict[int, list[Frame]] = {}
        self.presses: list[tuple[int, bytes]] = []
        self.uplink = Uplink(self.table, self)
        self.timeline = Timeline(self.table, self.uplink)
        params = jitter or TargetParams(min_ns=40 * MS)
        self.receiver = Receiver(self.table, self.timeline, params)
        self.express = Express(self.table, self.uplink, self.receiver.lateness) if express else None
        if self.express is not None:
            self.timeline.on_released = self.express.expect
        self.expressed = 0
        "packets that took the short way"
        self.receiver.on_event_packet = lambda stream, ts, payload, now: self.presses.append((ts, payload))
        self.receiver.on_comfort_noise = self.uplink.comfort_noise
        self.streams = [running(self.table, start_message(**start), self.now_ns) for _ in range(calls)]  # type: ignore[arg-type]
        for stream in self.streams:
            self.uplink.voice.set(stream)
            self.timeline.begin(stream.row, self.now_ns)

    def deliver(
        self,
        rows: NDArray[np.intp],
        positions: NDArray[np.int64],
        flags: NDArray[np.uint16],
        pcm: NDArray[np.int16],
    ) -> None:
        """Be the frame sink."""
        for row, position, flag, samples in zip(rows, positions, flags, pcm, strict=True):
            self.frames.setdefault(int(row), []).append(
                Frame(int(position), int(flag), samples.copy(), self.now_ns)
            )

    index_of_row = None
    "there are no connections, and so no messages"

    def message(self, rows: NDArray[np.intp], samples: int) -> None:
        """Frames are taken by `deliver`."""

    def message_to(self, index: int, count: int, samples: int) -> None:
        """Likewise."""

    def packet(self, *packets: Packet | bytes, row: int = 0, source: tuple[str, int] = PEER) -> None:
        """Packets of one row arrive now, one after the other."""
        for packet in packets:
            data = bytes(packet)
            buffer = np.zeros((1, PACKET_BYTES), np.uint8)
            buffer[0, : len(data)] = np.frombuffer(data, np.uint8)
            stream = self.table.streams[row]
            assert stream is not None
            named = np.array([source == stream.remote])
            batch = Batch(np.array([row], np.intp), buffer, np.array([len(data)], np.int32), named, [source])
            self.receive(batch)

    def receive(self, batch: Batch) -> None:
        """As the engine does."""
        if self.express is not None:
            rest = self.express.take(batch, self.now_ns)
            self.expressed += len(batch.rows) - (len(rest.rows) if rest else 0)
            if rest is None:
                return
            batch = rest
        self.receiver.receive(batch, self.now_ns)
        if self.express is not None:
            self.express.expect(batch.rows)

    def run(self, ms: float, step_ms: float = 1.0) -> None:
        """Let time pass, tick by tick."""
        end = self.now_ns + int(ms * MS)
        while self.now_ns < end:
            self.now_ns = min(end, self.now_ns + int(step_ms * MS))
            self.timeline.advance(self.now_ns)

    @property
    def heard(self) -> list[Frame]:
        """Frames of the first call."""
        return self.frames.get(self.streams[0].row, [])

    def drops(self, row: int = 0) -> dict[int, int]:
        """Drop counters that are not zero."""
        counts = self.table.shared.drops[row]
        return {int(i): int(counts[i]) for i in np.flatnonzero(counts)}


class DownlinkRig:
    """Agents' audio in, packets out."""

    def __init__(self, *, send_silence: bool = True, **start: object) -> None:
        self.now_ns = 1_000_000_000_000
        self.table = Table(Columns(4))
        self.sent: list[tuple[int, Packet]] = []
        self.posted: list[control.Message] = []
        self.refuse = False
        self.downlink = Downlink(self.table, self, send_silence=send_silence)
        self.playback = Playback(self.table, self.downlink, self.posted.append)
        self.stream = running(self.table, start_message(**start), self.now_ns)  # type: ignore[arg-type]
        self.link: RecordingLink = self.stream.link  # type: ignore[assignment]
        self.downlink.begin(self.stream.row, self.now_ns)

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        """Be the packet sink."""
        if not self.refuse:
            self.sent += [(self.now_ns, Packet.parse(data)) for data in cut(packets, lengths)]
        return np.full(len(rows), not self.refuse)

    def speak(self, pcm: NDArray[np.int16]) -> None:
        """A chunk from the agent."""
        self.playback.push(np.array([self.stream.row], np.intp), pcm[None].astype(np.int16), self.now_ns)

    def run(self, ms: float, step_ms: float = 1.0) -> None:
        """Let time pass, tick by tick."""
        end = self.now_ns + int(ms * MS)
        self.downlink.advance(self.now_ns)
        while self.now_ns < end:
            self.now_ns = min(end, self.now_ns + int(step_ms * MS))
            self.downlink.advance(self.now_ns)


def voice(seq: int, *, ssrc: int = 5, ts: int | None = None, size: int = 160, pt: int = 0) -> Packet:
    """Packet number `seq` of a talker: payload bytes tell which it is."""
    payload = bytes((seq * 7 + i) % 120 for i in range(size))
    return Packet(pt, seq & 0xFFFF, (seq * 160 if ts is None else ts) & 0xFFFFFFFF, ssrc, payload)


def samples(packet: Packet) -> np.ndarray:
    return g711.decode_ulaw(np.frombuffer(packet.payload, np.uint8))


def talk(rig: UplinkRig, seqs: range, **fields: int) -> None:
    """One packet every 20 ms."""
    for seq in seqs:
        rig.packet(voice(seq, **fields))
        rig.run(20)


def cut(packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None) -> list[bytes]:
    """Packets as they go on the wire."""
    whole = [packet.tobytes() for packet in packets]
    if lengths is None:
        return whole
    return [data[:length] for data, length in zip(whole, lengths.tolist(), strict=True)]
