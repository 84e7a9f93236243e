# SPDX-License-Identifier: GPL-2.0-or-later
"""Recordings of a media engine: whole, of the right call, without keys, and without any effect on the calls."""

from __future__ import annotations

import pathlib
import socket
import stat
from unittest import mock

import dpkt
import numpy as np
import pytest

from support import kernels
from support.srtp_call import SecureCall, speech
from support.virtual_engine import VirtualEngine
from support.virtual_network import Callers, Network
from support.waiting import wait_for
from trunkline.agent_bridge.link_events import Transfer
from trunkline.gateway.media import control
from trunkline.gateway.media.recorder import TappedLink
from trunkline.gateway.recording import contents, pcapng
from trunkline.gateway.recording.contents import Sound

LOCAL = ("192.0.2.20", 4000)


def begin(
    rig: VirtualEngine, row: int, file: pathlib.Path, max_bytes: int = 10_000_000, redact: bool = False
) -> None:
    stream = rig.streams[row]
    stream.rtp = mock.Mock(getsockname=lambda: LOCAL)
    rig.engine.recorder.start(stream, control.RecordingParams(str(file), max_bytes, redact))


def end(rig: VirtualEngine, row: int) -> control.RecordingEnded:
    rig.engine.recorder.stop(rig.streams[row])
    return ended(rig)


def ended(rig: VirtualEngine) -> control.RecordingEnded:
    def told() -> control.RecordingEnded | None:
        rig.engine.recorder.advance()
        return next((one for one in rig.posted if isinstance(one, control.RecordingEnded)), None)

    return wait_for(told, "RecordingEnded")  # type: ignore[return-value]


def talk(rig: VirtualEngine, seconds: float) -> None:
    rig.run(seconds, rig.traffic(3, Callers(rig.calls), Network()))


