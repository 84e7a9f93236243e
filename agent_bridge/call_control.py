# SPDX-License-Identifier: MIT
"""What an agent decides about a call: answer, hold, transfer, keys, variables, state, end.

Routes allow or forbid each of these.  What is forbidden, or cannot be done now, raises `CommandRefused`
where there is something to wait for, and is an event `Refused` in any case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from trunkline.agent_bridge.call_events import CallEvent, CallState, Refused, TransferProgress
from trunkline.agent_bridge.call_facts import CallFacts
from trunkline.agent_bridge.call_types import CallEnded, CommandRefused
from trunkline.agent_bridge.dialect import StartInfo
from trunkline.agent_bridge.link_events import (
    Acknowledge,
    Answer,
    AskStatus,
    Command,
    Dtmf,
    Hangup,
    HoldCall,
    Mute,
    Pause,
    Progress,
    Ring,
    State,
    Transfer,
    Variables,
)
from trunkline.agent_bridge.native_commands import MAX_STATE_BYTES
from trunkline.agent_bridge.transferring import Transferring

_DIGITS = frozenset("0123456789*#ABCD")
_MAX_DIGITS = 256
REFUSALS = ("forbidden", "not_now", "bad_target", "bad_header", "unsupported")
"Codes of errors that answer a command which something waits for."


class CallControl(CallFacts):
    """Part of `Call`."""

    def __init__(self, info: StartInfo) -> None:
        """Nothing is asked yet."""
        super().__init__(info)
        self._answering: deque[asyncio.Future[None]] = deque()
        self._asking: deque[asyncio.Future[Mapping[str, float]]] = deque()
        self._transferring: Transferring | None = None
        self._acknowledged = info.position

    def _say(self, make: Callable[[int], Command]) -> None:
        """Say the command that `make` makes of the channel, now or when the connection is back."""
        raise NotImplementedError

    # --- before the answer -------------------------------------------------------------------

    def ring(self, **headers: str) -> None:
        """Let the caller hear that it rings (180). Only for a call that was taken with `answer_at_once` False."""
        self._say(lambda channel: Ring(channel, headers))

    def progress(self, **headers: str) -> None:
        """Be heard before the answer (183 with audio)."""
        self._say(lambda channel: Progress(channel, headers))

    async def answer(self, headers: Mapping[str, str] | None = None) -> None:
        """Answer the call, and wait until it is; raises CommandRefused or CallEnded."""
        if self.answered:
            return
        if self.stopped:
            raise CallEnded(self.stopped.reason)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answering.append(future)
        self._say(lambda channel: Answer(channel, headers or {}))
        await future

    def reject(self, code: int = 0, reason: str = "") -> None:
        """Do not take the call: only in the `on_offer` hook, later it is `hangup(reason, code)`."""
        self.refusal = (code, reason)

    # --- while it is up ----------------------------------------------------------------------

    def hold(self, music: str = "") -> None:
        """Put the other party on hold; `music` is a name that the gateway's configuration knows."""
        self._say(lambda channel: HoldCall(channel, True, music))

    def resume(self) -> None:
        """Take it back."""
        self._say(lambda channel: HoldCall(channel, False))

    def transfer(
        self, target: str = "", *, attended: CallFacts | str = "", headers: Mapping[str, str] | None = None
    ) -> Transferring:
        """Hand the other party on: to a number or SIP URI, or to the other party of another call (attended).

        `await call.transfer("+4930123")` is how it ended, `async for progress in ...` each step.
        """
        if not target and not attended:
            raise ValueError("a transfer needs a target or another call")
        if self._transferring is not None:
            raise RuntimeError("a transfer of this call is under way")
        self._transferring = transferring = Transferring()
        other = attended if isinstance(attended, str) else attended.id
        if self.stopped:
            self._transfer_told(TransferProgress("ended", 0, self.stopped.reason))
        self._say(lambda channel: Transfer(channel, target, other, headers or {}))
        return transferring

    def mute(self, *, uplink: bool | None = None, downlink: bool | None = None) -> None:
        """`downlink`: the other party does not hear the agent; `uplink`: nor the agent it. False ends it."""
        if uplink is None and downlink is None:
            raise ValueError("mute what? uplink=True, downlink=True or both")
        self._say(lambda channel: Mute(channel, uplink, downlink))

    def pause(self, paused: bool = True) -> None:
        """Stop playing and keep what is queued; `pause(False)` goes on."""
        self._say(lambda channel: Pause(channel, paused))

    def send_dtmf(self, digits: str, duration_ms: int = 160, gap_ms: int = 80) -> None:
        """Press keys: 0-9 A-D * #. Audio goes on behind them."""
        digits = digits.upper()
        if not digits or not set(digits) <= _DIGITS or len(digits) > _MAX_DIGITS:
            raise ValueError(f"digits {digits!r}: 1 to 256 of 0-9 A-D * #")
        if not (40 <= duration_ms <= 6000 and 40 <= gap_ms <= 6000):
            raise ValueError("duration and gap of digits are 40 to 6000 ms")
        self._say(lambda channel: Dtmf(channel, digits, duration_ms, gap_ms))

    def set(self, values: Mapping[str, str] | None = None, **more: str) -> None:
        """Put texts on the call, by name; they are in its log line, and the next agent sees them. Empty: gone."""
        changed = dict(values or {}) | more
        if not all(isinstance(text, str) for item in changed.items() for text in item):
            raise TypeError("names and values of variables are texts")
        self.variables = {name: text for name, text in (self.variables | changed).items() if text}
        self._say(lambda channel: Variables(channel, changed))

    async def status(self) -> Mapping[str, float]:
        """How much is queued and how the call is, by name; raises CommandRefused or CallEnded."""
        if self.stopped:
            raise CallEnded(self.stopped.reason)
        future: asyncio.Future[Mapping[str, float]] = asyncio.get_running_loop().create_future()
        self._asking.append(future)
        self._say(AskStatus)
        return await future

    def hangup(self, reason: str = "", code: int = 0, headers: Mapping[str, str] | None = None) -> None:
        """End the call at once; `code` is the SIP code if it was never answered."""
        self._say(lambda channel: Hangup(channel, reason, code, headers or {}))

    # --- for whoever gets the call next ------------------------------------------------------

    def save(self, data: bytes) -> None:
        """Leave at most 8,192 bytes with the gateway: an agent that gets the call after us finds them in `saved`."""
        if len(data) > MAX_STATE_BYTES:
            raise ValueError(f"a state of {len(data)} bytes; at most {MAX_STATE_BYTES}")
        self.saved = data = bytes(data)
        self._say(lambda channel: State(channel, data))

    def ack(self, position: int) -> None:
        """What came before this position is dealt with, and need not be said again to another agent.

        Called by itself once a second for the frames that were iterated over (`Agent(ack_every_s=...)`).
        """
        if position > self._acknowledged:
            self._acknowledged = position
            self._say(lambda channel: Acknowledge(channel, position))

    # --- what comes of it --------------------------------------------------------------------

    def _notice(self, event: CallEvent) -> None:
        """Settle what waits for this event."""
        match event:
            case CallState(state):
                self.state = state
                while state == "answered" and self._answering:
                    _settle(self._answering.popleft(), None)
            case TransferProgress():
                self._transfer_told(event)
            case Refused():
                self._refused(event)

    def _refused(self, event: Refused) -> None:
        """The error names no command: it is taken for that of the oldest one that can be refused with it."""
        error = CommandRefused(event.code, event.text)
        if event.code not in REFUSALS:
            return
        if self._asking and event.code == "unsupported":
            _fail(self._asking.popleft(), error)
        elif self._answering and event.code in ("not_now", "bad_header"):
            _fail(self._answering.popleft(), error)
        elif self._transferring is not None and not self._transferring.begun:
            self._transfer_told(TransferProgress("failed", 0, f"{event.code}: {event.text}"))

    def _transfer_told(self, progress: TransferProgress) -> None:
        if self._transferring is not None:
            self._transferring.told(progress)
            if progress.final:
                self._transferring = None

    def _status_told(self, status: Mapping[str, float]) -> None:
        if self._asking:
            _settle(self._asking.popleft(), status)

    def _end_control(self, reason: str) -> None:
        """The call is over: whoever waits is told."""
        for waiting in self._answering:
            _fail(waiting, CallEnded(reason))
        for asked in self._asking:
            _fail(asked, CallEnded(reason))
        self._answering.clear()
        self._asking.clear()
        self._transfer_told(TransferProgress("ended", 0, reason))


def _settle(future: asyncio.Future, result: object) -> None:  # type: ignore[type-arg]
    if not future.done():  # whoever waited may have been cancelled
        future.set_result(result)


def _fail(future: asyncio.Future, error: Exception) -> None:  # type: ignore[type-arg]
    if not future.done():
        future.set_exception(error)
        future.exception()  # nobody has to look
