# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiled: usual ticks as a whole, the sleep between them included (`native/ticks.c`, `native/tick.c`).

    sleep -> sockets -> usual packets -> message -> agent's socket -> what it says -> queues -> packets due -> sockets
      \\___________________________________________________________________________________________________/
             one after the other in C, until there is something else to do: then Python goes on from there

Out of sleep a Python function costs five times what it costs in a loop, and a tick has forty.  In most ticks each of
them finds that there is nothing to do for it: what that depends on is looked up here once (`_look`), and holds until
Python does anything at all.  It is for workers whose calls are on one connection of our dialect, mostly; what stands in
the way of that leaves everything to `Loop` and `Rhythm`, which do the same step by step.
"""

from __future__ import annotations

import dataclasses
import select

import numpy as np

from trunkline.agent_bridge.wire import AudioMessage
from trunkline.codecs.compiled import Kernel
from trunkline.gateway.media import background, compiled, lateness, pace, voice
from trunkline.gateway.media.agent_link import AGAIN_BYTES, AgentLink
from trunkline.gateway.media.columns import DELAY_EDGES_US
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.poller import EpollPoller, Found
from trunkline.gateway.media.rhythm import TOLERATED_NS, Rhythm
from trunkline.gateway.media.udp import Events, UdpSockets

NOTHING, RECEIVED, PASSED_ON, ALL = range(4)
"""How far a tick has come: nothing is done; packets are read; what they say is passed on, the agent is heard, and what
is due has left, perhaps; all is done."""

_PACKETS_TAKEN, _MESSAGE_LEFT, _AGENT_HEARD, _STOPPED, _ROUND_LEFT, _ALL_DONE, _NOT_BEGUN = range(7)
"Where the kernel stopped, in the last three bits of what it says; above them, whether the tick is over."
_STOP_BITS, _STOP = 3, 7
_TICK_NOTES, _NOTES = 9, 13
"What there is to say of the last tick, and of all: the enums of native/tick.h and native/ticks.c."
_NEXT_NS = 7
"Place among the former."
_RUNS = 4
"Reads of the agent in a tick at most. What it says in one is a run (agent_speech.py)."
MOST_TICKS = 64
"So many numbers of looks and runs are kept for ticks that are done at once: Rhythm wants no more than 20."
_COUNT, _BITS = (1 << 15) - 1, 15
"Of what the kernel `usual` says: records in the message are the second count."


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Of ticks that may be usual ones."""

    few: int
    "With no more than so many descriptors ready it is not one,"
    hurried_ns: int
    "nor if it begins later than this."
    listen_ns: int
    "Agents are heard when packets are due, and so long after they were heard."


@dataclasses.dataclass(slots=True)
class _Known:
    """What usual ticks go by, as long as it holds."""

    kernel: Kernel
    link: AgentLink
    fd: int
    message: AudioMessage
    "what the kernel writes to this agent; handed over where it is not sent from there"
    samples: int
    "of a frame"
    raster_ns: int
    plays: bool
    "nothing is special to any packet for a caller"
    attend_ns: int
    "when there is something else to do, at the end of a tick"


