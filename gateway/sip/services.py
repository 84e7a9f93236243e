# SPDX-License-Identifier: GPL-2.0-or-later
"""What a call on the SIP thread may ask of its surroundings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trunkline.gateway.sip.events import Event
from trunkline.gateway.sip.timers import Timer


class Services(Protocol):
    """Implemented by the engine; all on the SIP thread."""

    def emit(self, event: Event) -> None:
        """Tell call control."""

    def later(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Run `action` once, outside of PJSIP's callbacks."""

    @property
    def refused_certificate(self) -> str:
        """What was wrong with one that has been refused just now, if PJSIP reports a failure for it; else empty."""

    def port_of(self, protocol: str) -> int:
        """Where we listen for `udp`, `tcp` or `tls`; 0: nowhere."""

    def defer(self, action: Callable[[], None]) -> None:
        """Run `action` as soon as PJSIP is done with the message that it is working on."""
