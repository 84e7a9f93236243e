# SPDX-License-Identifier: GPL-2.0-or-later
"""From agents to callers: queues, the packet clock, encoding, sending.

    AgentLinks -> push() -> FrameQueue -> what is due now -> resample -> encode -> headers -> sockets

Each row has a packet clock (`tx_due_ns`) that ticks every packet time from the
start of the call to its end, whether there is anything to say or not, and the
RTP timestamp follows it.  So speech after silence has the right timestamp by
construction; its first packet carries the marker bit (RFC 3551 4.1).

A talkspurt starts when its first block has waited a moment (`CUSHION_NS`) or two
blocks are there, so that an agent in real time is not cut by its own jitter.
When the queue runs dry the last sample fades out, and if more comes soon that
was an underrun, and is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.level import level_dbov
from trunkline.gateway.media.batch import PACKET_BYTES
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.table import RUNNING, Stream, Table
from trunkline.rtp.outcomes import Drop
from trunkline.rtp.packet import HEADER_BYTES, write_headers

TICK_NS = 2_500_000
"Grid of the packet clocks, and the shortest distance of two ticks under load."
CUSHION_NS = 5_000_000
"How long the first block of a talkspurt waits at least, unless a second one is there."
UNDERRUN_NS = 500_000_000
"A queue that fills again within this time had run dry; after that it was a pause."
FADE_SAMPLES = 80
"Length of the fade after the last sample: 5 ms at 16 kHz, too short to hear, long enough not to click."
BEHIND_PACKETS = 3
"Packets that a late tick still sends; beyond that the clock is moved on and the time is lost."
KEEPALIVE_PACKETS = 250
"With silence suppressed, every 250th packet time is sent all the same, for the sake of NATs."

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]


class PacketSink(Protocol):
    """Takes finished packets (udp.py)."""

    def send(self, rows: Rows, packets: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Send packets[n, bytes], one for each row; False where the kernel refused."""


