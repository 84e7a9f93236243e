# SPDX-License-Identifier: MIT
"""PROTOCOL.md says what the code does: its examples are run here."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import struct
import threading
import typing
from pathlib import Path

import numpy as np
import pytest

import trunkline.agent_bridge.wire
from trunkline.agent_bridge import agent_events, link_events, wire
from trunkline.agent_bridge.agent_messages import EVENTS
from trunkline.agent_bridge.agent_protocol import AgentConnection
from trunkline.agent_bridge.call_control import REFUSALS
from trunkline.agent_bridge.dialect import FLAG_REPLAY, StartInfo
from trunkline.agent_bridge.link_events import Accepted, Audio, Rejected
from trunkline.agent_bridge.native import NativeLink
from trunkline.agent_bridge.native_commands import COMMANDS, MAX_STATE_BYTES, MAX_TARGET_CHARS

TEXT = Path(trunkline.agent_bridge.wire.__file__).with_name("PROTOCOL.md").read_text()


def blocks(language: str, section: str) -> list[str]:
    """Code blocks of one language in one section of the text."""
    body = TEXT.split(f"\n## {section}")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", body, re.DOTALL)


def objects(section: str) -> list[dict]:
    """JSON objects shown in a section."""
    decoder, found = json.JSONDecoder(), []
    for block in blocks("json", section):
        rest = block.strip()
        while rest:
            message, end = decoder.raw_decode(rest)
            found.append(message)
            rest = rest[end:].strip()
    return found


GATEWAY_SAYS = objects("6. ")
AGENT_SAYS = objects("7. ")


def test_worked_example_byte_for_byte(talk, info):
    """The hex dump is an accept and two samples, and it is what our own agent side writes."""
    (dump,) = blocks("hex", "12. ")
    data = bytes.fromhex("".join(line.split("  ")[0] for line in dump.splitlines()))
    talk.up().link.start(7, info(), 0)
    accepted, audio = talk.link.receive(data, 0)
    assert accepted == Accepted(7)
    assert isinstance(audio, Audio)
    assert audio.pcm.tolist() == [[1, -2]]
    ours = AgentConnection()
    ours.accept(7)
    ours.send_audio(np.array([7], np.uint32), np.array([[1, -2]], np.int16))
    assert b"".join(ours.data_to_send()) == data


def test_opening_is_as_shown():
    """Both hellos of the text are what the two sides say."""
    gateway, agent = NativeLink(token="s3cret"), AgentConnection("receptionist", token="s3cret")
    gateway.connected(0)
    hello = b"".join(gateway.data_to_send())
    agent.receive(hello, 0)
    said = [hello, b"".join(agent.data_to_send())]
    assert [json.loads(data[8:]) for data in said] == objects("5. ")


@pytest.mark.parametrize("message", GATEWAY_SAYS, ids=lambda m: m["type"])
def test_gateway_messages_of_the_text_are_understood_by_an_agent(message):
    """Each becomes one event of the agent's side."""
    agent = AgentConnection()
    agent.connected(0)
    agent.receive(wire.control_message("hello", versions=[1]), 0)
    fields = {k: v for k, v in message.items() if k != "type"}
    (event,) = agent.receive(wire.control_message(message["type"], **fields), 0)
    assert event.channel == 1
    assert not agent.closing
    assert not agent.ignored


@pytest.mark.parametrize("message", AGENT_SAYS, ids=lambda m: m["type"])
def test_agent_messages_of_the_text_are_understood_by_a_gateway(talk, info, message):
    """Each becomes one event of the gateway's side."""
    if message["type"] in ("accept", "reject"):
        talk.up().link.start(1, info(), 0)
    else:
        talk.up(1)
    fields = {k: v for k, v in message.items() if k != "type"}
    (event,) = talk.agent(message["type"], **fields)
    assert event.channel == 1


def test_every_message_type_is_in_the_text():
    """Nothing that the code knows is missing from the specification, and the other way round."""
    assert {m["type"] for m in GATEWAY_SAYS} == set(EVENTS)
    assert {m["type"] for m in AGENT_SAYS} == {"accept", "reject", *COMMANDS}


def fields_of(event) -> set[str]:
    """Names of the fields behind a message, beside its channel."""
    return {field.name for field in dataclasses.fields(event)} - {"channel"}


def names(table: str) -> set[str]:
    """Second column of a table: names of fields."""
    cells = re.findall(r"^\|[^|]*\| ([a-z_, ]+) \|", table, re.MULTILINE)
    return {name.strip() for cell in cells for name in cell.split(", ")} - {"field", ""}


