# SPDX-License-Identifier: MIT
"""One call over a WebSocket: handshake, messages both ways, keep-alive, every kind of end; without a socket."""

from __future__ import annotations

import base64
import http
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from support.websocket_peer import Peer, Plain, WithProtocol
from trunkline.agent_bridge.link_events import Accepted, Audio, Hangup, LinkFailed, LinkUp, Mark
from trunkline.agent_bridge.websocket_frames import FrameWriter, MessageJoiner
from trunkline.agent_bridge.websocket_opening import MAX_MESSAGE_BYTES

SECOND = 1_000_000_000


def only_failure(events) -> LinkFailed:
    """The one event there is."""
    (failed,) = events
    assert isinstance(failed, LinkFailed)
    return failed


# --- handshake ------------------------------------------------------------------------------


def test_the_handshake_names_path_and_host_and_offers_no_extension():
    """RFC 6455, section 4.1, and nothing that would need a decompressor."""
    peer = Peer()
    (request,) = peer.heard()
    assert (request.path, request.headers["Host"]) == ("/path?a=b", "agent.example:8080")
    assert request.headers["User-Agent"] == "trunkline"
    assert "Sec-WebSocket-Extensions" not in request.headers and "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("given_settings", "expected"),
    [
        ({"token": "t0"}, {"Authorization": "Bearer t0"}),
        ({"username": "u", "password": "p:w"}, {"Authorization": "Basic " + base64.b64encode(b"u:p:w").decode()}),
        ({"token": "t0", "headers": {"authorization": "Own x", "X-A": "1"}}, {"authorization": "Own x", "X-A": "1"}),
    ],
)
def test_credentials_and_headers(given_settings, expected):
    """Bearer or basic, and what the user writes himself comes before both."""
    (request,) = Peer(**given_settings).heard()
    for name, value in expected.items():
        assert request.headers.get_all(name) == [value]


def test_credentials_are_in_no_log_and_no_repr(caplog):
    """Not even where everything is logged."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("websockets").setLevel(logging.DEBUG)
    peer = Peer(token="s3cret-token", headers={"X-Key": "s3cret-key"})
    peer.greet()
    ours = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
    assert "s3cret" not in " ".join(ours) and "s3cret" not in repr(peer.link._opening._settings)


def test_a_call_starts_when_the_handshake_is_done(info):
    """LinkUp; then the dialect's start, and the connection is the consent."""
    peer = Peer()
    assert peer.greet() == [LinkUp("plain agent")]
    peer.link.start(7, info("call-1"), peer.now_ns)
    assert peer.link.next_deadline_ns == peer.now_ns
    assert list(peer.link.handle_timeout(peer.now_ns)) == [Accepted(7, True)]
    assert peer.texts() == ["start call-1"]


def test_what_an_agent_says_with_its_101_is_said_in_the_call(info):
    """It may not wait for us: nothing is lost, and nothing comes before Accepted."""
    peer = Peer()
    (request,) = peer.heard()
    peer.server.send_response(peer.server.accept(request))
    peer.server.send_text(b"early")
    assert list(peer.link.receive(b"".join(peer.server.data_to_send()), peer.now_ns)) == [LinkUp("plain agent")]
    assert peer.link.unread
    peer.link.start(7, info(), peer.now_ns)
    assert list(peer.link.resume(peer.now_ns)) == [Accepted(7, True), Mark(7, "early")]


