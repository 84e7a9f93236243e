# SPDX-License-Identifier: GPL-2.0-or-later
"""The gateway's part of a recorded call, played to an agent over the real wire.

The caller's audio, keys and the like come at the times at which they came; what answers the agent (marks, clears,
flow) is made anew, as it depends on what the agent says this time.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import numpy as np

from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge import wire
from trunkline.agent_bridge.dialect import Link, StartInfo
from trunkline.agent_bridge.links import TcpAddress, UnixAddress, parse_address
from trunkline.gateway.recording import shadow, wording
from trunkline.gateway.recording.contents import Contents, Item, Sound, Word, texts
from trunkline.gateway.recording.heard import Loudspeaker

CONNECT_S = 5.0
LINGER_MS = 1000
"The agent may speak so long after the last of the recording."
_READ_BYTES = 1 << 18


class AgentFailed(Exception):
    """The agent was not reached, or broke off; the text says how."""


@dataclasses.dataclass(slots=True)
class Played:
    """What an agent did with a recorded call."""

    speaker: Loudspeaker
    said: list[Word] = dataclasses.field(default_factory=list)
    ended_ms: float | None = None
    "when the agent hung up or refused, if it did"


def as_recorded(contents: Contents) -> Played:
    """The agent of the recording, by the same measure: what it said, played on the same clock."""
    played = Played(Loudspeaker(contents.rate_hz, contents.frame_ms))
    frame_ns, now_ns = contents.frame_ms * 1_000_000, 0
    last_ns = max((item.at_ns for item in (*contents.told, *contents.said)), default=0)
    waiting = list(contents.said)
    while now_ns <= last_ns + LINGER_MS * 1_000_000:
        while waiting and waiting[0].at_ns <= now_ns:
            _hear(played, waiting.pop(0))
        played.speaker.play()
        now_ns += frame_ns
    return played


def _hear(played: Played, item: Item) -> None:
    if isinstance(item, Sound):
        played.speaker.say(item.pcm)
        return
    played.said.append(item)
    if item.kind == "clear":
        played.speaker.clear()
    elif item.kind in ("hangup", "reject") and played.ended_ms is None:
        played.ended_ms = item.at_ns / 1e6


class Player:
    """One replay."""

    def __init__(self, contents: Contents, link: Link, speed: float) -> None:
        """`speed` 2 takes half the time, and gives the agent half of it."""
        self._contents, self._link, self._speed = contents, link, speed
        self.played = Played(Loudspeaker(contents.rate_hz, contents.frame_ms))
        self._accepted = self._up = False
        self._failure = ""
        self._begun = 0.0
        self._rate_hz = contents.rate_hz

    async def run(self, address: str) -> Played:
        """Connect, play, hang up; raises AgentFailed or links.AddressError."""
        reader, writer = await _connect(address)
        reading = asyncio.create_task(self._read(reader))
        try:
            self._link.connected(time.monotonic_ns())
            await self._until(writer, lambda: self._up, CONNECT_S, "the agent did not greet")
            self._begun = time.monotonic()
            self._link.start(shadow.CHANNEL, self._info(), time.monotonic_ns())
            await self._until(writer, lambda: self._accepted, CONNECT_S, "the agent did not take the call")
            if self.played.ended_ms is None:
                await self._play(writer)
            self._link.stop(shadow.CHANNEL, "caller_hangup", {})
            await self._flush(writer)
        finally:
            reading.cancel()
            writer.close()
        return self.played

    def _info(self) -> StartInfo:
        call = self._contents.start["call"]

        def word(name: str) -> str:
            return str(call.get(name) or "")

        return StartInfo(
            call_id=word("call_id"),
            direction=word("direction"),
            caller=word("caller"),
            called=word("called"),
            trunk=word("trunk"),
            route=word("route"),
            headers=texts(call, "headers"),
            metadata=texts(call, "metadata"),
            sample_rate_hz=self._contents.rate_hz,
            frame_ms=self._contents.frame_ms,
            position=self._contents.position,
        )

    # --- in time -----------------------------------------------------------------------------

    def _now_ns(self) -> int:
        """Of the recording's time."""
        return int((time.monotonic() - self._begun) * self._speed * 1e9)

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        frame_ns, due_ns = self._contents.frame_ms * 1_000_000, 0
        waiting = list(self._contents.told)
        end_ns = max((item.at_ns for item in waiting), default=0) + LINGER_MS * 1_000_000
        while due_ns <= end_ns and self.played.ended_ms is None and not self._failure:
            while waiting and waiting[0].at_ns <= due_ns:
                self._tell(waiting.pop(0))
            self._report(self.played.speaker.play())
            await self._flush(writer)
            due_ns += frame_ns
            await asyncio.sleep(max(0.0, (due_ns - self._now_ns()) / 1e9 / self._speed))
        if self._failure:
            raise AgentFailed(self._failure)

    def _tell(self, item: Item) -> None:
        if isinstance(item, Sound):
            self._link.send_audio(
                np.array([shadow.CHANNEL], np.uint32),
                np.array([item.position]),
                np.array([item.flags], np.uint16),
                item.pcm[None],
            )
        else:
            wording.tell(self._link, shadow.CHANNEL, item.message)

    def _report(self, marks: Sequence[tuple[str, int]]) -> None:
        for name, position in marks:
            self._link.send_mark(shadow.CHANNEL, name, position, "played")

    # --- the agent ---------------------------------------------------------------------------

    async def _read(self, reader: asyncio.StreamReader) -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(_READ_BYTES)
            except ConnectionError:
                data = b""
            for event in self._link.receive(data, time.monotonic_ns()):
                self._take(event)

    def _take(self, event: said.LinkEvent) -> None:
        match event:
            case said.LinkUp():
                self._up = True
            case said.LinkFailed(_, detail):
                self._failure = self._failure or detail
            case said.Audio(_, pcm):
                for row in pcm:
                    self.played.speaker.say(np.array(row, np.int16))
            case _:
                self._note(event)

    def _note(self, event: said.LinkEvent) -> None:
        message = shadow.spoken(event)
        if message is None:
            return
        at_ns = self._now_ns()
        _, payload = next(iter(wire.reassembler().messages(message)))
        self.played.said.append(Word(at_ns, wire.parse_control(payload)))
        match event:
            case said.Accepted():
                self._accepted = True
            case said.Rejected() | said.Hangup():
                self._accepted, self.played.ended_ms = True, at_ns / 1e6
            case said.Mark(_, name):
                self._report(self.played.speaker.mark(name))
            case said.Clear(_, name):
                self._link.send_cleared(shadow.CHANNEL, name, *self.played.speaker.clear())

    async def _until(
        self, writer: asyncio.StreamWriter, true: Callable[[], bool], limit_s: float, otherwise: str
    ) -> None:
        give_up = time.monotonic() + limit_s
        while not true():
            await self._flush(writer)
            if self._failure or time.monotonic() > give_up:
                raise AgentFailed(self._failure or f"{otherwise} within {limit_s:g} s")
            await asyncio.sleep(0.005)

    async def _flush(self, writer: asyncio.StreamWriter) -> None:
        """Let the link do what is due, and write what it has to say."""
        deadline_ns, now_ns = self._link.next_deadline_ns, time.monotonic_ns()
        if deadline_ns is not None and deadline_ns <= now_ns:
            for event in self._link.handle_timeout(now_ns):
                self._take(event)
        writer.writelines(self._link.data_to_send())
        if not writer.is_closing():
            try:
                await writer.drain()
            except ConnectionError:
                self._failure = self._failure or "the agent closed the connection"


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlsplit(address)
    secure = ssl.create_default_context() if url.scheme == "wss" else None
    port = 443 if secure else 80
    where = TcpAddress(url.hostname or "", url.port or port) if url.netloc else parse_address(address)
    try:
        async with asyncio.timeout(CONNECT_S):
            if isinstance(where, UnixAddress):
                return await asyncio.open_unix_connection(where.path, limit=_READ_BYTES)
            return await asyncio.open_connection(where.host, where.port, limit=_READ_BYTES, ssl=secure)
    except (OSError, TimeoutError) as error:
        raise AgentFailed(f"no agent at {address}: {error or 'it does not answer'}") from None
