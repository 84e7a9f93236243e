# SPDX-License-Identifier: GPL-2.0-or-later
"""The media engine: all stages of a worker, driven from outside by `receive` and `tick`.

    receive(batch)   RTP that has come, at most one packet a row
    tick(now)        pass_on: fill gaps, one write per agent; play: send what is due, reports, time-outs
    next_deadline()  when the next tick is due if nothing comes

The engine knows neither sockets of UDP nor the clock nor the poller: the worker
(worker.py) or a test hands them in.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.link_events import Accepted
from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.opus_sending import OpusSettings
from trunkline.gateway.media import control, source
from trunkline.gateway.media.agent_link import Poller
from trunkline.gateway.media.agents import AgentLinks
from trunkline.gateway.media.batch import Address, Batch
from trunkline.gateway.media.downlink import Downlink
from trunkline.gateway.media.express import Express
from trunkline.gateway.media.handshakes import Handshakes
from trunkline.gateway.media.heard_reports import HeardReports
from trunkline.gateway.media.keys import Keys
from trunkline.gateway.media.metrics_block import VoipColumns
from trunkline.gateway.media.packet_clocks import delay_counter
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.quality import QualityWatch
from trunkline.gateway.media.quiet import QuietWatch
from trunkline.gateway.media.receive import Receiver
from trunkline.gateway.media.recorder import Recorder
from trunkline.gateway.media.reports import Reports
from trunkline.gateway.media.srtp_in import SrtpIn
from trunkline.gateway.media.srtp_out import Sockets, SrtpOut
from trunkline.gateway.media.srtp_rows import SrtpRows
from trunkline.gateway.media.table import RUNNING, Stream, Table
from trunkline.gateway.media.timeline import Timeline
from trunkline.gateway.media.turns import Turns
from trunkline.gateway.media.uplink import Uplink
from trunkline.gateway.recording.pcapng import INBOUND
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.packet import is_rtcp

Rows = NDArray[np.intp]

FINAL_COUNTERS = (
    "packets_received",
    "packets_sent",
    "packets_lost",
    "packets_reordered",
    "octets_received",
    "octets_sent",
    "frames_to_agent",
    "frames_from_agent",
    "frames_played",
    "frames_left_out",
    "frames_repeated",
    "frames_concealed",
    "frames_gap",
    "frames_comfort_noise",
    "underruns",
    "peer_lost",
    "frames_withheld",
    "barge_ins",
)
"Columns that sum up a call."
_NOBODY = np.zeros(0, np.intp)
PATIENCE_NS = 1_000_000_000
"Reports, figures and what there is to say of silent callers wait so long while the worker is behind."


class Engine:
    """Every call of a worker."""

    def __init__(
        self,
        table: Table,
        sockets: Sockets,
        poller: Poller,
        clock: Callable[[], int],
        post: control.Post,
        rng: random.Random,
        *,
        jitter: TargetParams,
        send_silence: bool = True,
        wall_offset_ns: int | None = None,
        opus: OpusSettings | None = None,
    ) -> None:
        """`clock` is monotonic in ns; `post` sends a message to the gateway process.

        `wall_offset_ns`, Unix time minus `clock`, is looked up once if it is not given: nothing here
        follows the wall clock when it is stepped.
        """
        self.table = table
        table.formats.opus = opus
        self._post = post
        self._clock = clock
        self._rng = rng
        self.srtp = SrtpRows(table)
        self._srtp_in = SrtpIn(table, self.srtp)
        self.handshakes = Handshakes(table, sockets.send_datagram, post)
        self.handshakes.on_keys = self._on_keys
        out = SrtpOut(table, self.srtp, sockets)
        self.downlink = Downlink(table, out, send_silence=send_silence, monotonic=clock is time.monotonic_ns)
        self.playback = Playback(table, self.downlink, post)
        self.agents = AgentLinks(table, self.playback, poller, clock, post)
        self.uplink = Uplink(table, self.agents)
        self.timeline = Timeline(table, self.uplink)
        self.receiver = Receiver(table, self.timeline, jitter)
        self.express = Express(table, self.uplink, self.receiver.lateness)
        self.timeline.on_released = self.express.expect
        self.turns = Turns(table, self.uplink, self.playback, self.agents.telling, self.downlink.echo, post)
        self.agents.commands.on_pause = self.turns.paused_by_agent
        self.agents.commands.on_muted = self.turns.muted
        self.agents.rescue.on_lost = self.turns.orphaned
        self.agents.rescue.on_taken = self.turns.taken
        self.agents.rescue.on_offer = self.uplink.release
        self.turns.on_speech = self.playback.ledger.speech
        self.quality = QualityWatch(table, self.agents.telling.quality)
        self.timeline.on_missing = self.quality.missing
        if wall_offset_ns is None:
            wall_offset_ns = time.time_ns() - clock()
        self.heard_reports = HeardReports(table, wall_offset_ns)
        voip = VoipColumns(table, jitter.max_ns / 1e6)
        self.reports = Reports(table, out.send_rtcp, rng, self.heard_reports, voip, wall_offset_ns, out.send_reports)
        self.keys = Keys(table, self.agents.telling, post, self.uplink.tones)
        self.quiet = QuietWatch(table, self.agents.telling.network, post)
        self.receiver.on_event_packet = self.keys.receive
        self.receiver.on_source_end = self.keys.end_source
        self.receiver.on_comfort_noise = self.uplink.comfort_noise
        self.receiver.on_first_packet = self.quiet.first_packet
        self.receiver.on_begin = self.srtp.source_begins
        self.agents.on_accepted = self._on_accepted
        self.agents.rescue.on_regained = self._run
        self.agents.rescue.on_orphan = self._begin
        self.recorder = Recorder(table, clock, wall_offset_ns, post)
        self.recorder.on_active = lambda active: out.tap(self.recorder if active else None)
        self.agents.on_link = self.recorder.attach
        self.count_uplink_delays = delay_counter(table.shared.uplink_delay, table.shared.worker.uplink_delay)
        self._sampled_row, self._no_delay = np.zeros((2, 1), np.int64)
        self.hurried = False
        "see `hurry`"
        self.on_running: Callable[[Stream], None] = lambda stream: None
        "called when a stream's sockets may be read"

    # -- calls ------------------------------------------------------------------------------

    def start(self, stream: Stream, now_ns: int) -> None:
        """A new stream that the table has taken: offer it to its agent."""
        c, row = self.table.shared, stream.row
        if not c.tx_ssrc[row]:  # a fresh row, not one that a predecessor left
            c.started_ns[row] = now_ns
            c.tx_ssrc[row] = self._rng.randrange(1, 1 << 32)
            c.tx_seq[row] = self._rng.randrange(
                1 << 15
            )  # below half, so that SRTP's first wrap is far (RFC 3711)
            c.tx_ts[row] = self._rng.randrange(1 << 31)
        stream.begun_ns = now_ns
        media = stream.media = self.handshakes.put(stream, stream.media)
        stream.remote_rtcp = (media.remote_rtcp_host, media.remote_rtcp_port)
        self.table.apply(stream, stream.media)
        self.srtp.apply(stream, stream.media, now_ns)
        self.uplink.tones.set(stream)
        self.table.mute(row, *stream.start.muted)
        self.turns.begin(stream)
        if stream.start.recording is not None:
            self.recorder.start(stream, stream.start.recording)
        self.agents.start(stream, now_ns)

    def update(self, stream: Stream, media: MediaDescription, now_ns: int) -> None:
        """A description that offer and answer have agreed on."""
        old = self.handshakes.wanted(stream)
        self._apply(stream, self.handshakes.put(stream, media), now_ns)
        # Held is who may not speak: nobody listens (RFC 3264 8.4). Early media, where nobody was told yet, are not.
        if media.send != old.send and stream.on_hold != (not media.send):
            stream.on_hold = not media.send
            self.agents.telling.hold(stream, stream.on_hold)
        stream.flows = stream.flows or self.agents.rescue.had(stream)
        if stream.held_media:
            stream.held_media = False
            if stream.accepted or self.agents.rescue.sought(stream):  # answered without an agent: it hears a sound
                self._begin(stream, now_ns)
            for digits in stream.early_digits:
                self.playback.send_digits(stream, *digits)
            stream.early_digits.clear()
        if self.table.shared.state[stream.row] == RUNNING:
            self.handshakes.run(stream, now_ns)

    def _apply(self, stream: Stream, media: MediaDescription, now_ns: int) -> None:
        """Put a description into force, in the middle of a call or before it."""
        old, old_format = stream.media, self.table.formats.of_row[stream.row]
        self.srtp.apply(stream, media, now_ns)
        digits_out = stream.digits_out
        self.table.apply(stream, media)
        new_format = self.table.formats.of_row[stream.row]
        if new_format != old_format:
            self._change_format(stream.row, int(old_format), int(new_format))
        self.uplink.tones.set(stream)
        if (media.receive and not old.receive) or (media.send and not old.send):  # a hold is over
            stream.receiving_since_ns = now_ns
        if (media.remote_host, media.remote_port) != (old.remote_host, old.remote_port):
            source.move(self.table, stream, (media.remote_host, media.remote_port), now_ns)
        stream.remote_rtcp = (media.remote_rtcp_host, media.remote_rtcp_port)
        if digits_out is not None and stream.digits_out is None:  # what has not been sent goes another way
            for digits in digits_out.withdraw():
                self.playback.send_digits(stream, *digits)

    def _on_keys(self, stream: Stream, media: MediaDescription, now_ns: int) -> None:
        self.srtp.begin_anew(stream.row)
        self._apply(stream, media, now_ns)

    def _change_format(self, row: int, old: int, new: int) -> None:
        formats = self.table.formats.list
        self.uplink.change(row, formats[old])
        if formats[old].codec is not formats[new].codec:
            self.timeline.forget_held(row)  # what waits for its turn is in the old encoding
        if formats[old].line_hz != formats[new].line_hz:
            self.uplink.tones.end(row)  # what it has heard of a tone is at the old rate

    def _on_accepted(self, stream: Stream, now_ns: int, how: Accepted) -> None:
        c = self.table.shared
        self.table.agent_ready[stream.row] = True  # what it says before the answer waits in its queue
        answer = self.agents.rescue.answers(stream, how)
        flows = stream.resumed or stream.flows or stream.start.answered or c.state[stream.row] == RUNNING
        if not answer and not flows:
            stream.held_media = True  # nobody has been told yet where to listen; an UpdateStream follows
        connect_ms = (now_ns - stream.begun_ns) / 1e6
        generation = int(c.generation[stream.row])
        agent, tries = self.agents.rescue.tries(stream)
        self._post(
            control.StreamReady(
                stream.call_id, stream.row, generation, connect_ms, answer, dict(how.headers), agent, tries
            )
        )
        self._run(stream, now_ns)

    def _run(self, stream: Stream, now_ns: int) -> None:
        """Agent and media are both there."""
        if stream.accepted:
            self._begin(stream, now_ns)

    def _begin(self, stream: Stream, now_ns: int) -> None:
        """The clocks of the call start, once."""
        c, row = self.table.shared, stream.row
        if stream.held_media or c.state[row] == RUNNING:
            return
        self.table.run(row)
        stream.silence_told_ns = stream.receiving_since_ns = now_ns
        deadline_ns = int(c.rx_deadline_ns[row])
        self.timeline.begin(row, now_ns)
        if stream.resumed and deadline_ns:  # it goes on where its predecessor stopped
            c.rx_deadline_ns[row] = deadline_ns
            # What has come since waits in the kernel, and is not faster than time; nor is what must be filled.
            c.credit_at_ns[row] = c.rx_last_ns[row] or deadline_ns
        self.on_running(stream)
        self.downlink.begin(row, now_ns)
        self.reports.begin(stream, now_ns)
        self.quality.begin(stream, now_ns)
        self.handshakes.run(stream, now_ns)

    def stop(self, stream: Stream, reason: str, now_ns: int) -> dict[str, float]:
        """The call is over; returns its final figures. The row is free afterwards."""
        if self.table.formats.list:  # else it never had any audio
            self.quality.refresh_one(stream.row)
        self.turns.end(stream)
        stats = final_stats(self.table, stream) | self.quality.figures(stream.row)
        self.reports.goodbye(stream, now_ns)
        self.keys.end(stream, now_ns)
        self.playback.end(stream)
        self.downlink.sounds.stop(stream)
        self.agents.stop(stream, reason, stats)
        self.recorder.stop(stream)
        self.timeline.forget_held(stream.row)
        self.uplink.forget(stream.row)
        self.quiet.forget(stream)
        self.srtp.forget(stream.row)
        self.handshakes.forget(stream.row)
        self.table.release(stream)
        return stats

    # -- media ------------------------------------------------------------------------------

    def receive(self, batch: Batch, now_ns: int) -> None:
        """One batch of RTP; RTCP that shares the port is taken out (RFC 5761)."""
        if self.handshakes.count:
            others = self.handshakes.take(batch, now_ns)
            if others is None:
                return
            batch = others
        if self.srtp.count:
            proven = self._srtp_in.open(batch, now_ns)
            if proven is None:
                return
            batch = proven
        if self.recorder.active:
            self.recorder.received(batch)
        self._receive_rest(self.express.take(batch, now_ns), now_ns)

    def receive_rest(self, batch: Batch, now_ns: int, message: AudioMessage, said: int) -> None:
        """`receive`, of which the usual packets are in this message already: as `Usual.take_rest` has it."""
        self._receive_rest(self.express.take_rest(batch, now_ns, message, said), now_ns)

    def _receive_rest(self, rest: Batch | None, now_ns: int) -> None:
        """What has come and was not expected."""
        if rest is None:
            if self.srtp.unsettled:
                self.srtp.settle()
            return
        batch = rest
        muxed = self.table.rtcp_mux[batch.rows]
        if muxed.any():
            batch = self._demultiplex(batch, muxed & is_rtcp(batch.packets), now_ns)
        if len(batch.rows):
            self.receiver.receive(batch, now_ns)
            self.express.expect(batch.rows)
            if self.srtp.unsettled:
                self.srtp.settle()

    def _demultiplex(self, batch: Batch, rtcp: np.ndarray, now_ns: int) -> Batch:
        for i in np.flatnonzero(rtcp):
            stream = self.table.streams[int(batch.rows[i])]
            if stream is not None:
                data = batch.packets[i, : batch.lengths[i]].tobytes()
                self.receive_rtcp(stream, data, batch.addresses[i], now_ns)
        return batch.part(np.flatnonzero(~rtcp))

    def receive_rtcp(self, stream: Stream, data: bytes, address: Address, now_ns: int) -> None:
        """One RTCP datagram."""
        if self.handshakes.count and self.handshakes.deaf(stream):
            return
        proven: bytes | None = data
        if self.table.secure[stream.row]:
            proven = self._srtp_in.open_report(stream, data, now_ns)
        if proven is not None:
            if self.recorder.active and not stream.media.rtcp_mux:  # else it has come by with the RTP
                self.recorder.report(stream, proven, address, INBOUND, now_ns)
            self.heard_reports.receive(stream, proven, address, now_ns)

    def tick(self, now_ns: int) -> None:
        """Everything that time demands."""
        self.pass_on(now_ns)
        self.play(now_ns)

    def hurry(self, hurried: bool, lately: bool) -> None:
        """The worker is behind, and whatever can wait waits, or no more; `lately`: it is or was, a moment ago."""
        self.express.hurried = lately
        if hurried != self.hurried:
            self.hurried = self.uplink.hurried = self.playback.hurried = self.receiver.lateness.hurried = hurried
        if hurried:
            self.timeline.note_stall()

    def pass_on(self, now_ns: int, waiting: Rows | None = _NOBODY) -> None:
        """Fill what is missing; what callers have said leaves, one write an agent connection, before all else.

        Packets of the rows `waiting` have come and are not read yet: of these nothing is missing. None: nobody knows
        who waits, or nothing is due, and nothing is filled.
        """
        if waiting is not None:
            self.timeline.advance(now_ns, waiting)
        if self.uplink.changes or self.turns.ducked:
            self.turns.advance(now_ns)
        if self.agents.said:
            self.agents.flush()

    def play(self, now_ns: int) -> None:
        """Packets to the callers that are due, reports, time-outs: in most ticks there is nothing to do for most."""
        if self.agents.gathering.pieces:
            self.agents.settle(now_ns)
        self.downlink.now_ns = now_ns
        if now_ns >= self.downlink.next_due_ns:
            self.downlink.advance(now_ns)
            self._count_delays(now_ns)
        soon_ns = now_ns - PATIENCE_NS if self.hurried else now_ns
        if soon_ns >= self.quality.next_ns:
            self.quality.advance(now_ns)
        if soon_ns >= self.reports.next_ns:
            self.reports.advance(now_ns)
        if now_ns >= self.handshakes.next_deadline_ns:
            self.handshakes.advance(now_ns)
        if self._are_keys_busy:
            self.keys.advance(now_ns)
        if self.agents.is_due(now_ns):
            self.agents.handle_timeouts(now_ns)
        if self.recorder.busy:
            self.recorder.advance()
        if soon_ns >= self.quiet.next_ns and self.quiet.advance(now_ns):
            self.downlink.note_queues()
        if self.agents.said:
            self.agents.flush()

    @property
    def _are_keys_busy(self) -> bool:
        tones = self.uplink.tones
        return bool(self.keys.pending or tones.watching or tones.heard)

    def attend_ns(self) -> int:
        """Before this time `play` has nothing to do but packets, unless something comes for it."""
        if self._are_keys_busy or self.recorder.busy:
            return 0
        return min(
            self.quality.next_ns, self.reports.next_ns, self.handshakes.next_deadline_ns, self.quiet.next_ns,
            self.agents.noted_deadline_ns,
        )  # fmt: skip

    def play_rest(self, now_ns: int) -> None:
        """`play`, where the kernel of `PacketRound` has been run, and has left something."""
        self.downlink.advance_rest(now_ns)
        self._count_delays(now_ns)
        self.play(now_ns)

    def _count_delays(self, now_ns: int) -> None:
        if len(self.downlink.sent_rows):  # they are with the kernel: the last one now, the others a little before
            self.downlink.count_delays(self._clock() - now_ns)

    def note_uplink_delay(self, row: int, delay_ns: int) -> None:
        """A packet of this row reached its agent's socket so long after it reached the kernel."""
        self._sampled_row[0] = row
        self.count_uplink_delays(self._sampled_row, self._no_delay, delay_ns)

    def next_deadline_ns(self) -> int:
        """When the next tick is due; far away if nothing is up."""
        return self.agents.sooner_than(
            min(
                self.reports.next_ns,
                self.handshakes.next_deadline_ns,
                self.timeline.next_deadline_ns(),
                self.downlink.next_due_ns,
            )
        )


def final_stats(table: Table, stream: Stream) -> dict[str, float]:
    """Figures of a call at its end, by name; what the canonical line and the agent's `stop` say."""
    c, row = table.shared, stream.row
    stats = {name: float(getattr(c, name)[row]) for name in FINAL_COUNTERS}
    stats["jitter_ms"] = float(c.rx_jitter_ts[row]) * 1000 / float(table.clock_hz[row])
    stats["peer_jitter_ms"] = float(c.peer_jitter_ms[row])
    stats["rtt_ms"] = float(c.rtt_ms[row])
    stats["underrun_ms"] = round(float(c.underrun_ns[row]) / 1e6)
    return stats
