# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings of calls in a media worker: what goes by is copied for those that have one; the others pay nothing.

    RTP, RTCP --Engine, SrtpOut--> Recorder --blocks--> writer's thread --> file
    SIP       --control messages-> Recorder
    agent     --TappedLink-------> Recorder

A connection is tapped only while one of its calls is recorded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import Link, StartInfo
from trunkline.agent_bridge.link_events import Audio, LinkEvent
from trunkline.agent_bridge.wire import AudioMessage
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_link import AgentLink
from trunkline.gateway.media.batch import Address, Batch
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.recording import pcapng, shadow
from trunkline.gateway.recording.writer import Tape, Writer

Rows = NDArray[np.intp]
FLUSH_NS = 100_000_000
"The writer is woken so often: to wake a thread costs more than what a call leaves in a tick."
_TOLD = (
    "send_dtmf", "send_mark", "send_cleared", "send_flow", "send_hold", "send_quality", "send_network",
    "send_speech", "send_turn", "send_underrun", "send_call_state", "send_transfer", "send_status",
    "send_error", "stop",
)  # fmt: skip
"Methods of Link about one call, beside `start` and audio."


@dataclasses.dataclass(slots=True)
class Recording:
    """One call's."""

    tape: Tape
    redact: bool
    local: Address
    gateway: shadow.GatewaySide | None = None
    "once the agent has been offered the call"
    rate_hz: int = 0
    "at which the agent last spoke; 0: the call's"
    link: AgentLink | None = None
    "the connection that is tapped for it, with"
    channel: int = 0


