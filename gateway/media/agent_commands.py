# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents ask for, carried out: what concerns audio here in the worker, all else by the gateway process."""

from __future__ import annotations

from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.link_events import Command
from trunkline.gateway.media import control
from trunkline.gateway.media.playback import Playback
from trunkline.gateway.media.table import Stream


class AgentCommands:
    """One call's commands, after its agent has accepted it."""

    def __init__(self, playback: Playback, post: control.Post) -> None:
        """`post` sends a message to the gateway process."""
        self._playback = playback
        self._post = post

    def take(self, stream: Stream, event: Command, now_ns: int) -> None:
        """Do it, or have it done."""
        match event:
            case said.Mark(_, name):
                self._playback.mark(stream, name)
            case said.Clear(_, name):
                self._playback.clear(stream, name)
            case said.Dtmf(_, digits, duration_ms, gap_ms):
                self._playback.send_digits(stream, digits, duration_ms, gap_ms)
            case said.AskStatus():
                self._playback.tell_status(stream)
            case said.Hangup(_, reason, code, headers):
                self._post(control.AgentHangup(stream.call_id, reason, code, dict(headers)))