class Downlink:
    """The packet clock of every row."""

    def __init__(self, table: Table, sink: PacketSink, *, send_silence: bool) -> None:
        self._table = table
        self._sink = sink
        self._send_silence = send_silence
        self._buffer = np.zeros((256, PACKET_BYTES), np.uint8)
        self._fades: dict[int, NDArray[np.float32]] = {}
        self.on_sent: Callable[[Rows, int], None] = _ignore_sent
        "called (rows, now_ns) after packets with agents' audio left: playback positions have moved"

    def begin(self, row: int, now_ns: int) -> None:
        """The call may be spoken to from now on."""
        c = self._table.shared
        if c.tx_due_ns[row] == 0:  # on the grid of ticks, so that calls fall due together
            c.tx_due_ns[row] = -(-now_ns // TICK_NS) * TICK_NS
        c.tx_talking[row] = 0

    def push(self, rows: Rows, pcm: Pcm, now_ns: int) -> None:
        """Speech from agents: pcm[n, samples] for n different rows."""
        table, c = self._table, self._table.shared
        c.frames_from_agent[rows] += 1
        c.worker.frames_from_agent[0] += len(rows)
        for fmt, which in table.formats.groups(rows):
            of_format = rows[which]
            queue = fmt.queue
            empty = of_format[queue.count[of_format] == 0]
            lost = queue.push(of_format, pcm[which])
            table.queued_since_ns[empty] = now_ns
            c.queued_samples[of_format] = queue.queued_samples(of_format)
            if lost.any():
                blocks = -(-lost // queue.block_samples)
                c.drops[of_format, Drop.AGENT_OVERFLOW] += blocks
                c.worker.drops[Drop.AGENT_OVERFLOW] += int(blocks.sum())

    def clear(self, stream: Stream) -> int:
        """Silence the row from its next packet on; returns the samples thrown away."""
        discarded = self._table.formats.at(stream.row).queue.clear(stream.row)
        self._table.shared.queued_samples[stream.row] = 0
        return discarded

    def advance(self, now_ns: int) -> None:
        """Send what is due."""
        table, c = self._table, self._table.shared
        for _ in range(BEHIND_PACKETS):
            rows = table.active
            rows = rows[(c.tx_due_ns[rows] <= now_ns) & (c.state[rows] == RUNNING) & (c.tx_due_ns[rows] > 0)]
            if not len(rows):
                return
            self._skip_lost_time(rows, now_ns)
            due = rows[table.sending[rows]]
            for fmt, which in table.formats.groups(due):
                self._send_due(fmt, due[which], now_ns)
            c.tx_ts[rows] += table.ptime_ts[rows]
            c.tx_due_ns[rows] += table.ptime_ns[rows]

    def _skip_lost_time(self, rows: Rows, now_ns: int) -> None:
        """After a stall the clock catches up without sending what nobody could play any more."""
        table, c = self._table, self._table.shared
        behind = (now_ns - c.tx_due_ns[rows]) // table.ptime_ns[rows]
        stalled = behind >= BEHIND_PACKETS
        if stalled.any():
            rows, behind = rows[stalled], behind[stalled]
            c.tx_due_ns[rows] += behind * table.ptime_ns[rows]
            c.tx_ts[rows] += behind * table.ptime_ts[rows]

    def _send_due(self, fmt: Format, rows: Rows, now_ns: int) -> None:
        """One packet for each of these rows, all of one format."""
        table, c, queue = self._table, self._table.shared, fmt.queue
        keyed = self._send_digits(rows, now_ns)
        if keyed is not None:
            rows = rows[~keyed]
        talking = c.tx_talking[rows] == 1
        count = queue.count[rows]
        half = np.flatnonzero((count == 0) & (queue.partial[rows] > 0))
        for i in half:  # the end of an utterance is seldom a whole block
            if talking[i] or now_ns - table.queued_since_ns[rows[i]] > CUSHION_NS:
                queue.finish_partial(int(rows[i]))
        count = queue.count[rows]
        waited = now_ns - table.queued_since_ns[rows] >= CUSHION_NS
        speak = (count > 0) & (talking | (count > 1) | waited)
        opens = speak & ~talking
        self._note_turns(rows, opens, talking & ~speak, now_ns)
        if speak.all():
            pcm = queue.pop(rows)
        else:
            pcm = self._silence(fmt, rows, fade=talking & ~speak)
            pcm[speak] = queue.pop(rows[speak])
        c.tx_talking[rows] = speak
        c.frames_played[rows] += speak
        c.frames_silence[rows] += ~speak
        c.down_position[rows[speak]] += queue.block_samples
        c.queued_samples[rows] = queue.queued_samples(rows)
        if not self._send_silence:
            keep = speak | talking | (c.frames_silence[rows] % KEEPALIVE_PACKETS == 1)
            rows, pcm, opens, speak = rows[keep], pcm[keep], opens[keep], speak[keep]
        if len(rows):
            self._encode_and_send(fmt, rows, pcm, opens)
        if speak.any():
            self.on_sent(rows[speak], now_ns)

    def _note_turns(
        self, rows: Rows, opens: NDArray[np.bool_], stops: NDArray[np.bool_], now_ns: int
    ) -> None:
        table, c = self._table, self._table.shared
        table.stopped_ns[rows[stops]] = now_ns
        started = rows[opens]
        c.underruns[started] += now_ns - table.stopped_ns[started] < UNDERRUN_NS

    def _silence(self, fmt: Format, rows: Rows, *, fade: NDArray[np.bool_]) -> Pcm:
        """Silent blocks; rows that have just stopped talking fade from their last sample."""
        pcm = np.zeros((len(rows), fmt.packet_samples), np.int16)
        if fade.any():
            length = min(FADE_SAMPLES, fmt.packet_samples)
            ramp = self._fades.setdefault(length, np.linspace(1, 0, length, endpoint=False, dtype=np.float32))
            pcm[fade, :length] = self._table.last_sample[rows[fade], None] * ramp
        return pcm

    def _encode_and_send(self, fmt: Format, rows: Rows, pcm: Pcm, marker: NDArray[np.bool_]) -> None:
        table, c = self._table, self._table.shared
        table.last_sample[rows] = pcm[:, -1]
        c.level_down_dbov[rows] = level_dbov(pcm)
        width = fmt.down.history_samples
        if width:
            pcm, history = fmt.down.process(table.down_history[rows, :width], pcm)
            table.down_history[rows, :width] = history
        payload = fmt.codec.encode(pcm)
        packets = self._room(len(rows))[:, : HEADER_BYTES + payload.shape[1]]
        write_headers(packets, table.send_pt[rows], marker, c.tx_seq[rows], c.tx_ts[rows], c.tx_ssrc[rows])
        packets[:, HEADER_BYTES:] = payload
        self._account(rows, payload.shape[1], self._sink.send(rows, packets))

    def _account(self, rows: Rows, payload_bytes: int, sent: NDArray[np.bool_]) -> None:
        """Count packets; a refused one has used its sequence number, as if the network had lost it."""
        c = self._table.shared
        c.tx_seq[rows] += 1
        if not sent.all():
            c.drops[rows[~sent], Drop.SEND_FAILED] += 1
            c.worker.drops[Drop.SEND_FAILED] += int((~sent).sum())
            rows = rows[sent]
        c.packets_sent[rows] += 1
        c.octets_sent[rows] += payload_bytes
        c.worker.packets_sent[0] += len(rows)

    def _send_digits(self, rows: Rows, now_ns: int) -> NDArray[np.bool_] | None:
        """RFC 4733 events take the place of audio; returns which rows sent one, None if none did."""
        table, c = self._table, self._table.shared
        keyed: NDArray[np.bool_] | None = None
        if not table.keying:
            return None
        for i, row in enumerate(rows.tolist()):
            if row not in table.keying:
                continue
            stream = table.streams[row]
            sender = stream.digits_out if stream is not None else None
            if sender is None or not sender.active:
                table.keying.discard(row)
                continue
            assert stream is not None
            event = sender.next_packet(int(c.tx_ts[row]))
            if event is None:  # the gap between two digits: silence or speech, as usual
                continue
            keyed = np.zeros(len(rows), bool) if keyed is None else keyed
            keyed[i] = True
            self._send_event(stream, event.payload, event.marker, event.timestamp)
        return keyed

    def _send_event(self, stream: Stream, payload: bytes, marker: bool, timestamp: int) -> None:
        c, one = self._table.shared, np.array([stream.row], np.intp)
        packets = self._room(1)[:, : HEADER_BYTES + len(payload)]
        write_headers(
            packets, np.array([stream.media.send_dtmf_pt], np.uint8), np.array([marker]), c.tx_seq[one],
            np.array([timestamp], np.int64), c.tx_ssrc[one],
        )  # fmt: skip
        packets[:, HEADER_BYTES:] = np.frombuffer(payload, np.uint8)
        self._account(one, len(payload), self._sink.send(one, packets))

    def _room(self, n: int) -> NDArray[np.uint8]:
        if len(self._buffer) < n:
            self._buffer = np.zeros((2 * n, PACKET_BYTES), np.uint8)
        return self._buffer[:n]


def _ignore_sent(rows: Rows, now_ns: int) -> None:
    """Until somebody counts marks."""
