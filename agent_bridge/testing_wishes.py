# SPDX-License-Identifier: MIT
"""What the agent has asked of a call of the gateway's double, and what the double does about it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.call_types import Pcm
from trunkline.agent_bridge.dialect import Link, StartInfo
from trunkline.agent_bridge.link_events import Command, LinkEvent
from trunkline.agent_bridge.native_commands import MAX_STATE_BYTES
from trunkline.agent_bridge.playout import Playout

PERMISSIONS: dict[type, str] = {
    said.Progress: "early_media",
    said.HoldCall: "hold",
    said.Transfer: "transfer",
    said.Dtmf: "dtmf",
    said.Mute: "mute",
    said.Hangup: "hangup",
    said.Variables: "variables",
}
"What a route may forbid, by the command that it forbids."


class Wishes:
    """Part of `DoubleCall`."""

    def __init__(self, channel: int, info: StartInfo, playback: str, forbid: Collection[str]) -> None:
        """Nothing is asked yet."""
        self.info = info
        self.channel = channel
        self.said: list[LinkEvent] = []
        "all that the agent said except audio, in order"
        self.heard: Pcm = np.zeros(0, np.int16)
        "all audio that the agent sent, cleared or not"
        self.playout = Playout(info.sample_rate_hz)
        self.state = "answered" if info.answered else "offered"
        "as told to the agent"
        self.on_hold = False
        "the agent has put the caller on hold"
        self.muted: dict[str, bool] = {"uplink": False, "downlink": False}
        self.variables: dict[str, str] = dict(info.variables)
        self.saved = info.state
        "what the agent has left for its successor"
        self.acknowledged = info.position
        "the caller's audio before this need not come again"
        self._instant = playback == "instant"
        self._forbid = frozenset(forbid)

    def _carry_out(self, link: Link, event: Command) -> None:
        self.said.append(event)
        permission = PERMISSIONS.get(type(event), "")
        if permission in self._forbid:
            link.send_error(self.channel, "forbidden", f"this route does not let its agents {permission}")
            return
        match event:
            case said.Mark(_, name):
                self.playout.mark(name)
                self._play_if_instant(link)
                if not self.playout.queued_samples:
                    self._report(link, self.playout.advance(0))
            case said.Clear(_, name):
                link.send_cleared(self.channel, name, *self.playout.clear())
            case said.Pause(_, paused):
                self.playout.paused = paused
                self._play_if_instant(link)
            case said.AskStatus():
                link.send_status(self.channel, {"queued_ms": self.playout.queued_ms, "max_queue_ms": 60_000})
            case said.Hangup():
                link.stop(self.channel, "agent_hangup", {})
            case said.State(_, data) if len(data) > MAX_STATE_BYTES:
                link.send_error(self.channel, "too_long", f"a state of {len(data)} bytes")
            case said.Ring() | said.Progress() | said.Answer():
                self._move_on(link, event)
            case _:
                self._remember(event)

    def _move_on(self, link: Link, event: said.Ring | said.Progress | said.Answer) -> None:
        if self.state == "answered":
            link.send_error(self.channel, "not_now", "the call is answered")
            return
        self.state = {said.Ring: "ringing", said.Progress: "early", said.Answer: "answered"}[type(event)]
        link.send_call_state(self.channel, self.state)

    def _remember(self, event: Command) -> None:
        match event:
            case said.HoldCall(_, held):
                self.on_hold = held
            case said.Mute(_, uplink, downlink):
                wanted = {"uplink": uplink, "downlink": downlink}
                self.muted |= {way: muted for way, muted in wanted.items() if muted is not None}
            case said.Variables(_, values):
                self.variables = {name: text for name, text in (self.variables | dict(values)).items() if text}
            case said.State(_, data):
                self.saved = data
            case said.Acknowledge(_, position):
                self.acknowledged = max(self.acknowledged, position)

    def _take_audio(self, link: Link, pcm: Pcm) -> None:
        self.heard = np.concatenate([self.heard, pcm])
        self.playout.push(len(pcm))
        self._play_if_instant(link)

    def _play_if_instant(self, link: Link) -> None:
        if self._instant:
            self._report(link, self.playout.advance(self.playout.queued_samples))

    def _report(self, link: Link, reached: Sequence[tuple[str, int]]) -> None:
        for name, position in reached:
            link.send_mark(self.channel, name, position, "played")
