# SPDX-License-Identifier: MIT
"""Messages that are legal and made to be expensive: they are refused before anybody reads them."""

from __future__ import annotations

import base64
import json
import struct

import pytest

from support.websocket_peer import Peer
from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.json_fields import parse_object
from trunkline.agent_bridge.links import create_link
from trunkline.agent_bridge.reassembly import ProtocolViolation
from trunkline.agent_bridge.telnyx import Telnyx
from trunkline.agent_bridge.wav import MAX_CHUNKS, parse_wav

MIB = 1 << 20
AUDIO = base64.b64encode(bytes(range(256)) * 3000).decode()


@pytest.mark.parametrize(
    "inner",
    [
        "[" + ",".join(["[]"] * (MIB // 3)) + "]",
        "[" + ",".join(['{"a":{}}'] * (MIB // 9)) + "]",
        "{" + ",".join(f'"{i:x}":0' for i in range(MIB // 10)) + "}",
        "[" + ",".join(["9" * 4300] * (MIB // 4301)) + "]",
        "[" * MIB,
    ],
    ids=["lists", "objects", "names", "numbers", "depth"],
)
def test_long_text_of_many_pieces_is_not_read(inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mebibyte of them would hold up all calls for a tenth of a second."""
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("it was read"))
    with pytest.raises(ProtocolViolation, match="pieces"):
        parse_object(f'{{"event":"x","a":{inner}}}')


@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_a_long_message_of_audio_is_read(slash: str) -> None:
    """A minute and a half of mu-law in one string; some programs escape its slashes."""
    text = f'{{"event":"media","streamSid":"MZ0","media":{{"payload":"{AUDIO.replace("/", slash)}"}}}}'
    assert parse_object(text)["media"]["payload"] == AUDIO


def test_what_was_read_before_is_still_read() -> None:
    """Of a few thousand characters the shape does not matter."""
    assert len(parse_object('{"a":[' + ",".join(["[]"] * 1300) + "]}")["a"]) == 1300


def test_a_wav_of_chunks_without_end_is_left() -> None:
    """Each costs a look at it."""
    junk = struct.pack("<4sI", b"junk", 0)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    data = struct.pack("<4sI", b"data", 4) + b"\1\0\2\0"
    head = struct.pack("<4sI4s", b"RIFF", 0, b"WAVE")
    assert parse_wav(head + form + junk * (MAX_CHUNKS - 2) + data)[1].tolist() == [1, 2]
    with pytest.raises(ProtocolViolation):
        parse_wav(head + form + junk * (MAX_CHUNKS - 1) + data)


@pytest.mark.parametrize("cut", range(1, 5))
def test_the_body_of_a_refusal_is_not_read_line_by_line(cut: int) -> None:
    """Wherever a read ends between headers and body."""
    link = create_link("twilio", LinkSettings(url="ws://agent.example/x", sample_rate_hz=8000))
    link.connected(0)
    head = b"HTTP/1.1 500 X\r\nContent-Length: 900000\r\n\r\n"
    fed: list[int] = []
    protocol = link._opening.protocol  # type: ignore[attr-defined]
    real = protocol.receive_data
    protocol.receive_data = lambda data: (fed.append(len(data)), real(data))
    link.receive(head[:-cut], 1)
    link.receive(head[-cut:], 1)
    fed.clear()
    link.receive(b"\n" * 16384, 1)
    assert fed == [16384]


def test_messages_that_mean_nothing_are_counted_for_the_owner(info) -> None:
    """Pings, and text without effect; not what is obeyed."""
    peer = Peer(Telnyx, sample_rate_hz=8000).up(info(sample_rate_hz=8000))
    for text in (b'{"event":"mark","mark":{"name":"m"}}', b'{"event":"other"}', b'{"event":"dtmf"}'):
        peer.server.send_text(text)
    peer.server.send_ping(b"p")
    assert len(peer.deliver()) == 1
    assert peer.link.unheeded == 3
