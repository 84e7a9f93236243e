# SPDX-License-Identifier: GPL-2.0-or-later
"""How long the first words of an agent wait, so that what follows comes in time.

An agent that sends faster than real time, or steadily, needs no more than a moment.
One whose chunks come late and unevenly (speech synthesised over a network) runs dry in
mid-sentence, unless its sentence had begun later.  By how much is seen afterwards:

    offset   by how much a talkspurt is played later than if it had begun with its first chunk:
             what it waited, and each time for which it ran dry since
    need     the least offset with which it would not have run dry: the offset less what was
             still queued whenever a chunk came, at its most

Running dry makes up for itself, as all that follows is later by so much; so after it
nothing waits again.  But the next talkspurt waits for what this one needed: at once, if
that is more than the last did, and a little less each time, if it is not.  What would
take longer than `prebuffer_max_ms` is a pause of the agent, or hopeless, and teaches
nothing.  A talkspurt that is ahead of real time by its wait starts without waiting on.

Until an agent has run dry no more is noted than how much its talkspurts began with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.control import AgentParams
from trunkline.gateway.media.formats import Format
from trunkline.gateway.media.table import Table

CUSHION_NS = 5_000_000
"How long the first block of a talkspurt waits at least, unless a second one is there."
UNDERRUN_NS = 500_000_000
"A queue that fills again within this time had run dry; after that it was a pause."
GROW = 1.25
"What ran dry once was not the worst that can come: so much of what was needed is waited for next time."
SHRINK = 1 / 16
"Part of what was waited for in vain that the next talkspurt does not wait for."

Rows = NDArray[np.intp]
Times = NDArray[np.int64]
Mask = NDArray[np.bool_]


def learn(wait_ns: Times, need_ns: Times, most_ns: Times) -> Times:
    """What talkspurts will wait, of [n] that waited `wait_ns` and needed `need_ns` (-1: it is not known)."""
    grown = np.minimum((need_ns * GROW).astype(np.int64), most_ns)
    shrunk = wait_ns - ((wait_ns - grown) * SHRINK).astype(np.int64)
    learned = np.where(need_ns > wait_ns, grown, np.where(need_ns < 0, wait_ns, np.minimum(shrunk, wait_ns)))
    return np.maximum(learned, CUSHION_NS)


class Prebuffer:
    """What each row's talkspurts wait before they start."""

    def __init__(self, table: Table) -> None:
        n = table.capacity
        self._table = table
        self.wait_ns: Times = np.full(n, CUSHION_NS, np.int64)
        self.longer = False
        "whether any row waits for more than a moment"
        self._most_ns: Times = np.zeros(n, np.int64)
        self._learns: Mask = np.zeros(n, bool)
        self._offset_ns: Times = np.zeros(n, np.int64)
        self._need_ns: Times = np.full(n, -1, np.int64)
        self.first_samples: Times = np.zeros(n, np.int64)
        "that came at once when what is queued began to wait: of a row that learns to wait later, too"

    @property
    def arrays(self) -> tuple[Times, Times]:
        """By how much each row plays later, and what a look at it changes: by how much it would need to."""
        return self._offset_ns, self._need_ns

    def begin(self, row: int, agent: AgentParams) -> None:
        """The row is spoken to by this agent from now on: nothing is known of it."""
        fixed = agent.prebuffer_ms
        self._learns[row] = fixed is None
        self._most_ns[row] = agent.prebuffer_max_ms * 1_000_000 if fixed is None else UNDERRUN_NS
        self.wait_ns[row] = max((fixed or 0) * 1_000_000, CUSHION_NS)
        self._offset_ns[row], self._need_ns[row], self.first_samples[row] = 0, -1, 0
        self._note_longer()

    def forget(self, row: int) -> None:
        """The call is over."""
        self.wait_ns[row] = CUSHION_NS
        self._note_longer()

    def _note_longer(self) -> None:
        self.longer = bool((self.wait_ns > CUSHION_NS).any())

    # -- waiting ----------------------------------------------------------------------------

    def begins(self, rows: Rows, samples: Times | int) -> None:
        """The first chunk of something for these rows has come."""
        self.first_samples[rows] = samples

    def over(self, fmt: Format, rows: Rows, due_ns: Times, waited_ns: Times) -> Mask:
        """Whether what waits in the queues of these rows has waited for long enough."""
        wait_ns = self.wait_ns[rows]
        # What comes soon after it ran dry is late already, and by enough.
        dry_ns = due_ns - self._table.stopped_ns[rows]
        soon = self._offset_ns[rows] + dry_ns <= self._most_ns[rows]
        wait_ns = np.where(soon, CUSHION_NS, wait_ns)
        patient = wait_ns > CUSHION_NS
        ahead = fmt.queue.queued_samples(rows) - self.first_samples[rows]
        ahead_ns = ahead * 1_000_000_000 // fmt.key.agent_rate_hz
        enough = np.where(patient, ahead_ns >= wait_ns, fmt.queue.count[rows] > 1)
        return np.asarray(enough | (waited_ns >= wait_ns))

    # -- learning ---------------------------------------------------------------------------

    def look(self, rows: Rows, now_ns: int) -> None:
        """Agents are about to add to the queues of these rows: what is there still need not have waited."""
        table, c = self._table, self._table.shared
        rows = rows[(self.wait_ns[rows] > CUSHION_NS) & (c.tx_talking[rows] == 1)]
        for fmt, which in table.formats.groups(rows):
            talking = rows[which]
            queued_ns = fmt.queue.queued_samples(talking) * 1_000_000_000 // fmt.key.agent_rate_hz
            spare_ns = queued_ns + c.tx_due_ns[talking] - now_ns
            need_ns = np.maximum(self._offset_ns[talking] - spare_ns, 0)
            self._need_ns[talking] = np.maximum(self._need_ns[talking], need_ns)

    def opened(self, rows: Rows, due_ns: Times, missing_ns: Times) -> None:
        """Talkspurts of these rows start with the packet that is due, so long after the last ones ended."""
        later_ns = self._offset_ns[rows] + missing_ns
        goes_on = later_ns <= self._most_ns[rows]
        dry, new = rows[goes_on], rows[~goes_on]
        self._offset_ns[dry] = later_ns[goes_on]
        self._need_ns[dry] = np.maximum(self._need_ns[dry], later_ns[goes_on])
        if len(new):
            learns = new[self._learns[new]]
            learned = learn(self.wait_ns[learns], self._need_ns[learns], self._most_ns[learns])
            if (learned != self.wait_ns[learns]).any():
                self.wait_ns[learns] = learned
                self._note_longer()
            waited_ns = due_ns[~goes_on] - self._table.queued_since_ns[new]
            self._offset_ns[new] = np.minimum(waited_ns, self._most_ns[new])
            self._need_ns[new] = -1
