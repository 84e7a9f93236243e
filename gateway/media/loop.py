# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop of a media worker: what a tick reads, and in which order things are done.

    wait (rhythm.py) -> read what the sockets have -> pass it on -> what else is ready -> play -> RTCP -> ...

Where many calls are up most ticks are done at once, in C, wait and all (usual_ticks.py): `turn` has then what is left
of the one that was not.

A worker may be late: it was stalled, its predecessor has died, or it has more to do than it can.
Packets wait at the sockets then, and are late because of us.  Nothing is made up for them: to make up
a frame that is there costs as much as to read it, and it is read all the same; a worker that does both
falls behind for good.  So a frame whose time has run out is filled only when the poller has said that
nothing waits for its row; until then, reading goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.backlog import GIVE_UP_NS
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.deadlines import next_point
from trunkline.gateway.media.engine import PATIENCE_NS, Engine
from trunkline.gateway.media.poller import MOST_FOUND, Ready
from trunkline.gateway.media.rhythm import Rhythm
from trunkline.gateway.media.usual_ticks import ALL, NOTHING, PASSED_ON, Limits, UsualTicks

LOOKS_PER_TICK = 4
"A socket gives one packet a look; a burst that waits behind it is taken with the next looks."
FEW_SOCKETS = 16
"With more of them ready, what waits behind a packet is left for the next tick, which comes soon enough."
HURRIED_NS = 10_000_000
"A tick that begins so late is one of a worker that is behind: what can wait waits."
LATELY_NS = 1_000_000_000
"For so long afterwards packets may come faster than time: those that have waited."
PACKET_TIME_NS, MOST_LOOKS = 20_000_000, 8
"So often a packet comes to each socket, mostly; so many of them are read at most before anybody asks what is overdue."
READ_NS = 15_000_000
"""While frames are overdue, so much CPU time goes into reading at a time: then callers get the packets that are due,
and reading goes on. Not time on the wall: where others have the machine, little would be read in it ..."""
LONGEST_NS = 150_000_000
"... but no tick may be so long that the worker seems to hang, or that callers hear it more than need be."
GIVE_UP_READ_NS = 45_000_000
"... and so long what is given up: it must come out of the sockets sooner than more comes in."
READ_FEW_NS, FLOOD_NS = 2_000_000, 250_000_000
"... of a few calls so long, that others are in time. If more waits for them all the same for so long, it is a flood."
REPORTS_NS, FEW_REPORTS, READ_REPORTS_NS = 100_000_000, 16, 2_000_000
"""RTCP is read so often: one datagram alone in a tick costs five times as much as one of ten. So many of them are
looked for at a time, and no more are read after so long; then there are more a quarter later."""
LISTEN_NS = 9_000_000
"Agents are read at least so often, whether packets are due or not: their sockets do not hold much more."
LIMITS = Limits(FEW_SOCKETS, HURRIED_NS, LISTEN_NS)
HEARTBEAT_NS = 250_000_000
"Longest sleep: the gateway takes a worker whose heartbeat is 2 s old for hung."

Events = list[tuple[int, int]]
Rows = NDArray[np.intp]
_NOBODY = np.zeros(0, np.intp)


class Poller(Protocol):
    """`poller.EpollPoller`."""

    @property
    def handlers(self) -> Mapping[int, Callable[[int], None]]:
        """By descriptor: what is called with its events."""

    def poll(self, seconds: float) -> Ready:
        """What is ready, now or within so many seconds."""


class ReportsPoller(Protocol):
    """Another one, for sockets of RTCP."""

    @property
    def handlers(self) -> Mapping[int, Callable[[int], None]]:
        """Likewise."""

    def poll_some(self, most: int) -> Events:
        """Of what is ready now, so many; another time others."""


class Sockets(Protocol):
    """`udp.UdpSockets`."""

    sampled_row: int
    sampled_age_ns: int

    def receive(self, ready: Ready, *, behind: bool = False) -> tuple[Batch | None, Events]:
        """A datagram from each socket that is ready, and what else is."""

    def waiting(self, ready: Ready) -> Rows:
        """Rows whose sockets are ready."""


