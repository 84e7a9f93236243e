# SPDX-License-Identifier: GPL-2.0-or-later
"""One connection to an agent: the socket around a sans-I/O `Link`.

Never blocks: the connect, the handshake and a slow reader all wait in the
worker's poller.  Names are resolved by the gateway process beforehand; here an
address is a path or a literal.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Callable, Sequence
from typing import Protocol

from trunkline.agent_bridge.dialect import Link, LinkSettings
from trunkline.agent_bridge.link_events import Audio, LinkEvent, LinkFailed, LinkUp
from trunkline.agent_bridge.links import create_link
from trunkline.gateway.media.agent_connecting import ByteStream, ConnectFailed, Connecting
from trunkline.gateway.media.agent_socket import PlainSocket, contain, narrow, widen
from trunkline.gateway.media.control import AgentParams
from trunkline.gateway.media.deadlines import NEVER_NS
from trunkline.gateway.media.outbox import Outbox

READ_BYTES = 1 << 18
"One read a tick: an agent that floods gets no more of it. 2,000 calls at 16 kHz need 164 KB per 2.5 ms,"
READ_NS = 20_000_000
"""and when ticks are late, more: with many calls a read takes what all of them say in so long. An agent that cannot
write waits, and one that waits does not read: too short a read would silence both ways."""
READ_BYTES_ONE_CALL = 1 << 14
"The same where a connection carries a single call: 200 times real time."
MESSAGES_PER_TICK = 200
"What is left waits in the buffer and the socket. 10 to 30 us each: 5 ms at worst, and 80,000 a second pass."
STALL_NS = 5_000_000_000
"An agent that keeps us from closing for so long is left."
LAST_WORDS_NS = 1_000_000_000
"An agent that takes nothing more may have said something before: so long we read on."
LINGER_NS = 1_000_000_000
"An agent that has heard our last words may take so long to close too (`Link.lingers`)."
AGAIN_BYTES = 1 << 16
"After a read of so much there is likely more: an agent's socket holds 208 KB by default, less than a long tick needs."
SEND_BUFFER_READS = 5
"The kernel's buffer holds 100 ms of all calls on the link, so that a tick's frames leave in one write."
BACKLOG_NS = 1_000_000_000
"Uplink audio that waits for a slow agent at most, before frames are dropped."
MOST_BACKLOGS = 4
"So many times the backlog from which frames are dropped may wait: what is said beside frames is not dropped."
LEAST_SHARE = 8
"An agent that reads less than this part of one call's audio, as PCM, does not read: it would never catch up."

_READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR


class Poller(Protocol):
    """Readiness of descriptors (worker.py, or a test)."""

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call handler(events) when fd is ready; a second call changes the mask."""

    def forget(self, fd: int) -> None:
        """Stop watching."""


EventHandler = Callable[["AgentLink", Sequence[LinkEvent], int], None]