def test_one_call_of_three_is_recorded_and_nothing_else_changes(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "call.pcapng"
    plain, taped = VirtualEngine(3, echo=True), VirtualEngine(3, echo=True)
    link = taped.streams[1].link
    assert link is not None
    begin(taped, 1, file)
    assert isinstance(link.protocol, TappedLink)
    written = mock.Mock(wraps=link.protocol.link.audio_message)
    link.protocol.link.audio_message = written  # type: ignore[method-assign]
    talk(plain, 2.0)
    talk(taped, 2.0)
    assert plain.digests() == taped.digests(), "agent and callers get the same, byte for byte"
    assert bool(written.call_count) is kernels.there, "its connection takes records as bytes all the same"
    sent, frames = int(taped.sockets.sent[1]), 100
    report = end(taped, 1)
    assert not isinstance(link.protocol, TappedLink), "the connection is as before"
    assert (report.outcome, report.left_out, report.octets) == ("complete", 0, file.stat().st_size)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = contents.read(file)
    assert found.start["call"]["call_id"] == taped.streams[1].call_id
    recorded = [item for item in found.told if isinstance(item, Sound)]
    assert abs(len(recorded) - frames) <= 3
    steps = np.diff([one.position for one in recorded])
    assert (steps == steps[0]).all() and steps[0] == len(recorded[0].pcm)
    said = np.concatenate([item.pcm for item in found.said if isinstance(item, Sound)])
    heard = np.concatenate([one.pcm for one in recorded])
    assert len(said) and (said == heard[: len(said)]).all(), "the agent is an echo"
    rtp = [one for one in pcapng.packets(file.read_bytes()) if one.interface == pcapng.RTP and one.data[29] < 128]
    outbound = [one for one in rtp if not one.inbound and one.data[29] & 0x7F < 64]
    assert abs(len(outbound) - sent) <= 3


def test_a_recording_that_is_full_ends_and_the_call_goes_on(tmp_path: pathlib.Path) -> None:
    rig = VirtualEngine(1, echo=True)
    file = tmp_path / "call.pcapng"
    begin(rig, 0, file, 20_000)
    talk(rig, 2.0)
    report = ended(rig)
    assert report.outcome == "limit" and file.stat().st_size == report.octets <= 20_000
    assert not rig.engine.recorder.active and rig.sockets.sent[0] > 90


@pytest.mark.parametrize("there", ["file", "link", "no folder"])
def test_a_file_that_cannot_be_made_is_told_and_costs_nothing(tmp_path: pathlib.Path, there: str) -> None:
    rig = VirtualEngine(1, echo=True)
    file, kept = tmp_path / "call.pcapng", tmp_path / "kept"
    kept.write_text("kept")
    if there == "file":
        file.write_text("kept")
    elif there == "link":
        file.symlink_to(kept)
    else:
        file = tmp_path / "no/call.pcapng"
    begin(rig, 0, file)
    wait_for(lambda: (rig.run(0.1), rig.engine.recorder.active == 0)[1], "the end of the recording")
    report = ended(rig)
    assert report.outcome == "failed" and str(file) in report.detail
    assert kept.read_text() == "kept" and rig.streams[0].accepted


def test_an_encrypted_call_is_recorded_in_the_clear_and_without_its_keys(tmp_path: pathlib.Path) -> None:
    call = SecureCall("AES_CM_128_HMAC_SHA1_80")
    file = tmp_path / "call.pcapng"
    begin(call.rig, 0, file)
    call.talk(50)
    end(call.rig, 0)
    data = file.read_bytes()
    assert sum(speech(number) in data for number in range(50)) >= 45, "what the caller said"
    media = call.rig.streams[0].media
    for key in (media.send_key, media.receive_key):
        assert key is not None and key.master not in data
    assert not any(packet in data for packet in call.wire)


def test_a_successor_of_the_worker_goes_on_in_the_same_file(tmp_path: pathlib.Path) -> None:
    """What the dead one has written stays, and a new section follows."""
    file = tmp_path / "call.pcapng"
    rig = VirtualEngine(1, echo=True)
    begin(rig, 0, file)
    talk(rig, 0.5)
    end(rig, 0)
    before = file.read_bytes()
    after = rig.successor(echo=True)
    assert after.streams[0].resumed
    begin(after, 0, file)
    talk(after, 0.5)
    end(after, 0)
    assert file.read_bytes().startswith(before)
    found = contents.read(file)
    frames = [item for item in found.told if isinstance(item, Sound)]
    assert len(frames) > 40 and (np.diff([one.position for one in frames]) > 0).all()


@pytest.mark.parametrize("redact", [False, True])
def test_whom_an_agent_transfers_to_is_not_in_a_redacted_recording(tmp_path: pathlib.Path, redact: bool) -> None:
    """Neither in its command, nor in what it is told of it."""
    file, rig = tmp_path / "call.pcapng", VirtualEngine(1, echo=True)
    (stream,) = rig.streams
    begin(rig, 0, file, redact=redact)
    link = stream.link
    assert link is not None and isinstance(link.protocol, TappedLink)
    link.protocol._note([Transfer(stream.channel, "+49301234567", "", {"X-To": "+49301234567"})])
    link.protocol.send_error(stream.channel, "bad_target", "+49301234567 may not be called")
    end(rig, 0)
    assert (b"+49301234567" in file.read_bytes()) is not redact
    assert b'"transfer"' in file.read_bytes()


@pytest.mark.parametrize(
    ("peer", "port"), [(("192.0.2.1", 5070), 5080), (("2001:db8::1", 5071), 5060), (("", 5060), 5060)]
)
def test_sip_messages_are_written_and_a_replay_does_not_see_them(
    tmp_path: pathlib.Path, peer: tuple[str, int], port: int
) -> None:
    rig = VirtualEngine(2, echo=True)
    begin(rig, 1, tmp_path / "call.pcapng")
    ok = b"SIP/2.0 200 OK\r\n\r\n" + b"x" * 39_000
    for outbound, data in ((False, b"INVITE sip:a@b SIP/2.0\r\n\r\n"), (True, ok)):
        for row in (0, 1):
            message = control.SipSeen(rig.streams[row].call_id, outbound, data, 1_700_000_000_123_456_789, peer, port)
            sent = control.decode_to_worker(control.encode(message))
            assert isinstance(sent, control.SipSeen)
            rig.engine.recorder.sip(rig.streams[row], sent)
    talk(rig, 0.2)
    assert end(rig, 1).outcome == "complete"
    written = list(pcapng.packets((tmp_path / "call.pcapng").read_bytes()))
    sip = [one for one in written if one.interface == pcapng.RTP and pcapng.payload(one.data)[:1] < b"\x80"]
    assert [one.inbound for one in sip] == [True, False] and {one.time_ns for one in sip} == {1_700_000_000_123_456_789}
    four = ":" not in peer[0]
    first = dpkt.ip.IP(sip[0].data) if four else dpkt.ip6.IP6(sip[0].data)
    assert (first.data.sport, first.data.dport) == (peer[1], port) and first.data.data.startswith(b"INVITE")
    assert first.src == socket.inet_pton(socket.AF_INET if four else socket.AF_INET6, peer[0] or "0.0.0.0")
    found = contents.read(tmp_path / "call.pcapng")
    assert found.rtp_in + found.rtp_out == sum(one.interface == pcapng.RTP for one in written) - 2
