# SPDX-License-Identifier: MIT
"""What is known of a call: who calls, how far it has got, what was left with it."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.agent_bridge.call_events import Quality
from trunkline.agent_bridge.call_types import Stopped
from trunkline.agent_bridge.dialect import StartInfo


class CallFacts:
    """Part of `Call`."""

    def __init__(self, info: StartInfo) -> None:
        """As the gateway's `start` has it."""
        self.info = info
        "everything known of the call: trunk, route, direction, ..."
        self.stopped: Stopped | None = None
        "why the call ended, once it has"
        self.state = "answered" if info.answered else "offered"
        "`offered`, `ringing`, `early`: not answered yet; `answered`: the other party hears what is said"
        self.variables: dict[str, str] = dict(info.variables)
        "texts that agents have put on the call with `set()`; this one's own count at once"
        self.saved = info.state
        "what `save()` was given last: by this agent, or by the one that had the call before it"
        self.quality: Quality | None = None
        "how good the call is, as the gateway said last; it is an event too"
        self.unheard_ms = 0
        "audio thrown away because the handler did not listen for 30 s"
        self.refusal: tuple[int, str] | None = None
        "SIP code and reason given to `reject()`"
        self.answer_at_once = True
        "only in `on_offer`: False takes the call without answering it; `answer()` does that later"

    @property
    def id(self) -> str:
        """The call's id, the same in every log and event of the gateway."""
        return self.info.call_id

    @property
    def caller(self) -> str:
        """Who calls."""
        return self.info.caller

    @property
    def called(self) -> str:
        """Who was called."""
        return self.info.called

    @property
    def headers(self) -> Mapping[str, str]:
        """SIP headers that the trunk lets through."""
        return self.info.headers

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the configuration says of route and agent."""
        return self.info.metadata

    @property
    def sample_rate(self) -> int:
        """Samples per second, both ways."""
        return self.info.sample_rate_hz

    @property
    def answered(self) -> bool:
        """The other party hears what is said."""
        return self.state == "answered"

    @property
    def attempt(self) -> int:
        """Which agent this is that has the call: 2 after the first was lost; `saved` has what that left."""
        return self.info.attempt
