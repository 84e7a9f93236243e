# SPDX-License-Identifier: MIT
"""Exchanges in the dialects of other platforms (tests/vectors/dialects), played at the dialect and over a WebSocket."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.link_events import LinkEvent, LinkFailed
from trunkline.agent_bridge.links import MESSAGE_DIALECTS
from trunkline.agent_bridge.message_dialect import MessageDialect
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.websocket_link import WebSocketLink

FOLDER = pathlib.Path(__file__).parent.parent / "vectors" / "dialects"
CHANNEL = 7
Line = dict[str, Any]


@dataclasses.dataclass
class Case:
    """One connection's lines."""

    dialect: str
    head: Line
    lines: list[Line] = dataclasses.field(default_factory=list)

    @property
    def settings(self) -> LinkSettings:
        return LinkSettings(url="ws://agent.example/stream", **self.head.get("settings", {}))

    def __str__(self) -> str:
        return f"{self.dialect}: {self.head['case']}"


def cases() -> Iterator[Case]:
    """Of all files."""
    for file in sorted(FOLDER.glob("*.jsonl")):
        case: Case | None = None
        for line in map(json.loads, file.read_text().splitlines()):
            if "case" in line:
                if case is not None:
                    yield case
                case = Case(file.stem, line)
            else:
                assert case is not None
                case.lines.append(line)
        assert case is not None
        yield case


def written(message: Any) -> str | bytes:
    """A message in the notation of the files, as it goes over the wire."""
    if isinstance(message, str):
        return message
    return bytes.fromhex(message["hex"]) if isinstance(message, dict) and "hex" in message else json.dumps(message)


def noted(message: str | bytes) -> Any:
    """The other way."""
    if isinstance(message, bytes):
        return {"hex": message.hex()}
    return json.loads(message) if message.startswith("{") else message


class AtTheDialect:
    """The dialect itself."""

    def __init__(self, case: Case, info: StartInfo) -> None:
        self.dialect: MessageDialect = MESSAGE_DIALECTS[case.dialect](case.settings)
        self.dialect.channel = CHANNEL
        self._info = info
        self._said: list[str | bytes] = []

    def headers(self) -> Mapping[str, str]:
        return self.dialect.request_headers()

    def do(self, what: str, *arguments: Any) -> None:
        if what == "start":
            arguments = (self._info,)
        elif what == "audio":
            arguments = (*arguments[:2], np.array(arguments[2], np.int16))
        self._said.extend(getattr(self.dialect, what)(*arguments))

    def asked(self) -> list[LinkEvent]:
        return self.dialect.asks()

    def hear(self, message: str | bytes) -> list[LinkEvent]:
        events = self.dialect.received(message)
        self._said.extend(self.dialect.replies())
        return events

    def said(self) -> list[str | bytes]:
        said, self._said = self._said, []
        return said


class OverAWebSocket:
    """The link around it, and the server of a library at the other end; no socket in between."""

    def __init__(self, case: Case, info: StartInfo) -> None:
        self.dialect = MESSAGE_DIALECTS[case.dialect](case.settings)
        self._link = WebSocketLink(self.dialect, case.settings)
        self._info = info
        self._server = ServerProtocol(subprotocols=list(self.dialect.subprotocols) or None)  # type: ignore[arg-type]
        self._messages: list[str | bytes] = []
        self._link.connected(0)
        self._turn()
        (request,) = [e for e in self._server.events_received() if isinstance(e, Request)]
        self._request = request
        self._server.send_response(self._server.accept(request))
        self._turn()
        assert self._link.lingers is False

    def _turn(self) -> list[LinkEvent]:
        """Carry what both have written; returns what ours makes of it."""
        for data in self._link.data_to_send():
            self._server.receive_data(bytes(data))
        events = []
        for data in self._server.data_to_send():
            events += self._link.receive(data, 0) if data else []
            while self._link.unread:
                events += self._link.resume(0)
        return events

    def headers(self) -> Mapping[str, str]:
        return self._request.headers

    def do(self, what: str, *arguments: Any) -> None:
        match what:
            case "start":
                self._link.start(CHANNEL, self._info, 0)
                self._link.handle_timeout(0)
            case "audio":
                position, flags, pcm = arguments
                self._link.send_audio(
                    np.array([CHANNEL], np.uint32), np.array([position]), np.array([flags], np.uint16),
                    np.array([pcm], np.int16),
                )  # fmt: skip
            case "stop":
                self._link.stop(CHANNEL, *arguments)
            case _:
                getattr(self._link, f"send_{what}")(CHANNEL, *arguments)

    def asked(self) -> list[LinkEvent]:
        return list(self._link.handle_timeout(0))

    def hear(self, message: str | bytes) -> list[LinkEvent]:
        if isinstance(message, str):
            self._server.send_text(message.encode())
        else:
            self._server.send_binary(message)
        events = self._turn()
        for event in events:
            if isinstance(event, LinkFailed):
                assert event.reason == "agent_protocol"
                raise ProtocolViolation(event.detail)
        return events

    def said(self) -> list[str | bytes]:
        self._turn()
        frames = [e for e in self._server.events_received() if isinstance(e, Frame)]
        return [
            bytes(frame.data).decode() if frame.opcode is Opcode.TEXT else bytes(frame.data)
            for frame in frames
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY)
        ]


@pytest.mark.parametrize("play", [AtTheDialect, OverAWebSocket])
@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_exchange(case, play, info, readable):
    """Line by line, what is said, what it is taken for, and nothing else."""
    end = play(case, info(**case.head.get("call", {})))
    for name, value in case.head.get("headers", {}).items():
        if play is OverAWebSocket or name.lower().startswith("x-"):
            assert end.headers().get(name) == value
    if case.lines[0] != {"do": ["start"]}:  # every call has one; here it is not the matter
        end.do("start")
        end.said()
    events: list[Any] = []
    said: list[Any] = []
    ignored = dict(end.dialect.ignored)
    for step, following in itertools.pairwise([*case.lines, {"end": True}, {}]):
        if not step.keys() & {"say", "event", "ignored", "violation"}:
            assert (events, said) == ([], []), "more than the exchange has"
            assert dict(end.dialect.ignored) == ignored
        if "do" in step:
            end.do(*step["do"])
            events = [json.loads(json.dumps(one)) for one in readable(end.asked())]
            said = list(map(noted, end.said()))
        elif "hear" in step and "violation" in following:
            with pytest.raises(ProtocolViolation, match=re.escape(following["violation"])):
                end.hear(written(step["hear"]))
            return
        elif "hear" in step:
            events = [json.loads(json.dumps(one)) for one in readable(end.hear(written(step["hear"])))]
            said = list(map(noted, end.said()))
        elif "say" in step:
            assert said, f"nothing was said, but {step['say']} was expected"
            assert said.pop(0) == step["say"]
        elif "event" in step:
            assert events, f"nothing came of it, but {step['event']} was expected"
            assert events.pop(0) == step["event"]
        elif "ignored" in step:
            ignored[step["ignored"]] = ignored.get(step["ignored"], 0) + 1


def test_every_dialect_of_another_platform_has_exchanges():
    """A dialect without its file is not held against anything."""
    assert {file.stem for file in FOLDER.glob("*.jsonl")} >= set(MESSAGE_DIALECTS) - {"twilio"}
