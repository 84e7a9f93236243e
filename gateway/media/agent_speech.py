# SPDX-License-Identifier: GPL-2.0-or-later
"""The short way for what agents say: from the message to the queues in one pass (`native/said.c`).

    records of a message -> an ordinary one? -> yes: to the end of its row's queue      (compiled)
                                             -> no:  AgentLinks -> Playback -> Downlink

What a read begins with goes there without a message in between, if it is audio of our dialect (`native/said_in.c`).
Ordinary is what finds room.  Once a record of a row is left, so are those of that row which follow it in the run.
A record that is nobody's goes no way.  What is left costs Python some 10 us a message, so a read of which much is left
is dealt with in parts, tick by tick.  All ways leave the same behind; a property test compares them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.link_events import Audio
from trunkline.agent_bridge.wire import AUDIO, parse_audio
from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import compiled
from trunkline.gateway.media.agent_audio import joined
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.playback import FLOW_PAUSE, Playback
from trunkline.gateway.media.prebuffer import CUSHION_NS
from trunkline.gateway.media.table import Table
from trunkline.gateway.media.turn_ledger import AUDIBLE

_COUNT = 0xFFFFF
"of what the kernel answers: records that are left, then rows whose queue is long, then rows that answer their caller"


_KIND_AT = 4
"Where a message says what it is (wire.py)."
_MOST_RECORDS = 1 << 14
"Room for what is found in a read: half as many records are taken at once. With more, they are a sample or two long."
MOST_LEFT = 200
"Messages of which something may be left; as soon as there are so many, what follows is for the next tick: 2 ms."


class AgentSpeech:
    """Puts what it can into the queues, and says what is left."""

    def __init__(
        self, table: Table, playback: Playback, index_of_row: NDArray[np.int64], speaks: NDArray[np.bool_]
    ) -> None:
        """`index_of_row` and `speaks` are the columns of `AgentLinks`."""
        n = table.capacity
        self._table = table
        self._playback = playback
        self._index_of_row, self._speaks = index_of_row, speaks
        self._line = playback._downlink
        self._pace = self._line.pace
        self._compiled = compiled.native is not None
        self._kernels: list[Kernel] = []
        "by format"
        self._turns = np.zeros(n, np.int64)
        "the run in which a row was last met,"
        self._state = np.zeros(n, np.uint8)
        "and what was found of it then"
        self._turn = 0
        self.left: list[Audio] = []
        "what `take_read` has left for others to deal with"
        self.long: list[int] = []
        "rows whose queue became long in this run"
        self._live: list[Format] = []
        "the formats that calls had when it was bound:"
        self._said_in: Kernel | None = None
        self._notes = np.zeros(5, np.int64)
        self._read = np.zeros((4, max(2 * n, _MOST_RECORDS)), np.int64)
        "as `_found`, of all messages of a read,"
        self._places = np.zeros((MOST_LEFT, 3), np.int64)
        "and where messages lie of which something is left: beginning and end, and end of their records in `_read[0]`"
        self._found = np.zeros((4, n), np.int64)
        "records that are left; rows whose queue is long; rows that answer, and after how many samples that is heard"

    def take(self, link: int, run: list[Audio], now_ns: int) -> list[Audio]:
        """Records on the connection of this index, in their order; returns those that are for others to deal with."""
        if not self._compiled:
            return run
        self.next_run(now_ns)
        looks = self._pace.is_turn()
        left = []
        for audio in run if len(run) == 1 else joined(run):
            left += self._take_one(link, audio, looks, now_ns)
        if looks:
            self._pace.looked(now_ns)
        return left

    @property
    def kernel(self) -> Kernel | None:
        """`said_in` for the formats that calls have now, to be called (link, run, looks, now_ns, data, size)."""
        if self._live is not self._table.formats.live:
            self._bind_all()
        return self._said_in

    def next_run(self, now_ns: int, runs: int = 1) -> int:
        """The number of a run that begins; the first of so many."""
        first = self._turn + 1
        self._turn += runs
        self._line.now_ns = now_ns
        return first

    def take_read(
        self, link: int, data: bytearray | memoryview, size: int, now_ns: int, said: int | None = None
    ) -> int:
        """The same for the messages of audio at the beginning of what was read, which are a run.

        Returns how many bytes they have; less than 0, so many, and what is behind them is for the next tick.
        Not 0, and there is something in `left`: it is to be dealt with at once.  The kernel may have `said` its word.
        """
        if said is not None:
            return said if said >= 0 else self._finish_read(-1 - said, data, now_ns)
        if size <= _KIND_AT or data[_KIND_AT] != AUDIO:
            return 0
        kernel = self.kernel
        if kernel is None:
            return 0
        run, looks = self.next_run(now_ns), self._pace.is_turn()
        taken = kernel(link, run, looks, now_ns, data, size)
        if looks:
            self._pace.looked(now_ns)
        return taken if taken >= 0 else self._finish_read(-1 - taken, data, now_ns)

    def _finish_read(self, taken: int, data: bytearray | memoryview, now_ns: int) -> int:
        """What the kernel has found besides ordinary speech."""
        left, long, heard, after = self._read
        _, n_long, n_heard, n_places, enough = self._notes.tolist()
        for row, samples in zip(heard[:n_heard].tolist(), after[:n_heard].tolist(), strict=True):
            self._playback.ledger.answered(row, samples, now_ns)
        self.long += long[:n_long].tolist()
        view, first = memoryview(data), 0
        for begins, ends, left_to in self._places[:n_places].tolist():
            records, which = parse_audio(view[begins:ends]), np.sort(left[first:left_to])
            first = left_to
            self.left.append(Audio(records["channel"][which], records["pcm"][which]))
        return -taken if enough else taken

    def settle(self) -> None:
        """All of the run is in the queues, what was left included."""
        if self.long:
            long, self.long = self.long, []
            self._playback.pause_agents(long)

    def _take_one(self, link: int, audio: Audio, looks: bool, now_ns: int) -> list[Audio]:
        if len(audio.channels) > self._found.shape[1]:
            self._found = np.zeros((4, len(audio.channels)), np.int64)
        left, long, heard, after = self._found
        rest = []
        for fmt in self._table.formats.live:
            found = self._kernel(fmt)(
                link, self._turn, looks, now_ns, audio.channels, audio.pcm, left, long, heard, after
            )
            if not found:
                continue
            for row, samples in zip(heard[: found >> 40].tolist(), after[: found >> 40].tolist(), strict=True):
                self._playback.ledger.answered(row, samples, now_ns)
            self.long += long[: found >> 20 & _COUNT].tolist()
            if count := found & _COUNT:
                which = left[:count]
                rest.append(Audio(audio.channels[which], audio.pcm[which]))
        return rest

    def _bind_all(self) -> None:
        """For the formats that calls have now."""
        self._live = self._table.formats.live
        if self._compiled:
            formats, kernels = self._table.formats, tuple(self._kernel(fmt) for fmt in self._live)
            said_of = np.full(len(formats.list), -1, np.int64)
            said_of[[fmt.index for fmt in self._live]] = np.arange(len(kernels))
            marked = np.zeros(len(kernels), np.uint8)
            self._said_in = compiled.bind(
                "said_in", kernels, formats.of_row, said_of, marked, *self._read, self._places, self._notes
            )

    def _kernel(self, fmt: Format) -> Kernel:
        for new in self._table.formats.list[len(self._kernels) :]:
            self._kernels.append(self._bind(new))
        return self._kernels[fmt.index]

    def _bind(self, fmt: Format) -> Kernel:
        table, c, queue = self._table, self._table.shared, fmt.queue
        line, ledger, limit = self._line, self._playback.ledger, FLOW_PAUSE * queue.limit
        kernel = compiled.bind(
            "said", table.channels, table.agent_ready, self._index_of_row, self._speaks,
            table.formats.of_row, fmt.index, *queue.arrays,
            ledger._watched, ledger._over, c.tx_talking, line.prebuffer.wait_ns, AUDIBLE, CUSHION_NS,
            *self._pace.arrays, c.send, table.ptime_ns,
            c.frames_from_agent, c.worker.frames_from_agent, table.queued_since_ns, line.prebuffer.first_samples,
            *line.prebuffer.arrays, self._turns, self._state, limit, min(limit, queue.promised), queue.crowded_below,
        )  # fmt: skip
        assert kernel is not None
        return kernel