@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        (401, "agent_unreachable", "HTTP 401 Unauthorized: it wants credentials"),
        (403, "agent_unreachable", "HTTP 403 Forbidden: it does not want us"),
        (404, "agent_unreachable", "refused the WebSocket at /path with HTTP 404 Not Found: there is nothing at this"),
        (302, "agent_unreachable", "it wants to send us elsewhere, which is not followed"),
        (500, "agent_unreachable", "see the agent's own log"),
        (503, "agent_unreachable", "it is there and takes no calls now"),
        (200, "agent_unreachable", "see `address`"),
        (418, "agent_unreachable", "see `address`"),
    ],
)
def test_a_refused_handshake_says_status_and_cure(status, reason, says):
    """The query is left out: it may hold what is nobody's business."""
    peer = Peer()
    peer.heard()
    peer.server.send_response(peer.server.reject(http.HTTPStatus(status), "no s3cret of yours\n"))
    failed = only_failure(peer.deliver())
    assert failed.reason == reason and says in failed.detail
    assert "a=b" not in failed.detail and "s3cret" not in failed.detail
    assert peer.link.next_deadline_ns is None


@pytest.mark.parametrize(
    ("answer", "reason", "says"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "agent_protocol", "does not speak WebSocket"),
        (b"\x15\x03\x03\x00\x02\x02\x46\r\n", "agent_protocol", "ws:// or wss:// as it has it?"),
        (b"HTTP/1.1 101 x\r\nA: " + b"b" * 10_000, "agent_protocol", "does not speak WebSocket"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "agent_protocol", "Accept"),
    ],
)
def test_what_is_no_websocket_is_told_as_that(answer, reason, says):
    """Another server on this port, a TLS alert, an endless header, a proxy that only repeats."""
    peer = Peer()
    failed = only_failure(peer.feed(answer))
    assert failed.reason == reason and says in failed.detail and failed.detail.isprintable()


def test_a_subprotocol_is_one_that_was_offered():
    """Ours are offered in their order; another one is a violation."""
    peer = Peer(WithProtocol, subprotocols=["second"])
    assert peer.greet() == [LinkUp("plain agent")]
    assert peer.request.headers["Sec-WebSocket-Protocol"] == "first, second"
    wrong = Peer(WithProtocol)
    (request,) = wrong.heard()
    response = wrong.server.accept(request)
    response.headers["Sec-WebSocket-Protocol"] = "third"
    wrong.server.send_response(response)
    failed = only_failure(wrong.deliver())
    assert failed.reason == "agent_protocol"
    assert "unsupported subprotocol: third; we offered subprotocol first or second" in failed.detail


@pytest.mark.parametrize(("timeout_ms", "waited"), [(None, "2 s"), (300, "0.3 s")])
def test_a_handshake_that_is_not_answered_times_out(timeout_ms, waited):
    """At the time that next_deadline_ns says, and not before."""
    peer = Peer(timeout_ms=timeout_ms)
    due = peer.link.next_deadline_ns
    assert list(peer.link.handle_timeout(due - 1)) == []
    failed = only_failure(peer.link.handle_timeout(due))
    assert failed.reason == "agent_timeout" and f"within {waited}" in failed.detail


def test_a_connection_that_ends_in_the_handshake_is_lost():
    """Half an answer, or none."""
    for part in (b"", b"HTTP/1.1 101 Swi"):
        peer = Peer()
        peer.feed(part)
        failed = only_failure(peer.link.receive(b"", peer.now_ns))
        assert failed.reason == "agent_unreachable" and "in the WebSocket handshake" in failed.detail


# --- messages -------------------------------------------------------------------------------


def test_audio_and_words_go_both_ways(info, readable):
    """In their order, whole, of this channel only."""
    peer = Peer().up(info())
    pcm = np.arange(160, dtype=np.int16).reshape(1, -1)
    peer.link.send_audio(np.array([7], np.uint32), np.array([0]), np.array([0], np.uint16), pcm)
    peer.link.send_mark(7, "one", 160, "played")
    peer.link.send_mark(8, "another call's", 160, "played")
    assert peer.texts() == [pcm.tobytes(), "one played"]
    peer.server.send_binary(pcm.tobytes())
    peer.server.send_text("grüße".encode())
    peer.server.send_text(b"ask")
    assert readable(peer.deliver()) == readable([Audio(np.array([7]), pcm), Mark(7, "grüße"), Mark(7, "ask")])
    assert peer.texts() == ["answer"]


