# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway's API as the command line uses it: calls on it by name, failures as sentences.

Where the gateway is, and which token it wants, is found in `locating.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx
from pydantic import ValidationError

from trunkline.gateway.calls.view import (
    AgentView,
    CallEvent,
    CallView,
    DtmfRequest,
    HoldRequest,
    PlaceRequest,
    TransferRequest,
)

TOKEN_VARIABLE = "TRUNKLINE_API_TOKEN"
URL_VARIABLE = "TRUNKLINE_API_URL"
TIMEOUT_S = 10.0
SILENCE_S = 45.0
"An event stream has a heartbeat each 15 s; three missing ones are a dead gateway."
LEAST_PREFIX = 4
"Characters that name a call: with fewer, a slip of the finger would hang up somebody else's."


class ClientError(Exception):
    """What went wrong, as a sentence with its cure; the program ends with `exit_code`."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RefusedError(ClientError):
    """The gateway understood and said no."""

    def __init__(self, status: int, error: str, detail: str) -> None:
        super().__init__(f"{detail} ({error})", 2)
        self.status = status
        self.error = error


class Gateway:
    """A connection to a running gateway."""

    def __init__(self, url: str, token: str, token_source: str) -> None:
        """`url` and `token` are what `locating` found good; raises ClientError for a URL that httpx refuses."""
        self.url = url.rstrip("/")
        self.token_source = token_source
        headers = {"Authorization": f"Bearer {token}"}
        # Not through a proxy from the environment: the gateway is usually on this machine,
        # and its token is nobody else's business.
        with self._explained():
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        """Give back the connection."""
        self._http.close()

    def calls(self) -> list[CallView]:
        """All calls, oldest first."""
        with self._explained():
            return [CallView.model_validate(item) for item in self._ask("GET", "/v1/calls").json()]

    def call(self, call_id: str) -> CallView:
        """One call by its full id."""
        with self._explained():
            return CallView.model_validate_json(self._ask("GET", f"/v1/calls/{call_id}").content)

    def find(self, prefix: str) -> CallView:
        """The one call whose id begins so."""
        wanted = prefix.lower()
        if len(wanted) < LEAST_PREFIX:
            raise ClientError(
                f"{prefix!r} is no id of a call: give at least {LEAST_PREFIX} characters of it", 2
            )
        found = [view for view in self.calls() if view.id.startswith(wanted)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise ClientError(f"there is no call {prefix}; `trunkline calls` lists them", 2)
        ids = ", ".join(view.id[: len(prefix) + 4] for view in found[:5])
        raise ClientError(f"{len(found)} calls begin with {prefix} ({ids}): give more of the id", 1)

    def place(self, request: PlaceRequest) -> CallView:
        """Start an outbound call."""
        body = request.model_dump(by_alias=True, exclude_none=True)
        with self._explained():
            return CallView.model_validate_json(self._ask("POST", "/v1/calls", json=body).content)

    def hangup(self, call_id: str, reason: str) -> None:
        """End a call."""
        self._ask("DELETE", f"/v1/calls/{call_id}", params={"reason": reason})

    def send_dtmf(self, call_id: str, request: DtmfRequest) -> None:
        """Send digits to the other party."""
        self._ask("POST", f"/v1/calls/{call_id}/dtmf", json=request.model_dump())

    def agents(self) -> list[AgentView]:
        """Agents of the configuration."""
        with self._explained():
            return [AgentView.model_validate(item) for item in self._ask("GET", "/v1/agents").json()]

    def transfer(self, call_id: str, request: TransferRequest) -> None:
        """Hand the other party on."""
        self._ask("POST", f"/v1/calls/{call_id}/transfer", json=request.model_dump())

    def hold(self, call_id: str, request: HoldRequest) -> None:
        """Put the other party on hold, or take it back."""
        self._ask("POST", f"/v1/calls/{call_id}/hold", json=request.model_dump())

    def start_recording(self, call_id: str, file: str) -> None:
        """Record a call."""
        self._ask("POST", f"/v1/calls/{call_id}/recording", json={"file": file})

    def stop_recording(self, call_id: str) -> None:
        """End its recording."""
        self._ask("DELETE", f"/v1/calls/{call_id}/recording")

    def status(self) -> dict[str, Any]:
        """The gateway's own state."""
        with self._explained():
            return dict(self._ask("GET", "/v1/status").json())

    @contextlib.contextmanager
    def events(self, call_id: str | None = None) -> Iterator[Iterator[CallEvent]]:
        """Events from now on. The iterator ends when the gateway stops, and raises when it is lost."""
        params = {"call_id": call_id} if call_id else {}
        timeout = httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
        with contextlib.ExitStack() as stack:
            # Only what httpx does is explained, not what goes wrong in the caller's block.
            with self._explained():
                stream = self._http.stream("GET", "/v1/events", params=params, timeout=timeout)
                answer = stack.enter_context(stream)
                if answer.is_error:
                    answer.read()
            self._judge(answer)
            yield self._messages(answer)

    def _messages(self, answer: httpx.Response) -> Iterator[CallEvent]:
        lines = answer.iter_lines()
        while True:
            with self._explained():
                event = next(
                    (CallEvent.model_validate_json(line[5:]) for line in lines if line[:5] == "data:"), None
                )
            if event is None:
                return
            yield event

    def _ask(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        with self._explained():
            answer = self._http.request(method, path, **kwargs)
        self._judge(answer)
        return answer

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what httpx raises into a sentence with a cure."""
        try:
            yield
        except (httpx.ConnectError, UnicodeError):  # a host with an impossible label does not even resolve
            cure = f"start one with `trunkline run --config FILE`, or name another by --api-url or {URL_VARIABLE}"
            raise ClientError(f"no gateway answers at {self.url}: {cure}") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise ClientError(f"{self.url} is no URL of a gateway") from None
        except httpx.TimeoutException:
            raise ClientError(
                f"the gateway at {self.url} does not answer in time; its log may say why"
            ) from None
        except (httpx.HTTPError, httpx.StreamError) as problem:
            raise ClientError(f"the connection to the gateway at {self.url} was lost: {problem}") from None
        except (ValidationError, ValueError, TypeError):
            raise ClientError(f"{self.url} answers, but not as a gateway of this version does") from None

    def _judge(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        if answer.status_code == 401:
            cure = f"name its file by --token-file, or set {TOKEN_VARIABLE}"
            raise ClientError(f"the gateway at {self.url} refuses the token from {self.token_source}: {cure}")
        try:
            body = answer.json()
            error, detail = str(body["error"]), str(body["detail"])
        except (ValueError, KeyError, TypeError):
            raise ClientError(f"{self.url} answers {answer.status_code}, but not as a gateway does") from None
        raise RefusedError(answer.status_code, error, detail)
