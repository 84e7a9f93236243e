# SPDX-License-Identifier: MIT
"""The opening handshake of a WebSocket, the client's side (RFC 6455, section 4), for `websocket_link.py`."""

from __future__ import annotations

import base64
import logging

from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from trunkline.agent_bridge import websocket_errors
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.message_dialect import MessageDialect
from trunkline.agent_bridge.native_messages import silence

TIMEOUT_NS = 2_000_000_000
MAX_MESSAGE_BYTES = 1 << 20
"""Longest message from an agent. A minute and a half of mu-law in base64, half a minute of 16 kHz in binary; to read
so much JSON takes 10 ms, in which nobody is sent anything."""
_SILENT = logging.getLogger("trunkline.agent_bridge.websocket")
_SILENT.disabled = True
"The library's own log would have credentials in it, at its debug level; what it has to say we hear otherwise."


class Opening:
    """From the request to the 101, or to the reason why there is none."""

    def __init__(self, dialect: MessageDialect, settings: LinkSettings) -> None:
        self._dialect, self._settings = dialect, settings
        offered = [Subprotocol(name) for name in dialect.subprotocols]
        self.protocol = ClientProtocol(
            parse_uri(settings.url), subprotocols=offered or None, max_size=MAX_MESSAGE_BYTES, logger=_SILENT
        )
        self._limit_ns = TIMEOUT_NS if settings.timeout_ms is None else settings.timeout_ms * 1_000_000
        self.deadline_ns = 0
        self._tail = b""
        "the last bytes of the headers, which a read may cut anywhere"
        self._in_body = False
        "headers of an answer that is no 101 are through"

    def begin(self, now_ns: int) -> None:
        """Write the request; the agent has 2 s to answer it, or what the settings say."""
        self.deadline_ns = now_ns + self._limit_ns
        request = self.protocol.connect()
        request.headers["User-Agent"] = self._settings.gateway_name
        for name, value in request_headers(self._dialect, self._settings).items():
            request.headers[name] = value
        self.protocol.send_request(request)

    def take(self, data: bytes) -> bytes | None:
        """Some of the answer; when it is the 101, what stands behind it, which is frames.

        The protocol is fed line by line, because it parses all that it is given.
        """
        at = 0
        while at < len(data) and self.failure is None:
            end = len(data) if self._in_body else data.find(b"\n", at) + 1 or len(data)
            line, at = data[at:end], end
            self._tail = (self._tail + line)[-4:]
            self._in_body = self._in_body or self._tail == b"\r\n\r\n"
            self.protocol.receive_data(line)
            if self.protocol.state is State.OPEN:
                self.protocol.events_received()
                return data[at:]
        return None

    @property
    def failure(self) -> tuple[str, str] | None:
        """Reason and sentence, once the answer was a wrong one."""
        fault = self.protocol.handshake_exc
        if fault is None:
            return None
        return websocket_errors.handshake_failure(fault, self.protocol.uri.path, self._dialect.subprotocols)

    def too_late(self) -> str:
        """The sentence when the deadline has passed."""
        return silence("the agent did not answer the WebSocket handshake", self._limit_ns)


def request_headers(dialect: MessageDialect, settings: LinkSettings) -> dict[str, str]:
    """Headers of the handshake: credentials, the dialect's own, and those of the configuration, which win."""
    found: dict[str, tuple[str, str]] = {}
    if settings.username:
        pair = f"{settings.username}:{settings.password or ''}".encode()
        found["authorization"] = "Authorization", f"Basic {base64.b64encode(pair).decode('ascii')}"
    elif settings.token and dialect.token_is_bearer:
        found["authorization"] = "Authorization", f"Bearer {settings.token}"
    for headers in (dialect.request_headers(), settings.headers):
        found.update({name.lower(): (name, value) for name, value in headers.items()})
    return dict(found.values())
