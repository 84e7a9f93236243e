# SPDX-License-Identifier: MIT
"""A dialect over WebSocket: calls to messages, messages to events (sans-I/O, one call a connection).

`websocket_link.WebSocketLink` does the WebSocket, and is the `dialect.Link`; what the messages
say is in a `MessageDialect` each:

    start() audio() mark() ...  -> messages for the agent: text (str) or binary (bytes)
    a message from the agent    -> received() -> events, in the order they were said

`received` raises ProtocolViolation for what its dialect does not allow, with a sentence that
names what was wrong; what is merely unknown is ignored and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.link_events import LinkEvent

Messages = Sequence[str | bytes]
Options = Mapping[str, Sequence[str]]


class MessageDialect:
    """Base of all: says nothing, understands nothing. `channel` is set before `start`."""

    name = ""
    subprotocols: Sequence[str] = ()
    "offered in the handshake, the best first"
    supports_marks = False
    supports_flow_control = False
    token_is_bearer = True
    "the token of the settings goes as `Authorization: Bearer`; False: the dialect has another use for it"
    sample_rates_hz: Sequence[int] = (8000, 16000, 24000, 48000)
    "rates that the audio can have on this wire; the configuration is checked against it"
    options: ClassVar[Options] = {}
    "what can be chosen (`LinkSettings.options`), with the values of each, the default first"

    def __init__(self, settings: LinkSettings) -> None:
        """Raises ValueError, with a sentence, for settings that this dialect cannot have."""
        check_settings(self, settings)
        self.settings = settings
        self.channel = 0
        self.ignored: Counter[str] = Counter()
        "messages without effect, by reason"

    def request_headers(self) -> Mapping[str, str]:
        """Headers of the handshake that this dialect adds (a signature, say)."""
        return {}

    def start(self, info: StartInfo) -> Messages:
        """The call begins. The connection is the consent, and the answer, unless `answers` says otherwise."""
        return ()

    def answers(self) -> bool:
        """Whether an inbound call is answered as soon as the agent is connected; else `Answer` must come."""
        return True

    def stop(self, reason: str, stats: Mapping[str, float]) -> Messages:
        """The call is over; the connection is closed after it."""
        return ()

    def audio(self, position: int, flags: int, pcm: NDArray[np.int16]) -> Messages:
        """One frame of the caller: int16[samples]."""
        return ()

    def received(self, message: str | bytes) -> list[LinkEvent]:
        """What the agent says; raises ProtocolViolation."""
        return []

    def replies(self) -> Messages:
        """What the last `received` calls for at once; asked for after it."""
        return ()

    def asks(self) -> list[LinkEvent]:
        """What the dialect itself wants of the call after a mark was settled; asked for after `mark`."""
        return []

    def option(self, name: str) -> str:
        """What was chosen, or the default."""
        return self.settings.options.get(name, self.options[name][0])

    # --- what some dialects can say, and most cannot --------------------------------------------

    def dtmf(self, digit: str, duration_ms: int, method: str) -> Messages:
        """The caller pressed a key."""
        return ()

    def mark(self, name: str, position: int, outcome: str) -> Messages:
        """A mark's fate: `played` or `cleared`."""
        return ()

    def cleared(self, name: str, played_ms: int, discarded_ms: int, marks: Sequence[str]) -> Messages:
        """What a clear did; its marks are not reported by `mark`."""
        return ()

    def flow(self, ready: bool, queued_ms: int) -> Messages:
        """Ask for a pause, or for more."""
        return ()

    def hold(self, held: bool) -> Messages:
        """The caller has put us on hold, or is back."""
        return ()

    def quality(self, stats: Mapping[str, float]) -> Messages:
        """How good the call is."""
        return ()

    def network(self, silent: bool, idle_ms: int) -> Messages:
        """Nothing comes from the caller's side, or something does again."""
        return ()

    def speech(self, started: bool, position: int, level_dbov: float) -> Messages:
        """The caller begins or ends to speak."""
        return ()

    def turn(self, turn: Mapping[str, float]) -> Messages:
        """What one turn took."""
        return ()

    def underrun(self, position: int, missing_ms: int) -> Messages:
        """The agent's speech ran dry."""
        return ()

    def call_state(self, state: str) -> Messages:
        """`ringing`, `early`, `answered`."""
        return ()

    def transfer(self, state: str, code: int, reason: str) -> Messages:
        """How a transfer goes."""
        return ()

    def status(self, status: Mapping[str, float]) -> Messages:
        """Answer to AskStatus."""
        return ()

    def error(self, code: str, text: str) -> Messages:
        """A command was not carried out."""
        return ()


def check_settings(dialect: MessageDialect, settings: LinkSettings) -> None:
    """Raise ValueError, with a sentence, for a rate or an option that the dialect does not have."""
    if settings.sample_rate_hz not in dialect.sample_rates_hz:
        rates = ", ".join(map(str, dialect.sample_rates_hz))
        raise ValueError(f"{dialect.name} at {settings.sample_rate_hz} Hz: it is one of {rates}")
    for name, value in settings.options.items():
        if name not in dialect.options:
            known = ", ".join(dialect.options) or "none"
            raise ValueError(f"{dialect.name} has no option {name!r}; there is {known}")
        if value not in (values := dialect.options[name]):
            raise ValueError(f"option {name} of {dialect.name} is not {value!r}: it is one of {', '.join(values)}")
