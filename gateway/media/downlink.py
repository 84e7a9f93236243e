# SPDX-License-Identifier: GPL-2.0-or-later
"""From agents to callers: queues and the packet clock.

    AgentLinks -> push() -> FrameQueue -> what is due now -> PacketWriter

Most of it is done by kernels, in one call a tick: `agent_speech.py`, `packet_round.py`.

Each row has a packet clock (`tx_due_ns`) that ticks every packet time from the
start of the call to its end, whether there is anything to say or not, and the
RTP timestamp follows it.  So speech after silence has the right timestamp by
construction; its first packet carries the marker bit (RFC 3551 4.1).

A talkspurt starts when its first block has waited a moment (`CUSHION_NS`) or two
blocks are there, so that an agent in real time is not cut by its own jitter; or, if
the agent has run dry, for as long as that has taught (`talkspurts.py`, `prebuffer.py`).
When the queue runs dry the last sample fades out, and if more comes soon that
was an underrun, and is counted and told.  An unfinished block is played as the end of its
talkspurt: what it lacks is fade and silence, and no speech of the agent.

Played is what the kernel took.  The audio of a packet that it refused is gone and
counts as not played; marks behind it wait for the next packet that does leave.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.agent_audio import part
from trunkline.gateway.media.deadlines import NEVER_NS
from trunkline.gateway.media.echo import Echo
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.pace import Pace
from trunkline.gateway.media.packet_clocks import BEHIND_NS, PacketClocks
from trunkline.gateway.media.packet_round import PacketRound
from trunkline.gateway.media.packets import PacketSink as PacketSink  # noqa: PLC0414 - Downlink's users need it
from trunkline.gateway.media.packets import PacketWriter, Sizes
from trunkline.gateway.media.sounds import Sounds
from trunkline.gateway.media.speaking import FADE_SAMPLES, Speaking
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.talkspurts import Talkspurts
from trunkline.rtp.outcomes import Drop

SEND_GRID_NS = 5_000_000
"""Grid of the packet clocks, so that calls fall due together: a batch costs some 500 us beside its packets, what is
read from the agents for it included. Whoever hears a call cannot tell when it fell due."""
SEND_PERIOD_NS = 20_000_000
"The usual packet time: calls whose clocks differ by a multiple of it form a group."
GROUP_CALLS = 250
"So many calls to a group before the next one is opened: their packets take a millisecond or so to leave."
KEEPALIVE_PACKETS = 250
"With silence suppressed, every 250th packet time is sent all the same, for the sake of NATs."
NOISE_EVERY_NS = 1_000_000_000
"A pause is told of again so often, where comfort noise was agreed on (RFC 3389): one such packet may be lost."

_OPENED = np.array([0, 2, 1, 3])
"In this order groups are opened: ticks of 4 and 10 ms are at the points of the first, those of 10 at the next one's."

_NO_MARKER = np.zeros(1, bool)
_NO_ROWS = np.zeros(0, np.intp)
_NOBODY: set[int] = set()

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Samples = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Downlink:
    """The packet clock of every row."""

    def __init__(
        self, table: Table, sink: PacketSink, *, send_silence: bool, monotonic: bool = False
    ) -> None:
        """`monotonic` says that `now_ns` is of time.monotonic_ns, and nobody else's."""
        self._table = table
        self._writer = PacketWriter(table, sink)
        self._clocks = PacketClocks(table)
        self.pace = Pace(table)
        self.sounds = Sounds(table, self._writer)
        self.echo = Echo(table)
        self.talkspurts = Talkspurts(table, self.pace)
        self.prebuffer = self.talkspurts.prebuffer
        self._speaking = Speaking(table, self._writer, self.prebuffer.wait_ns, send_silence=send_silence)
        self._speaking.on_open = self.talkspurts.open
        self._speaking.on_sent = self._note_sent
        self._speaking.on_some_refused = self._note_some_played
        self.packet_round = PacketRound(table, self._clocks, self._speaking, self._writer, monotonic=monotonic)
        self._send_silence = send_silence
        self.now_ns = 0
        "time of the last push or tick"
        self.next_due_ns = NEVER_NS
        "when `advance` has something to do, at the soonest"
        self.sent_rows: Rows = _NO_ROWS
        "rows whose packet fell due in the last tick, and whose delays are not counted yet,"
        self.sent_late_ns: Samples = np.zeros(0, np.int64)
        "and how long before it"
        self.on_sent: Callable[[Rows, int], None] = _ignore_sent
        "called (rows, now_ns) after packets have left: playback positions may have moved"
        self.on_refused: Callable[[Rows, Samples], None] = _ignore_refused
        "called (rows, samples of agents' audio in it) for packets that did not leave"

    def begin(self, row: int, now_ns: int) -> None:
        """The call may be spoken to from now on."""
        c = self._table.shared
        if c.tx_due_ns[row] == 0:
            c.tx_due_ns[row] = self._first_due_ns(now_ns)
        self.next_due_ns = min(self.next_due_ns, int(c.tx_due_ns[row]))
        c.tx_talking[row] = 0
        self.pace.forget(row)
        if (stream := self._table.streams[row]) is not None:
            self.prebuffer.begin(row, stream.start.agent)

    def _first_due_ns(self, now_ns: int) -> int:
        """The next point of the grid at which a group that is not full yet falls due, or else the smallest."""
        due_ns = self._table.shared.tx_due_ns[self._table.running]
        points = due_ns[due_ns > 0] % SEND_PERIOD_NS // SEND_GRID_NS
        sizes = np.bincount(points, minlength=SEND_PERIOD_NS // SEND_GRID_NS)
        filling = sizes * (sizes < GROUP_CALLS)
        group = filling if filling.any() else -sizes
        soonest = -(-now_ns // SEND_GRID_NS)
        waits = (np.arange(len(sizes)) - soonest) % len(sizes)  # until the next point of each group
        best = int(np.lexsort((_OPENED, -group))[0])
        return (soonest + int(waits[best])) * SEND_GRID_NS

    def push(self, rows: Rows, pcm: Pcm, now_ns: int, samples: Samples | None = None) -> Samples | None:
        """Speech from agents for n different rows: pcm[n, samples], or end to end with the samples of each.

        Returns the samples that found no room, if any.
        """
        table, c = self._table, self._table.shared
        self.now_ns = now_ns
        self.pace.look(rows, now_ns)
        if self.prebuffer.longer:
            self.prebuffer.look(rows, now_ns)
        dropped: Samples | None = None
        for fmt, which in table.formats.groups(rows):
            of_format = rows[which]
            queue = fmt.queue
            empty = of_format[queue.count[of_format] == 0]
            begun = queue.begins(of_format, pcm.shape[1] if samples is None else samples[which])
            c.frames_from_agent[of_format] += begun
            c.worker.frames_from_agent[0] += int(begun.sum())
            if samples is None:
                lost = queue.push(of_format, pcm[which])
            else:
                lost = queue.push_pieces(of_format, part(pcm, samples, which), samples[which])
            table.queued_since_ns[empty] = now_ns
            new = of_format[table.queued_since_ns[of_format] == now_ns]  # all that comes at once is the first of it
            if len(new):
                self.prebuffer.begins(new, queue.queued_samples(new))
            if lost is not None:
                dropped = np.zeros(len(rows), np.int64) if dropped is None else dropped
                dropped[which] = lost
                blocks = -(-lost // queue.block_samples)
                c.drops[of_format, Drop.AGENT_OVERFLOW] += blocks
                c.worker.drops[Drop.AGENT_OVERFLOW] += int(blocks.sum())
        return dropped

    def note_queues(self) -> None:
        """Bring the column of what waits up to date; for people, so ten times a second will do."""
        table = self._table
        for fmt, which in table.formats.groups(table.active):
            rows = table.active[which]
            table.shared.queued_samples[rows] = fmt.queue.queued_samples(rows)

    def clear(self, stream: Stream) -> int:
        """Silence the row from its next packet on; returns the samples thrown away."""
        table, row = self._table, stream.row
        discarded = table.formats.at(row).queue.clear(row)
        table.shared.queued_samples[row] = 0
        table.shared.tx_talking[row] = 0  # it has not run dry, whatever comes next:
        table.stopped_ns[row] = 0
        return discarded

    def halt(self, row: int, *, halted: bool) -> None:
        """From its next packet on the row is silent and keeps what waits for it, or goes on with that."""
        self._table.halted_rows[row] = halted
        (self._table.halted.add if halted else self._table.halted.discard)(row)
        if not halted:
            self._table.stopped_ns[row] = 0  # that was no underrun

    def advance(self, now_ns: int) -> None:
        """Send what is due."""
        self.now_ns = now_ns
        self.sent_rows = _NO_ROWS
        if now_ns < self.next_due_ns:
            return
        self._played(self.packet_round.go(self._apart(now_ns), now_ns), now_ns)

    def advance_rest(self, now_ns: int) -> None:
        """The same, where the kernel of `packet_round` has been run, and has left something."""
        self.now_ns = now_ns
        self._played(self.packet_round.go_on(now_ns), now_ns)

    def _played(self, next_due_ns: int, now_ns: int) -> None:
        self.next_due_ns = next_due_ns
        self.sent_rows, self.sent_late_ns = self.packet_round.uncounted
        if next_due_ns <= now_ns:
            self._advance_rest(now_ns)

    @property
    def is_plain(self) -> bool:
        """Nothing is special to any row's packets, and nobody is to be told of those that leave."""
        table = self._table
        special = table.keying or table.muted_down or table.halted or self.sounds.playing or self.pace.waiting
        return not (special or self.packet_round.is_heeded())

    def count_delays(self, since_ns: int) -> None:
        """Of `sent_rows`, after so long since the tick began."""
        self._clocks.count_delays(self.sent_rows, self.sent_late_ns, since_ns)

    def _advance_rest(self, now_ns: int) -> None:
        """Send what is due still."""
        table, c = self._table, self._table.shared
        rows, late_ns, behind = self._clocks.due(now_ns)
        if not len(self.sent_rows):
            self.sent_rows, self.sent_late_ns = rows, late_ns
        if behind:
            self._skip_lost_time(rows, now_ns)
        while True:
            rest = self._speaking.send(rows, self._apart(now_ns), now_ns) if len(rows) else rows
            for fmt, which in table.formats.groups(rest):
                self._send_due(fmt, rest[which], now_ns)
            self.next_due_ns = self._clocks.earliest()
            if not len(rows) or self.next_due_ns > now_ns:
                return
            rows = rows[c.tx_due_ns[rows] <= now_ns]

    def _apart(self, now_ns: int) -> set[int]:
        """Rows to whose packets something may be special."""
        table, suited = self._table, self.pace.find(now_ns)
        if not (table.keying or table.muted_down or table.halted or len(suited) or self.sounds.playing):
            return _NOBODY
        return {*table.keying, *table.muted_down, *table.halted, *suited.tolist(), *self.sounds.playing}

    def _skip_lost_time(self, rows: Rows, now_ns: int) -> None:
        """After a stall the clock catches up without sending what nobody could play any more."""
        table, c = self._table, self._table.shared
        stalled = now_ns - c.tx_due_ns[rows] > BEHIND_NS
        if stalled.any():
            rows = rows[stalled]
            behind = (now_ns - c.tx_due_ns[rows]) // table.ptime_ns[rows]
            c.tx_due_ns[rows] += behind * table.ptime_ns[rows]
            c.tx_ts[rows] += behind * table.ptime_ts[rows]

    def _send_due(self, fmt: Format, rows: Rows, now_ns: int) -> None:
        """One packet for each of these rows, all of one format."""
        table, c = self._table, self._table.shared
        special = table.keying or table.muted_down or table.halted or len(self.pace.suited) or self.sounds.playing
        usual = not special and fmt.queue.count[rows].all() and c.tx_talking[rows].all()
        if usual and table.sending[rows].all():
            self._send_speech(fmt, rows, now_ns)
            return
        speaking = rows[table.sending[rows]]
        if len(speaking) < len(rows):
            held = rows[~table.sending[rows]]
            c.tx_talking[held] = 0  # a new talkspurt follows,
            table.last_sample[held] = 0  # and nothing is left to fade
            table.echo_dbov[held] = -127.0
        if len(speaking):
            self._send_mixed(fmt, speaking, now_ns)
        self._move_clocks(rows)

    def _send_speech(self, fmt: Format, rows: Rows, now_ns: int) -> None:
        """The usual case, cheaply: all of them are in a talkspurt that goes on."""
        c, block = self._table.shared, fmt.queue.block_samples
        pcm = fmt.queue.pop(rows)
        self.echo.played(rows, pcm, now_ns)
        sent, payload_bytes = self._writer.send_audio(fmt, rows, pcm, _NO_MARKER)
        if isinstance(payload_bytes, int) and sent.all():
            clock = int(self._table.ptime_ts[rows[0]]), int(self._table.ptime_ns[rows[0]])
            c.send[rows] += np.array([1, *clock, 1, payload_bytes, 1, block])
            c.worker.packets_sent[0] += len(rows)
            self.on_sent(rows, now_ns)
            return
        self._note_played(rows, np.full(len(rows), block, np.int64), sent, payload_bytes, now_ns)
        self._move_clocks(rows)

    def _note_sent(self, rows: Rows, now_ns: int) -> None:
        self.on_sent(rows, now_ns)

    def _note_some_played(
        self, rows: Rows, samples: Samples, sent: Mask, payload_bytes: Sizes, now_ns: int
    ) -> None:
        """What `Speaking` has sent."""
        self._note_played(rows, samples, sent, payload_bytes, now_ns)
        self._move_clocks(rows)

    def _move_clocks(self, rows: Rows) -> None:
        """On by one packet time, whether a packet has left or not."""
        c = self._table.shared
        c.tx_ts[rows] += self._table.ptime_ts[rows]
        c.tx_due_ns[rows] += self._table.ptime_ns[rows]

    def _send_mixed(self, fmt: Format, rows: Rows, now_ns: int) -> None:
        """Digits, speech that begins or ends, silence."""
        table, c, queue = self._table, self._table.shared, fmt.queue
        if table.keying:
            keyed = self._writer.send_digits(rows)
            rows = rows if keyed is None else rows[~keyed]
            keyed = self._writer.send_tones(fmt, rows)
            rows = rows if keyed is None else rows[~keyed]
        if self.sounds.playing and (heard := self.sounds.send(fmt, rows, now_ns)) is not None:
            rows = rows[~heard]
        talking = c.tx_talking[rows] == 1
        count = queue.count[rows]
        ready, late = self.talkspurts.ready(fmt, rows, talking, now_ns)
        whole = (count > 0) & ready
        # The end of an utterance is seldom a whole block.
        ends = (count == 0) & (queue.partial[rows] > 0) & late
        if table.halted:  # a pause: what they have stays where it is, and they fade
            plays = ~table.halted_rows[rows]
            whole, ends = whole & plays, ends & plays
        speak = whole | ends
        opens = speak & ~talking
        goes_on = whole  # an unfinished block is the last of its talkspurt
        self.talkspurts.note(fmt, rows, opens, (talking | opens) & ~goes_on)
        fading = ~speak & (table.last_sample[rows] != 0)
        again = self.pace.adjust(fmt, rows, whole) if len(self.pace.suited) else None
        if again is None:
            pcm, samples = self._audio(fmt, rows, whole, ends, fading)
        else:
            pcm, samples = self._audio(fmt, rows, whole & ~again, ends, fading)
            pcm[again] = queue.peek(rows[again])
        if table.muted_down:  # what nobody hears is said all the same: positions and marks go on
            pcm[np.isin(rows, list(table.muted_down))] = 0
        if speak.any() or fading.any():
            self.echo.played(rows, pcm, now_ns)
        else:
            self.echo.silent(rows)
        c.tx_talking[rows] = goes_on
        c.frames_silence[rows] += ~speak
        if not self._send_silence:
            keep = speak | talking | fading
            self._tell_of_pauses(rows, keep, now_ns)
            keep |= (table.send_cn_pt[rows] < 0) & (c.frames_silence[rows] % KEEPALIVE_PACKETS == 1)
            rows, pcm, opens, samples = rows[keep], pcm[keep], opens[keep], samples[keep]
        if len(rows):
            sent, payload_bytes = self._writer.send_audio(fmt, rows, pcm, opens)
            self._note_played(rows, samples, sent, payload_bytes, now_ns)

    def _tell_of_pauses(self, rows: Rows, heard: Mask, now_ns: int) -> None:
        """Comfort noise in place of the first packet of a pause, and again from time to time."""
        table = self._table
        table.noise_due_ns[rows[heard]] = 0
        due = ~heard & (table.send_cn_pt[rows] >= 0) & (table.noise_due_ns[rows] <= now_ns)
        if due.any():
            table.noise_due_ns[rows[due]] = now_ns + NOISE_EVERY_NS
            self._writer.send_noise(rows[due])

    def _note_played(
        self, rows: Rows, samples: Samples, sent: Mask, payload_bytes: Sizes, now_ns: int
    ) -> None:
        """Positions move by what has left: samples[n] of the agent's audio in each packet."""
        c = self._table.shared
        self._writer.account(rows, payload_bytes, sent)
        if not sent.all():
            self.on_refused(rows[~sent], samples[~sent])
            rows, samples = rows[sent], samples[sent]
        c.down_position[rows] += samples
        c.frames_played[rows] += samples > 0
        if len(rows):
            self.on_sent(rows, now_ns)

    def _audio(self, fmt: Format, rows: Rows, whole: Mask, ends: Mask, fading: Mask) -> tuple[Pcm, Samples]:
        """One block for each row: [n, block_samples], and how many of its samples are the agent's."""
        queue = fmt.queue
        if whole.all():
            return queue.pop(rows), np.full(len(rows), queue.block_samples, np.int64)
        pcm = np.zeros((len(rows), queue.block_samples), np.int16)
        samples = np.where(whole, queue.block_samples, 0)
        pcm[whole] = queue.pop(rows[whole])
        if ends.any():
            pcm[ends], samples[ends] = queue.pop_partial(rows[ends])
            last = pcm[ends, samples[ends] - 1]
            pcm[ends] += _fade(last, samples[ends], queue.block_samples)
        if fading.any():
            last = self._table.last_sample[rows[fading]]
            pcm[fading] = _fade(last, np.zeros(len(last), np.int64), queue.block_samples)
        return pcm, samples


def _fade(last: Pcm, start: Samples, width: int) -> Pcm:
    """From sample `last` [n] to silence, beginning at sample start[n] of a block: [n, width], 0 before it."""
    since = np.arange(width) - start[:, None]
    ramp = np.where(since >= 0, np.maximum(1 - since / FADE_SAMPLES, 0), 0).astype(np.float32)
    return (last[:, None] * ramp).astype(np.int16)


def _ignore_sent(rows: Rows, now_ns: int) -> None:
    """Until somebody counts marks."""


def _ignore_refused(rows: Rows, samples: Samples) -> None:
    """Until somebody counts marks."""
