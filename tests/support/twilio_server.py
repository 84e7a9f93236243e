# SPDX-License-Identifier: GPL-2.0-or-later
"""An agent for Twilio Media Streams, as people write them with the `websockets` package; it knows nothing of us."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from support.certificates import Pair
from support.waiting import wait_for


class Stream:
    """One connection, with all that was said on it."""

    def __init__(self, connection: ServerConnection, echo: bool) -> None:
        assert connection.request is not None
        self.socket, self.echo = connection, echo
        self.path = connection.request.path
        self.headers = connection.request.headers
        self.messages: list[dict[str, Any]] = []
        self.sid = ""

    def run(self) -> None:
        """Until either side closes."""
        with contextlib.suppress(ConnectionClosed):
            for text in self.socket:
                message = json.loads(text)
                self.messages.append(message)
                if message["event"] == "start":
                    self.sid = message["streamSid"]
                elif message["event"] == "media" and self.echo:
                    self.say(message["media"]["payload"])

    def say(self, payload: str) -> None:
        """Mu-law in base64."""
        self.send("media", media={"payload": payload})

    def speak(self, ulaw: bytes) -> None:
        """Mu-law as it is."""
        self.say(base64.b64encode(ulaw).decode())

    def send(self, event: str, **content: Any) -> None:
        """Any message."""
        self.socket.send(json.dumps({"event": event, "streamSid": self.sid, **content}))

    def of(self, event: str) -> list[dict[str, Any]]:
        """What was said of one kind."""
        return [message for message in list(self.messages) if message["event"] == event]

    def heard(self) -> bytes:
        """The caller's mu-law."""
        return b"".join(base64.b64decode(one["media"]["payload"]) for one in self.of("media"))

    def wait(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Messages of one kind, as soon as there are so many."""
        return wait_for(lambda: len(found := self.of(event)) >= count and found, f"{count} of {event}")  # type: ignore[return-value]

    @property
    def closed(self) -> tuple[int, str] | None:
        """Code and reason, once it is over."""
        protocol = self.socket.protocol
        if self.socket.state.name != "CLOSED" or protocol.close_code is None:
            return None
        return protocol.close_code, protocol.close_reason or ""


class TwilioServer:
    """Listens while the context is entered, at `url`."""

    def __init__(
        self,
        *,
        certificate: Pair | None = None,
        echo: bool = True,
        host: str = "127.0.0.1",
        check: Callable[[ServerConnection, Any], Any] | None = None,
    ) -> None:
        """`check` may answer a request with something else than a WebSocket."""
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
        self.echo = echo
        self.streams: list[Stream] = []
        self._server = serve(self._handle, host, 0, ssl=context, process_request=check)
        self.port = self._server.socket.getsockname()[1]
        self.url = f"{'wss' if context else 'ws'}://{host}:{self.port}/media"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def _handle(self, connection: ServerConnection) -> None:
        stream = Stream(connection, self.echo)
        self.streams.append(stream)
        stream.run()

    def stream(self) -> Stream:
        """The first connection, as soon as its call has started."""
        return wait_for(lambda: next((one for one in self.streams if one.sid), None), "a stream")  # type: ignore[return-value]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self.streams:  # of calls that nobody has ended: their handlers would be waited for
            with contextlib.suppress(OSError):
                stream.socket.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._thread.join(5)