@given(data=st.data(), size=st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_001]))
@settings(max_examples=25, deadline=None)
def test_messages_of_every_length_arrive_whatever_the_pieces(data, size):
    """The three forms of a length (section 5.2), both ways, cut anywhere."""
    message = bytes(range(256)) * (size // 256 + 1)
    message = message[:size]
    writer = FrameWriter()
    peer = Peer(Started)
    peer.greet()
    peer.link.start(7, None, 0)
    peer.link.handle_timeout(0)
    peer.heard()
    peer.server.receive_data(writer.binary(message))
    (frame,) = peer.server.events_received()
    assert frame == Frame(Opcode.BINARY, message)
    peer.server.send_binary(message, fin=False)
    peer.server.send_ping(b"between")
    peer.server.send_continuation(message, fin=True)
    wire = b"".join(peer.server.data_to_send())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        got += peer.feed(wire[start:end])
    assert got == [message + message]


class Started(Plain):
    """Says nothing at the start, and hands on what it gets."""

    def start(self, info):
        return []

    def received(self, message):
        self.asked = False
        return [message]


def test_keys_of_masks_differ():
    """A fresh one for each frame (section 5.3)."""
    writer = FrameWriter()
    frames = [writer.text("x" * 4) for _ in range(3000)]
    assert len({frame[2:6] for frame in frames}) > 2990
    for frame in frames[:3]:
        assert bytes(a ^ b for a, b in zip(frame[6:], frame[2:6], strict=True)) == b"xxxx"


def test_half_a_surrogate_pair_is_sent_as_a_question_mark():
    """SIP headers can hold anything; a close with 1007 would be the agent's answer to it."""
    frame = FrameWriter().text("a\ud800b")
    assert bytes(a ^ b for a, b in zip(frame[6:], frame[2:6], strict=False)) == b"a?b"


def test_only_so_many_messages_are_handled_at_once(info):
    """One agent must not keep all calls waiting; what is left comes with resume()."""
    peer = Peer().up(info())
    peer.link.most_messages = 10
    for i in range(25):
        peer.server.send_text(str(i).encode())
    data = b"".join(peer.server.data_to_send())
    counts = [len(peer.link.receive(data, peer.now_ns))]
    while peer.link.unread:
        counts.append(len(peer.link.resume(peer.now_ns)))
    assert counts == [10, 10, 5]


@pytest.mark.parametrize("frame", [b"\x82\x00", b"\x89\x00", b"\x02\x00\x80\x00"])
def test_a_flood_of_tiny_frames_is_parsed_a_little_at_a_time(info, frame):
    """16 KB of empty messages are 8,000: two hundred of them, and the rest is not looked at."""
    peer = Peer().up(info())
    peer.link.most_messages = 200
    peer.link.receive(frame * (16_384 // len(frame)), peer.now_ns)
    assert peer.link.unread and peer.link._cutter.left >= 15_000


def test_of_many_pings_the_last_is_answered(info):
    """Section 5.5.3 allows it, and an agent that pings and does not read costs no memory."""
    peer = Peer().up(info())
    for i in range(300):
        peer.server.send_ping(str(i).encode())
    peer.deliver()
    assert [bytes(f.data) for f in peer.heard() if f.opcode is Opcode.PONG] == [b"299"]


# --- bad agents -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code", "says"),
    [
        (b"\x81\x81abcd!", 1002, "incorrect masking"),
        (b"\xc1\x01!", 1002, "reserved bits"),
        (b"\x83\x00", 1002, "invalid opcode"),
        (b"\x80\x01!", 1002, "unexpected continuation frame"),
        (b"\x01\x01a\x81\x01b", 1002, "expected a continuation frame"),
        (b"\x89\x7e\x00\x80" + bytes(128), 1002, "control frame too long"),
        (b"\x81\x02\xff\xfe", 1007, "text that is not UTF-8"),
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 1009, f"more than {MAX_MESSAGE_BYTES} bytes"),
        (b"\x81\x03bad", 1008, "bad is not allowed here"),
        (b"\x88\x01\x03", 1002, "close frame too short"),
    ],
)
def test_a_violation_ends_the_call_with_its_name_and_code(info, data, code, says):
    """What came before it counts, what comes after it does not."""
    peer = Peer().up(info())
    events = peer.feed(b"\x81\x01x" + data + b"\x81\x01y")
    assert events[0] == Mark(7, "x")
    failed = only_failure(events[1:])
    assert failed.reason == "agent_protocol" and says in failed.detail
    (close,) = [f for f in peer.heard() if f.opcode is Opcode.CLOSE]
    assert int.from_bytes(close.data[:2], "big") == code
    assert peer.link.receive(b"\x81\x01z", peer.now_ns) == [] and peer.link.next_deadline_ns is None


def test_many_small_pieces_of_a_message_are_bounded_too(info):
    """By their sum, as websockets counts it."""
    peer = Peer().up(info())
    piece = b"\x00\x7e\xff\xff" + bytes(65_535)
    events = peer.feed(b"\x02\x00" + piece * 17)
    assert f"more than {MAX_MESSAGE_BYTES} bytes" in only_failure(events).detail


@given(st.lists(st.binary(max_size=300), max_size=8))
@settings(max_examples=150, deadline=None)
def test_whatever_bytes_come_nothing_is_raised(pieces):
    """Before the handshake or after it: events, or one failure and then silence."""
    for greeted in (False, True):
        peer = Peer(Started)
        if greeted:
            peer.greet()
            peer.link.start(7, None, 0)
        failures = 0
        for piece in pieces:
            if piece:
                failures += sum(isinstance(e, LinkFailed) for e in peer.feed(piece))
        failures += sum(isinstance(e, LinkFailed) for e in peer.link.receive(b"", 0))
        assert failures <= 1
        assert peer.link.receive(b"\x81\x01x", 0) == []
        peer.link.data_to_send()


# --- silence --------------------------------------------------------------------------------


def test_a_silent_agent_is_pinged_and_then_lost(info):
    """After 5 s, and 5 s later; an answer to the ping is enough."""
    peer = Peer().up(info())
    for _ in range(2):
        peer.now_ns = peer.link.next_deadline_ns
        assert list(peer.link.handle_timeout(peer.now_ns)) == []
        assert [f.opcode for f in peer.heard()] == [Opcode.PING]
        peer.now_ns += SECOND
        assert peer.deliver() == [], "the pong"
    peer.now_ns = peer.link.next_deadline_ns
    peer.link.handle_timeout(peer.now_ns)
    failed = only_failure(peer.link.handle_timeout(peer.now_ns + 5 * SECOND))
    assert failed.reason == "agent_timeout" and "in spite of a ping" in failed.detail


# --- the end --------------------------------------------------------------------------------


def test_our_end_is_last_words_a_close_and_reading_on(info):
    """The agent's close ends it; what it says meanwhile is not heard."""
    peer = Peer().up(info())
    peer.link.stop(7, "caller_hangup", {})
    assert peer.link.lingers
    frames = peer.heard()
    assert [f.opcode for f in frames] == [Opcode.TEXT, Opcode.CLOSE]
    assert frames[0].data == b"stop caller_hangup" and frames[1].data == b"\x03\xe8caller_hangup"
    assert peer.feed(b"\x81\x01x") == [] and peer.link.lingers
    assert peer.deliver() == [] and not peer.link.lingers
    peer.link.stop(7, "caller_hangup", {})
    assert peer.link.data_to_send() == []


def test_while_we_linger_the_end_of_the_stream_is_enough(info):
    """Many servers never answer a close."""
    peer = Peer().up(info())
    peer.link.stop(7, "caller_hangup", {})
    assert peer.link.receive(b"", peer.now_ns) == [] and not peer.link.lingers


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8bye\nbye"])
def test_an_agent_that_closes_in_good_order_hangs_up(info, payload):
    """1000, or no code; its words become the reason, fit for a log."""
    peer = Peer().up(info())
    events = peer.feed(b"\x81\x01x" + bytes([0x88, len(payload)]) + payload)
    assert events == [Mark(7, "x"), Hangup(7, payload[2:].decode().replace("\n", " "))]
    assert [f.opcode for f in peer.heard()] == [Opcode.CLOSE], "the close is answered"
    assert peer.link.receive(b"", peer.now_ns) == [] and not peer.link.lingers


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [
        (1001, "agent_lost", "with 1001 (going away)"),
        (1011, "agent_lost", "with 1011 (internal error), saying 'oops'"),
        (1012, "agent_lost", "with 1012 (service restart)"),
        (4000, "agent_lost", "with 4000"),
        (1002, "agent_protocol", "with 1002 (protocol error)"),
        (1009, "agent_protocol", "with 1009 (message too big)"),
    ],
)
def test_any_other_close_loses_the_agent(info, code, reason, says):
    """A server that goes down is no hang-up: the caller still wants an answer, and another agent may give it."""
    peer = Peer().up(info())
    peer.server.send_close(code, "oops")
    failed = only_failure(peer.deliver())
    assert failed.reason == reason and says in failed.detail


