# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents that were written for other platforms: one WebSocket server, a path for each dialect; none knows of us.

Where a platform's own client package understands the messages of its media streams, it does so here:
Plivo's `plivo-stream-sdk`, jambonz' `jambonz-sdk`, Teler's `teler` (a bridge to a second server, which does the work).
The others are written as the platforms' documents show it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

import numpy as np
from jambonz_sdk.websocket.audio_stream import AudioStream
from plivo_stream.types import DtmfEvent, MediaEvent, PlayedStreamEvent
from plivo_stream.websockets import PlivoWebsocketStreamingHandler
from teler.streams import StreamConnector
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from support.waiting import WAIT_S, wait_for
from trunkline.codecs import g711

HEAD_START = b"\xff" * 1600
"Silence before the echo, so that a pause of a busy machine leaves no hole in it."


def ulaw_of(l16: bytes) -> bytes:
    """Little-endian PCM in mu-law."""
    return g711.encode_ulaw(np.frombuffer(l16, "<i2").astype(np.int16)).tobytes()


def l16_of(ulaw: bytes) -> bytes:
    """The other way."""
    return g711.decode_ulaw(np.frombuffer(ulaw, np.uint8)).astype("<i2").tobytes()


class Conversation:
    """One call at an agent: what it heard, and what it can do. All audio here is mu-law at 8 kHz."""

    marks = clears = digits_in = True
    "what the dialect has"

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.request = socket.request
        self.start: dict[str, Any] = {}
        self.heard = bytearray()
        self.digits = ""
        self.played: list[str] = []
        "marks that were reported as played"
        self.cleared = 0
        self.echoes = True
        self.over = False

    async def run(self) -> None:
        """Until the connection is closed."""
        async for message in self.socket:
            await self.take(message)

    async def take(self, message: str | bytes) -> None:
        """One message of the telephony side."""
        raise NotImplementedError

    async def hear(self, ulaw: bytes) -> None:
        """The caller's audio."""
        if not self.heard:
            await self.say(HEAD_START)
        self.heard += ulaw
        if self.echoes:
            await self.say(ulaw)

    async def say(self, ulaw: bytes) -> None:
        """Play it."""
        raise NotImplementedError

    async def mark(self, name: str) -> None:
        """Ask to be told when all before it has been played."""
        raise NotImplementedError

    async def clear(self) -> None:
        """Throw away what waits."""
        raise NotImplementedError

    async def hang_up(self) -> None:
        """Where the dialect has no word for it, the agent closes."""
        await self.socket.close()

    async def send(self, **message: Any) -> None:
        """JSON."""
        await self.socket.send(json.dumps(message))


class Telnyx(Conversation):
    async def take(self, message: str | bytes) -> None:
        said = json.loads(message)
        match said["event"]:
            case "start":
                self.start = said
            case "media":
                await self.hear(base64.b64decode(said["media"]["payload"]))
            case "dtmf":
                self.digits += said["dtmf"]["digit"]
            case "mark" if said["mark"]["name"] == "cut off":
                self.cleared += 1
            case "mark":
                self.played.append(said["mark"]["name"])

    async def say(self, ulaw: bytes) -> None:
        await self.send(event="media", media={"payload": base64.b64encode(ulaw).decode()})

    async def mark(self, name: str) -> None:
        await self.send(event="mark", mark={"name": name})

    async def clear(self) -> None:
        await self.mark("cut off")  # its return is the answer to the clear
        await self.send(event="clear")


class Vonage(Conversation):
    async def take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            await self.hear(ulaw_of(message))
            return
        said = json.loads(message)
        match said["event"]:
            case "websocket:connected":
                self.start = said
            case "websocket:dtmf":
                self.digits += said["digit"]
            case "websocket:notify":
                self.played.append(said["payload"]["name"])
            case "websocket:cleared":
                self.cleared += 1

    async def say(self, ulaw: bytes) -> None:
        for at in range(0, len(ulaw), 160):  # 20 ms each
            await self.socket.send(l16_of(ulaw[at : at + 160]))

    async def mark(self, name: str) -> None:
        await self.send(action="notify", payload={"name": name})

    async def clear(self) -> None:
        await self.send(action="clear")


class Plivo(Conversation):
    """By Plivo's own package, which validates every message that it gets."""

    def __init__(self, socket: ServerConnection) -> None:
        super().__init__(socket)
        self._sdk = PlivoWebsocketStreamingHandler()
        self.errors: list[Exception] = []

        @self._sdk.on_start
        async def started(event: Any) -> None:
            self.start = event.model_dump()

        @self._sdk.on_media
        async def media(event: MediaEvent) -> None:
            await self.hear(base64.b64decode(event.media.payload))

        @self._sdk.on_dtmf
        async def dtmf(event: DtmfEvent) -> None:
            self.digits += event.dtmf.digit

        @self._sdk.on_played_stream
        async def played(event: PlayedStreamEvent) -> None:
            self.played.append(event.name)

        @self._sdk.on_cleared_audio
        async def cleared(event: Any) -> None:
            self.cleared += 1

        @self._sdk.on_error
        async def failed(error: Exception) -> None:
            self.errors.append(error)

    async def run(self) -> None:
        await self._sdk.handle(self.socket)

    async def say(self, ulaw: bytes) -> None:
        await self._sdk.send_media(ulaw)

    async def mark(self, name: str) -> None:
        await self._sdk.send_checkpoint(name)

    async def clear(self) -> None:
        await self._sdk.send_clear_audio()


