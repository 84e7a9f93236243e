# SPDX-License-Identifier: MIT
"""AudioSocket, the gateway's side: frames as Asterisk sends them, servers as they are."""

from __future__ import annotations

import itertools
import socket
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trunkline.agent_bridge.audiosocket import AudioSocketLink, frame
from trunkline.agent_bridge.link_events import Accepted, Audio, Hangup, LinkFailed, LinkUp

CALL_ID = "4f8f6c0e-54c5-4a0c-9f4f-6f1f0f3c5b7e"


@pytest.fixture
def link(info) -> AudioSocketLink:
    """A link whose call, on channel 9, has begun."""
    made = AudioSocketLink(8000)
    made.connected(0)
    made.start(9, info(CALL_ID, sample_rate_hz=8000), 0)
    made.handle_timeout(0)
    made.data_to_send()
    return made


def test_connection_is_consent(info):
    """LinkUp and Accepted are due at once; the first bytes are the call's id."""
    link = AudioSocketLink(8000)
    link.connected(5)
    assert link.next_deadline_ns == 5
    assert link.handle_timeout(5) == [LinkUp("AudioSocket server")]
    link.start(9, info(CALL_ID, sample_rate_hz=8000), 7)
    assert link.next_deadline_ns == 7
    assert link.handle_timeout(7) == [Accepted(9)]
    assert link.next_deadline_ns is None
    assert b"".join(link.data_to_send()) == b"\x01\x00\x10" + bytes.fromhex(CALL_ID.replace("-", ""))