def test_a_bare_end_loses_the_agent(info):
    """A program that crashed."""
    peer = Peer().up(info())
    failed = only_failure(peer.link.receive(b"", peer.now_ns))
    assert failed == LinkFailed("agent_lost", "the agent broke the connection off, without a close frame")


def test_a_close_before_the_call_has_started_is_no_hangup():
    """There is nothing to hang up."""
    peer = Peer()
    peer.greet()
    peer.server.send_close(1000)
    assert only_failure(peer.deliver()).reason == "agent_lost"


# --- the short way beside the library's -----------------------------------------------------


def frame_bytes(first: int, payload: bytes, masked: bool, long: bool) -> bytes:
    """A frame as it may come, right or wrong; `long`: its length in more bytes than it needs."""
    size = len(payload)
    if long:
        head = bytes([first, 127 | masked << 7]) + size.to_bytes(8, "big")
    elif size < 126:
        head = bytes([first, size | masked << 7])
    else:
        head = bytes([first, 126 | masked << 7]) + size.to_bytes(2, "big")
    return head + (bytes(4) if masked else b"") + payload


def by_the_library(data: bytes) -> tuple[list[str | bytes], bool]:
    """Messages, and whether there was a fault, as `websockets` alone has it; no message counts behind a fault."""
    protocol = ClientProtocol(parse_uri("ws://h/"), state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
    protocol.receive_data(data)
    joiner, messages = MessageJoiner(), []
    for frame in protocol.events_received():
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            try:
                message = joiner.take(frame)
            except UnicodeDecodeError:
                return messages, True
            if message is not None:
                messages.append(message)
    return messages, protocol.parser_exc is not None


firsts = st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]) | st.integers(0, 255).filter(
    lambda first: first & 0x0F != Opcode.CLOSE
)
frames = st.builds(
    frame_bytes, firsts, st.binary(max_size=200), st.integers(0, 15).map(lambda n: n == 0), st.booleans()
)


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 2000), max_size=4))
@settings(max_examples=150, deadline=None)
def test_messages_and_faults_are_those_of_the_library(pieces, cuts):
    """Whole messages do not pass through it: whatever comes, in whatever pieces, the outcome is the same."""
    data = b"".join(pieces)
    peer = Peer(Started)
    peer.greet()
    peer.link.start(7, None, 0)
    peer.link.handle_timeout(0)
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    events = [e for start, end in zip(edges, edges[1:], strict=False) for e in peer.feed(data[start:end])]
    messages, fault = by_the_library(data)
    assert [e for e in events if not isinstance(e, LinkFailed)] == messages
    assert any(isinstance(e, LinkFailed) for e in events) == fault