class Loop:
    """Ticks of an engine."""

    def __init__(
        self, engine: Engine, sockets: Sockets, poller: Poller, rhythm: Rhythm, control_fd: int,
        clock: Callable[[], int] = time.monotonic_ns, cpu_clock: Callable[[], int] = time.thread_time_ns,
        usual: UsualTicks | None = None, reports: ReportsPoller | None = None,
    ) -> None:  # fmt: skip
        """`control_fd` is heard in every tick, agents only when it is time. `usual` does ticks in one go.

        `reports` watches the sockets of RTCP.
        """
        self._engine, self._sockets, self._poller = engine, sockets, poller
        self._usual, self._reports = usual, reports
        self._reports_ns = 0
        "when RTCP is read next"
        self.rhythm = rhythm
        self._control_fd = control_fd
        self._clock, self._cpu_clock = clock, cpu_clock
        self._handled_ns = self._hurried_ns = 0
        self._behind_since_ns = engine.table.shared.worker.behind_since_ns
        self._behind_since_ns[0] = 0  # or a predecessor would count
        self._few_since_ns = 0
        "since when frames of a few rows were overdue in every tick that looked for that, 0: they are not"

    def turn(self) -> None:
        """Wait for the next tick, and do it; raises what goes wrong in it."""
        ready: Ready
        usual, done = self._usual, NOTHING
        try:
            if usual is not None and self.rhythm.crowded and not self._behind_since_ns[0] and usual.may():
                ready, done = usual.run(LIMITS, self._handled_ns, self._reports_ns)
                self._handled_ns = usual.handled_ns
            else:
                ready = self.rhythm.wait(self._due_ns)
            if done == NOTHING:
                self._tick(ready, self.rhythm.begun_ns)
            elif usual is not None and done != ALL:
                self._finish(usual, done, self.rhythm.begun_ns)
        finally:
            if usual is not None and done != ALL:
                usual.forget()
            self.rhythm.done()

    def _due_ns(self) -> int:
        """When to wake up though nothing has come."""
        return min(self._engine.next_deadline_ns(), self._clock() + HEARTBEAT_NS)

    def _tick(self, ready: Ready, now_ns: int) -> None:
        """Take what the sockets have, then let the engine do what is due."""
        sockets, engine = self._sockets, self._engine
        sockets.sampled_row = -1
        # With many calls up, what agents say is taken just before packets fall due.
        all_handlers = (
            not self.rhythm.crowded
            or now_ns >= engine.downlink.next_due_ns
            or now_ns - self._handled_ns >= LISTEN_NS
        )
        if all_handlers:
            self._handled_ns = now_ns
        self.rhythm.crowded = len(ready) > FEW_SOCKETS
        late = self.rhythm.late_ns > HURRIED_NS
        self._hurry(late, now_ns)
        now_ns, others = self._read(ready, now_ns)
        now_ns = self._pass_on(now_ns, late)
        self._handle(others, all_handlers)
        engine.play(now_ns)
        self._hear_reports(now_ns)

    def _finish(self, usual: UsualTicks, done: int, now_ns: int) -> None:
        """A tick that has come so far."""
        if done < PASSED_ON:
            now_ns = self._pass_on(now_ns, late=False)
        self._handle(usual.others, usual.hears)
        self._engine.play(now_ns)
        self._hear_reports(now_ns)

    def _hear_reports(self, now_ns: int) -> None:
        """RTCP, which can wait: the operating system knows when it came."""
        reports, due_ns = self._reports, self._reports_ns + (PATIENCE_NS if self._engine.hurried else 0)
        if reports is None or now_ns < due_ns:
            return
        begun_ns = self._clock()
        while some := reports.poll_some(FEW_REPORTS):
            for fd, events in some:
                reports.handlers[fd](events)
                if self._clock() - begun_ns > READ_REPORTS_NS:  # somebody sends more than reports
                    self._reports_ns = now_ns + REPORTS_NS // 4
                    return
        self._reports_ns = next_point(now_ns, REPORTS_NS)

    def _handle(self, others: Events, all_handlers: bool) -> None:
        """What else is ready than RTP."""
        handlers = self._poller.handlers
        for fd, events in others:
            if fd in handlers and (all_handlers or fd == self._control_fd):  # an earlier one may have closed it
                handlers[fd](events)

    def _pass_on(self, now_ns: int, late: bool) -> int:
        """What has been read goes on to the agents, and what is missing is made up; returns the time."""
        sockets, engine = self._sockets, self._engine
        waiting: Rows | None = None
        behind = False
        if engine.timeline.next_deadline_ns() <= now_ns:
            now_ns, waiting, behind = self._read_on()
        if not (behind or (late and self.rhythm.crowded)):
            self._behind_since_ns[0] = 0
        elif not self._behind_since_ns[0]:
            self._behind_since_ns[0] = self.rhythm.begun_ns
        engine.pass_on(now_ns, waiting)
        self.rhythm.passed_on()
        if sockets.sampled_row >= 0:
            delay_ns = sockets.sampled_age_ns + self._clock() - now_ns
            engine.note_uplink_delay(sockets.sampled_row, delay_ns)
        return now_ns

    def _read(self, ready: Ready, now_ns: int) -> tuple[int, Events]:
        """A packet of each socket, and what waits behind it; returns the time, and what else is ready."""
        more = LOOKS_PER_TICK - 1
        if self.rhythm.crowded:  # the next tick comes soon enough, unless this one did not
            more = min(self.rhythm.late_ns // PACKET_TIME_NS, MOST_LOOKS)
        batch, others = self._sockets.receive(ready)
        while batch is not None and more > 0 and not self._is_long(now_ns):
            more -= 1
            self._take(batch, now_ns)
            now_ns = self._clock()  # what has come meanwhile is no faster than time
            # Only what lies behind a packet of the last look: others' new packets are for the next tick.
            batch, _ = self._sockets.receive(self._poller.poll(0), behind=True)
        if batch is not None:
            self._take(batch, now_ns)
        return now_ns, others

    def _take(self, batch: Batch, now_ns: int) -> None:
        """Packets that were read, unless they have waited for too long."""
        backlog = self._engine.timeline.backlog
        if backlog.busy or self._is_hopeless(now_ns):
            rest = backlog.drop(batch, now_ns)
            if rest is None:
                return
            batch = rest
        self._engine.receive(batch, now_ns)

    def _is_hopeless(self, now_ns: int) -> bool:
        """Whether we have been behind for long, and are so by far: a stall is made good sooner, however long it was."""
        since_ns = int(self._behind_since_ns[0])
        return 0 < since_ns < now_ns - GIVE_UP_NS and self._engine.timeline.next_deadline_ns() < now_ns - GIVE_UP_NS

    def _read_on(self) -> tuple[int, Rows | None, bool]:
        """Frames are overdue: read on while their packets wait at the sockets, for then nothing is missing.

        Returns the time, the rows that have more to read (None if nobody knows), and whether we are behind.
        """
        timeline, behind, begun_ns = self._engine.timeline, False, self._cpu_clock()
        while True:
            now_ns, ready = self._clock(), self._poller.poll(0)
            waiting = self._sockets.waiting(ready)
            overdue = timeline.overdue(waiting, now_ns)
            if self._are_flooded(overdue, now_ns):
                return now_ns, _NOBODY, behind
            if overdue > FEW_SOCKETS and not behind:
                behind = True  # packets of many calls wait for us, and are late because of us
                self._hurry(True, now_ns)
                self.rhythm.hurry()
            batch = None
            limit_ns = GIVE_UP_READ_NS if timeline.backlog.busy else READ_NS if overdue > FEW_SOCKETS else READ_FEW_NS
            if overdue and self._cpu_clock() - begun_ns < limit_ns and not self._is_long(now_ns):
                batch, _ = self._sockets.receive(ready)
            if batch is None:
                return now_ns, waiting if len(ready) < MOST_FOUND else None, behind
            self._take(batch, now_ns)

    def _is_long(self, now_ns: int) -> bool:
        return now_ns - self.rhythm.begun_ns > LONGEST_NS

    def _hurry(self, hurried: bool, now_ns: int) -> None:
        if hurried:
            self._hurried_ns = now_ns
        self._engine.hurry(hurried, now_ns - self._hurried_ns < LATELY_NS)

    def _are_flooded(self, overdue: int, now_ns: int) -> bool:
        """Whether the rows that lack frames are few, and somebody sends more to them than we care to read."""
        if not 0 < overdue <= FEW_SOCKETS:
            self._few_since_ns = 0
            return False
        self._few_since_ns = self._few_since_ns or now_ns
        return now_ns - self._few_since_ns > FLOOD_NS