class UsualTicks:
    """Does ticks in which nothing special happens, and the beginning of others."""

    def __init__(self, engine: Engine, sockets: UdpSockets, poller: EpollPoller, rhythm: Rhythm, stop_fd: int) -> None:
        """The engine's clock must be time.monotonic_ns. Where `stop_fd` is ready, it is heard before packets leave."""
        self._engine, self._sockets, self._poller, self._rhythm = engine, sockets, poller, rhythm
        self._stop_fd = stop_fd
        self._known: _Known | None = None
        self._kernel: Kernel | None = None
        self._bound: tuple[Kernel, ...] = ()
        "what it is bound to"
        self._turns = np.array([voice.TURN, background.TURN, lateness.TURN, pace.TURN], np.int64)
        self._tick, self._notes = np.zeros(_TICK_NOTES, np.int64), np.zeros(_NOTES, np.int64)
        "what the kernel says of its last tick, and of all; the last note is where its draws are, which are no secret"
        self._notes[-1] = 0x9E3779B97F4A7C1
        self._failed = False
        self.others: Events = []
        "what is left of the last tick: descriptors, and their events,"
        self.hears, self.handled_ns = False, 0
        "whether agents are heard in it; and when they were last"

    def may(self) -> bool:
        """Whether the next ticks may be usual ones: if so, `run` waits for them. Not any more once that has failed."""
        if self._known is None and not self._failed:
            try:
                self._known = self._look()
            except Exception:
                self._give_up()
                raise
        return self._known is not None

    def run(self, limits: Limits, handled_ns: int, until_ns: int) -> tuple[Found, int]:
        """Wait for ticks, and do them; returns what the last has found, and how far that one has come.

        The last is the first tick from `until_ns` on, if not one before it; agents were heard at `handled_ns`.
        """
        known, sockets, rhythm, engine = self._known, self._sockets, self._rhythm, self._engine
        assert known is not None  # else one may not
        found, downlink = self._poller.found, engine.downlink
        try:
            said = known.kernel(
                found.events, engine.table.running, known.link.index, known.message.whole, known.samples, known.fd,
                known.link.room, AGAIN_BYTES, self._stop_fd, known.plays, sockets.next_look(MOST_TICKS),
                engine.agents.speech.next_run(rhythm.begun_ns, _RUNS * MOST_TICKS), _RUNS, rhythm.grid_ns,
                rhythm.begun_ns, rhythm.looks_ns, min(known.attend_ns, until_ns), known.raster_ns,
                downlink.next_due_ns, handled_ns, limits.listen_ns, limits.few, limits.hurried_ns, TOLERATED_NS,
            )  # fmt: skip
        except Exception:
            self._give_up()
            raise
        now_ns, *passed, found.count, hears, heard, self.handled_ns, looked, cpu_ns, looks, _ = self._notes.tolist()
        rhythm.follow(now_ns, *passed)
        self.hears = bool(hears)
        if heard:
            known.link.heard(now_ns)
        at = said & _STOP
        if looks > (at == _PACKETS_TAKEN):
            rhythm.passed_on(cpu_ns)
        if looked:
            downlink.pace.looked(now_ns)
        downlink.now_ns, downlink.next_due_ns = now_ns, int(self._tick[_NEXT_NS])
        if at == _NOT_BEGUN:
            return found, NOTHING
        return found, ALL if said >> _STOP_BITS else self._go_on(known, at, now_ns)

    def _go_on(self, known: _Known, at: int, now_ns: int) -> int:
        """Do what has made the kernel stop; returns how far the tick has come then."""
        engine, sockets, link = self._engine, self._sockets, known.link
        packets, others, _, usual, sent, size, said, *_ = self._tick.tolist()
        self.others = sockets.others(others)
        if at == _PACKETS_TAKEN:
            sockets.sampled_row, sockets.sampled_age_ns = sockets.sampled()
            if (batch := sockets.batch_of(packets)) is not None:
                engine.agents.said[link] = None
                engine.receive_rest(batch, now_ns, known.message, usual)
            return RECEIVED
        if at == _MESSAGE_LEFT:
            known.message.done(usual >> _BITS & _COUNT)
            link.wrote(sent)
            return PASSED_ON
        self.others = [other for other in self.others if other != (known.fd, select.EPOLLIN)]
        if at == _AGENT_HEARD:
            link.read(size, said)
        elif at == _ROUND_LEFT:
            engine.play_rest(now_ns)
        return PASSED_ON

    def _give_up(self) -> None:
        """It has failed, and would again: there is a way step by step for every call."""
        self._failed = True
        print(  # noqa: T201 - a worker's output is the log
            "a tick failed where usual ticks are done at once; they are done step by step from now on, and cost more",
            flush=True,
        )

    def forget(self) -> None:
        """Something else was done, or will be: what is known holds no more."""
        self._known = None

    # -- what is usual ----------------------------------------------------------------------

    def _look(self) -> _Known | None:
        """Whether ticks are usual ones now, as far as that depends on what is known before them."""
        engine = self._engine
        way = engine.express.usual.way
        if way is None or not _is_plain(engine):
            return None
        usual, index, samples = way
        link = engine.agents.plain_link(index)
        kernel = None if link is None else self._bind(usual)
        if link is None or kernel is None:
            return None
        message = link.protocol.audio_message(len(engine.table.running), samples)
        if message is None or message.then:
            return None
        attend_ns = min(engine.attend_ns(), engine.downlink.pace.judges_ns)
        plays = engine.downlink.is_plain
        return _Known(kernel, link, link.fd, message, samples, engine.timeline.raster_ns, plays, attend_ns)

    def _bind(self, usual: Kernel) -> Kernel | None:
        """To the kernels of the calls that there are now; None if one of them is not there."""
        engine, receive = self._engine, self._sockets.receive_kernel
        play, said_in = engine.downlink.packet_round.kernel, engine.agents.speech.kernel
        late, ready = engine.receiver.lateness.expected_kernel, self._poller.kernel
        if play is None or said_in is None or receive is None or late is None or ready is None:
            return None
        wanted = receive, usual, said_in, play
        if self._bound != wanted:
            least, delays = engine.timeline.soonest, engine.count_uplink_delays
            tick = compiled.bind(
                "tick", (receive,), (usual,), (late,), (least,), (delays,), (said_in,), (play,), self._tick
            )
            assert tick is not None  # the others are there
            self._kernel, self._bound = self._in_a_row(tick, ready), wanted
        return self._kernel

    def _in_a_row(self, tick: Kernel, ready: Kernel) -> Kernel | None:
        """What runs this one for each tick."""
        c = self._engine.table.shared.worker
        return compiled.bind(
            "ticks", (ready,), (tick,), DELAY_EDGES_US, c.heartbeat_ns, c.ticks, c.tick_duration, c.tick_max_us,
            self._turns, self._notes,
        )  # fmt: skip


def _is_plain(engine: Engine) -> bool:
    """Nothing is to be done in each tick on the way from callers to agents beside what `tick` does."""
    busy = (
        engine.handshakes.count or engine.srtp.count or engine.recorder.active or engine.uplink.changes
        or engine.turns.ducked or engine.timeline.backlog.busy or engine.hurried or engine.express.hurried
    )  # fmt: skip
    return not busy