class Recorder:
    """All recordings of a worker."""

    def __init__(self, table: Table, clock: Callable[[], int], wall_offset_ns: int, post: control.Post) -> None:
        """`wall_offset_ns` makes Unix time of the clock's."""
        self._table, self._clock, self._wall_offset_ns, self._post = table, clock, wall_offset_ns, post
        self._rows = np.zeros(table.capacity, bool)
        self._recordings: dict[int, Recording] = {}
        "by row"
        self._writer: Writer | None = None
        self._ending = 0
        self._flush_ns = 0
        self.active = 0
        "calls that are recorded"
        self.on_active: Callable[[bool], None] = lambda active: None
        "told when the first recording begins, and when the last one has ended"

    # --- calls -------------------------------------------------------------------------------

    def start(self, stream: Stream, params: control.RecordingParams) -> None:
        """Record a call from now on; one that is recorded already goes on as it is."""
        if stream.row in self._recordings:
            return
        if self._writer is None:
            self._writer = Writer()
        local = stream.rtp.getsockname()[:2]
        tape = Tape(stream.call_id, params.path, params.max_bytes, stream.resumed)
        self._recordings[stream.row] = Recording(tape, params.redact, local)
        self._rows[stream.row] = True
        self._writer.open(tape)
        self._set_active(self.active + 1)
        self.attach(stream)

    def attach(self, stream: Stream) -> None:
        """The stream has a connection to its agent, perhaps another one than before."""
        recording = self._recordings.get(stream.row)
        link = stream.link
        if recording is None or link is None:
            return
        self._release(recording)
        tapped = link.protocol
        if not isinstance(tapped, TappedLink):
            link.protocol = tapped = TappedLink(link.protocol, self)
        tapped.rows[stream.channel] = stream.row
        recording.link, recording.channel = link, stream.channel
        if stream.accepted:  # in mid-call: what the agent was told at its start
            info, agent, c = stream.start.info, stream.start.agent, self._table.shared
            self.offered(
                stream.row,
                StartInfo(
                    call_id=info.call_id, direction=info.direction, caller=info.caller, called=info.called,
                    trunk=info.trunk, route=info.route, headers=info.headers, metadata=info.metadata,
                    sample_rate_hz=agent.sample_rate_hz, frame_ms=agent.frame_ms,
                    position=int(c.up_position[stream.row]),
                ),
            )  # fmt: skip
            self.heard(stream.row, wire.control_message("accept", channel=shadow.CHANNEL))

    def stop(self, stream: Stream) -> None:
        """The call, or its recording, is over."""
        recording = self._recordings.pop(stream.row, None)
        if recording is None or self._writer is None:
            return
        self._rows[stream.row] = False
        self._release(recording)
        self._writer.close(recording.tape)
        self._ending += 1
        self._set_active(self.active - 1)

    def _release(self, recording: Recording) -> None:
        """A connection without recorded calls is as it was before."""
        link, recording.link = recording.link, None
        if link is not None and isinstance(link.protocol, TappedLink):
            tapped = link.protocol
            tapped.rows.pop(recording.channel, None)
            if not tapped.rows:
                link.protocol = tapped.link

    def _set_active(self, count: int) -> None:
        if bool(count) != bool(self.active):
            self.on_active(bool(count))
        self.active = count

    def advance(self) -> None:
        """Tell of files that are complete; stop recordings that are full or failed."""
        if self._writer is None:
            return
        now_ns = self._clock()
        if now_ns >= self._flush_ns:
            self._flush_ns = now_ns + FLUSH_NS
            self._writer.flush()
        if self._ending:
            while self._writer.done:
                tape = self._writer.done.popleft()
                self._ending -= 1
                self._post(
                    control.RecordingEnded(
                        tape.call_id, tape.path, tape.bytes, tape.left_out, tape.outcome, tape.detail
                    )
                )
        for row in [row for row, recording in self._recordings.items() if recording.tape.over]:
            stream = self._table.streams[row]
            if stream is not None:
                self.stop(stream)

    def recorded(self, channels: NDArray[np.uint32]) -> list[int]:
        """Places of calls that are recorded, over this connection or another."""
        rows = self._table.rows_of(channels)
        return np.flatnonzero(self._rows[rows] & (rows >= 0)).tolist()

    @property
    def busy(self) -> bool:
        """Whether `advance` has anything to do."""
        return bool(self.active or self._ending)

    def close(self) -> None:
        """The worker ends."""
        if self._writer is not None:
            self._writer.stop()

    # --- packets -----------------------------------------------------------------------------

    def received(self, batch: Batch) -> None:
        """RTP from callers, proven where it was protected."""
        for i in np.flatnonzero(self._rows[batch.rows]).tolist():
            data = batch.packets[i, : batch.lengths[i]].tobytes()
            self._packet(int(batch.rows[i]), data, batch.addresses[i], pcapng.INBOUND)

    def sent(self, rows: Rows, packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None) -> None:
        """RTP to callers, before it is protected."""
        for i in np.flatnonzero(self._rows[rows]).tolist():
            stream = self._table.streams[int(rows[i])]
            if stream is not None:
                data = packets[i] if lengths is None else packets[i, : lengths[i]]
                self._packet(stream.row, data.tobytes(), stream.remote, pcapng.OUTBOUND)

    def report(self, stream: Stream, data: bytes, address: Address, direction: int, at_ns: int | None = None) -> None:
        """RTCP, either way; by its own port, or by that of RTP. It came at this time, or now."""
        if self._rows[stream.row]:
            self._packet(stream.row, bytes(data), address, direction, 0 if stream.media.rtcp_mux else 1, at_ns)

    def _packet(
        self, row: int, data: bytes, address: Address, direction: int, above: int = 0, at_ns: int | None = None
    ) -> None:
        host, port = self._recordings[row].local
        local = (host, port + above)
        ends = (address, local) if direction == pcapng.INBOUND else (local, address)
        self._put(row, pcapng.RTP, direction, pcapng.udp(*ends, data), at_ns)

    def sip(self, stream: Stream, seen: control.SipSeen) -> None:
        """A SIP message, at the time at which call control's process had it."""
        recording = self._recordings.get(stream.row)
        if recording is None or self._writer is None:
            return
        local = (recording.local[0], seen.port)
        ends = (local, seen.peer) if seen.outbound else (seen.peer, local)
        direction = pcapng.OUTBOUND if seen.outbound else pcapng.INBOUND
        data = pcapng.udp(*ends, seen.data)
        self._writer.put(recording.tape, pcapng.packet(pcapng.RTP, seen.time_ns, direction, data))

    # --- the agent ---------------------------------------------------------------------------

    def offered(self, row: int, info: StartInfo) -> None:
        """The agent is told of the call."""
        recording = self._recordings[row]
        if recording.redact:
            hidden = {"caller": "***", "called": "***", "headers": {}, "metadata": {}, "variables": {}}
            info = dataclasses.replace(info, **hidden)  # type: ignore[arg-type]
        recording.gateway = shadow.GatewaySide(info)
        self._told(row, recording)

    def frame(self, row: int, position: int, flags: int, pcm: NDArray[np.int16]) -> None:
        """The agent gets a frame."""
        recording = self._recordings[row]
        if recording.gateway is not None:
            self._put(row, pcapng.BRIDGE, pcapng.OUTBOUND, shadow.audio(position, flags, pcm))

    def redacts(self, row: int) -> bool:
        """Whether numbers must not be in this recording."""
        return self._recordings[row].redact

    def told(self, row: int, method: str, content: Sequence[Any]) -> None:
        """The agent is told something."""
        recording = self._recordings[row]
        if recording.gateway is not None:
            if recording.redact and method == "send_error":  # its text names what was asked for
                content = (content[0], shadow.MASK)
            recording.gateway.say(method, *content)
            self._told(row, recording)

    def _told(self, row: int, recording: Recording) -> None:
        if recording.gateway is not None:
            for message in recording.gateway.take():
                self._put(row, pcapng.BRIDGE, pcapng.OUTBOUND, message)

    def heard(self, row: int, message: bytes) -> None:
        """The agent says something."""
        self._put(row, pcapng.BRIDGE, pcapng.INBOUND, message)

    def speech(self, row: int, rate_hz: int, pcm: NDArray[np.int16]) -> None:
        """... in sound."""
        recording = self._recordings[row]
        if rate_hz != recording.rate_hz:
            recording.rate_hz = rate_hz
            self.heard(row, shadow.rate(rate_hz))
        for message in shadow.speech(pcm):
            self.heard(row, message)

    def _put(self, row: int, interface: int, direction: int, data: bytes, at_ns: int | None = None) -> None:
        assert self._writer is not None  # there is a recording
        time_ns = (self._clock() if at_ns is None else at_ns) + self._wall_offset_ns
        self._writer.put(self._recordings[row].tape, pcapng.packet(interface, time_ns, direction, data))


