# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway's API as the command line uses it: where it is, and calls on it by name.

Address and token are looked for in this order, each on its own:

    address   --api-url, TRUNKLINE_API_URL, [api] of --config, http://127.0.0.1:8070
    token     --token-file, TRUNKLINE_API_TOKEN, what --config names, `api-token` in the state folder

The token never stands on the command line, where every user of the machine can read it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from trunkline.gateway.calls.view import CallEvent, CallView, DtmfRequest, PlaceRequest
from trunkline.gateway.config import Config, ConfigError, load
from trunkline.gateway.config.model import State

DEFAULT_URL = "http://127.0.0.1:8070"
TOKEN_VARIABLE = "TRUNKLINE_API_TOKEN"
URL_VARIABLE = "TRUNKLINE_API_URL"
TIMEOUT_S = 10.0
SILENCE_S = 45.0
"An event stream has a heartbeat each 15 s; three missing ones are a dead gateway."


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
        self.url = url.rstrip("/")
        self.token_source = token_source
        headers = {"Authorization": f"Bearer {token}"}
        # Not through a proxy from the environment: the gateway is usually on this machine,
        # and its token is nobody else's business.
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        """Give back the connection."""
        self._http.close()

    def calls(self) -> list[CallView]:
        """All calls, oldest first."""
        return [CallView.model_validate(item) for item in self._ask("GET", "/v1/calls").json()]

    def call(self, call_id: str) -> CallView:
        """One call by its full id."""
        return CallView.model_validate_json(self._ask("GET", f"/v1/calls/{call_id}").content)

    def find(self, prefix: str) -> CallView:
        """The one call whose id begins so."""
        wanted = prefix.lower()
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
        return CallView.model_validate_json(self._ask("POST", "/v1/calls", json=body).content)

    def hangup(self, call_id: str, reason: str) -> None:
        """End a call."""
        self._ask("DELETE", f"/v1/calls/{call_id}", params={"reason": reason})

    def send_dtmf(self, call_id: str, request: DtmfRequest) -> None:
        """Send digits to the other party."""
        self._ask("POST", f"/v1/calls/{call_id}/dtmf", json=request.model_dump())

    def status(self) -> dict[str, Any]:
        """The gateway's own state."""
        return dict(self._ask("GET", "/v1/status").json())

    @contextlib.contextmanager
    def events(self, call_id: str | None = None) -> Iterator[Iterator[CallEvent]]:
        """Events from now on. The iterator ends when the gateway stops, and raises when it is lost."""
        params = {"call_id": call_id} if call_id else {}
        timeout = httpx.Timeout(TIMEOUT_S, read=SILENCE_S)
        with (
            self._explained(),
            self._http.stream("GET", "/v1/events", params=params, timeout=timeout) as answer,
        ):
            if answer.is_error:
                answer.read()
                self._judge(answer)
            yield self._messages(answer)

    def _messages(self, answer: httpx.Response) -> Iterator[CallEvent]:
        with self._explained():
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield CallEvent.model_validate_json(line[5:])

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
        except httpx.ConnectError:
            cure = f"start one with `trunkline run --config FILE`, or name another by --api-url or {URL_VARIABLE}"
            raise ClientError(f"no gateway answers at {self.url}: {cure}") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as problem:
            raise ClientError(f"{self.url} is no URL of a gateway: {problem}") from None
        except httpx.TimeoutException:
            raise ClientError(
                f"the gateway at {self.url} does not answer in time; its log may say why"
            ) from None
        except httpx.TransportError as problem:
            raise ClientError(f"the connection to the gateway at {self.url} was lost: {problem}") from None

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


def connect(api_url: str | None, token_file: Path | None, config_file: Path | None) -> Gateway:
    """Find address and token; raises ClientError when there is no token to be found."""
    config = _configuration(config_file)
    url = api_url or os.environ.get(URL_VARIABLE) or _url_of(config)
    token, source = _token(token_file, config, url)
    return Gateway(url, token, source)


def _configuration(path: Path | None) -> Config | None:
    if path is None:
        return None
    try:
        return load(path)
    except ConfigError as problem:
        raise ClientError(str(problem)) from None


def _url_of(config: Config | None) -> str:
    if config is None:
        return DEFAULT_URL
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.api.bind, config.api.bind)
    return f"http://[{host}]:{config.api.port}" if ":" in host else f"http://{host}:{config.api.port}"


def _token(token_file: Path | None, config: Config | None, url: str) -> tuple[str, str]:
    """The token, and where it came from."""
    if token_file is not None:
        return _read(token_file), str(token_file)
    names = [TOKEN_VARIABLE]
    if config is not None and config.api.token_env not in ("", TOKEN_VARIABLE):
        names.insert(0, config.api.token_env)
    for name in names:
        if token := os.environ.get(name, "").strip():
            return token, f"the environment variable {name}"
    if config is not None and config.api.token_file:
        path = config.resolve_path(config.api.token_file)
        return _read(path), str(path)
    path = (config.state if config is not None else State()).path() / "api-token"
    if path.exists():
        return _read(path), str(path)
    raise ClientError(
        f"no API token: neither {TOKEN_VARIABLE} nor {path} has one. A gateway that runs as another user or with "
        "another state folder has its own: name its file by --token-file, or its configuration by --config"
    )


def _read(path: Path) -> str:
    try:
        token = path.read_text().strip()
    except OSError as problem:
        raise ClientError(f"the token file {path} cannot be read: {problem.strerror}") from None
    if not token:
        raise ClientError(f"the token file {path} is empty")
    return token