class Jambonz(Conversation):
    """By the `jambonz-sdk` of PyPI."""

    def __init__(self, socket: ServerConnection) -> None:
        super().__init__(socket)
        self._sdk = AudioStream(socket)

        async def audio(pcm: bytes) -> None:
            self.start = {"callSid": self._sdk.call_sid, "sampleRate": self._sdk.sample_rate, **self._sdk.metadata}
            await self.hear(ulaw_of(pcm))

        def mark(said: dict[str, Any]) -> None:
            if said["data"]["event"] == "playout":
                self.played.append(said["data"]["name"])
            else:
                self.cleared += 1

        self._sdk.on("audio", audio)
        self._sdk.on("dtmf", lambda said: setattr(self, "digits", self.digits + said["digit"]))
        self._sdk.on("mark", mark)

    async def run(self) -> None:
        await self._sdk._run()  # its endpoint does so; it wants a control connection beside, that jambonz makes

    async def say(self, ulaw: bytes) -> None:
        await self._sdk.send_audio(l16_of(ulaw))

    async def mark(self, name: str) -> None:
        await self._sdk.send_mark(name)

    async def clear(self) -> None:
        await self._sdk.send_mark("cut off")
        await self._sdk.kill_audio()

    async def hang_up(self) -> None:
        await self._sdk.disconnect()


class Asterisk(Conversation):
    async def take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            await self.hear(ulaw_of(message))
            return
        event, _, rest = message.partition(" ")
        fields = dict(word.partition(":")[::2] for word in rest.split())
        match event:
            case "MEDIA_START":
                self.start = fields
            case "DTMF_END":
                self.digits += fields["digit"]
            case "MEDIA_MARK_PROCESSED":
                self.played.append(rest)
            case "QUEUE_DRAINED":
                self.cleared += 1

    async def say(self, ulaw: bytes) -> None:
        await self.socket.send(l16_of(ulaw))

    async def mark(self, name: str) -> None:
        await self.socket.send(f"MARK_MEDIA {name}")

    async def clear(self) -> None:
        await self.socket.send("REPORT_QUEUE_DRAINED")  # a flush has no answer of its own
        await self.socket.send("FLUSH_MEDIA")

    async def hang_up(self) -> None:
        await self.socket.send("HANGUP")


class Teler(Conversation):
    """Behind Teler's own bridge, `StreamConnector`: this is the remote server that it connects to."""

    marks = digits_in = False

    async def take(self, message: str | bytes) -> None:
        said = json.loads(message)
        match said["type"]:
            case "start":
                self.start = said
            case "audio":
                await self.hear(ulaw_of(base64.b64decode(said["data"]["audio_b64"])))

    async def say(self, ulaw: bytes) -> None:
        await self.send(type="audio", audio_b64=base64.b64encode(l16_of(ulaw)).decode(), chunk_id=1)

    async def clear(self) -> None:
        await self.send(type="clear")
        self.cleared += 1  # it has no answer


class _StarletteSocket:
    """What `StreamConnector` knows of a WebSocket of FastAPI's."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket

    async def iter_text(self) -> Any:
        async for message in self._socket:
            yield message

    async def send_text(self, text: str) -> None:
        await self._socket.send(text)


AGENTS = {
    "teler": Teler,
    "telnyx": Telnyx,
    "vonage": Vonage,
    "plivo": Plivo,
    "jambonz": Jambonz,
    "asterisk-websocket": Asterisk,
}
SUBPROTOCOLS = ["audio.jambonz.org", "audio.drachtio.org", "media"]


class PlatformAgents:
    """Listens while the context is entered; `ws://127.0.0.1:{port}/{dialect}`."""

    def __init__(self) -> None:
        self.port = 0
        self.calls: list[Conversation] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._end = asyncio.Event()

    def url(self, dialect: str) -> str:
        """Where the agent of a dialect listens."""
        return f"ws://127.0.0.1:{self.port}/{dialect}"

    async def _handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        path = socket.request.path.strip("/")
        if path == "teler":
            bridge = StreamConnector(remote_url=f"ws://127.0.0.1:{self.port}/behind-teler")
            with contextlib.suppress(ConnectionClosed):
                await bridge.bridge_stream(_StarletteSocket(socket))
            return
        call = AGENTS["teler" if path == "behind-teler" else path](socket)
        self.calls.append(call)
        with contextlib.suppress(ConnectionClosed):
            await call.run()
        call.over = True

    async def _open(self) -> None:
        subprotocols: Any = SUBPROTOCOLS
        server = await serve(self._handle, "127.0.0.1", 0, subprotocols=subprotocols, select_subprotocol=_first_of_ours)
        self.port = next(iter(server.sockets)).getsockname()[1]
        self._server = server

    def run(self, action: Coroutine[Any, Any, Any]) -> Any:
        """Do something on the agents' own thread."""
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(WAIT_S)

    def wait_call(self, count: int) -> Any:
        """The latest conversation, as soon as there are so many and its call has started."""
        return wait_for(lambda: len(self.calls) >= count and self.calls[-1].heard and self.calls[-1], "a call")

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self.run(self._server.wait_closed())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


def _first_of_ours(socket: ServerConnection, offered: Any) -> Any:
    return next((name for name in offered if name in SUBPROTOCOLS), None)
