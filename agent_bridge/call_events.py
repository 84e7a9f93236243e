# SPDX-License-Identifier: MIT
"""What happens in a call beside its audio, as `Call.events()` and `Call.on_event()` tell it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from trunkline.agent_bridge.call_types import Cleared


@dataclasses.dataclass(frozen=True, slots=True)
class Dtmf:
    """The caller pressed a key; once per press, whatever ways it came by."""

    digit: str
    duration_ms: int
    method: str
    "`rfc4733` (RTP event), `info` (SIP INFO) or `inband` (tones)"


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """The caller has put us on hold (held), or is back."""

    held: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Quality:
    """How good the call is, told every few seconds and when it changes; PROTOCOL.md has all the names."""

    stats: Mapping[str, float]
    "figures by name; one that is not known is missing"

    @property
    def mos(self) -> float | None:
        """What the agent hears, over the whole call: 1 bad to 4.5 as good as the telephone gets."""
        return self.stats.get("mos")

    @property
    def recent_mos(self) -> float | None:
        """The same over the last seconds."""
        return self.stats.get("recent_mos")

    @property
    def peer_mos(self) -> float | None:
        """What the caller hears of the agent, as far as his side reports it."""
        return self.stats.get("peer_mos")


@dataclasses.dataclass(frozen=True, slots=True)
class Network:
    """Nothing comes from the caller's side (silent), or something does again.

    Frames go on meanwhile, flagged. A dead network looks like this, and so does a telephone that
    sends nothing while nobody speaks: wait a little before you ask whether somebody is there.
    """

    silent: bool
    idle_ms: int
    "for how long nothing has come, or had come"


@dataclasses.dataclass(frozen=True, slots=True)
class Resumed:
    """The gateway's media process was replaced: what was queued there for the caller is gone."""

    gap_ms: int = 0
    "for how long the caller has been sent nothing; 0 when the gateway did not say"


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """A command was not carried out."""

    code: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Speech:
    """The caller begins to speak (started), or has stopped; only if the route has detection."""

    started: bool
    position: int
    "where on the call's timeline, as in frames: somewhat before the moment at which it was sure"
    level_dbov: float = math.nan
    "how loud, 0 being the loudest there is; nan if not known"


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """The caller spoke and the agent answered: what that took, and whose part it was (PROTOCOL.md, 6.5)."""

    figures: Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Underrun:
    """The agent's speech ran dry in the middle: the caller heard a hole. Send it earlier, or in larger pieces."""

    position: int
    "samples of the agent played before it"
    missing_ms: int
    "how long the hole was"


@dataclasses.dataclass(frozen=True, slots=True)
class CallState:
    """How far the call has got that was not answered when it began: `ringing`, `early`, `answered`."""

    state: str


@dataclasses.dataclass(frozen=True, slots=True)
class TransferProgress:
    """How a transfer goes."""

    state: str
    "`trying`, `ringing`, `done`, `failed`, or `ended`: the call was over before anybody knew"
    code: int = 0
    "the SIP code that said so; 0 if none did"
    reason: str = ""

    @property
    def done(self) -> bool:
        """The other party has been handed on."""
        return self.state == "done"

    @property
    def final(self) -> bool:
        """Nothing follows."""
        return self.state not in ("trying", "ringing")


CallEvent = (
    Dtmf | Hold | Network | Quality | Resumed | Refused | Cleared | Speech | Turn | Underrun | CallState
    | TransferProgress
)  # fmt: skip
"`Cleared` only when the gateway silenced the call of its own accord: the caller has interrupted the agent."
