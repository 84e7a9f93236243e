# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of streams: one row a call, struct of arrays.

Two kinds of columns: those in shared memory (`columns.py`, what a successor and
the metrics need) and those here (what the worker can rebuild from the control
messages).  Python objects that belong to a row are in its `Stream`.

Only the table allocates rows.  Reuse bumps the generation, and an agent's
channel number carries row and generation, so a late message for an ended call
finds nobody.
"""

from __future__ import annotations

import collections
import dataclasses
import socket
import uuid
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.comfort_noise import ORDER
from trunkline.codecs.tones import ToneSender
from trunkline.gateway.media.columns import FLOW_FIELDS, ROW_FIELDS, Columns
from trunkline.gateway.media.control import StartStream
from trunkline.gateway.media.format_change import change_clock, change_format
from trunkline.gateway.media.formats import FormatKey, Formats
from trunkline.gateway.media.sockaddr import SOCKADDR_BYTES, pack
from trunkline.rtp.dtmf import EventReceiver
from trunkline.rtp.dtmf_send import EventSender
from trunkline.rtp.jitter import BINS
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.payload import AUDIO_FORMATS

if TYPE_CHECKING:
    from trunkline.gateway.media.agent_link import AgentLink
    from trunkline.gateway.media.source import Candidate

Address = tuple[str, int]
Rows = NDArray[np.intp]

FREE, WAITING, RUNNING = 0, 1, 2
MAX_ROWS = 1 << 16
"A channel number is generation << 16 | row."

BACKGROUND_SAMPLES = 160
"Of a quiet frame, kept to know the colour of the caller's background noise."
FILTER_HISTORY = 512
"State of a resampler at most, in samples."
UNHEARD_DBOV = 100.0
"Background of a call that has heard nothing yet: above whatever comes."
ECHO_LOSS_DB = 20.0
"An ordinary line's echo of us is at least so much weaker; one that turns out worse is believed (echo.py)."
SILENT_RUN = 1000
"A value of `lost_run` beyond what is concealed: what follows is silence by intent, not loss."


class TableFull(Exception):
    """No row is free."""


@dataclasses.dataclass(slots=True)
class Stream:
    """The objects of a row."""

    row: int
    start: StartStream
    media: MediaDescription
    rtp: socket.socket
    rtcp: socket.socket | None
    channel: int
    sockaddr: NDArray[np.uint8]
    "the row's place in `Table.remotes`"
    rtcp_sockaddr: NDArray[np.uint8]
    "... in `Table.rtcp_remotes`"
    named: Address = ("", 0)
    "what signalling named, whatever was followed"
    former: Address = ("", 0)
    "what it named before: its last packets are no new source"
    named_spoke: bool = False
    "a packet came from there"
    named_since_ns: int = 0
    candidate: Candidate | None = None
    "a source that is not yet proven"
    link: AgentLink | None = None
    resumed: bool = False
    "taken over from a worker that died"
    accepted: bool = False
    "the agent took the call"
    held_media: bool = False
    "nothing flows before an UpdateStream"
    flows: bool = False
    "one has come since an agent took the call: no later agent can hold it back"
    on_hold: bool = False
    "the agent has been told that the caller put us on hold"
    begun_ns: int = 0
    "when the agent was asked"
    receiving_since_ns: int = 0
    "when the peer was last told that we listen: silence counts from there"
    digits_in: EventReceiver = dataclasses.field(default_factory=EventReceiver)
    digits_out: EventSender | None = None
    tones_out: ToneSender | None = None
    "keys that go out as sound, once there were any"
    early_digits: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)
    "(digits, duration ms, gap ms) that the agent asked for before anything was agreed on"
    marks: collections.deque[tuple[int, str]] = dataclasses.field(default_factory=collections.deque)
    "position at which each waiting mark is reached, and its name"
    flow_paused: bool = False
    media_seen: bool = False
    silence_told_ns: int = 0
    asked: int = 0
    "commands of the agent for the gateway process, in the second that began at `asked_since_ns`"
    asked_since_ns: int = 0
    _remote: Address = ("", 0)
    _remote_rtcp: Address = ("", 0)

    @property
    def remote(self) -> Address:
        """Where we send RTP: what signalling named, or the port that was followed."""
        return self._remote

    @remote.setter
    def remote(self, address: Address) -> None:
        self._remote = address
        self.sockaddr[:] = pack(address)

    @property
    def remote_rtcp(self) -> Address:
        """Where the peer wants its RTCP, if that does not share the port of RTP; no port: nowhere."""
        return self._remote_rtcp

    @remote_rtcp.setter
    def remote_rtcp(self, address: Address) -> None:
        self._remote_rtcp = address
        self.rtcp_sockaddr[:] = pack(address)

    @property
    def sockets(self) -> list[socket.socket]:
        """RTP, and RTCP where it has a port of its own."""
        return [self.rtp] if self.rtcp is None else [self.rtp, self.rtcp]

    @property
    def call_id(self) -> str:
        """The gateway's id of the call."""
        return self.start.info.call_id


