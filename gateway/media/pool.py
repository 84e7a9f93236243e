# SPDX-License-Identifier: GPL-2.0-or-later
"""The streams of all calls and the media workers that carry them.

A stream goes to the least loaded worker.  When a worker is replaced (`supervisor.py`)
each of its streams is started again with the row that it had and duplicates of the
sockets, which the kernel kept filling in the meantime: the caller hears a gap.  When the
worker dies again and again, its calls are given up with `worker_lost`.

    start() -> start_stream(), update(), send(), stop_stream() ... -> stop()

All of it runs on the event loop; what workers say about calls goes to `on_message`, in
order, and what happens to workers to `on_event`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trunkline.gateway.media import control
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.ports import PortPair
from trunkline.gateway.media.supervisor import DEATH_WINDOW_S, MAX_DEATHS, Place, Supervisor
from trunkline.gateway.media.worker_process import PROGRAM
from trunkline.rtp.negotiation import MediaDescription


class NoWorker(Exception):
    """No media worker can take a call."""


@dataclasses.dataclass(slots=True)
class _Stream:
    """A call's media as the pool remembers it: enough to start it again."""

    start: control.StartStream
    ports: PortPair
    place: Place
    slot: int = -1
    generation: int = 0
    sent: bool = False
    "the worker that runs now knows of it"
    stopping: bool = False