class TappedLink:
    """A link in front of one, that lets the recorder see what is about recorded calls."""

    link: Link
    rows: dict[int, int]

    def __init__(self, link: Link, recorder: Recorder) -> None:
        """`rows` are those of recorded calls, by channel."""
        object.__setattr__(self, "link", link)
        object.__setattr__(self, "rows", {})
        object.__setattr__(self, "_recorder", recorder)

    def __getattr__(self, name: str) -> Any:
        if name in _TOLD:
            return lambda channel, *content: self._tell(name, channel, content)
        return getattr(self.link, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.link, name, value)

    def _tell(self, method: str, channel: int, content: Sequence[Any]) -> None:
        getattr(self.link, method)(channel, *content)
        if channel in self.rows:
            self._recorder.told(self.rows[channel], method, content)

    def _which(self, channels: NDArray[np.uint32]) -> list[int]:
        """Places of recorded calls among `channels`."""
        return [i for i in self._recorder.recorded(channels) if int(channels[i]) in self.rows]

    def start(self, channel: int, info: StartInfo, now_ns: int) -> None:
        """Offer a call."""
        self.link.start(channel, info, now_ns)
        if channel in self.rows:
            self._recorder.offered(self.rows[channel], info)

    def audio_message(self, count: int, samples: int) -> AudioMessage | None:
        """Frames of many calls, that somebody else writes."""
        message = self.link.audio_message(count, samples)
        if message is not None:
            message.then += (self._written,)
        return message

    def _written(self, records: NDArray[np.void]) -> None:
        positions = records["position"].astype(np.int64)
        self._overhear(records["channel"], positions, records["flags"], records["pcm"])

    def send_audio(
        self,
        channels: NDArray[np.uint32],
        positions: NDArray[np.int64],
        flags: NDArray[np.uint16],
        pcm: NDArray[np.int16],
    ) -> None:
        """Frames of many calls."""
        self.link.send_audio(channels, positions, flags, pcm)
        self._overhear(channels, positions, flags, pcm)

    def _overhear(
        self,
        channels: NDArray[np.uint32],
        positions: NDArray[np.int64],
        flags: NDArray[np.uint16],
        pcm: NDArray[np.int16],
    ) -> None:
        for i in self._which(channels):
            self._recorder.frame(self.rows[int(channels[i])], int(positions[i]), int(flags[i]), pcm[i])

    def send_frame(self, channel: int, position: int, flags: int, pcm: NDArray[np.int16]) -> None:
        """A frame of one call."""
        self.link.send_frame(channel, position, flags, pcm)
        if channel in self.rows:
            self._recorder.frame(self.rows[channel], position, flags, pcm)

    @property
    def takes_records(self) -> bool:
        """Likewise."""
        return not self.rows and self.link.takes_records

    def hears_records(self, now_ns: int) -> bool:
        """Not while a call of it is recorded: its speech must come by here."""
        return not self.rows and self.link.hears_records(now_ns)

    def receive(self, data: Any, now_ns: int) -> Sequence[LinkEvent]:
        """What the agent says."""
        return self._note(self.link.receive(data, now_ns))

    def resume(self, now_ns: int) -> Sequence[LinkEvent]:
        """... and the rest of it."""
        return self._note(self.link.resume(now_ns))

    def handle_timeout(self, now_ns: int) -> Sequence[LinkEvent]:
        """... or did not say."""
        return self._note(self.link.handle_timeout(now_ns))

    def _note(self, events: Sequence[LinkEvent]) -> Sequence[LinkEvent]:
        for event in events:
            if isinstance(event, Audio):
                for i in self._which(event.channels):
                    row = self.rows[int(event.channels[i])]
                    self._recorder.speech(row, event.sample_rate_hz, event.pcm[i])
            elif getattr(event, "channel", None) in self.rows:
                row = self.rows[event.channel]  # type: ignore[union-attr]
                message = shadow.spoken(event, redact=self._recorder.redacts(row))
                if message is not None:
                    self._recorder.heard(row, message)
        return events