class Table:
    """Rows, their columns and their objects."""

    def __init__(self, columns: Columns) -> None:
        """A table over the shared `columns`; rows that are in use there stay taken."""
        n = columns.capacity
        if n > MAX_ROWS:
            raise ValueError(f"a table has at most {MAX_ROWS} rows, not {n}")
        self.shared = columns
        self.capacity = n
        self.formats = Formats(n)
        self.streams: list[Stream | None] = [None] * n
        self.by_call: dict[str, Stream] = {}
        self.active: Rows = np.zeros(0, np.intp)
        "rows in use, ascending"
        self.running: Rows = np.zeros(0, np.intp)
        "those whose call is up"
        self.keying: set[int] = set()
        "rows that have digits to send"
        self.muted_up: set[int] = set()
        "rows whose agent does not want to hear the caller"
        self.muted_up_rows = np.zeros(n, bool)  # the same
        self.behind: set[int] = set()
        "rows whose agent gets its frames out of a ring, later (replay.py)"
        self.behind_rows = np.zeros(n, bool)  # the same
        self.muted_down: set[int] = set()
        "rows whose caller is not to hear the agent"
        self._reserved = set(np.flatnonzero(columns.state != FREE).tolist())
        "rows that a predecessor left; those not claimed before the first new call are freed"
        self._free = [row for row in range(n - 1, -1, -1) if row not in self._reserved]
        self.used = np.zeros(n, bool)
        self.flagged = True
        "whether any row may have `up_flags`: a predecessor may have left some, and after that only a slow agent does"
        # -- what was negotiated
        self.receiving = np.zeros(n, bool)
        self.sending = np.zeros(n, bool)
        self.variable = np.zeros(n, bool)  # the encoding's payloads have any length
        self.any_variable = False
        "whether there is such a row"
        self.receive_pt = np.zeros(n, np.int16)
        self.dtmf_pt = np.zeros(n, np.int16)
        self.send_pt = np.zeros(n, np.uint8)
        self.receive_cn_pt = np.full(n, -1, np.int16)
        self.send_cn_pt = np.full(n, -1, np.int16)
        self.rtcp_mux = np.zeros(n, bool)
        self.secure = np.zeros(n, bool)  # SRTP: what comes has been proven by its tag (srtp_rows.py)
        self.rtcp_wishes = np.zeros((n, 3), bool)  # VoIP metrics, round trips, reduced size
        self.clock_hz = np.full(n, 8000, np.int64)
        self.tick_ns = np.full(n, 125_000.0)  # 1e9 / clock_hz
        self.ptime_ns = np.full(n, 20_000_000, np.int64)  # that we send
        self.ptime_ts = np.full(n, 160, np.int64)
        # Of the length of all channel numbers, so that any number from an agent is an index.
        self.channels = np.zeros(MAX_ROWS, np.uint32)
        self.agent_ready = np.zeros(MAX_ROWS, bool)
        # -- receiver state that a successor can do without
        self.seen = np.zeros(n, np.uint64)  # bit i: rx_max_seq - i was received
        self.late_since_ns = np.zeros(n, np.int64)  # start of a run of late packets, 0 none
        self.late_by_ns = np.zeros(n, np.int64)  # how late its first packet was
        self.restamped: set[int] = set()
        "rows of another clock, whose next packet begins a new count (format_change.py)"
        self.slip = np.zeros(n)  # part of a packet time that the timeline is behind (timeline.py)
        self.late_counts = np.zeros((n, BINS), np.float32)  # how late packets lately were (rtp/jitter.py)
        self.late_weight = np.zeros(n)  # of how many packets
        self.noted_packets = np.zeros(n, np.int64)  # packets_received when they were last looked at
        self.noted_ns = np.zeros(n, np.int64)  # ... and when that was
        self.lost_run = np.zeros(n, np.int32)  # frames filled in a row
        self.held = np.zeros(n, np.int32)  # packets in the reorder buffer
        self.payload_bytes = np.zeros(n, np.int64)  # of the last packet in order
        self.payload_ts = np.zeros(n, np.int64)  # and its duration
        self.step = np.zeros((n, len(FLOW_FIELDS)), np.int64)  # what one as is expected adds to `flow` (express.py)
        # -- audio state
        self.ahead_from = np.full(n, -1, np.int64)  # samples into a loss from which its end is known, -1 not
        self.background = np.zeros((n, BACKGROUND_SAMPLES), np.int16)  # a piece of a quiet frame
        self.noise_dbov = np.full(n, UNHEARD_DBOV, np.float32)  # level of the background
        self.noise_known = np.zeros(n, bool)  # its colour is that of `background`
        self.noise_reflection = np.zeros((n, ORDER), np.float32)  # its colour
        self.comfort_until_voice = np.zeros(n, bool)  # the peer has paused and told of its background,
        self.comfort_dbov = np.zeros(n, np.float32)  # level
        self.comfort_reflection = np.zeros((n, ORDER), np.float32)  # and colour (RFC 3389)
        self.up_history = np.zeros((n, FILTER_HISTORY), np.int16)
        self.down_history = np.zeros((n, FILTER_HISTORY), np.int16)
        self.last_sample = np.zeros(n, np.int16)  # last sample sent, at the agent's rate
        self.queued_since_ns = np.zeros(n, np.int64)  # when a silent row's queue began to fill
        self.stopped_ns = np.zeros(n, np.int64)  # when the last talkspurt ran out
        self.left_out = np.zeros(n, bool)  # the last packet was silence that need not be sent (DTX)
        self.noise_due_ns = np.zeros(n, np.int64)  # when a pause is due to be told of again (RFC 3389)
        # -- turns
        self.halted: set[int] = set()
        "rows that are paused: their packets are silence, and their queues keep what they have"
        self.halted_rows = np.zeros(n, bool)  # the same
        self.echo_dbov = np.full(n, -127.0)  # what is heard must be louder, or is our own voice (echo.py)
        self.echo_loss_db = np.full(n, ECHO_LOSS_DB)  # by how much a line's echo is taken to be weaker
        self.loud_ns = np.zeros(n, np.int64)  # when something loud was last played
        # -- the network
        self.rtp_fd = np.full(n, -1, np.int32)  # descriptor of the socket for RTP, -1 without one
        self.remotes = np.zeros((n, SOCKADDR_BYTES), np.uint8)  # `Stream.remote` as the kernel has it
        self.rtcp_fd = np.full(n, -1, np.int32)  # the same of RTCP, where it has a port of its own
        self.rtcp_remotes = np.zeros((n, SOCKADDR_BYTES), np.uint8)

    def take(self, start: StartStream, rtp: socket.socket, rtcp: socket.socket | None) -> Stream:
        """Give a stream its row: a fresh one, or the one its predecessor left. Raises TableFull."""
        resumed = start.slot in self._reserved and int(self.shared.generation[start.slot]) == start.generation
        if resumed:
            row = start.slot
            self._reserved.discard(row)
        else:
            self._free.extend(self._reserved)
            self._reserved.clear()
            if not self._free:
                raise TableFull
            row = self._free.pop()
            self._wipe(row, start)
            if start.state:  # another worker's call
                self.shared.restore_row(row, start.state)
                resumed = True
        self.noted_packets[row] = self.shared.packets_received[row]  # of a predecessor, if there was one
        self.noted_ns[row] = self.shared.rx_last_ns[row]
        stream = self._stream(row, start, rtp, rtcp, resumed=resumed)
        self.used[row] = True
        self.rtp_fd[row] = -1 if rtp is None else rtp.fileno()
        self.rtcp_fd[row] = -1 if rtcp is None else rtcp.fileno()
        self.streams[row] = stream
        self.by_call[stream.call_id] = stream
        self.channels[row] = stream.channel
        self.shared.expected_bytes[row] = 0
        self.shared.state[row] = WAITING
        self._activate()
        return stream

    def _stream(
        self, row: int, start: StartStream, rtp: socket.socket, rtcp: socket.socket | None, *, resumed: bool
    ) -> Stream:
        """The objects of a row; one taken over goes on with the port that its predecessor followed."""
        media, c = start.media, self.shared
        named = (media.remote_host, media.remote_port)
        port = int(c.rx_followed_port[row])
        stream = Stream(
            row=row,
            start=start,
            media=media,
            rtp=rtp,
            rtcp=rtcp,
            channel=(int(c.generation[row]) & 0xFFFF) << 16 | row,
            sockaddr=self.remotes[row],
            rtcp_sockaddr=self.rtcp_remotes[row],
            named=named,
            held_media=start.hold_media,
            resumed=resumed,
        )
        stream.remote = (named[0], port) if port else named
        stream.remote_rtcp = (media.remote_rtcp_host, media.remote_rtcp_port)
        return stream

    def _wipe(self, row: int, start: StartStream) -> None:
        """Zero every column of a row but its generation, which goes up."""
        for name, _dtype, _shape in ROW_FIELDS:
            if name != "generation":
                getattr(self.shared, name)[row] = 0
        self.shared.generation[row] += 1
        self.shared.call_id[row] = np.frombuffer(uuid.UUID(start.info.call_id).bytes, np.uint8)
        self.shared.rx_base_delay_ns[row] = np.nan
        self.shared.level_up_dbov[row] = -127
        for column in (self.seen, self.late_since_ns, self.lost_run, self.held, self.last_sample, self.payload_bytes):
            column[row] = 0
        self.formats.wipe(row)
        for history in (self.up_history, self.down_history, self.background):
            history[row] = 0
        self.noise_dbov[row], self.ahead_from[row] = UNHEARD_DBOV, -1
        self.noise_known[row] = self.comfort_until_voice[row] = self.left_out[row] = False
        self.queued_since_ns[row] = self.stopped_ns[row] = self.noise_due_ns[row] = self.loud_ns[row] = 0
        self.halted.discard(row)
        self.halted_rows[row], self.echo_dbov[row], self.echo_loss_db[row] = False, -127.0, ECHO_LOSS_DB
        self.late_counts[row] = self.late_weight[row] = self.slip[row] = 0
        self.restamped.discard(row)

    def apply(self, stream: Stream, media: MediaDescription) -> None:
        """Put a negotiated description into force. Queued audio survives a change of format."""
        row, agent = stream.row, stream.start.agent
        payload = AUDIO_FORMATS[media.codec]
        key = FormatKey(media.codec, agent.sample_rate_hz, agent.frame_ms, media.ptime_ms, agent.max_queue_ms)
        new = self.formats.get(key)
        if stream.media is not media:  # not the first description of the call
            change_format(self, row, self.formats.at(row), new)
        if clock_hz := int(self.shared.rx_clock_hz[row]):  # of before, or of a predecessor
            self.clock_hz[row] = clock_hz
            change_clock(self, row, payload.clock_hz)
        self.shared.rx_clock_hz[row] = payload.clock_hz
        self.formats.give(row, new)
        new.codec.configure(row, media.send_fmtp)
        self.variable[row] = new.codec.variable
        self._note_variable()
        self.shared.expected_bytes[row] = self.payload_bytes[row] = 0
        self.receiving[row], self.sending[row] = media.receive, media.send
        self.receive_pt[row], self.send_pt[row] = media.receive_pt, media.send_pt
        self.dtmf_pt[row] = media.receive_dtmf_pt
        self.receive_cn_pt[row], self.send_cn_pt[row] = media.receive_cn_pt, media.send_cn_pt
        self.rtcp_mux[row] = media.rtcp_mux
        self.rtcp_wishes[row] = media.xr_voip, media.xr_round_trip, media.rtcp_rsize
        self.clock_hz[row] = payload.clock_hz
        self.tick_ns[row] = 1_000_000_000.0 / payload.clock_hz
        self.ptime_ns[row] = media.ptime_ms * 1_000_000
        self.ptime_ts[row] = media.ptime_ms * payload.clock_hz // 1000
        if not self.shared.rx_ptime_ts[row]:
            self.shared.rx_ptime_ts[row] = self.ptime_ts[row]
        if media.send_dtmf_pt < 0:
            stream.digits_out = None
        elif stream.digits_out is None:
            stream.digits_out = EventSender(media.dtmf_clock_hz, media.ptime_ms, payload.clock_hz)
        else:
            stream.digits_out.set_pace(media.dtmf_clock_hz, media.ptime_ms, payload.clock_hz)
        stream.digits_in.set_clocks(media.dtmf_clock_hz, payload.clock_hz)
        stream.media = media

    def media_ns(self, rows: Rows, timestamp: NDArray[np.int64]) -> NDArray[np.int64]:
        """Extended timestamps of these rows as time. In one product they would be too big within hours at 48 kHz."""
        clock = self.clock_hz[rows]
        seconds, rest = np.divmod(timestamp, clock)
        return np.asarray(seconds * 1_000_000_000 + rest * 1_000_000_000 // clock)

    def run(self, row: int) -> None:
        """The call is up: its clocks run from now on."""
        self.shared.state[row] = RUNNING
        self._activate()

    def release(self, stream: Stream) -> None:
        """Give the row back. The sockets are the caller's to close."""
        row = stream.row
        if self.formats.list:
            fmt = self.formats.at(row)
            fmt.queue.clear(row)
            fmt.codec.forget(row)
            self.formats.take_back(row)
        self.agent_ready[row] = self.receiving[row] = self.sending[row] = False
        self.shared.state[row] = FREE
        self.used[row] = False
        self.rtp_fd[row] = self.rtcp_fd[row] = -1
        self.keying.discard(row)
        self.mute(row, uplink=False, downlink=False)
        self.halted.discard(row)
        self.halted_rows[row] = False
        self.streams[row] = None
        self.by_call.pop(stream.call_id, None)
        self._free.append(row)
        self.variable[row] = False
        self._activate()
        self._note_variable()

    def mute(self, row: int, uplink: bool, downlink: bool) -> None:
        """Let silence stand for the caller, for the agent, or for none of them; time goes on all the same."""
        for rows, muted in ((self.muted_up, uplink), (self.muted_down, downlink)):
            (rows.add if muted else rows.discard)(row)
        self.muted_up_rows[row] = uplink

    def rows_of(self, channels: NDArray[np.uint32]) -> Rows:
        """Row of each channel number, -1 where no such call is up."""
        rows = (channels & 0xFFFF).astype(np.intp)
        known = self.channels[rows] == channels
        known &= self.agent_ready[rows]
        if not known.all():
            rows[~known] = -1
        return rows

    def _note_variable(self) -> None:
        self.any_variable = bool(self.variable[self.active].any())

    def _activate(self) -> None:
        self.active = np.flatnonzero(self.used)
        self.running = self.active[self.shared.state[self.active] == RUNNING]
        self.shared.worker.streams[0] = len(self.active)
