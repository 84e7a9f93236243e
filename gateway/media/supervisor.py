# SPDX-License-Identifier: GPL-2.0-or-later
"""Keeps one worker process alive over each table.

A worker that ends, or whose heartbeat stops (it then gets SIGKILL), is replaced at
once over the same shared memory, by the spare if there is one (`spare.py`).  One that
dies again and again is replaced with growing pauses; after `MAX_DEATHS` within
`DEATH_WINDOW_S` its place counts as failing.

    start() -> on_ready(place) ... on_died(place) -> [pause] -> on_ready(place) ... -> stop()

It knows nothing of streams: that is `pool.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from trunkline.gateway.media import control
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.spare import Spare
from trunkline.gateway.media.worker_process import PROGRAM, WorkerProcess

HEARTBEAT_LIMIT_NS = 2_000_000_000
"A tick takes milliseconds; two seconds without one is a worker that hangs."
STARTUP_LIMIT_NS = 20_000_000_000
"Importing NumPy takes 0.2 s, on a busy machine with cold caches many times that."
WATCH_INTERVAL_S = 0.25
MAX_DEATHS = 5
DEATH_WINDOW_S = 10.0
MAX_PAUSE_S = 5.0


class WorkersFailed(Exception):
    """The workers did not come up."""


class Place:
    """Where a worker works: the table stays, processes come and go."""

    def __init__(self, index: int, capacity: int) -> None:
        self.index = index
        self.columns = Columns(capacity)
        self.process: WorkerProcess | None = None
        self.deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self.restarts = 0
        self.restart_timer: asyncio.TimerHandle | None = None
        self.unstartable = False
        "the last attempt to start a worker here failed in the kernel"

    @property
    def ready(self) -> bool:
        """A worker runs here and takes messages."""
        return self.process is not None and self.process.ready

    @property
    def failing(self) -> bool:
        """Workers have died here so often that calls go elsewhere."""
        return len(self.deaths) == MAX_DEATHS and time.monotonic() - self.deaths[0] < DEATH_WINDOW_S

    def send(self, message: control.Message, fds: Sequence[int] = ()) -> bool:
        """To the worker, if there is one; False when we have no descriptor left to send it with."""
        return self.process is None or self.process.send(message, fds)


class Owner(Protocol):
    """Who is told what workers do."""

    def worker_ready(self, place: Place) -> int:
        """A new worker is ready; returns how many streams were handed to it."""

    def worker_died(self, place: Place) -> Mapping[str, int]:
        """The worker is gone; returns what became of its streams, for the log: `streams`, `moved`, `lost`."""

    def worker_said(self, place: Place, message: control.Message) -> None:
        """A message other than WorkerReady."""


class Supervisor:
    """`count` places with a worker each; `on_event` is told worker.died, .hung, .restarted, .output."""

    def __init__(
        self,
        count: int,
        capacity: int,
        options: Sequence[str],
        owner: Owner,
        on_event: Callable[[str, Mapping[str, Any]], None],
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """`capacity` rows in each table; `options` are further arguments of the worker program."""
        self.places = [Place(index, capacity) for index in range(count)]
        self._options, self._program = tuple(options), tuple(program)
        self._owner, self._on_event = owner, on_event
        self.stopping = False
        self._watch_timer: asyncio.TimerHandle | None = None
        self._watched_ns = 0
        self._empty = asyncio.Event()
        "set when the last process has ended, after `stop`"
        self._started: asyncio.Future[bool] | None = None
        self._spare = Spare(self._process, on_event)
        self.on_watch: Callable[[int], None] = lambda now_ns: None
        "called every `WATCH_INTERVAL_S`"

    async def start(self) -> None:
        """Start all workers; returns when they are ready, raises WorkersFailed when one does not come up."""
        loop = asyncio.get_running_loop()
        self._started = loop.create_future()
        self._watched_ns = time.monotonic_ns()
        self._watch_timer = loop.call_later(WATCH_INTERVAL_S, self._watch)
        for place in self.places:
            self._spawn(place)
        try:
            ready = await asyncio.wait_for(self._started, STARTUP_LIMIT_NS / 1e9)
        except TimeoutError:
            ready = False
        if not ready:
            await self.stop(0)
            raise WorkersFailed("the media workers do not start; what they printed is in the log")
        self._spare.start()

    async def stop(self, grace_s: float = 1.0) -> None:
        """End all workers: politely, then by force. A second time does nothing."""
        if self.stopping:
            return
        self.stopping = True
        if self._watch_timer is not None:
            self._watch_timer.cancel()
        self._spare.stop()
        for place in self.places:
            if place.restart_timer is not None:
                place.restart_timer.cancel()
            place.send(control.Drain(deadline_ms=int(grace_s * 1000)))
        if self._all():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace_s)
        for process in self._all():
            process.kill()
        if self._all():
            await self._empty.wait()
        for place in self.places:
            place.columns.close()

    def running(self) -> list[WorkerProcess]:
        """Processes at their places that have not ended yet."""
        return [p.process for p in self.places if p.process is not None]

    @property
    def spare_pid(self) -> int:
        """The process that waits in reserve; 0 while there is none."""
        return self._spare.process.pid if self._spare.process is not None else 0

    def _all(self) -> list[WorkerProcess]:
        """Those, and the spare."""
        return [*self.running(), *([self._spare.process] if self._spare.process is not None else [])]

    def _spawn(self, place: Place) -> None:
        """A process for a place: the spare, or a new one."""
        place.restart_timer = None
        try:
            place.process = self._spare.take(place.index, place.columns) or self._process(
                place.index, place.columns
            )
            place.unstartable = False
        except OSError as error:
            place.unstartable = True
            self._died(place, f"cannot be started: {error}", 0)

    def _process(self, index: int, columns: Columns | None) -> WorkerProcess:
        return WorkerProcess(
            index, columns, self._options, on_message=self._received,
            on_exit=self._exited, on_output=self._output, program=self._program,
        )  # fmt: skip

    def _received(self, process: WorkerProcess, message: control.Message) -> None:
        if process is self._spare.process:  # it has nothing to say yet
            return
        place = self.places[process.index]
        if not isinstance(message, control.WorkerReady):
            self._owner.worker_said(place, message)
            return
        process.ready_ns = time.monotonic_ns()
        streams = self._owner.worker_ready(place)
        if place.restarts:
            took_ms = round((time.monotonic() - place.deaths[-1]) * 1000, 1)
            data = {"worker": place.index, "pid": process.pid, "streams": streams, "took_ms": took_ms}
            self._on_event("worker.restarted", data)
        if all(p.ready for p in self.places):
            self._report_start(True)

    def _exited(self, process: WorkerProcess, why: str) -> None:
        if not self._spare.exited(process, why):
            place = self.places[process.index]
            place.process = None
            if not self.stopping:
                self._died(place, why, process.pid)
        if self.stopping and not self._all():
            self._empty.set()

    def _died(self, place: Place, why: str, pid: int) -> None:
        place.deaths.append(time.monotonic())
        became = self._owner.worker_died(place)
        self._on_event("worker.died", {"worker": place.index, "pid": pid, "why": why, **became})
        place.restarts += 1
        place.restart_timer = asyncio.get_running_loop().call_later(_pause_s(place), self._restart, place)
        if place.failing:
            self._report_start(False)

    def _restart(self, place: Place) -> None:
        if not self.stopping:
            self._spawn(place)

    def _report_start(self, success: bool) -> None:
        if self._started is not None and not self._started.done():
            self._started.set_result(success)

    def _output(self, index: int, line: str) -> None:
        self._on_event("worker.output", {"worker": index, "line": line})

    def _watch(self) -> None:
        """Kill workers whose heartbeat stopped. A pause of our own (suspend, SIGSTOP) is not their fault."""
        self._watch_timer = asyncio.get_running_loop().call_later(WATCH_INTERVAL_S, self._watch)
        now = time.monotonic_ns()
        paused = now - self._watched_ns > HEARTBEAT_LIMIT_NS // 2
        self._watched_ns = now
        self.on_watch(now)
        for process in [] if paused else self.running():
            last, limit = process.started_ns, STARTUP_LIMIT_NS
            if process.ready:
                beat = int(self.places[process.index].columns.worker.heartbeat_ns[0])
                last, limit = max(beat, process.ready_ns), HEARTBEAT_LIMIT_NS
            if now - last > limit:
                data = {"worker": process.index, "pid": process.pid, "silent_ms": (now - last) // 1_000_000}
                self._on_event("worker.hung", data)
                process.kill()


def _pause_s(place: Place) -> float:
    """The first time none, then 0.2 s, 0.4 s ... while deaths follow each other."""
    if place.failing:
        return MAX_PAUSE_S
    now = time.monotonic()
    recent = sum(now - at < DEATH_WINDOW_S for at in place.deaths)
    return 0.0 if recent <= 1 else min(0.1 * 2.0 ** (recent - 1), MAX_PAUSE_S)
