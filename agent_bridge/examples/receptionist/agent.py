# SPDX-License-Identifier: MIT
"""The receptionist in a call: hears while it speaks, stops when it is interrupted, takes keys as well as words."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable

from trunkline.agent_bridge import Call, CallEnded, Dtmf, MarkReport
from trunkline.agent_bridge.call_events import CallEvent
from trunkline.agent_bridge.examples.receptionist.dialogue import Dialogue, Reply
from trunkline.agent_bridge.examples.receptionist.ears import Began, Endpointer, Recogniser, Said
from trunkline.agent_bridge.examples.receptionist.mouth import Mouth

PATIENCE_MS = 7000
"For how long a caller may be silent before we ask."

log = logging.getLogger("trunkline.receptionist")


@dataclasses.dataclass(slots=True)
class Turn:
    """One thing that we said, and what came of it."""

    said: tuple[str, ...]
    question: str
    understood: str
    "what the caller had said before it, as we took it"
    heard: list[str] = dataclasses.field(default_factory=list)
    "our sentences that were played to their end"
    interrupted: bool = False
    asked: bool = False
    "all was played; the caller has the word"


class Receptionist:
    """One call."""

    def __init__(self, call: Call, on_turn: Callable[[Turn], None] | None = None) -> None:
        """`run` does the work; `on_turn` is told of each turn when it begins."""
        self.dialogue = Dialogue()
        self.turns: list[Turn] = []
        self._call = call
        self._on_turn = on_turn
        self._mouth = Mouth(call.sample_rate)
        self._endpointer = Endpointer(call.sample_rate, call.info.frame_ms)
        self._speech: asyncio.Task[None] | None = None
        self._silent_ms = 0

    async def run(self) -> None:
        """Until the caller or we hang up."""
        recogniser = await asyncio.to_thread(Recogniser, self._call.sample_rate)
        self._call.on_event(self._event)
        self._reply(self.dialogue.begin())
        try:
            async for frame in self._call:
                match self._endpointer.hear(frame.pcm, frame.speech):
                    case Began():
                        self._interrupted()
                    case Said(pcm):
                        words = await asyncio.to_thread(recogniser.words, self._turn.question or "menu", pcm)
                        self._reply(self.dialogue.heard(words))
                self._count_silence()
        finally:
            if self._speech is not None:
                self._speech.cancel()
                await asyncio.wait([self._speech])

    @property
    def _turn(self) -> Turn:
        return self.turns[-1]

    # --- the caller --------------------------------------------------------------------------

    def _event(self, event: CallEvent) -> None:
        if isinstance(event, Dtmf) and self._turn.question:
            self._interrupted()
            reply = self.dialogue.pressed(event.digit)
            if reply is not None:
                self._reply(reply)

    def _interrupted(self) -> None:
        """The caller has the word, at once."""
        self._silent_ms = 0
        if self._speech is not None and not self._speech.done() and self._turn.question:
            self._speech.cancel()
            self._call.clear().add_done_callback(lambda done: done.exception())  # the call may end first
            self._turn.interrupted = True

    def _count_silence(self) -> None:
        if self._turn.asked and self._turn.question and not self._endpointer.speaking:
            self._silent_ms += self._call.info.frame_ms
            if self._silent_ms >= PATIENCE_MS:
                self._reply(self.dialogue.silence())

    # --- we ----------------------------------------------------------------------------------

    def _reply(self, reply: Reply) -> None:
        if self.turns and not self._turn.question:
            return  # we have said goodbye
        self._interrupted()
        self.turns.append(Turn(reply.say, reply.question, reply.understood))
        log.info("call %s: understood %r, says %r", self._call.id, reply.understood, " ".join(reply.say))
        if self._on_turn is not None:
            self._on_turn(self._turn)
        self._speech = asyncio.create_task(self._speak(self._turn))
        self._speech.add_done_callback(self._spoken)

    async def _speak(self, turn: Turn) -> None:
        for sentence in turn.said:
            async with contextlib.aclosing(self._mouth.speak(sentence)) as pieces:
                async for pcm in pieces:
                    self._call.play(pcm)
                    await self._call.drain()
            played = self._call.mark()
            played.add_done_callback(functools.partial(_note, turn, sentence))
        if (await asyncio.shield(played)).played:  # the report comes, whether or not we are interrupted
            turn.asked = True
            if not turn.question:
                self._call.hangup("all said")

    def _spoken(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("call %s: cannot speak: %s", self._call.id, error)
            self._call.hangup("cannot speak")


def _note(turn: Turn, sentence: str, mark: asyncio.Future[MarkReport]) -> None:
    if mark.result().played:
        turn.heard.append(sentence)


async def receptionist(call: Call) -> None:
    """The handler for `serve`."""
    with contextlib.suppress(CallEnded):
        await Receptionist(call).run()
