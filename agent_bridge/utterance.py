# SPDX-License-Identifier: MIT
"""Something that an agent says, from its first sample to the last, or to the caller's interruption.

How much of it was heard is what the gateway says it has played: a mark before the first sample tells where
on the way to the caller it began, and the answer to a clear tells where that ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator
from typing import Any, Protocol

from trunkline.agent_bridge.call_types import Cleared, MarkReport, PcmLike, samples_of

SpeechLike = PcmLike | AsyncIterable[PcmLike]


@dataclasses.dataclass(frozen=True, slots=True)
class Spoken:
    """What became of an utterance."""

    outcome: str
    """`played`: all of it was heard.  `interrupted`: the caller spoke, or a clear came.  `lost`: the gateway's
    media process was replaced meanwhile, nobody knows.  `ended`: the call is over"""
    heard_ms: int
    "how much of it the caller has been sent"
    said_ms: int
    "how much of it there was, as far as it had been made"

    @property
    def interrupted(self) -> bool:
        """The caller did not hear its end."""
        return self.outcome == "interrupted"


class Speaker(Protocol):
    """What an utterance needs of its call."""

    @property
    def sample_rate(self) -> int: ...
    def play(self, pcm: PcmLike) -> None: ...
    async def drain(self) -> None: ...
    def mark(self, name: str | None = None) -> asyncio.Future[MarkReport]: ...
    def clear(self) -> asyncio.Future[Cleared]: ...


class Utterance:
    """Made by `Call.say`. Await it for its `Spoken`."""

    def __init__(
        self, call: Speaker, speech: SpeechLike, interruptible: bool, before: Utterance | None
    ) -> None:
        """What was to be said `before` is handed in first."""
        self.interruptible = interruptible
        "the caller's voice ends it"
        self._call = call
        self._samples = 0
        self._began: asyncio.Future[MarkReport] | None = None
        self._end: asyncio.Future[MarkReport] | None = None
        self._spoken: asyncio.Future[Spoken] = asyncio.get_running_loop().create_future()
        self._before = before
        self.handed_in = asyncio.get_running_loop().create_task(self._hand_in(speech))
        "done when all of it is with the gateway, or it was cut"
        self.handed_in.add_done_callback(self._handed_in)

    def __await__(self) -> Generator[Any, None, Spoken]:
        """How it ended. An error of the iterator that makes the speech is raised here."""
        return asyncio.shield(self._spoken).__await__()

    @property
    def done(self) -> bool:
        """It is over."""
        return self._spoken.done()

    @property
    def begun(self) -> bool:
        """The first sample has been sent to the caller."""
        return self._began is not None and self._began.done() and self._began.result().played

    def interrupt(self) -> asyncio.Future[Spoken]:
        """Silence it, and all that is said after it. The result may be awaited, or not."""
        if not self.done:
            self._call.clear()
        return self._spoken

    async def _hand_in(self, speech: SpeechLike) -> None:
        if self._before is not None:
            await asyncio.wait([self._before.handed_in])
            self._before = None
        self._began = self._call.mark()
        if isinstance(speech, AsyncIterable):
            await self._hand_in_pieces(aiter(speech))
        else:
            self._play(speech)
        self._end = self._call.mark()
        self._end.add_done_callback(self._ended)

    async def _hand_in_pieces(self, pieces: AsyncIterator[PcmLike]) -> None:
        try:
            async for piece in pieces:
                self._play(piece)
                await self._call.drain()
        finally:  # a generator that makes speech must learn at once that nobody wants more
            close = getattr(pieces, "aclose", None)
            if close is not None:
                await close()

    def _play(self, piece: PcmLike) -> None:
        pcm = samples_of(piece)
        self._samples += len(pcm)
        self._call.play(pcm)

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call it once it is over."""
        self._spoken.add_done_callback(lambda _: callback())

    # --- told by the call --------------------------------------------------------------------

    def stop(self) -> None:
        """A clear is on its way: nothing more of it is handed in."""
        self.handed_in.cancel()

    def touched_by_clear(self) -> bool:
        """The gateway has cleared of its own accord: was something of this there?"""
        return self._began is not None and self._began.done()

    @property
    def all_cleared(self) -> bool:
        """Nothing of it can be on its way to the gateway any more."""
        return self._end is not None and self._end.done()

    def cleared(self, answer: Cleared) -> None:
        """What was heard before it was silenced is known."""
        if self._end is not None and self._end.done() and self._end.result().played:
            self._ended(self._end)  # all of it: the clear came too late
        heard = 0
        if self._began is not None and self._began.done() and self._began.result().played:
            heard = answer.played_ms - self._ms(self._began.result().position)
        self._settle("interrupted", heard)

    def call_over(self) -> None:
        """Nobody will say anything about it any more."""
        self.stop()
        self._settle("ended", 0)

    def _handed_in(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._spoken.done():
            self._spoken.set_exception(error)

    def _ended(self, mark: asyncio.Future[MarkReport]) -> None:
        if mark.cancelled() or mark.result().outcome == "cleared":
            return  # `cleared` follows, and knows more
        played = mark.result().played
        self._settle(mark.result().outcome, self._ms(self._samples) if played else 0)

    def _settle(self, outcome: str, heard_ms: int) -> None:
        if not self._spoken.done():
            said_ms = self._ms(self._samples)
            self._spoken.set_result(Spoken(outcome, min(max(heard_ms, 0), said_ms), said_ms))

    def _ms(self, samples: int) -> int:
        return samples * 1000 // self._call.sample_rate
