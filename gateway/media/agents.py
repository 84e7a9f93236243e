# SPDX-License-Identifier: GPL-2.0-or-later
"""Which call is on which agent connection, and what goes back and forth on it.

A dialect that multiplexes gets one connection per agent from this worker, with
all its calls on it, so a whole tick leaves in one write; any other gets one
connection a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.link_events import (
    Accepted,
    Audio,
    Command,
    Hangup,
    LinkEvent,
    LinkFailed,
    LinkUp,
    Rejected,
)
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_asks import AgentFailed
from trunkline.gateway.media.agent_audio import by_row, runs
from trunkline.gateway.media.agent_commands import AgentCommands
from trunkline.gateway.media.agent_frames import AgentFrames
from trunkline.gateway.media.agent_link import AgentLink, Poller
from trunkline.gateway.media.agent_speech import AgentSpeech
from trunkline.gateway.media.deadlines import NEVER_NS, Deadlines
from trunkline.gateway.media.gathering import Gathering
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.replay import Replay
from trunkline.gateway.media.rescue import Rescue
from trunkline.gateway.media.table import Stream, Table


class AgentLinks:
    """All agent connections of a worker; with `deliver`, an `uplink.FrameSink`."""

    def __init__(
        self, table: Table, playback: Playback, poller: Poller, clock: Callable[[], int], post: control.Post
    ) -> None:
        """`post` sends a message to the gateway process."""
        self._table = table
        self._playback = playback
        self._poller = poller
        self._clock = clock
        self._post = post
        self.telling = playback.telling
        self.replay = Replay(table)
        self.rescue = Rescue(table, playback, playback.sounds, self.replay, post)
        self.rescue.connect, self.rescue.withdraw = self._connect, self._withdraw
        playback.on_dropped = self._dropped
        self.telling.on_untold_digit = self.rescue.keep_key
        self.commands = AgentCommands(playback, post, table, self.telling, self.rescue)
        self.gathering = Gathering(playback.push)
        self._links: dict[int, AgentLink] = {}
        self._shared: dict[control.AgentParams, AgentLink] = {}
        self._calls: dict[int, dict[int, Stream]] = {}
        "link index -> channel -> stream"
        self._closing: dict[int, AgentLink] = {}
        "by index: connections whose call is over and that have something left to write"
        self.said: dict[AgentLink, None] = {}
        "connections that have something to write at the end of the tick, in that order"
        self._deadlines = Deadlines(self._due_ns)
        "of connections, by index"
        self._index_of_row = np.full(table.capacity, -1, np.int64)
        self._speaks = np.zeros(table.capacity, bool)
        "rows whose agent has accepted the call: of one that has not, nothing is heard"
        self.index_of_row: NDArray[np.int64] | None = np.full(table.capacity, -1, np.int64)
        "the same but for connections that carry one call: those take no messages for many"
        self._frames = AgentFrames(table, self._links, self._index_of_row, self.replay, self.said)
        self.deliver, self.message = self._frames.deliver, self._frames.message
        self.message_to = self._frames.message_to
        self.speech = AgentSpeech(table, playback, self._index_of_row, self._speaks)
        self._next_index = 0
        self.on_link: Callable[[Stream], None] = lambda stream: None
        "called when a stream has got its connection, before it is offered there"
        self.on_accepted: Callable[[Stream, int, Accepted], None] = lambda stream, now_ns, how: None

    # -- calls ------------------------------------------------------------------------------

    def start(self, stream: Stream, now_ns: int) -> None:
        """Offer the call to its agents, one after the other; Accepted or a StreamFailed message follows."""
        self.rescue.begin(stream, now_ns)

    def _connect(self, stream: Stream, now_ns: int) -> None:
        """Offer the call to `stream.start.agent`."""
        link = self._shared.get(stream.start.agent)
        if link is None:
            link = self._new_link(stream.start.agent)
        stream.link = link
        self._speaks[stream.row] = False
        self._set_index(stream.row, link.index, -1 if link.one_call else link.index)
        self._calls[link.index][stream.channel] = stream
        link.make_room(len(self._calls[link.index]))
        self.on_link(stream)
        if link.up:
            self._offer(link, stream, now_ns)
        link.connect()

    def _new_link(self, agent: control.AgentParams) -> AgentLink:
        link = AgentLink(self._next_index, agent, self._poller, self._clock, self._on_events)
        link.on_unheeded = self._unheeded
        link.on_said = self._has_said
        link.on_deadline = self._deadlines.note
        self._next_index += 1
        self._links[link.index] = link
        self._calls[link.index] = {}
        if not link.one_call:
            self._shared[agent] = link
            link.take_speech = self._take_speech
        self._table.shared.worker.agent_links[0] = len(self._links)
        return link

    def _set_index(self, row: int, index: int, of_messages: int) -> None:
        assert self.index_of_row is not None
        self._index_of_row[row], self.index_of_row[row] = index, of_messages

    def _offer(self, link: AgentLink, stream: Stream, now_ns: int) -> None:
        info, agent = stream.start.info, stream.start.agent
        link.speak().start(
            stream.channel,
            StartInfo(
                call_id=info.call_id, direction=info.direction, caller=info.caller, called=info.called,
                trunk=info.trunk, route=info.route, headers=info.headers, metadata=self.rescue.metadata(stream),
                sample_rate_hz=agent.sample_rate_hz, frame_ms=agent.frame_ms,
                resumed=stream.resumed, gap_ms=self._gap_ms(stream, now_ns), answered=stream.start.answered,
                variables=stream.start.variables, **self.rescue.handed_over(stream),
            ),
            now_ns,
        )  # fmt: skip

    def _gap_ms(self, stream: Stream, now_ns: int) -> int:
        """How long ago the predecessor's next packet was due."""
        due_ns = int(self._table.shared.tx_due_ns[stream.row])
        return max(now_ns - due_ns, 0) // 1_000_000 if stream.resumed and due_ns else 0

    def stop(self, stream: Stream, reason: str, stats: dict[str, float]) -> None:
        """The call is over: tell the agent, and hang up a connection that was its own."""
        self.rescue.end(stream)
        self._withdraw(stream, reason, stats)

    def _withdraw(self, stream: Stream, reason: str, stats: Mapping[str, float] | None = None) -> None:
        """Its agent has the call no more: it is over, or goes to another, or to none."""
        link = stream.link
        if link is None:
            return
        stream.link = None
        self._set_index(stream.row, -1, -1)
        self.gathering.forget(stream.row)
        self._calls.get(link.index, {}).pop(stream.channel, None)
        if not link.open:
            return
        link.speak().stop(stream.channel, reason, stats or {})
        if link.one_call:
            link.close_when_flushed()
            self._discard(link)
            if link.open:
                self._closing[link.index] = link

    def _discard(self, link: AgentLink) -> dict[int, Stream]:
        """Forget a connection; returns the calls that were on it."""
        self._links.pop(link.index, None)
        if self._shared.get(link.agent) is link:
            del self._shared[link.agent]
        self._table.shared.worker.agent_links[0] = len(self._links)
        return self._calls.pop(link.index, {})

    def _has_said(self, link: AgentLink) -> None:
        self.said[link] = None

    # -- time -------------------------------------------------------------------------------

    def flush(self) -> None:
        """End of a tick: one write a connection."""
        if self.said:
            said = list(self.said)
            self.said.clear()  # what cannot be written now says so again
            for link in said:
                link.flush()

    def close_all(self) -> None:
        """The worker ends."""
        for link in list(self._links.values()):
            link.close_when_flushed()

    def _due_ns(self, index: int) -> int | None:
        """Of one connection."""
        link = self._links.get(index) or self._closing.get(index)
        if link is None:
            return None
        due_ns = link.next_deadline_ns
        link.noted_ns = NEVER_NS if due_ns is None else due_ns
        return due_ns

    @property
    def next_deadline_ns(self) -> int | None:
        """The earliest deadline of any connection."""
        due_ns = self.sooner_than(NEVER_NS)
        return None if due_ns == NEVER_NS else due_ns

    def sooner_than(self, due_ns: int) -> int:
        """The same if it is sooner than this, else this: looked up only where it can be."""
        others: list[int | None] = []
        if self._deadlines.next_ns < due_ns:
            others.append(self._deadlines.soonest())
        if self.rescue.busy:
            others.append(self.rescue.next_deadline_ns)
        if self.replay.waiting:
            others.append(self.replay.next_deadline_ns)
        return min([due_ns, *[other for other in others if other is not None]]) if others else due_ns

    def is_due(self, now_ns: int) -> bool:
        """Whether `handle_timeouts` has anything to do; what has been said is settled."""
        return bool(now_ns >= self._deadlines.next_ns or self._closing or self.rescue.busy or self.replay.waiting)

    def handle_timeouts(self, now_ns: int) -> None:
        """Let connections whose time has come act on it."""
        self.settle(now_ns)
        if now_ns >= self._deadlines.next_ns:
            for index in self._deadlines.due(now_ns):
                link = self._links.get(index) or self._closing.get(index)
                if link is not None:  # another one's end may have been its own
                    link.handle_timeout(now_ns)
        if self._closing:
            self._closing = {index: link for index, link in self._closing.items() if link.open}
        if self.rescue.busy:
            self.rescue.advance(now_ns)
        if self.replay.waiting:
            self.replay.step(now_ns, self._frames.able, self._frames.send)

    # -- from the agents --------------------------------------------------------------------

    def settle(self, now_ns: int) -> None:
        """What agents with a connection for each call have said in this tick goes to where it is played."""
        if self.gathering.pieces:
            self.gathering.settle(now_ns)

    def _on_events(self, link: AgentLink, events: Sequence[LinkEvent], now_ns: int) -> None:
        if link.one_call:
            calls = self._calls.get(link.index)
            stream = next(iter(calls.values())) if calls else None
            for event in self.gathering.take(stream, events, now_ns):
                self._on_run(link, [event], now_ns)
        else:
            self._on_run(link, events, now_ns)

    def _on_run(self, link: AgentLink, events: Sequence[LinkEvent], now_ns: int) -> None:
        for event in runs(events):
            if isinstance(event, list):
                self._audio(link, event, now_ns)
            elif isinstance(event, LinkUp):
                for waiting in list(self._calls.get(link.index, {}).values()):
                    self._offer(link, waiting, now_ns)
            elif isinstance(event, LinkFailed):
                self._failed(link, event, now_ns)
            else:
                stream = self._calls.get(link.index, {}).get(event.channel)
                if stream is not None:
                    self._take(stream, event, now_ns)

    def _audio(self, link: AgentLink, run: list[Audio], now_ns: int) -> None:
        """Speech for calls of this link; of any other it is not heard."""
        if left := self.speech.take(link.index, run, now_ns):
            self._push(link, left, now_ns)
        self.speech.settle()

    def plain_link(self, index: int) -> AgentLink | None:
        """The connection of this index, if it is `plain`, and nothing waits to be done for any."""
        waits = self.said or self.gathering.pieces or self._closing or self.rescue.busy or self.replay.rows
        link = None if waits or self.replay.waiting else self._links.get(index)
        return link if link is not None and link.plain else None

    @property
    def noted_deadline_ns(self) -> int:
        """Before this no connection has anything to do."""
        return self._deadlines.next_ns

    def _take_speech(
        self, link: AgentLink, data: bytearray | memoryview, size: int, now_ns: int, said: int | None = None
    ) -> int:
        """Speech at the beginning of what was read, without a detour; returns what `AgentSpeech.take_read` does."""
        speech = self.speech
        taken = speech.take_read(link.index, data, size, now_ns, said)
        if speech.left:
            self._push(link, speech.left, now_ns)
            speech.left = []
        if speech.long:
            speech.settle()
        return taken

    def _push(self, link: AgentLink, run: list[Audio], now_ns: int) -> None:
        channels = run[0].channels if len(run) == 1 else np.concatenate([audio.channels for audio in run])
        rows = self._table.rows_of(channels)
        mine = self._index_of_row[rows] == link.index
        mine &= self._speaks[rows]
        mine &= rows >= 0
        if not mine.all():
            rows = np.where(mine, rows, -1)
        rows, pcm, samples = by_row(rows, [audio.pcm for audio in run])
        if len(rows):
            self._playback.push(rows, pcm, now_ns, samples)

    def _take(self, stream: Stream, event: Accepted | Rejected | Command, now_ns: int) -> None:
        match event:
            case Accepted():
                stream.accepted = True
                self._speaks[stream.row] = True
                if self.rescue.sought(stream):  # what was learned of the rhythm of the one before it does not hold
                    self._playback.agent_changed(stream.row, stream.start.agent)
                if self.rescue.accepted(stream, now_ns, event):
                    self.on_accepted(stream, now_ns, self.commands.checked(stream, event))
                self._hold_again(stream)
                for key in self.rescue.taken(stream):
                    self.telling.digit(stream, *key)
            case Rejected(_, code, reason, timeout):
                why = "agent_timeout" if timeout else "agent_rejected"
                detail = reason or "the agent rejected the call"
                self._post(AgentFailed(stream.start.agent.name, why, detail, 1))
                self._withdraw(stream, "rejected")
                self.rescue.failed(stream, now_ns, why, detail, code)
            case Hangup(parting=True) if "hangup" not in stream.start.agent_may:
                self._left(stream, now_ns)
            case _:
                self.commands.take(stream, event, now_ns)
                self._flooded(stream, self.rescue.count_command(stream, now_ns), now_ns)

    def _left(self, stream: Stream, now_ns: int) -> None:
        """An agent that may not hang up has, by ending its connection: the call goes on without it."""
        why = "agent_lost" if stream.accepted else _before_accept("agent_lost")
        detail = f"agent {stream.start.agent.name} hung up, which its route does not allow (agent_may)"
        self._withdraw(stream, "agent_lost")
        self.rescue.failed(stream, now_ns, why, detail)

    def _unheeded(self, link: AgentLink, count: int, now_ns: int) -> None:
        """Messages that mean nothing cost as much as others: they count as commands."""
        for stream in list(self._calls.get(link.index, {}).values()):
            self._flooded(stream, self.rescue.count_command(stream, now_ns, count), now_ns)

    def _dropped(self, stream: Stream, dropped_ms: int, now_ns: int) -> None:
        self._flooded(stream, self.rescue.count_overflow(stream, dropped_ms, now_ns), now_ns)

    def _flooded(self, stream: Stream, detail: str, now_ns: int) -> None:
        """An agent that has gone mad over a call loses it; its other calls go on."""
        if detail and stream.accepted:
            self._post(AgentFailed(stream.start.agent.name, "agent_flooded", detail, 1))
            self._withdraw(stream, "agent_flooded")
            self.rescue.failed(stream, now_ns, "agent_flooded", detail)

    def _hold_again(self, stream: Stream) -> None:
        """A new connection knows nothing of a hold that began on the one before."""
        again = stream.resumed or self.rescue.attempt(stream) > 1
        if again and not stream.held_media and not stream.media.send and not stream.on_hold:
            stream.on_hold = True
            self.telling.hold(stream, True)

    def _failed(self, link: AgentLink, failure: LinkFailed, now_ns: int) -> None:
        """The connection is gone: its calls go to other agents, or end with a reason each.

        An agent with a connection for each call closes it when it has hung up; that may be seen before the
        gateway has ended the call.
        """
        known, streams = link.index in self._links, list(self._discard(link).values())
        had = any(stream.accepted for stream in streams) or not streams
        reason = failure.reason if had else _before_accept(failure.reason)
        one_call = link.one_call
        said_so = one_call and any(self.rescue.has_hung_up(stream) for stream in streams)
        hangs_up = one_call and all(not s.start.rescue.within_ms for s in streams) and reason == "agent_lost"
        if known and not (said_so or hangs_up):
            self._post(AgentFailed(link.agent.name, reason, failure.detail, len(streams)))
        for stream in streams:
            stream.link = None
            self._set_index(stream.row, -1, -1)
            self.gathering.forget(stream.row)
            why = failure.reason if stream.accepted else _before_accept(failure.reason)
            self.rescue.failed(stream, now_ns, why, failure.detail)


def _before_accept(reason: str) -> str:
    """An agent that breaks off before it took the call was not reached."""
    return {"agent_lost": "agent_unreachable", "agent_hung": "agent_timeout"}.get(reason, reason)
