# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls that outlive their agents: which agent of a call's list is asked when, and what the caller hears meanwhile.

    before the answer   ASKED --not taken--> the same again (connect_retries), then the next --none left--> refused
    afterwards          HAD --lost--> SOUGHT --taken--> HAD, attempt + 1
                                         `--rescue.within_ms over--> farewell --heard--> StreamFailed(agent_lost)

Before the answer every agent of the list is asked once, in its order, within the caller's patience.  Later the
others are asked first and then the one that was lost, restarted by then perhaps, again and again while there is
time.  What the lost agent had said is played to its end (not if it broke the rules or flooded: then it may be
anything), then a sound; its marks are nobody's any more, and are told once, in the event `agent.lost`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from trunkline.agent_bridge.dialect import FLAG_GAP
from trunkline.agent_bridge.link_events import Accepted
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_asks import AgentChanged, AgentMuted, AgentState
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.replay import Replay
from trunkline.gateway.media.rescue_case import Case
from trunkline.gateway.media.sound_made import FAREWELL, TONE
from trunkline.gateway.media.sounds import Sounds
from trunkline.gateway.media.table import RUNNING, Stream, Table

SOUND_AFTER_MS = 200
"An agent that takes over sooner is not announced by a sound."
CYCLE_PAUSE_NS = 100_000_000
"Between two rounds through the list: an agent that is restarted listens again after some hundred milliseconds."
LEAST_TRY_NS = 300_000_000
"An agent that is sought in mid-call gets so long to take it at least, however many there are."
FAREWELL_NS = 60_000_000_000
"The farewell may take so long at most; then the call ends in its middle."
DISCARDING = frozenset({"agent_protocol", "agent_flooded"})
"Reasons for which what the agent has said is not to be believed."
UNTRIED = frozenset({"agent_unreachable", "agent_timeout", "agent_lost", "agent_hung"})
"Reasons for which the same agent may be tried again: it may be starting. An answer that it gave is an answer."
STATES_NS = 100_000_000
"The gateway is told of new states so often at most: of each call the last one."
MAX_KEYS = 64
"Keys that wait for the next agent at most: more than anybody presses while one is sought. The first ones count."
FAREWELL_LATE_NS = 500_000_000
"A farewell that has not been heard to its end so long after it should be was stopped or replaced: the call ends."
SECOND_NS = 1_000_000_000
FLOOD_NS = 10 * SECOND_NS


class Rescue:
    """The cases of all rows."""

    def __init__(self, table: Table, playback: Playback, sounds: Sounds, replay: Replay, post: control.Post) -> None:
        self._table, self._playback, self._sounds, self._replay = table, playback, sounds, replay
        self._post = post
        self._cases: dict[int, Case] = {}
        self._open: dict[int, Case] = {}
        "those that time has to do with"
        self._states: dict[int, Case] = {}
        "those whose state the gateway has not been told"
        self._states_ns = 0
        "when that is due"
        self.connect: Callable[[Stream, int], None] = _nothing
        "offers the call to `stream.start.agent`"
        self.withdraw: Callable[[Stream, str], None] = _nothing
        "takes it back from there"
        self.on_regained: Callable[[Stream, int], None] = _nothing
        "another agent has the call"
        self.on_orphan: Callable[[Stream, int], None] = _nothing
        "a call that a worker before this one had lost its agent before this one could give it back"
        self.on_lost: Callable[[Stream, bool], None] = _nothing
        "nobody has the call from now on; whether what the caller says is kept"
        self.on_offer: Callable[[Stream], None] = lambda stream: None
        "what the caller has said is about to be offered to another agent"
        self.on_taken: Callable[[Stream, int], None] = _nothing
        "an agent has it, and hears the caller from this position on"
        sounds.on_end = self._said_farewell

    # -- calls ------------------------------------------------------------------------------

    def begin(self, stream: Stream, now_ns: int) -> None:
        """A call of this worker: ask the first agent."""
        start = stream.start
        agents = (start.agent, *start.others)
        first = next((agent for agent in agents if agent.name == start.first_agent), start.agent)
        case = Case(stream, agents, first, attempt=start.attempt, state=start.agent_state)
        case.had = stream.resumed
        self._cases[stream.row] = case
        if start.rescue.replay_ms:
            fmt = self._table.formats.at(stream.row)
            if not self._replay.open(stream.row, start.rescue.replay_ms, fmt.frame_samples, start.agent.frame_ms):
                self._post(control.AgentEvent(stream.call_id, "no_replay", {"replay_ms": start.rescue.replay_ms}))
        if start.agentless:  # given up in a worker before this one, which has said so
            case.over_ns = now_ns
            self.on_orphan(stream, now_ns)
        else:
            self._ask(case, now_ns)

    def end(self, stream: Stream) -> None:
        """The call is over."""
        for cases in (self._cases, self._open, self._states):
            cases.pop(stream.row, None)
        self._replay.close(stream.row)

    def _ask(self, case: Case, now_ns: int) -> None:
        case.next_ns, case.tries = 0, case.tries + 1
        case.limit_ns = 0
        if case.lost_ns:
            end_ns = case.lost_ns + case.stream.start.rescue.within_ms * 1_000_000
            share_ns = (end_ns - case.lost_ns) // len(case.agents)
            case.limit_ns = min(now_ns + max(share_ns, LEAST_TRY_NS), end_ns)
        if case.stream.start.agent is not case.agent:
            case.stream.start = msgspec.structs.replace(case.stream.start, agent=case.agent)
        self.connect(case.stream, now_ns)

    def metadata(self, stream: Stream) -> dict[str, str]:
        """What the agent is told of the call: in place of the first one's own texts its own."""
        metadata, case = stream.start.info.metadata, self._cases.get(stream.row)
        if case is None or case.agent is case.first:
            return metadata
        of_first = dict(case.first.metadata)
        own = dict(case.agent.metadata)
        return own | {name: text for name, text in metadata.items() if of_first.get(name) != text}

    def handed_over(self, stream: Stream) -> dict[str, Any]:
        """What an agent is told that gets the call now: fields of `StartInfo`."""
        case, row = self._cases.get(stream.row), stream.row
        rate = stream.start.agent.sample_rate_hz
        position, replayed = int(self._table.shared.up_position[row]), 0
        if case is None:
            return {"position": position}
        if case.lost_ns:
            self.on_offer(stream)
            position, replayed = self._replay.offer(row)
        case.position = position
        if case.attempt == 1:
            return {"position": position}
        case.replay_ms = replayed * 1000 // rate
        played_ms = int(self._table.shared.down_position[row]) * 1000 // rate
        return {
            "position": position, "attempt": case.attempt, "state": case.state, "played_ms": played_ms,
            "replay_ms": case.replay_ms,
        }  # fmt: skip

    # -- what agents do ---------------------------------------------------------------------

    def accepted(self, stream: Stream, now_ns: int, how: Accepted) -> bool:
        """An agent has the call; whether the gateway must be told, who may have yet to answer it."""
        case = self._cases[stream.row]
        self._open.pop(stream.row, None)
        case.next_ns = case.limit_ns = 0
        if not case.had:
            self._replay.acknowledge(stream.row, int(self._table.shared.up_position[stream.row]))
        if case.lost_ns:
            took_ms = (now_ns - case.lost_ns) / 1e6
            self._post(
                AgentChanged(
                    stream.call_id, case.agent.name, case.why, case.attempt, took_ms, case.replay_ms
                )
            )
            case.lost_ns = 0
            self._sounds.stop_under(stream)
        running = bool(self._table.shared.state[stream.row] == RUNNING)
        # One that rings or has early audio is answered by whoever has it now, if that agent does not wait.
        unanswered = case.waits and not stream.start.answered
        case.waits = not self.answers(stream, how)
        news, case.had, case.told = not case.told or not running or unanswered, True, True
        if not news:
            self._table.agent_ready[stream.row] = True
            self.on_regained(stream, now_ns)
        return news

    def answers(self, stream: Stream, how: Accepted) -> bool:
        """Whether its yes answers the call; from the agent that a worker before this one had it from, it is no news."""
        again = stream.start.taken and self._cases[stream.row].attempt == stream.start.attempt
        return how.answer and (stream.start.answered or not again)

    def had(self, stream: Stream) -> bool:
        """Whether an agent has taken the call, be it lost by now."""
        case = self._cases.get(stream.row)
        return case is not None and case.had

    def sought(self, stream: Stream) -> bool:
        """Whether it has lost its agent and waits for another one."""
        case = self._cases.get(stream.row)
        return case is not None and bool(case.lost_ns and stream.start.rescue.within_ms and not case.over_ns)

    def taken(self, stream: Stream) -> list[tuple[str, int, str]]:
        """The agent that has accepted the call is told what it missed: by `on_taken`, and by these keys."""
        case = self._cases[stream.row]
        self.on_taken(stream, case.position)
        keys, case.keys = case.keys, []
        return keys

    def keep_key(self, stream: Stream, digit: str, duration_ms: int, method: str) -> None:
        """The caller pressed a key while there was nobody to tell."""
        case = self._cases.get(stream.row)
        if case is not None and case.had and len(case.keys) < MAX_KEYS:
            case.keys.append((digit, duration_ms, method))

    def attempt(self, stream: Stream) -> int:
        """Which agent it is that has the call."""
        return self._cases[stream.row].attempt

    def tries(self, stream: Stream) -> tuple[str, int]:
        """Name of the agent that has the call, and how many times one was asked."""
        case = self._cases[stream.row]
        return case.agent.name, case.tries

    def failed(self, stream: Stream, now_ns: int, reason: str, detail: str, code: int = 0) -> None:
        """The agent did not take the call, or has lost it."""
        case = self._cases.get(stream.row)
        if case is None or case.over_ns or case.hung_up:
            return
        if case.had:
            self._lost(case, now_ns, reason, detail)
        else:
            self._not_taken(case, now_ns, reason, detail, code)

    def hang_up(self, stream: Stream) -> bool:
        """The agent ends the call; whether it has not done so before."""
        case = self._cases.get(stream.row)
        if case is None or case.hung_up:
            return False
        case.hung_up = True
        return True

    def has_hung_up(self, stream: Stream) -> bool:
        """Whether the agent has ended the call, which the gateway has yet to stop."""
        case = self._cases.get(stream.row)
        return case is not None and case.hung_up

    def keep_state(self, stream: Stream, data: bytes) -> None:
        """An agent leaves with us what it wants to be given back."""
        case = self._cases.get(stream.row)
        if case is not None:
            case.state = data
            self._states[stream.row] = case

    def acknowledge(self, stream: Stream, position: int) -> None:
        """What the caller said before this position needs no replay."""
        if self._replay.has(stream.row):
            self._replay.acknowledge(stream.row, position)

    def count_command(self, stream: Stream, now_ns: int, count: int = 1) -> str:
        """Commands of the agent; why it has gone mad, as a sentence, or nothing."""
        case = self._cases.get(stream.row)
        if case is None or case.hung_up:
            return ""
        if now_ns - case.window_ns >= SECOND_NS:
            case.window_ns, case.commands = now_ns, 0
        case.commands += count
        if case.commands <= case.agent.flood_commands:
            return ""
        return f"agent {case.agent.name} said more than {case.agent.flood_commands} things of one call in a second"

    def count_overflow(self, stream: Stream, dropped_ms: int, now_ns: int) -> str:
        """Speech that found no room; likewise."""
        case = self._cases.get(stream.row)
        if case is None or case.hung_up:
            return ""
        if now_ns - case.overflow_ns >= FLOOD_NS:
            case.overflow_ns, case.overflow_ms = now_ns, 0
        case.overflow_ms += dropped_ms
        if case.overflow_ms <= case.agent.flood_ms:
            return ""
        return f"agent {case.agent.name} said {case.overflow_ms} ms more than there is room for"

    # -- before the answer ------------------------------------------------------------------

    def _not_taken(self, case: Case, now_ns: int, reason: str, detail: str, code: int) -> None:
        stream, agent = case.stream, case.agent
        if code or not case.refusal[2]:  # what an agent has said of the call is more than that another is not there
            case.refusal = reason, detail, code
        again = reason in UNTRIED and case.again < agent.connect_retries
        if again:
            case.again += 1
            case.next_ns = now_ns + agent.retry_pause_ms * 1_000_000
        else:
            case.again, case.at = 0, case.at + 1
            case.next_ns = now_ns
        patience_ns = stream.start.rescue.patience_ms * 1_000_000
        for_all = code >= 600  # RFC 3261 21.6: nobody else will take it either
        if for_all or case.at >= len(case.agents) or case.next_ns >= stream.begun_ns + patience_ns:
            case.at = min(case.at, len(case.agents) - 1)
            case.next_ns = 0
            self._give_up(case, *case.refusal)
        else:
            self._open[stream.row] = case

    def _give_up(self, case: Case, reason: str, detail: str, code: int = 0) -> None:
        stream = case.stream
        self._open.pop(stream.row, None)
        self._table.agent_ready[stream.row] = False
        self._post(control.StreamFailed(stream.call_id, reason, detail, code, detail if code else ""))

    # -- in mid-call ------------------------------------------------------------------------

    def _lost(self, case: Case, now_ns: int, reason: str, detail: str) -> None:
        stream, params = case.stream, case.stream.start.rescue
        if not case.lost_ns:
            self._orphan(case, now_ns, reason, detail)
            if not params.within_ms:
                self._give_up(case, "agent_lost", detail)
                return
            case.at = (case.at + 1) % len(case.agents)
            case.next_ns = now_ns
            if len(case.agents) == 1 and reason == "agent_unreachable":
                case.next_ns += CYCLE_PAUSE_NS
        else:
            case.at = (case.at + 1) % len(case.agents)
            case.again += 1
            round_over = case.again % len(case.agents) == 0
            case.next_ns = now_ns + CYCLE_PAUSE_NS * round_over
        case.limit_ns = 0
        self._open[stream.row] = case

    def _orphan(self, case: Case, now_ns: int, reason: str, detail: str) -> None:
        """Nobody has the call from now on."""
        stream, row, params = case.stream, case.stream.row, case.stream.start.rescue
        case.lost_ns, case.why, case.detail = now_ns, reason, detail
        case.attempt, case.again = case.attempt + 1, 0
        case.window_ns = case.commands = case.overflow_ns = case.overflow_ms = 0
        stream.accepted, stream.on_hold = False, False
        if not params.within_ms:
            return
        if stream.resumed and self._table.shared.state[row] != RUNNING:
            self.on_orphan(stream, now_ns)
        self.on_lost(stream, self._replay.has(row))
        unheard = self._unmute(stream)
        if self._replay.has(row):
            self._replay.lose(row)
            self._table.agent_ready[row] = True
        else:
            self._table.agent_ready[row] = False
            self._table.shared.up_flags[row] |= FLAG_GAP  # of what is said meanwhile nobody will hear
            self._table.flagged = True
        marks, queued_ms = self._playback.orphan(stream, discard=unheard or reason in DISCARDING)
        data: dict[str, str | int | float] = {
            "agent": case.agent.name, "why": reason, "detail": detail, "marks": marks, "queued_ms": queued_ms,
        }  # fmt: skip
        self._post(control.AgentEvent(stream.call_id, "lost", data))
        if not self._sounds.hears_over(stream):  # music on hold is sound enough
            self._sounds.play(stream, params.sound or TONE, True, now_ns, under=True, after_ms=SOUND_AFTER_MS)

    def _unmute(self, stream: Stream) -> bool:
        """What the lost agent has muted is nobody's wish any more; whether the caller was not to hear it."""
        table, row = self._table, stream.row
        down = row in table.muted_down
        if down or row in table.muted_up:
            table.mute(row, uplink=False, downlink=False)
            self._post(AgentMuted(stream.call_id, False, False))
        return down

    def _nobody(self, case: Case, now_ns: int) -> None:
        """The time is over: a farewell, where somebody hears it, and the end."""
        stream, row = case.stream, case.stream.row
        self.withdraw(stream, "agent_lost")
        took_ms = (now_ns - case.lost_ns) / 1e6
        self._post(AgentChanged(stream.call_id, "", case.why, case.attempt, took_ms))
        case.next_ns = case.limit_ns = 0
        case.over_ns = now_ns
        if self._table.shared.state[row] == RUNNING and self._table.sending[row]:
            self._playback.orphan(stream, discard=True)
            lasts_ns = self._sounds.play(stream, stream.start.rescue.fallback_sound or FAREWELL, False, now_ns)
            case.over_ns += min(lasts_ns + FAREWELL_LATE_NS, FAREWELL_NS)

    def _said_farewell(self, stream: Stream) -> None:
        case = self._cases.get(stream.row)
        if case is not None and case.over_ns:
            case.over_ns = 1  # in the next tick, not in the middle of the downlink's

    # -- time -------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether time has to do with anything here."""
        return bool(self._open or self._states)

    @property
    def next_deadline_ns(self) -> int | None:
        """When `advance` has something to do."""
        due = [self._due_ns(case) for case in self._open.values()]
        if self._states:
            due.append(self._states_ns)
        return min(due, default=None)

    def _due_ns(self, case: Case) -> int:
        if case.over_ns:
            return case.over_ns
        due = [ns for ns in (case.next_ns, case.limit_ns) if ns]
        if case.lost_ns:
            due.append(case.lost_ns + case.stream.start.rescue.within_ms * 1_000_000)
        return min(due, default=1 << 62)

    def advance(self, now_ns: int) -> None:
        """Ask the agents that are due, give up those that take too long."""
        if self._states and now_ns >= self._states_ns:
            self._states_ns = now_ns + STATES_NS
            for case in self._states.values():
                self._post(AgentState(case.stream.call_id, case.state))
            self._states.clear()
        for case in [case for case in self._open.values() if self._due_ns(case) <= now_ns]:
            self._act(case, now_ns)

    def _act(self, case: Case, now_ns: int) -> None:
        if case.over_ns:
            self._give_up(case, "agent_lost", f"{case.detail}; no agent took the call over")
        elif case.lost_ns and now_ns >= case.lost_ns + case.stream.start.rescue.within_ms * 1_000_000:
            self._nobody(case, now_ns)
        elif case.limit_ns and now_ns >= case.limit_ns:
            self.withdraw(case.stream, "answer_timeout")
            self._lost(case, now_ns, "agent_timeout", "it did not take the call over in time")
        elif case.next_ns and now_ns >= case.next_ns:
            self._ask(case, now_ns)


def _nothing(stream: Stream, _: Any) -> None:
    """Until somebody wants to know."""
