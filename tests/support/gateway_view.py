# SPDX-License-Identifier: GPL-2.0-or-later
"""What a running gateway says: its API, its event stream, its log."""

from __future__ import annotations

import contextlib
import json
import pathlib
from typing import Any

import httpx

from support.waiting import WAIT_S, wait_for


class GatewayView:
    """Questions to a gateway; `wait_...` polls with a deadline."""

    def __init__(self, api: httpx.Client, log_file: pathlib.Path) -> None:
        self.api = api
        self._log = log_file
        self.events: list[dict[str, Any]] = []
        "all that the event stream has said"

    def status(self) -> dict[str, Any]:
        """GET /v1/status."""
        return dict(self._get("/v1/status"))

    def calls(self) -> list[dict[str, Any]]:
        """Calls that exist."""
        return list(self._get("/v1/calls"))

    def call(self, call_id: str) -> dict[str, Any]:
        """One call, also when it has ended."""
        return dict(self._get(f"/v1/calls/{call_id}"))

    def _get(self, path: str) -> Any:
        return self.api.get(path).raise_for_status().json()

    def metric(self, name: str, **labels: str) -> float:
        """Value of a metric; 0 when it is not there."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        for line in self.api.get("/metrics").raise_for_status().text.splitlines():
            head, _, value = line.rpartition(" ")
            if head.partition("{")[0] == name and all(one in head for one in wanted):
                return float(value)
        return 0.0

    def wait_call(self, state: str = "up", sip_call_id: str = "", **fields: str) -> dict[str, Any]:
        """The call in this state with these fields, as soon as there is one."""
        fields |= {"sip_call_id": sip_call_id} if sip_call_id else {}

        def found() -> dict[str, Any] | None:
            match = [one for one in self.calls() if one["state"] == state]
            return next(
                (one for one in match if all(one[key] == value for key, value in fields.items())), None
            )

        return wait_for(found, f"a call that is {state} {fields}")  # type: ignore[return-value]

    def wait_end(self, call_id: str, timeout_s: float = WAIT_S) -> dict[str, Any]:
        """The canonical log line of a call, once it has been written."""
        return wait_for(lambda: self.log("call.ended", call_id=call_id), f"end of call {call_id}", timeout_s)[
            0
        ]

    def wait_event(self, event: str, timeout_s: float = WAIT_S, **fields: Any) -> dict[str, Any]:
        """The first such event of the stream, past or to come; fields are the event's or its data's."""

        def found() -> dict[str, Any] | None:
            for one in self.events:
                facts = {**one["data"], **one}
                if one["event"] == event and all(facts.get(key) == value for key, value in fields.items()):
                    return one
            return None

        return wait_for(found, f"event {event} {fields}", timeout_s)  # type: ignore[return-value]

    def log_text(self) -> str:
        """Everything it has printed."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    def log(self, event: str = "", **fields: Any) -> list[dict[str, Any]]:
        """Log lines, all or those of an event with these fields."""
        lines = [
            json.loads(line)
            for line in self.log_text().splitlines()
            if line.startswith("{") and line.endswith("}")
        ]
        matching = (line for line in lines if not event or line.get("event") == event)
        return [line for line in matching if all(line.get(key) == value for key, value in fields.items())]

    def follow(self) -> None:
        """Collect events until the gateway closes the stream."""
        with (
            contextlib.suppress(httpx.TransportError),
            self.api.stream("GET", "/v1/events", timeout=None) as answer,
        ):
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    self.events.append(json.loads(line[5:]))
