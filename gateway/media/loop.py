# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop of a media worker: what a tick reads, and in which order things are done.

    wait (rhythm.py) -> read what the sockets have -> pass it on -> what else is ready -> play -> ...
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.poller import Ready
from trunkline.gateway.media.rhythm import Rhythm

LOOKS_PER_TICK = 4
"A socket gives one packet a look; a burst that waits behind it is taken with the next looks."
FEW_SOCKETS = 16
"With more of them ready, what waits behind a packet is left for the next tick, which comes soon enough."
HURRIED_NS = 15_000_000
"A tick that begins so late: packets wait at the sockets, and what is made up meanwhile must be cheap."
PACKET_TIME_NS, MOST_LOOKS = 20_000_000, 8
"So many packets may wait behind the first by then."
LOOKS_AFTER_STALL = 256
"... after a stall, of ours or of a worker before us: what waited is read before gaps are filled."
STALL_NS = 40_000_000
"A tick so late is a stall."
CATCH_UP_NS = 15_000_000
"After a stall, so long is read at a time: then callers get the packets that are due, and reading goes on."
CATCH_UP_LIMIT_NS = 1_000_000_000
"... and so long after it gaps are filled again, whatever still waits: then it is no stall but too much load."
LISTEN_NS = 9_000_000
"Agents are read at least so often, whether packets are due or not: their sockets do not hold much more."
HEARTBEAT_NS = 250_000_000
"Longest sleep: the gateway takes a worker whose heartbeat is 2 s old for hung."

Events = list[tuple[int, int]]


class Poller(Protocol):
    """`poller.EpollPoller`."""

    @property
    def handlers(self) -> Mapping[int, Callable[[int], None]]:
        """By descriptor: what is called with its events."""

    def poll(self, seconds: float) -> Ready:
        """What is ready, now or within so many seconds."""


class Sockets(Protocol):
    """`udp.UdpSockets`."""

    sampled_row: int
    sampled_age_ns: int

    def receive(self, ready: Ready, *, behind: bool = False) -> tuple[Batch | None, Events]:
        """A datagram from each socket that is ready, and what else is."""


class Loop:
    """Ticks of an engine."""

    def __init__(
        self, engine: Engine, sockets: Sockets, poller: Poller, rhythm: Rhythm, control_fd: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        """`control_fd` is heard in every tick, agents only when it is time."""
        self._engine, self._sockets, self._poller = engine, sockets, poller
        self.rhythm = rhythm
        self._control_fd = control_fd
        self._clock = clock
        self._handled_ns = 0
        self._catch_up_ns = 0
        "until then all that waits at the sockets is read first"
        self._stalled_ns = 0
        "when the last stall was found"

    def turn(self) -> None:
        """Wait for the next tick, and do it; raises what goes wrong in it."""
        ready = self.rhythm.wait(self._due_ns)
        now_ns = self.rhythm.begun_ns
        if self.rhythm.late_ns > STALL_NS:
            self._catch_up_ns = now_ns + 1
            self._note_stall(now_ns)
        try:
            self._tick(ready, now_ns, LOOKS_AFTER_STALL if now_ns < self._catch_up_ns else LOOKS_PER_TICK)
        finally:
            self.rhythm.done()

    def catch_up(self) -> None:
        """A stream has been taken over: what came in the meantime has waited in the kernel."""
        self._catch_up_ns = self._clock() + STALL_NS
        self._note_stall(self._catch_up_ns)

    def _due_ns(self) -> int:
        """When to wake up though nothing has come."""
        return min(self._engine.next_deadline_ns(), self._clock() + HEARTBEAT_NS)

    def _tick(self, ready: Ready, now_ns: int, looks: int) -> None:
        """Take what the sockets have, then let the engine do what is due."""
        sockets, engine = self._sockets, self._engine
        sockets.sampled_row = -1
        begun_ns = now_ns
        behind_still = lagging = False
        # With many calls up, what agents say is taken just before packets fall due.
        all_handlers = (
            not self.rhythm.crowded
            or now_ns >= engine.downlink.next_due_ns
            or now_ns - self._handled_ns >= LISTEN_NS
        )
        if all_handlers:
            self._handled_ns = now_ns
        handlers = self._poller.handlers
        self.rhythm.crowded = len(ready) > FEW_SOCKETS
        late_ns = self.rhythm.late_ns
        if looks == LOOKS_AFTER_STALL and now_ns < self._stalled_ns + CATCH_UP_LIMIT_NS:
            engine.timeline.note_stall()
        engine.uplink.hurried = hurried = late_ns > HURRIED_NS
        if self.rhythm.crowded and looks == LOOKS_PER_TICK:
            looks = min(1 + late_ns // PACKET_TIME_NS, MOST_LOOKS) if hurried else 1
        first_ready: list[tuple[int, int]] = []
        for look in range(looks):
            if look:  # only what lies behind a packet of the last one: others' new packets are for the next tick
                now_ns = self._clock()  # what has come meanwhile is no faster than time
                if now_ns - begun_ns > CATCH_UP_NS:
                    # Gaps are filled meanwhile or not: reading goes on, or all that comes is late for as long.
                    behind_still, lagging = True, now_ns < self._stalled_ns + CATCH_UP_LIMIT_NS
                    break
                ready = self._poller.poll(0)
            batch, others = sockets.receive(ready, behind=look > 0)
            if not look:
                first_ready = others
            if batch is None:
                if looks == LOOKS_AFTER_STALL:  # all that waited has been read: the next stall is another one
                    self._stalled_ns = 0
                break
            engine.receive(batch, now_ns)
        engine.pass_on(now_ns, fill_gaps=not lagging)
        self.rhythm.passed_on()
        if sockets.sampled_row >= 0:
            delay_ns = sockets.sampled_age_ns + self._clock() - now_ns
            engine.note_uplink_delay(sockets.sampled_row, delay_ns)
        for fd, events in first_ready:
            if fd in handlers and (all_handlers or fd == self._control_fd):  # an earlier one may have closed it
                handlers[fd](events)
        engine.play(now_ns)
        if behind_still:
            self._catch_up_ns = now_ns + STALL_NS

    def _note_stall(self, now_ns: int) -> None:
        """A stall that follows on one is the same: or a worker with too much to do would fill no gap any more."""
        if now_ns - self._stalled_ns > 2 * CATCH_UP_LIMIT_NS:
            self._stalled_ns = now_ns
