# SPDX-License-Identifier: GPL-2.0-or-later
"""The streams of all calls and the media workers that carry them.

A stream goes to the least busy worker.  When a worker is replaced (`supervisor.py`)
each of its streams is started again with the row that it had and duplicates of the
sockets, which the kernel kept filling in the meantime: the caller hears a gap.  When
workers die again and again at one place, or none can be started there, its calls move to
others, with what their rows held; those for which there is no room are given up with
`worker_lost`.  So is a call whose new worker dies soon as well: it may be the reason.

    start() -> start_stream(), update(), send(), stop_stream() ... -> stop()

All of it runs on the event loop; what workers say about calls goes to `on_message`, in
order, and what happens to workers to `on_event`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trunkline.gateway.media import control
from trunkline.gateway.media.agent_asks import AgentChanged, AgentState
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.load import LoadMeter
from trunkline.gateway.media.ports import PortPair
from trunkline.gateway.media.supervisor import DEATH_WINDOW_S, MAX_DEATHS, Place, Supervisor
from trunkline.gateway.media.worker_process import PROGRAM
from trunkline.rtp.negotiation import MediaDescription

RETRY_S = 0.1
"Next try to hand a call to a worker after there was no descriptor left for it."
MAX_TRIES = 20


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
    state: bytes = b""
    "its row in the table of the worker that it had before, until the new one has taken it over"
    moved_at: float = 0.0
    "monotonic time at which it was moved to this worker; 0 never"
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
        max_load: float = 0.0,
    ) -> None:
        """`workers` 0 means one per core; `options` are arguments of the worker program.

        A worker whose load is above `max_load` gets no new calls while another is below; 0: no limit.
        """
        count = workers or os.cpu_count() or 1
        # The others must have room when one is given up, and a row is given back a moment after the next
        # call has come. Rows that are not used cost next to nothing.
        capacity = max(-(-max_calls // max(1, count - 1)), -(-max_calls * 3 // (2 * count))) + 64
        self._supervisor = Supervisor(count, capacity, options, self, on_event, program)
        self._streams: dict[str, _Stream] = {}
        self._load = [0] * count
        self._meters = [LoadMeter(max_load) for _ in range(count)]
        self._supervisor.on_watch = self._sample
        self._on_event = on_event
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
        """Hand a call to the least busy worker; raises NoWorker. The sockets stay the caller's."""
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
        before = stream.start.media
        if media.dtls is not None and media.dtls == before.dtls:  # the keys of its handshake go on
            media = dataclasses.replace(media, send_key=before.send_key, receive_key=before.receive_key)
        stream.start = msgspec.structs.replace(stream.start, media=media, hold_media=False)
        if stream.sent:
            stream.place.send(control.UpdateStream(call_id, media))

    def remember(self, call_id: str, **changes: Any) -> None:
        """Fields of its StartStream that have changed: a successor of the worker starts the call with them."""
        stream = self._streams.get(call_id)
        if stream is not None:
            stream.start = msgspec.structs.replace(stream.start, **changes)

    def send(self, message: control.ToCall) -> bool:
        """Send a message about a stream to the worker that has it; False when none has it now."""
        stream = self._streams.get(message.call_id)
        if stream is None or not stream.sent or stream.stopping:
            return False
        if isinstance(message, control.StartRecording | control.StopRecording):  # a successor goes on with it
            recording = message.recording if isinstance(message, control.StartRecording) else None
            stream.start = msgspec.structs.replace(stream.start, recording=recording)
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

    @property
    def spare_pid(self) -> int:
        """The process that takes over when a worker dies; 0 while there is none."""
        return self._supervisor.spare_pid

    def each(self) -> list[dict[str, Any]]:
        """For each place: who works there, and on how much."""
        return [
            {
                "pid": place.process.pid if place.process is not None else 0,
                "ready": place.ready,
                "streams": self._load[place.index],
                "load": round(meter.load, 3),
                "overloaded": meter.overloaded,
            }
            for place, meter in zip(self._supervisor.places, self._meters, strict=True)
        ]

    @property
    def loads(self) -> list[LoadMeter]:
        """How busy each worker is."""
        return self._meters

    @property
    def overload(self) -> str:
        """Why no new call should come, as a sentence; empty while a worker has time for one."""
        ready = [m for p, m in zip(self._supervisor.places, self._meters, strict=True) if p.ready]
        if not ready or not all(meter.overloaded for meter in ready):
            return ""
        loads = ", ".join(f"{meter.load:.2f}" for meter in ready)
        return f"every media worker is busier than limits.max_worker_load {ready[0].limit:g} (load {loads})"

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

    def worker_died(self, place: Place) -> dict[str, int]:
        """Nothing reaches its streams until the successor is ready, or another worker has them."""
        streams = [stream for stream in self._streams.values() if stream.place is place]
        became = {"streams": len(streams), "moved": 0, "lost": 0}
        self._meters[place.index].forget()
        for stream in streams:
            stream.sent = False
            call_id = stream.start.info.call_id
            if stream.stopping:
                self.forget(call_id)
                self._on_message(control.StreamEnded(call_id, {}))
            elif stream.moved_at and time.monotonic() - stream.moved_at < DEATH_WINDOW_S:
                why = f"so did media worker {place.index}, to which the call had just been moved"
                self._lose(stream, f"its media worker had died {MAX_DEATHS} times; {why}")
                became["lost"] += 1
            elif place.failing or place.unstartable:
                if self._move(stream):
                    became["moved"] += 1
                elif place.failing:
                    died = f"media worker {place.index} died {MAX_DEATHS} times in {DEATH_WINDOW_S:.0f} s"
                    self._lose(stream, f"{died}, and no other has room")
                    became["lost"] += 1
        place.columns.worker.streams[0] -= became["moved"] + became["lost"]
        return became

    def _lose(self, stream: _Stream, detail: str) -> None:
        call_id = stream.start.info.call_id
        self.forget(call_id)
        self._on_message(control.StreamFailed(call_id, "worker_lost", detail))

    def _move(self, stream: _Stream) -> bool:
        """Start it again at another place, with what its row holds; False when no other has room."""
        others = [
            place for place in self._candidates() if place is not stream.place and not place.unstartable
        ]
        if not others:
            return False
        row = self.row(stream.start.info.call_id)
        if row is not None:
            stream.state = row[0].row_state(row[1])
        self._load[stream.place.index] -= 1
        stream.place = min(others, key=self._preference)
        self._load[stream.place.index] += 1
        stream.slot, stream.generation = -1, 0
        stream.moved_at = time.monotonic()
        if stream.place.ready:
            self._send_start(stream)
        return True

    def _sample(self, now_ns: int) -> None:
        """How busy are the workers? Changes between overloaded and not are events."""
        for place, meter in zip(self._supervisor.places, self._meters, strict=True):
            if place.process is None or not place.ready:
                meter.forget()
                continue
            counters, streams = place.columns.worker, self._load[place.index]
            beat_ns = max(int(counters.heartbeat_ns[0]), place.process.ready_ns)
            behind_ns = int(counters.behind_since_ns[0])
            if meter.sample(now_ns, int(counters.busy_ns[0]), beat_ns, streams, behind_ns):
                event = "worker.overloaded" if meter.overloaded else "worker.relieved"
                data = {"worker": place.index, "load": round(meter.load, 2), "limit": meter.limit}
                self._on_event(event, {**data, "streams": streams})

    def worker_said(self, place: Place, message: control.Message) -> None:
        """Note where a stream lives and that it ended; pass everything on."""
        if isinstance(message, control.StreamReady):
            stream = self._streams.get(message.call_id)
            if stream is not None:
                stream.slot, stream.generation, stream.state = message.slot, message.generation, b""
            self._note_agent(message.call_id, message.agent)
        elif isinstance(message, control.KeysAgreed):
            self._keep_keys(message)
        elif isinstance(message, AgentChanged):
            self._note_agent(message.call_id, message.name, message.attempt)
        elif isinstance(message, AgentState):
            self._note_state(message)
        self._on_message(message)
        if isinstance(message, control.StreamEnded):
            self.forget(message.call_id)  # after: call control still reads the row's last figures

    def _note_agent(self, call_id: str, name: str, attempt: int = 0) -> None:
        """A successor of the worker goes on with the agent that has the call now."""
        stream = self._streams.get(call_id)
        if stream is None:
            return
        start = stream.start
        agents = (start.agent, *start.others)
        place = next((i for i, agent in enumerate(agents) if agent.name == name), 0)
        first, *others = agents[place:] + agents[:place]
        stream.start = msgspec.structs.replace(
            start, agent=first, others=tuple(others), attempt=attempt or start.attempt
        )

    def _note_state(self, message: AgentState) -> None:
        stream = self._streams.get(message.call_id)
        if stream is not None:
            stream.start = msgspec.structs.replace(stream.start, agent_state=message.data)

    def _keep_keys(self, message: control.KeysAgreed) -> None:
        """For a successor; unless other terms hold by now."""
        stream = self._streams.get(message.call_id)
        if stream is None:
            return
        media = stream.start.media
        if media.dtls is None or (media.dtls.active, media.dtls.fingerprints) != (message.active, message.fingerprints):
            return
        media = dataclasses.replace(media, send_key=message.send_key, receive_key=message.receive_key)
        stream.start = msgspec.structs.replace(stream.start, media=media)

    # --- inside -----------------------------------------------------------------------------

    def _choose(self) -> Place:
        if self._supervisor.stopping:
            raise NoWorker("the media workers are stopping")
        candidates = self._candidates()
        if not candidates:
            raise NoWorker("no media worker has room")
        return min(candidates, key=self._preference)

    def _candidates(self) -> list[Place]:
        places, load = self._supervisor.places, self._load
        return [p for p in places if load[p.index] < p.columns.capacity and not p.failing]

    def _preference(self, place: Place) -> tuple[bool, bool, float, int]:
        """Least is best. One that is just being replaced takes calls when there is no other."""
        meter, streams = self._meters[place.index], self._load[place.index]
        return not place.ready, meter.overloaded, meter.expected(streams), streams

    def _send_start(self, stream: _Stream, tries: int = MAX_TRIES) -> None:
        """Tell its worker of it; a call that is up is worth several tries when descriptors are short."""
        call_id = stream.start.info.call_id
        if (
            self._streams.get(call_id) is not stream
            or stream.sent
            or stream.stopping
            or not stream.place.ready
        ):
            return
        start = msgspec.structs.replace(
            stream.start, slot=stream.slot, generation=stream.generation, state=stream.state
        )
        stream.sent = stream.place.send(start, (stream.ports.rtp.fileno(), stream.ports.rtcp.fileno()))
        if stream.sent:
            return
        loop = asyncio.get_running_loop()
        if tries > 1 and (stream.slot >= 0 or stream.state):
            loop.call_later(RETRY_S, self._send_start, stream, tries - 1)
        else:
            loop.call_soon(self._refuse, stream)

    def _refuse(self, stream: _Stream) -> None:
        """There is no descriptor with which a worker could be told of it."""
        call_id = stream.start.info.call_id
        if self._streams.get(call_id) is stream and not stream.sent:
            self.forget(call_id)
            detail = (
                "the gateway has no descriptor left to hand the call to a media worker; raise `ulimit -n`"
            )
            self._on_message(control.StreamFailed(call_id, "no_descriptors", detail))