class MediaPool:
    """`workers` processes that share the calls."""

    def __init__(
        self,
        workers: int,
        max_calls: int,
        options: Sequence[str] = (),
        *,
        on_message: Callable[[control.Message], None],
        on_event: Callable[[str, Mapping[str, Any]], None],
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """`workers` 0 means one per core; `options` are arguments of the worker program."""
        count = workers or os.cpu_count() or 1
        # Half as much again as a fair share: a row is given back a moment after the next call has come,
        # and the others must take over when a worker is given up.
        capacity = -(-max_calls * 3 // (2 * count)) + 64
        self._supervisor = Supervisor(count, capacity, options, self, on_event, program)
        self._streams: dict[str, _Stream] = {}
        self._load = [0] * count
        self._on_message = on_message

    async def start(self) -> None:
        """Start all workers; raises WorkersFailed when they do not come up."""
        await self._supervisor.start()

    async def stop(self, grace_s: float = 1.0) -> None:
        """End all workers; streams that are left are forgotten."""
        await self._supervisor.stop(grace_s)
        for call_id in list(self._streams):
            self.forget(call_id)

    # --- streams ----------------------------------------------------------------------------

    def start_stream(self, start: control.StartStream, ports: PortPair) -> None:
        """Hand a call to the least loaded worker; raises NoWorker. The sockets stay the caller's."""
        place = self._choose()
        stream = _Stream(start, ports, place)
        self._streams[start.info.call_id] = stream
        self._load[place.index] += 1
        if place.ready:
            self._send_start(stream)

    def update(self, call_id: str, media: MediaDescription) -> None:
        """New negotiated media; also ends `hold_media`."""
        stream = self._streams.get(call_id)
        if stream is None or stream.stopping:
            return
        stream.start = msgspec.structs.replace(stream.start, media=media, hold_media=False)
        if stream.sent:
            stream.place.send(control.UpdateStream(call_id, media))

    def send(self, message: control.SendDtmf | control.InjectDtmf | control.ClearAudio) -> bool:
        """Send a message about a stream to the worker that has it; False when none has it now."""
        stream = self._streams.get(message.call_id)
        if stream is None or not stream.sent or stream.stopping:
            return False
        stream.place.send(message)
        return True

    def stop_stream(self, call_id: str, reason: str) -> bool:
        """Ask for the end; StreamEnded follows. False: no worker has the stream, so nothing follows."""
        stream = self._streams.get(call_id)
        if stream is None or not stream.sent:
            self.forget(call_id)
            return False
        if not stream.stopping:
            stream.stopping = True
            stream.place.send(control.StopStream(call_id, reason))
        return True

    def forget(self, call_id: str) -> None:
        """The stream is over: it is not started again. StreamEnded does this by itself."""
        stream = self._streams.pop(call_id, None)
        if stream is not None:
            self._load[stream.place.index] -= 1

    def row(self, call_id: str) -> tuple[Columns, int] | None:
        """The stream's columns and its row in them; None while it has none."""
        stream = self._streams.get(call_id)
        if stream is None or stream.slot < 0:
            return None
        columns = stream.place.columns
        return (columns, stream.slot) if columns.generation[stream.slot] == stream.generation else None

    # --- for metrics and status -------------------------------------------------------------

    @property
    def tables(self) -> list[Columns]:
        """The shared memory of each worker."""
        return [place.columns for place in self._supervisor.places]

    @property
    def restarts(self) -> list[int]:
        """How often each worker has been replaced."""
        return [place.restarts for place in self._supervisor.places]

    @property
    def ready_workers(self) -> int:
        """Workers that take calls now."""
        return sum(place.ready for place in self._supervisor.places)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [process.pid for process in self._supervisor.running()]

    def each(self) -> list[dict[str, Any]]:
        """For each place: who works there, and on how much."""
        return [
            {
                "pid": place.process.pid if place.process is not None else 0,
                "ready": place.ready,
                "streams": self._load[place.index],
            }
            for place in self._supervisor.places
        ]

    @property
    def streams(self) -> int:
        """Streams that are known, ending ones included."""
        return len(self._streams)

    # --- what the supervisor tells ------------------------------------------------------------

    def worker_ready(self, place: Place) -> int:
        """Hand it what its predecessor had."""
        streams = [stream for stream in self._streams.values() if stream.place is place]
        # Rows of the predecessor first: a worker frees those still unclaimed when a new call comes.
        for stream in sorted(streams, key=lambda stream: stream.slot < 0):
            self._send_start(stream)
        return len(streams)

    def worker_died(self, place: Place) -> int:
        """Nothing reaches its streams until the successor is ready; some will not see it."""
        streams = [stream for stream in self._streams.values() if stream.place is place]
        for stream in streams:
            stream.sent = False
            call_id = stream.start.info.call_id
            if stream.stopping:
                self.forget(call_id)
                self._on_message(control.StreamEnded(call_id, {}))
            elif place.failing:
                self.forget(call_id)
                detail = f"media worker {place.index} died {MAX_DEATHS} times in {DEATH_WINDOW_S:.0f} s"
                self._on_message(control.StreamFailed(call_id, "worker_lost", detail))
        return len(streams)

    def worker_said(self, place: Place, message: control.Message) -> None:
        """Note where a stream lives and that it ended; pass everything on."""
        if isinstance(message, control.StreamReady):
            stream = self._streams.get(message.call_id)
            if stream is not None:
                stream.slot, stream.generation = message.slot, message.generation
        self._on_message(message)
        if isinstance(message, control.StreamEnded):
            self.forget(message.call_id)  # after: call control still reads the row's last figures

    # --- inside -----------------------------------------------------------------------------

    def _choose(self) -> Place:
        if self._supervisor.stopping:
            raise NoWorker("the media workers are stopping")
        load = self._load
        candidates = [
            p for p in self._supervisor.places if load[p.index] < p.columns.capacity and not p.failing
        ]
        if not candidates:
            raise NoWorker("no media worker has room")
        # One that is just being replaced takes calls when there is no other: it is back in a moment.
        return min(candidates, key=lambda p: (not p.ready, load[p.index]))

    def _send_start(self, stream: _Stream) -> None:
        start = msgspec.structs.replace(stream.start, slot=stream.slot, generation=stream.generation)
        stream.sent = True
        stream.place.send(start, (stream.ports.rtp.fileno(), stream.ports.rtcp.fileno()))