class AgentLink:
    """A connection: connecting, up, or closed for good."""

    def __init__(
        self,
        index: int,
        agent: AgentParams,
        poller: Poller,
        clock: Callable[[], int],
        on_events: EventHandler,
    ) -> None:
        """`clock` is monotonic, in ns; `on_events` gets what the agent says, and LinkFailed once at the end."""
        self.index = index
        self.agent = agent
        self.protocol: Link = create_link(
            agent.dialect,
            LinkSettings(
                url=agent.url,
                sample_rate_hz=agent.sample_rate_hz,
                frame_ms=agent.frame_ms,
                timeout_ms=agent.connect_timeout_ms,
                token=agent.token,
                username=agent.username,
                password=agent.password,
                headers=dict(agent.headers),
                account=agent.account,
                options=dict(agent.options),
                hang_timeout_ms=agent.hang_timeout_ms,
            ),
        )
        self.on_unheeded: Callable[[AgentLink, int, int], None] = _nothing
        "called with the number of messages without effect, and the time"
        self.on_said: Callable[[AgentLink], None] = _ignore
        "called when something waits to be written: `flush` is to be called at the end of the tick"
        self.on_deadline: Callable[[int, int], None] = _ignore_deadline
        "called (index, ns) when `next_deadline_ns` may have become sooner"
        self.take_speech: Callable[[AgentLink, memoryview, int, int, int | None], int] | None = None
        """Called (link, data, bytes, now_ns, said) with what was read where that may be (`Link.hears_records`): what it
        takes of messages of speech does not come as events; returns how many bytes that was, or less than 0: so many,
        and what is behind them is to be dealt with in the next tick. `said`: what the kernel has said of it, if it was
        asked"""
        self.one_call = self.protocol.max_calls == 1
        "it carries one call and no more"
        self.open = True
        self.connected = False
        self.up = False
        "the handshake is done"
        self.begun = False
        self._poller = poller
        self._clock = clock
        self._on_events = on_events
        self._connecting: Connecting | None = None
        self._socket: ByteStream | None = None
        second = agent.sample_rate_hz * 2
        self._out = Outbox(second * agent.hang_timeout_ms // 1000 // LEAST_SHARE)
        self._deadline_ns: int | None = None
        self.protocol.most_messages = MESSAGES_PER_TICK
        self._buffer = bytearray(READ_BYTES_ONE_CALL if self.one_call else READ_BYTES)
        self._view = memoryview(self._buffer)
        self._unheard = self._view[:0]
        "of what was read: speech that was too much for one tick, and what is behind it"
        self._hang_ns = agent.hang_timeout_ms * 1_000_000
        "an agent that has read next to nothing for so long, with audio waiting, is lost"
        self._wake_ns: int | None = None
        "when to go on with what was read, or with connecting"
        self._has_news = False
        "since the poller called, anything came that may make something due sooner"
        self._broken = ""
        "why nothing more can be written"
        self._closing = False
        self._may_be_sooner = False
        "the deadline, by what was said or read since it was noted: audio waits for no answer"
        self.at_rest = False
        "connected, all written, and the poller told so"
        self.noted_ns = NEVER_NS
        "what `on_deadline` was last told; its owner takes it back when that has come, or has moved"
        self.limit_bytes = 1 << 18
        "backlog from which uplink frames are dropped; grows with the calls on the link"
        self._most_bytes = MOST_BACKLOGS * self.limit_bytes

    def make_room(self, calls: int) -> None:
        """So many calls are on the link: how much may wait for the agent, and how much is read at once."""
        second = calls * self.agent.sample_rate_hz * 2
        self.limit_bytes = max(1 << 18, second * BACKLOG_NS // 1_000_000_000)
        self._most_bytes = max(self._most_bytes, MOST_BACKLOGS * self.limit_bytes)
        wanted = second * READ_NS // 1_000_000_000
        if isinstance(self._socket, PlainSocket):
            widen(self._socket, wanted * SEND_BUFFER_READS)
        if not self.one_call and wanted > len(self._buffer) and not self._unread:
            self._buffer = bytearray(2 * wanted)
            self._view = memoryview(self._buffer)

    def speak(self) -> Link:
        """The protocol, for what is to be said now; it is written at the end of the tick."""
        self._may_be_sooner = True
        self.on_said(self)
        return self.protocol

    @property
    def backlog_bytes(self) -> int:
        """What the agent has not read yet."""
        return self._out.size_bytes

    def connect(self) -> None:
        """Begin to connect, once; the outcome comes as events."""
        if self.begun:
            return
        self.begun = True
        self._connecting = Connecting(self.agent, self._clock)
        self._deadline_ns = self._connecting.deadline_ns
        self._connect(self._connecting)
        self._note_deadline()

    def _connect(self, attempt: Connecting) -> None:
        """Go on with it; connected, let the protocol say hello."""
        try:
            stream = attempt.step()
        except ConnectFailed as failure:
            self._socket = attempt.socket
            self.fail(failure.reason, failure.detail)
            return
        self._socket, self._wake_ns = stream or attempt.socket, attempt.wake_ns
        if stream is not None:
            if self.one_call and attempt.socket is not None:
                narrow(attempt.socket, self.agent.sample_rate_hz * 2)  # a second
            self.connected, self._deadline_ns, self._connecting = True, None, None
            self.speak().connected(self._clock())
        elif attempt.mask and self._socket is not None:
            self._poller.watch(self._socket.fileno(), attempt.mask, self._on_ready)

    def _on_ready(self, events: int) -> None:
        """The poller says that the socket can be read or written."""
        self._has_news = False
        try:
            if self._connecting is not None:
                self._has_news = True
                self._connect(self._connecting)
            if self.connected and events & _READABLE:
                self._read()
        except Exception as error:  # noqa: BLE001 - whatever it is, the other agents' calls go on
            contain(error, self.agent.name, self.fail)
        self._have_read()

    def _have_read(self) -> None:
        """Say what there is to say to that."""
        if not self.at_rest or self._closing or self.protocol.has_data:
            self._may_be_sooner = True
            self.flush()
        elif self._has_news:  # most agents are only heard, and speech makes nothing due sooner
            self._note_deadline()

    # -- by somebody else -------------------------------------------------------------------

    @property
    def plain(self) -> bool:
        """Nothing waits either way, and speech need not come by here: a kernel in C may write to `fd` and read it."""
        waits = self._closing or self._wake_ns is not None or self._deadline_ns is not None or self.protocol.has_data
        if waits or not self.at_rest or self.take_speech is None or not isinstance(self._socket, PlainSocket):
            return False
        return self.protocol.takes_records

    @property
    def fd(self) -> int:
        """Of a connection that is `plain`."""
        return -1 if self._socket is None else self._socket.fileno()

    @property
    def room(self) -> memoryview:
        """What is read goes here."""
        return self._view

    def heard(self, now_ns: int) -> None:
        """A compiled kernel has read something, and put it where it belongs."""
        self.protocol.hears_records(now_ns)

    def wrote(self, sent: int) -> None:
        """So many bytes of what the protocol has to say are written; the socket took no more of it."""
        self._write(_unsent(self.protocol.data_to_send(), sent))
        self._note_deadline()

    def read(self, n: int, said: int) -> None:
        """So many bytes were read into `room`, and the compiled kernel for speech has `said` this; below 0: -errno."""
        self._has_news = False
        try:
            if n < 0:
                self.fail("agent_lost", f"connection to agent {self.agent.name} broke: {os.strerror(-n)}")
            else:
                self._take(n, said)
        except Exception as error:  # noqa: BLE001 - as in `_on_ready`
            contain(error, self.agent.name, self.fail)
        self._have_read()

    # -- from the agent, and to it ----------------------------------------------------------

    def _read(self) -> None:
        """Take what has come, or go on with what the last tick has left of it."""
        if self._socket is None:
            return
        if self.protocol.unread:
            now_ns = self._clock()
            self._tell(self.protocol.resume(now_ns), now_ns)
            return
        if len(self._unheard):
            self._hear(self._unheard)
            return
        budget = len(self._buffer)
        while budget > 0 and self._socket is not None:
            n = self._receive()
            if n < AGAIN_BYTES or self._unread:
                return
            budget -= n

    def _receive(self) -> int:
        """One read; returns how many bytes it brought."""
        assert self._socket is not None
        try:
            n = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self.fail("agent_lost", f"connection to agent {self.agent.name} broke: {error}")
            return 0
        self._take(n)
        return n

    def _take(self, n: int, said: int | None = None) -> None:
        """So many bytes were read."""
        self._hear(self._view[:n], said)
        if n == 0 and self.open:
            self.fail("agent_lost", f"agent {self.agent.name} closed the connection")

    def _hear(self, data: memoryview, said: int | None = None) -> None:
        """What was read, or what is left of it."""
        now_ns, taken, size = self._clock(), 0, len(data)
        self._unheard = self._view[:0]
        if size and self.take_speech is not None and self.protocol.hears_records(now_ns):
            taken = self.take_speech(self, data, size, now_ns, said)
        if taken < 0:
            self._unheard = data[-taken:]
        elif not size or taken < size:
            self._tell(self.protocol.receive(data[taken:], now_ns), now_ns)
            return
        if taken < 0 or self._wake_ns is not None or (self._socket is not None and self._socket.more):
            self._tell((), now_ns)

    @property
    def _unread(self) -> bool:
        """Something that was read waits for the next tick, and must stay as it is."""
        return self.protocol.unread or len(self._unheard) > 0

    def _tell(self, events: Sequence[LinkEvent], now_ns: int) -> None:
        """Pass events on; a failure closes the socket first, so that nobody writes to it."""
        self._has_news = True
        more = self._unread or (self._socket is not None and self._socket.more)
        self._wake_ns = now_ns + 1 if more else None  # in the next tick, not in this
        for event in events:
            if type(event) is Audio:
                continue
            if isinstance(event, LinkUp):
                self.up = True
            elif isinstance(event, LinkFailed):
                self._shut()
        if events:
            self._on_events(self, events, now_ns)
        if self.protocol.unheeded:
            count, self.protocol.unheeded = self.protocol.unheeded, 0
            self.on_unheeded(self, count, now_ns)

    def flush(self) -> None:
        """Write what the protocol has to say, as far as the socket takes it."""
        sock = self._socket
        if self.connected and sock is not None:
            data = self.protocol.data_to_send()
            if self.at_rest and not self._closing and (not data or self._write_at_once(data, sock)):
                if not self._may_be_sooner:
                    return
            else:
                self._write(data)
        self._may_be_sooner = False
        self._note_deadline()

    def _write_at_once(self, data: list[bytes | memoryview], sock: ByteStream) -> bool:
        """The usual case: nothing waits, and the kernel takes all of it. What it does not take is left in `data`."""
        size = 0
        for piece in data:
            size += len(piece)
        try:
            sent = sock.sendmsg(data)
        except OSError:  # whatever it is, it comes again
            return False
        if sent == size and not sock.waiting:
            return True
        data[:] = _unsent(data, sent)
        return False

    def _write(self, data: list[bytes | memoryview]) -> None:
        """What waits, and behind it this, as far as the socket takes it."""
        if self._socket is None:
            return
        self._out.put(data, self._clock())
        try:
            self._out.write(self._socket, self._clock())
        except OSError as error:  # it has gone, but its last words may still be there to read
            self._broken = self._broken or str(error)
            self._deadline_ns = self._deadline_ns or self._clock() + LAST_WORDS_NS
            self._out.clear()
        if self._out.size_bytes > self._most_bytes:
            kept = f"{self._out.size_bytes // 1000} kB wait for it"
            self.fail(
                "agent_hung", f"agent {self.agent.name} reads more slowly than it asks for answers: {kept}"
            )
        if self._socket is not None:
            waits = bool(self._out) or self._socket.waiting
            mask = select.EPOLLIN | (select.EPOLLOUT if waits else 0)
            self._poller.watch(self._socket.fileno(), mask, self._on_ready)
            self.at_rest = not waits
            if waits:
                self.on_said(self)
            if self._closing and not waits:
                self._part()

    def _part(self) -> None:
        """All is written: close, or read on until the agent has closed too."""
        if not self.protocol.lingers or self._broken:
            self._shut()
        elif self._deadline_ns is not None:
            self._deadline_ns = min(self._deadline_ns, self._clock() + LINGER_NS)

    def _note_deadline(self) -> None:
        due_ns = self.next_deadline_ns
        if due_ns is not None and due_ns < self.noted_ns:
            self.noted_ns = due_ns
            self.on_deadline(self.index, due_ns)

    @property
    def next_deadline_ns(self) -> int | None:
        """When `handle_timeout` must be called."""
        if not self.open:
            return None
        soonest = self.protocol.next_deadline_ns
        if self.at_rest and self._deadline_ns is None and self._wake_ns is None:  # nearly all, in every tick
            return soonest
        if self._deadline_ns is not None and (soonest is None or self._deadline_ns < soonest):
            soonest = self._deadline_ns
        if self._wake_ns is not None and (soonest is None or self._wake_ns < soonest):
            soonest = self._wake_ns
        if self._out and (soonest is None or self._out.waiting_since_ns + self._hang_ns < soonest):
            soonest = self._out.waiting_since_ns + self._hang_ns
        return soonest

    def handle_timeout(self, now_ns: int) -> None:
        """Time-outs of the connect, of the protocol, of an agent that does not read."""
        self.noted_ns = NEVER_NS
        try:
            self._on_time(now_ns)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other agents' calls go on
            contain(error, self.agent.name, self.fail)
        self._note_deadline()

    def _on_time(self, now_ns: int) -> None:
        if not self.open:
            return
        if self._deadline_ns is not None and now_ns >= self._deadline_ns:
            self._give_up()
        elif self._out and now_ns - self._out.waiting_since_ns >= self._hang_ns:
            seconds = self._hang_ns / 1_000_000_000
            self.fail("agent_hung", f"agent {self.agent.name} has read next to nothing for {seconds:g} s")
        elif self.connected:
            if self._wake_ns is not None and now_ns >= self._wake_ns:
                self._read()
            if self.open:
                self._tell(self.protocol.handle_timeout(now_ns), now_ns)
            self.flush()
        elif self._connecting is not None and self._wake_ns is not None and now_ns >= self._wake_ns:
            self._connect(self._connecting)

    def _give_up(self) -> None:
        """The connect, the last words or the close take too long."""
        if self._closing:
            self._shut()
        elif self._connecting is not None:
            failure = self._connecting.too_late()
            self.fail(failure.reason, failure.detail)
        else:
            self.fail("agent_lost", f"connection to agent {self.agent.name} broke: {self._broken}")

    def close_when_flushed(self) -> None:
        """Nothing more will be said: close once what waits has been written, or could not be for too long."""
        self._closing, self.at_rest = True, False
        self._deadline_ns = self._clock() + STALL_NS
        self.flush()
        if not self.connected:
            self._shut()

    def fail(self, reason: str, detail: str) -> None:
        """Close, and tell why."""
        if self.open:
            self._shut()
            self._on_events(self, [LinkFailed(reason, detail)], self._clock())

    def _shut(self) -> None:
        self.open = self.up = False
        if self._socket is not None:
            if self.connected:
                with contextlib.suppress(OSError):
                    self._out.put(self.protocol.data_to_send(), self._clock())
                    self._out.write(self._socket, self._clock())
            self._poller.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._out.clear()


def _unsent(data: list[bytes | memoryview], sent: int) -> list[bytes | memoryview]:
    """What is left of it."""
    while data and sent >= len(data[0]):
        sent -= len(data.pop(0))
    return [memoryview(data[0])[sent:], *data[1:]] if sent else data


def _nothing(link: AgentLink, count: int, now_ns: int) -> None:
    """Until somebody wants to know."""


def _ignore(link: AgentLink) -> None:
    """Likewise."""


def _ignore_deadline(index: int, due_ns: int) -> None:
    """Likewise."""