@pytest.mark.parametrize(("rate", "kind"), [(8000, 0x10), (16000, 0x12), (24000, 0x13), (48000, 0x16)])
def test_audio_frames_carry_the_rate_in_their_type(info, rate, kind):
    """20 ms at each rate that calls can have."""
    link = AudioSocketLink(rate)
    link.connected(0)
    link.start(1, info(CALL_ID, sample_rate_hz=rate), 0)
    link.data_to_send()
    pcm = np.arange(rate // 50, dtype=np.int16).reshape(1, -1)
    link.send_audio(np.array([1], np.uint32), np.zeros(1, np.int64), np.zeros(1, np.uint16), pcm)
    data = b"".join(link.data_to_send())
    assert data[0] == kind
    assert int.from_bytes(data[1:3], "big") == rate // 50 * 2
    assert data[3:] == pcm.tobytes()


def test_rates_that_calls_cannot_have_are_refused_at_once(info):
    """A wrong configuration is an exception of ours, not a failure of the server's."""
    with pytest.raises(ValueError, match="44100 Hz"):
        AudioSocketLink(44100)
    with pytest.raises(ValueError, match="16000 Hz on an AudioSocket of 8000"):
        AudioSocketLink(8000).start(1, info(CALL_ID), 0)


def test_chunks_of_any_size_become_samples_and_a_cut_sample_waits(link, readable):
    """An odd byte is carried to the next frame, over reads as well."""
    data = frame(0x10, b"\1\0\2") + frame(0x10, b"") + frame(0x10, b"\0\3\0\4")
    assert readable(link.receive(data, 0)) == [("Audio", [9], [[1, 2, 3]])]
    assert readable(link.receive(frame(0x10, b"\0"), 0)) == [("Audio", [9], [[4]])]


def test_a_burst_is_one_event(link):
    """Servers that do not pace cost no event per frame."""
    burst = b"".join(frame(0x10, bytes(320)) for _ in range(200))
    (audio,) = link.receive(burst, 0)
    assert audio.pcm.shape == (1, 200 * 160)


def test_longest_frame_is_taken(link):
    """65,535 bytes, the most that the length can say."""
    (audio,) = link.receive(frame(0x10, bytes(65535)), 0)
    assert audio.pcm.shape == (1, 32767)


def test_hangup_frame_comes_after_the_audio_before_it(link, readable):
    """Then nothing more, not even the closing of the socket."""
    data = frame(0x10, b"\1\0") + frame(0x00) + frame(0x10, b"\2\0")
    assert readable(link.receive(data, 0)) == [("Audio", [9], [[1]]), ("Hangup", 9, "", 0, True)]
    assert link.receive(b"", 0) == []


def test_bare_close_is_a_lost_agent(link):
    """A crashed server looks the same, so it is not called a hang-up."""
    (failed,) = link.receive(b"", 0)
    assert failed == LinkFailed(
        "agent_lost", "the server closed the connection without a hang-up frame (0x00)"
    )


def test_audio_in_another_rate_ends_the_call_with_both_rates_named(link):
    """Audio before it still counts."""
    audio, failed = link.receive(frame(0x10, b"\1\0") + frame(0x12, bytes(640)), 0)
    assert audio.pcm.tolist() == [[1]]
    assert failed.reason == "agent_protocol"
    assert "16000 Hz (type 0x12)" in failed.detail
    assert "8000 Hz (type 0x10)" in failed.detail


def test_error_frame_ends_the_call(link):
    """0xff with a code."""
    (failed,) = link.receive(frame(0xFF, b"\x04"), 0)
    assert failed == LinkFailed("agent_protocol", "the server reported an AudioSocket error (04)")


def test_other_frames_are_ignored_and_counted(link):
    """UUID, DTMF and types of the future from a server hurt nobody."""
    assert link.receive(frame(0x01, bytes(16)) + frame(0x03, b"5") + frame(0x77, b"x"), 0) == []
    assert link.ignored["unknown_type"] == 3


def test_dtmf_and_stop(link):
    """A key is one ASCII byte; the end of the call is the hang-up frame, once."""
    link.send_dtmf(9, "#", 120, "rfc4733")
    link.stop(9, "caller_hangup", {})
    link.stop(9, "caller_hangup", {})
    link.send_dtmf(9, "1", 120, "rfc4733")
    assert b"".join(link.data_to_send()) == b"\x03\x00\x01#\x00\x00\x00"


def test_what_the_dialect_cannot_say_is_not_said(link):
    """Marks, clear, flow, hold and network leave no bytes."""
    link.send_mark(9, "m", 0, "played")
    link.send_cleared(9, "", 0, 0, [])
    link.send_flow(9, False, 0)
    link.send_hold(9, True)
    link.send_quality(9, {"mos": 1.0})
    link.send_network(9, True, 2000)
    link.send_error(9, "dtmf_not_sent", "no")
    assert link.data_to_send() == []


def plain_echo_server(server: socket.socket) -> None:
    """A server as people write them for Asterisk: reads frames, sends audio back, hangs up on '#'."""
    connection, _ = server.accept()
    with connection, connection.makefile("rb") as stream:
        while len(header := stream.read(3)) == 3:
            payload = stream.read(int.from_bytes(header[1:], "big"))
            if header[0] == 0x10:
                connection.sendall(header + payload)
            elif header[0] == 0x03 and payload == b"#":
                connection.sendall(b"\x00\x00\x00")
                return


def test_third_party_style_server_over_tcp(link):
    """A server that knows only Asterisk's frames echoes samples exactly, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=plain_echo_server, args=(server,))
        thread.start()
        pcm = np.random.default_rng(1).integers(-32768, 32767, (50, 160), np.int16)
        heard, events = [], []
        with socket.create_connection(server.getsockname()) as sock:
            sock.settimeout(5)
            zero = np.zeros(1, np.int64)
            for row in pcm:
                link.send_audio(np.array([9], np.uint32), zero, zero.astype(np.uint16), row.reshape(1, -1))
            link.send_dtmf(9, "#", 100, "info")
            sock.sendall(b"\x01\x00\x10" + bytes(16) + b"".join(link.data_to_send()))
            while not any(isinstance(e, Hangup) for e in events):
                events += link.receive(sock.recv(4096), 0)
        thread.join(5)
    heard = np.concatenate([e.pcm[0] for e in events[:-1]])
    assert (heard == pcm.reshape(-1)).all()
    assert events[-1] == Hangup(9)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_it_makes_no_difference_how_frames_arrive(info, data):
    """One frame a read, which is the usual case, or the stream cut anywhere: the same speech and the same end."""
    sizes = data.draw(st.lists(st.integers(0, 9), max_size=8))
    samples = bytes(range(1, 200))
    stream, whole, at = [], b"", 0
    for size in sizes:
        whole += samples[at : at + size]
        stream.append(frame(0x10, samples[at : at + size]))
        at += size
    if data.draw(st.booleans()):
        stream.append(frame(0x00))
    sent = b"".join(stream)
    cuts = sorted(data.draw(st.lists(st.integers(1, max(len(sent) - 1, 1)), max_size=4)))
    pieces = data.draw(st.sampled_from([stream, [sent[a:b] for a, b in itertools.pairwise([0, *cuts, len(sent)])]]))
    link = AudioSocketLink(8000)
    link.connected(0)
    link.start(9, info(CALL_ID, sample_rate_hz=8000), 0)
    link.handle_timeout(0)
    events = [event for piece in pieces if piece for event in link.receive(memoryview(piece), 0)]
    heard = b"".join(event.pcm.tobytes() for event in events if isinstance(event, Audio))
    assert heard == whole[: len(whole) & ~1]
    assert all(event.channels.tolist() == [9] for event in events if isinstance(event, Audio))
    assert [type(event) for event in events if not isinstance(event, Audio)] == [Hangup] * (len(stream) - len(sizes))
