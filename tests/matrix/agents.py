# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent of the matrix: in each call it listens, says its part, listens on, and hangs up."""

from __future__ import annotations

import threading

import numpy as np

from matrix.cells import Cell
from support.agents import AgentHost, Heard
from support.audio import Pcm
from support.voice import voice
from trunkline.agent_bridge import Call

RATE_HZ = 16000
VOICE_S = 1.6
SPEAKS_AFTER_S = {"sipp": 0.4, "asterisk": 2.6}
"Audio heard before: SIPp's telephone speaks at the same time, Asterisk first plays and then listens."
LISTENS_S = VOICE_S + 0.8
"from where it begins to speak to where it hangs up"
SILENCE = np.zeros(RATE_HZ // 10, np.int16)
"Said after the voice: where an agent falls silent, the gateway fades out."


class Turn:
    """One cell at the agent."""

    def __init__(self, cell: Cell) -> None:
        self.speaks_after_s = SPEAKS_AFTER_S[cell.peer]
        self.pcm = voice(VOICE_S, cell.seeds[1])
        self.heard: Heard | None = None
        self.over = threading.Event()

    @property
    def call_id(self) -> str:
        """The gateway's id of the call."""
        return self.heard.call.id if self.heard is not None else ""

    def wait(self, timeout_s: float) -> Pcm:
        """All that was heard, when the agent has hung up."""
        assert self.over.wait(timeout_s), (
            "no call came to the agent" if self.heard is None else "the call did not come to its end"
        )
        assert self.heard is not None
        return self.heard.pcm


class CellAgent(AgentHost):
    """Knows the cell by the number that was called."""

    def __init__(self, address: str) -> None:
        self.turns: dict[str, Turn] = {}
        super().__init__(address, self._script)

    def expect(self, cell: Cell) -> Turn:
        """Its next call will be of this cell."""
        turn = self.turns[cell.extension] = Turn(cell)
        return turn

    async def _script(self, call: Call, heard: Heard) -> None:
        turn = self.turns[call.info.called]
        turn.heard, spoken, seconds = heard, False, 0.0
        try:
            async for frame in call:
                heard.frames.append(frame)
                seconds += len(frame.pcm) / RATE_HZ
                if seconds >= turn.speaks_after_s and not spoken:
                    call.play(np.concatenate([turn.pcm, SILENCE]))
                    spoken = True
                if seconds >= turn.speaks_after_s + LISTENS_S:
                    call.hangup("said all")
                    break
            await call.ended()
        finally:
            turn.over.set()
