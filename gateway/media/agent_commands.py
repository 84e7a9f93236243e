# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents ask for, carried out: what concerns audio here in the worker, all else by the gateway process.

What a route forbids is answered with an error, and changes nothing.  What goes to the
gateway process is paced: the channel to it is shared by all calls of the worker.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import msgspec

from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.link_events import Accepted, Command
from trunkline.agent_bridge.native_commands import MAX_STATE_BYTES
from trunkline.gateway.media import agent_asks, control
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.rescue import Rescue
from trunkline.gateway.media.table import Stream, Table
from trunkline.gateway.media.telling import Telling

NEEDS: dict[type, str] = {
    said.Progress: "early_media", said.HoldCall: "hold", said.Transfer: "transfer", said.Dtmf: "dtmf",
    said.Mute: "mute", said.Hangup: "hangup", said.Variables: "variables",
}  # fmt: skip
"Commands that a route may forbid, and the word for it (`call_policy.PERMISSIONS`)."
ASKS_PER_SECOND = 20
"Of one call, for what the gateway process has to do."
MAX_TEXT_BYTES = 32_768
"Texts of one command, as JSON; the channel takes 64 kB a message. Call control has narrower bounds, with words."
SECOND_NS = 1_000_000_000


class AgentCommands:
    """One call's commands, after its agent has accepted it."""

    def __init__(
        self, playback: Playback, post: control.Post, table: Table, telling: Telling, rescue: Rescue
    ) -> None:
        """`post` sends a message to the gateway process."""
        self._playback = playback
        self._post = post
        self._table = table
        self._telling = telling
        self.rescue = rescue
        self.on_pause: Callable[[Stream, bool], None] = lambda stream, paused: None
        self.on_muted: Callable[[Stream, bool], None] = lambda stream, muted: None
        "called when the agent wants to hear the caller no more, or again"

    def take(self, stream: Stream, event: Command, now_ns: int) -> None:
        """Do it, or have it done."""
        need = NEEDS.get(type(event))
        if need is not None and need not in stream.start.agent_may:
            self._forbid(stream, need)
            return
        match event:
            case said.Mark(_, name):
                self._playback.mark(stream, name)
            case said.Clear(_, name):
                self._playback.clear(stream, name)
            case said.Pause(_, paused):
                self.on_pause(stream, paused)
            case said.Dtmf(_, digits, duration_ms, gap_ms):
                self._playback.send_digits(stream, digits, duration_ms, gap_ms)
            case said.Mute(_, uplink, downlink):
                self._mute(stream, uplink, downlink, now_ns)
            case said.AskStatus():
                self._playback.tell_status(stream)
            case said.Hangup(_, reason, code, headers):
                if self.rescue.hang_up(stream):
                    self._post(control.AgentHangup(stream.call_id, reason, code, self._headers(stream, headers)))
            case said.State(_, data) if len(data) > MAX_STATE_BYTES:
                sentence = f"a state of {len(data)} bytes; at most {MAX_STATE_BYTES}, and the one before it is kept"
                self._telling.refused(stream, "too_long", sentence)
            case said.State(_, data):
                self.rescue.keep_state(stream, data)
            case said.Acknowledge(_, position):
                self.rescue.acknowledge(stream, position)
            case _:
                message = self._ask_of(stream, event)
                if message is not None:
                    self._ask(stream, now_ns, message)

    def _ask_of(self, stream: Stream, event: Command) -> control.Message | None:
        """What is said to the gateway process, which has the SIP."""
        call_id = stream.call_id
        match event:
            case said.Ring(_, headers):
                return agent_asks.AgentRing(call_id, self._headers(stream, headers))
            case said.Progress(_, headers):
                return agent_asks.AgentProgress(call_id, self._headers(stream, headers))
            case said.Answer(_, headers):
                return agent_asks.AgentAnswer(call_id, self._headers(stream, headers))
            case said.HoldCall(_, held, music):
                return agent_asks.AgentHold(call_id, held, music)
            case said.Transfer(_, target, attended, headers):
                return agent_asks.AgentTransfer(call_id, target, attended, self._headers(stream, headers))
            case said.Variables(_, values):
                return agent_asks.AgentVariables(call_id, dict(values))
        return None

    def checked(self, stream: Stream, event: Accepted) -> Accepted:
        """The acceptance with the headers that the agent may set."""
        return dataclasses.replace(event, headers=self._headers(stream, event.headers)) if event.headers else event

    def _headers(self, stream: Stream, headers: Mapping[str, str]) -> dict[str, str]:
        """Those that the agent may set: all or none. What they are for is done without them."""
        if not headers:
            return {}
        if "headers" not in stream.start.agent_may:
            self._forbid(stream, "headers")
            return {}
        if len(msgspec.json.encode(dict(headers))) > MAX_TEXT_BYTES:
            self._telling.refused(stream, "bad_header", f"the headers have more than {MAX_TEXT_BYTES} bytes")
            return {}
        return dict(headers)

    def _forbid(self, stream: Stream, word: str) -> None:
        route = stream.start.info.route
        where = f"the route {route}" if route else "the gateway"
        self._telling.refused(stream, "forbidden", f"{where} does not allow its agents `{word}` (agent_may)")

    def _ask(self, stream: Stream, now_ns: int, message: control.Message) -> None:
        """Post it, unless the call has asked too often, or for too much."""
        if now_ns - stream.asked_since_ns >= SECOND_NS:
            stream.asked_since_ns, stream.asked = now_ns, 0
        stream.asked += 1
        if stream.asked > ASKS_PER_SECOND:
            if stream.asked == ASKS_PER_SECOND + 1:
                self._telling.refused(stream, "too_many", f"more than {ASKS_PER_SECOND} commands a second for one call")
        elif len(msgspec.json.encode(message)) > 2 * MAX_TEXT_BYTES - 1024:
            self._telling.refused(stream, "too_long", f"the texts have more than {MAX_TEXT_BYTES} bytes")
        else:
            self._post(message)

    def _mute(self, stream: Stream, uplink: bool | None, downlink: bool | None, now_ns: int) -> None:
        table, row = self._table, stream.row
        before = row in table.muted_up, row in table.muted_down
        up = before[0] if uplink is None else uplink
        down = before[1] if downlink is None else downlink
        if (up, down) == before:
            return
        table.mute(row, uplink=up, downlink=down)
        if up != before[0]:
            self.on_muted(stream, up)
        self._ask(stream, now_ns, agent_asks.AgentMuted(stream.call_id, up, down))