def test_the_tables_name_every_field():
    """All fields that the code reads or writes are in the text, and the other way round."""
    ours = names(TEXT.split("### 7.1")[1].split("\n## ")[0])
    commands = set().union(*(fields_of(kind) for kind in typing.get_args(link_events.Command)))
    commands |= fields_of(Accepted) | fields_of(Rejected)
    commands -= {"timeout", "parting"}  # of these the connection tells
    assert ours == commands
    theirs = names(TEXT.split("### 6.3")[1].split("### 6.4")[0])
    news = set().union(*(fields_of(kind) for kind in typing.get_args(agent_events.CallNews)))
    news |= fields_of(agent_events.CallStopped)
    assert theirs == news - {"started", "ready", "silent"} | {"state"}  # words on the wire, truth values in the code


def test_start_is_explained_field_by_field():
    """Everything that StartInfo has is in the table of section 6.1."""
    table = TEXT.split("### 6.1")[1].split("### 6.2")[0]
    cells = re.findall(r"^\| ([a-z_., ]+) \|", table, re.MULTILINE)
    first = {name.split(".")[-1] for cell in cells for name in cell.split(", ")}
    assert {field.name for field in dataclasses.fields(StartInfo)} <= first


def test_codes_of_errors_are_in_the_text():
    """Those that the SDK takes for an answer to a command."""
    table = TEXT.split("\n## 11. ")[1].split("\n## ")[0]
    assert set(REFUSALS) <= set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))


def test_numbers_of_the_text_are_those_of_the_code():
    """Limits and time-outs."""
    assert f"{wire.MAX_PAYLOAD_BYTES:,} bytes" in TEXT
    assert f"**{wire.MAX_CONTROL_BYTES:,} bytes**" in TEXT
    assert f"u16, 1..{wire.MAX_SAMPLES}" in TEXT
    assert TEXT.count(f"at most {MAX_STATE_BYTES:,} bytes") == 2
    assert TEXT.count(f"more than {MAX_STATE_BYTES:,} bytes") == 1
    assert f"at most {MAX_TARGET_CHARS:,} characters" in TEXT
    assert f"| replay | {FLAG_REPLAY:#x} |" in TEXT
    assert "8 + record count x (16 + 2 x samples)" in TEXT
    assert wire.record_dtype(10).itemsize == 16 + 2 * 10


def test_small_agent_of_the_text_runs(info):
    """The agent written from the text alone shakes hands, takes a call and echoes it."""
    (source,) = blocks("python", "13. ")
    names: dict = {}
    exec(source, names)
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, contextlib.suppress(SystemExit):
            names["serve"](theirs)

    thread = threading.Thread(target=serve)
    thread.start()
    with ours:
        ours.settimeout(5)
        link = NativeLink()
        link.connected(0)
        events: list = []
        steps = iter(
            [
                lambda: link.start(3, info(), 0),
                lambda: link.send_audio(
                    np.array([3], np.uint32), np.array([0]), np.array([0]), np.array([[5, 6]], np.int16)
                ),
            ]
        )
        while not any(isinstance(e, Audio) for e in events):
            ours.sendall(b"".join(link.data_to_send()))
            new = link.receive(ours.recv(65536), 0)
            events += new
            if new and not isinstance(new[-1], Audio):
                next(steps)()
    thread.join(5)
    assert [type(e).__name__ for e in events] == ["LinkUp", "Accepted", "Audio"]
    assert events[-1].pcm.tolist() == [[5, 6]]


def test_other_protocols_on_the_port_are_noticed_at_the_header():
    """A web browser is told off after its first eight bytes."""
    agent = AgentConnection()
    agent.connected(0)
    (failed,) = agent.receive(b"GET / HT", 0)
    assert failed.reason == "protocol"
    assert struct.unpack("<I", b"GET ")[0] > wire.MAX_PAYLOAD_BYTES


def test_names_of_quality_are_in_the_text():
    """The example has every figure that the table names, with the meaning of each behind its name."""
    (example,) = [m for m in GATEWAY_SAYS if m["type"] == "quality" and "r_factor" in m["stats"]]
    table = TEXT.split("### 6.4")[1].split("\n### ")[0].split("| name | meaning |")[1]
    named = {
        name for row in table.splitlines() if row.startswith("| ") for name in row.split("|")[1].split(", ")
    }
    named = {name.strip() for name in named}
    assert {name for name in example["stats"] if not name.startswith("peer_")} == named - {"peer_..."}
    assert {name.removeprefix("peer_") for name in example["stats"] if name.startswith("peer_")} <= named
