# SPDX-License-Identifier: GPL-2.0-or-later
"""What the API asks of call control; anything with these methods can stand behind it.

A refusal is any exception that carries `cause` (one word), `detail` (a
sentence) and `http_status`, as call control's `CallRefused` does: the API knows
its shape, not its class, so that neither side imports the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from trunkline.gateway.calls.view import AgentView, CallEvent, CallView, PlaceRequest, TransferRequest


class Calls(Protocol):
    """Call control, as the API sees it. Unknown ids raise KeyError."""

    async def place(self, request: PlaceRequest) -> CallView:
        """Start an outbound call; returns once it is on its way, long before anybody answers."""

    def list(self) -> Sequence[CallView]:
        """Calls that exist now."""

    def get(self, call_id: str) -> CallView:
        """One call."""

    async def hangup(self, call_id: str, reason: str) -> None:
        """End a call in whatever state it is."""

    async def hangup_by_agent(self, call_id: str, reason: str) -> None:
        """The same, asked by the call's agent, whom its route may not allow it."""

    async def send_dtmf(self, call_id: str, digits: str, duration_ms: int, gap_ms: int) -> None:
        """Send digits to the other party."""

    async def clear_audio(self, call_id: str) -> None:
        """Throw away what the agent has queued for the other party."""

    async def transfer(self, call_id: str, request: TransferRequest) -> None:
        """Hand the other party on to somebody else."""

    async def hold(self, call_id: str, held: bool, music: str) -> None:
        """Put the other party on hold, or take it back."""

    async def set_variables(self, call_id: str, values: Mapping[str, str]) -> None:
        """Add, change and remove texts that belong to a call."""

    async def start_recording(self, call_id: str, file: str) -> None:
        """Record a call that is up."""

    async def stop_recording(self, call_id: str) -> None:
        """End its recording."""

    def subscribe(self) -> AbstractAsyncContextManager[AsyncIterator[CallEvent]]:
        """Events from the moment the context is entered."""

    def agents(self) -> Sequence[AgentView]:
        """Agents of the configuration, and how calls have found them."""

    def status(self) -> dict[str, Any]:
        """What the gateway is and does, for `GET /v1/status`."""


class Metrics(Protocol):
    """Where the Prometheus collectors live."""

    registry: CollectorRegistry

    def unauthorized(self, kind: str) -> None:
        """A request of the API had no credentials, or wrong ones; `kind` is which were wanted."""


def refusal_of(problem: BaseException) -> tuple[int, str, str] | None:
    """HTTP status, cause and detail of a refusal; None for any other exception."""
    cause, detail = getattr(problem, "cause", None), getattr(problem, "detail", None)
    status = getattr(problem, "http_status", None)
    if isinstance(cause, str) and isinstance(status, int):
        return status, cause, str(detail or problem)
    return None
