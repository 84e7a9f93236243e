# SPDX-License-Identifier: GPL-2.0-or-later
"""Which call is on which agent connection, and what goes back and forth on it.

A dialect that multiplexes gets one connection per agent from this worker, with
all its calls on it, so a whole tick leaves in one write; any other gets one
connection a call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import FLAG_GAP, StartInfo
from trunkline.agent_bridge.link_events import (
    Accepted,
    Audio,
    Command,
    LinkEvent,
    LinkFailed,
    LinkUp,
    Rejected,
)
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_audio import by_row, joined
from trunkline.gateway.media.agent_commands import AgentCommands
from trunkline.gateway.media.agent_link import AgentLink, Poller
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.telling import Telling
from trunkline.rtp.outcomes import Drop

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]


class AgentLinks:
    """All agent connections of a worker; implements `uplink.FrameSink`."""

    def __init__(
        self, table: Table, playback: Playback, poller: Poller, clock: Callable[[], int], post: control.Post
    ) -> None:
        """`post` sends a message to the gateway process."""
        self._table = table
        self._playback = playback
        self._poller = poller
        self._clock = clock
        self._post = post
        self.telling = Telling()
        self._commands = AgentCommands(playback, post)
        self._links: dict[int, AgentLink] = {}
        self._shared: dict[control.AgentParams, AgentLink] = {}
        self._calls: dict[int, dict[int, Stream]] = {}
        "link index -> channel -> stream"
        self._closing: list[AgentLink] = []
        "connections whose call is over and that have something left to write"
        self._index_of_row = np.full(table.capacity, -1, np.int64)
        self._next_index = 0
        self.on_link: Callable[[Stream], None] = lambda stream: None
        "called when a stream has got its connection, before it is offered there"
        self.on_accepted: Callable[[Stream, int, Accepted], None] = lambda stream, now_ns, how: None

    # -- calls ------------------------------------------------------------------------------

    def start(self, stream: Stream, now_ns: int) -> None:
        """Offer the call to its agent; Accepted or a StreamFailed message follows."""
        link = self._shared.get(stream.start.agent)
        if link is None:
            link = self._new_link(stream.start.agent)
        stream.link = link
        self._index_of_row[stream.row] = link.index
        self._calls[link.index][stream.channel] = stream
        link.make_room(len(self._calls[link.index]))
        self.on_link(stream)
        if link.up:
            self._offer(link, stream, now_ns)
        link.connect()

    def _new_link(self, agent: control.AgentParams) -> AgentLink:
        link = AgentLink(self._next_index, agent, self._poller, self._clock, self._on_events)
        self._next_index += 1
        self._links[link.index] = link
        self._calls[link.index] = {}
        if link.protocol.max_calls > 1:
            self._shared[agent] = link
        self._table.shared.worker.agent_links[0] = len(self._links)
        return link

    def _offer(self, link: AgentLink, stream: Stream, now_ns: int) -> None:
        info, agent, c = stream.start.info, stream.start.agent, self._table.shared
        link.protocol.start(
            stream.channel,
            StartInfo(
                call_id=info.call_id, direction=info.direction, caller=info.caller, called=info.called,
                trunk=info.trunk, route=info.route, headers=info.headers, metadata=info.metadata,
                sample_rate_hz=agent.sample_rate_hz, frame_ms=agent.frame_ms,
                resumed=stream.resumed, position=int(c.up_position[stream.row]),
                gap_ms=self._gap_ms(stream, now_ns),
            ),
            now_ns,
        )  # fmt: skip

    def _gap_ms(self, stream: Stream, now_ns: int) -> int:
        """How long ago the predecessor's next packet was due."""
        due_ns = int(self._table.shared.tx_due_ns[stream.row])
        return max(now_ns - due_ns, 0) // 1_000_000 if stream.resumed and due_ns else 0

    def stop(self, stream: Stream, reason: str, stats: dict[str, float]) -> None:
        """The call is over: tell the agent, and hang up a connection that was its own."""
        link = stream.link
        if link is None:
            return
        stream.link = None
        self._index_of_row[stream.row] = -1
        self._calls.get(link.index, {}).pop(stream.channel, None)
        if not link.open:
            return
        link.protocol.stop(stream.channel, reason, stats)
        if link.protocol.max_calls == 1:
            link.close_when_flushed()
            self._discard(link)
            if link.open:
                self._closing.append(link)

    def _discard(self, link: AgentLink) -> dict[int, Stream]:
        """Forget a connection; returns the calls that were on it."""
        self._links.pop(link.index, None)
        if self._shared.get(link.agent) is link:
            del self._shared[link.agent]
        self._table.shared.worker.agent_links[0] = len(self._links)
        return self._calls.pop(link.index, {})

    # -- to the agents ----------------------------------------------------------------------

    def deliver(self, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm) -> None:
        """Frames of one length, one for each row, to the connections of their rows."""
        indices = self._index_of_row[rows]
        first = int(indices[0])
        if (indices == first).all():  # one agent: no need to part anything
            self._deliver_to(first, rows, positions, flags, pcm)
            return
        for index in np.unique(indices):
            same = np.flatnonzero(indices == index)
            self._deliver_to(int(index), rows[same], positions[same], flags[same], pcm[same])

    def _deliver_to(
        self, index: int, rows: Rows, positions: NDArray[np.int64], flags: NDArray[np.uint16], pcm: Pcm
    ) -> None:
        link = self._links.get(index)
        if link is None:
            return
        if link.backlog_bytes > link.limit_bytes:
            self._drop_frames(rows)
            return
        self._table.shared.frames_to_agent[rows] += 1
        self._table.shared.worker.frames_to_agent[0] += len(rows)
        link.protocol.send_audio(self._table.channels[rows], positions, flags, pcm)

    def _drop_frames(self, rows: Rows) -> None:
        c = self._table.shared
        c.up_flags[rows] |= FLAG_GAP
        self._table.flagged = True
        c.drops[rows, Drop.AGENT_SLOW] += 1
        c.worker.drops[Drop.AGENT_SLOW] += len(rows)

    def flush(self) -> None:
        """End of a tick: one write a connection."""
        for link in list(self._links.values()):
            link.flush()

    def close_all(self) -> None:
        """The worker ends."""
        for link in list(self._links.values()):
            link.close_when_flushed()

    def _all_links(self) -> list[AgentLink]:
        return [*self._links.values(), *self._closing]

    @property
    def next_deadline_ns(self) -> int | None:
        """The earliest deadline of any connection."""
        deadlines = [d for link in self._all_links() if (d := link.next_deadline_ns) is not None]
        return min(deadlines, default=None)

    def handle_timeouts(self, now_ns: int) -> None:
        """Let connections whose time has come act on it."""
        for link in self._all_links():
            deadline = link.next_deadline_ns
            if deadline is not None and deadline <= now_ns:
                link.handle_timeout(now_ns)
        if self._closing:
            self._closing = [link for link in self._closing if link.open]

    # -- from the agents --------------------------------------------------------------------

    def _on_events(self, link: AgentLink, events: Sequence[LinkEvent], now_ns: int) -> None:
        for event in joined(events):
            if isinstance(event, Audio):
                self._audio(link, event, now_ns)
            elif isinstance(event, LinkUp):
                for waiting in list(self._calls.get(link.index, {}).values()):
                    self._offer(link, waiting, now_ns)
            elif isinstance(event, LinkFailed):
                self._failed(link, event)
            else:
                stream = self._calls.get(link.index, {}).get(event.channel)
                if stream is not None:
                    self._take(stream, event, now_ns)

    def _audio(self, link: AgentLink, audio: Audio, now_ns: int) -> None:
        """Speech for calls of this link; of any other it is not heard."""
        rows = self._table.rows_of(audio.channels)
        mine = self._index_of_row[rows] == link.index
        mine &= rows >= 0
        pcm = audio.pcm
        if not mine.all():
            rows, pcm = rows[mine], pcm[mine]
        for each, speech in by_row(rows, pcm):
            self._playback.push(each, speech, now_ns)

    def _take(self, stream: Stream, event: Accepted | Rejected | Command, now_ns: int) -> None:
        match event:
            case Accepted():
                stream.accepted = True
                self.on_accepted(stream, now_ns, event)
                self._hold_again(stream)
            case Rejected(_, code, reason, timeout):
                why = "agent_timeout" if timeout else "agent_rejected"
                self._fail(stream, why, reason or "the agent rejected the call", code)
            case _:
                self._commands.take(stream, event, now_ns)

    def _hold_again(self, stream: Stream) -> None:
        """A new connection knows nothing of a hold that began on the one before."""
        if stream.resumed and not stream.held_media and not stream.media.send and not stream.on_hold:
            stream.on_hold = True
            self.telling.hold(stream, True)

    def _failed(self, link: AgentLink, failure: LinkFailed) -> None:
        """The connection is gone: so are its calls, each with a reason."""
        for stream in self._discard(link).values():
            stream.link = None
            self._index_of_row[stream.row] = -1
            reason = "agent_lost" if stream.accepted else _before_accept(failure.reason)
            self._fail(stream, reason, failure.detail)

    def _fail(self, stream: Stream, reason: str, detail: str, code: int = 0) -> None:
        self._table.agent_ready[stream.row] = False
        self._post(control.StreamFailed(stream.call_id, reason, detail, code, detail if code else ""))


def _before_accept(reason: str) -> str:
    """An agent that breaks off before it took the call was not reached."""
    return "agent_unreachable" if reason == "agent_lost" else reason
