# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys by DTLS in the engine: both roles, a bad network, forgeries, new offers and dead workers."""

from __future__ import annotations

import dataclasses
import random
import time

import numpy as np
import pytest

from support.dtls_call import OTHERS, THEIRS, DtlsCall
from support.media_rig import PEER
from support.srtp_call import batch
from trunkline.codecs import g711
from trunkline.gateway.media.handshakes import KEEP_NS
from trunkline.rtp.media_description import DtlsTerms

ROLES = pytest.mark.parametrize("active", [True, False], ids=["active", "passive"])


def update(call: DtlsCall, **fields: object) -> None:
    """Another offer and answer; keys are never in it."""
    stream = call.rig.streams[0]
    wanted = dataclasses.replace(stream.media, send=True, receive=True, send_key=None, receive_key=None)
    call.rig.engine.update(stream, dataclasses.replace(wanted, **fields), call.rig.now_ns)


@ROLES
def test_nothing_is_heard_or_sent_before_the_keys_and_everything_after(active: bool) -> None:
    call = DtlsCall(active=active)
    call.plain(20)
    shared = call.rig.table.shared
    assert not call.wire and not call.rig.sockets.rtcp
    assert (shared.packets_received[0], call.rig.drops()) == (0, {"SRTP_AUTH": 20})
    call.shake()
    (agreed,) = call.agreed
    assert (agreed.send_key, agreed.receive_key) == (call.peer.keys.receive, call.peer.keys.send)
    assert "master" not in repr(agreed) and repr(agreed.send_key.master)[2:10] not in repr(agreed)
    call.talk(400)
    assert not call.not_understood and call.rig.drops() == {"SRTP_AUTH": 20}
    assert shared.packets_received[0] == 400 and len(call.heard) >= 398
    assert all(len(data) == 172 + 16 for data in call.wire), "of AEAD_AES_128_GCM"
    assert call.rig.sockets.rtcp, "encrypted, as the port is shared"
    assert not call.failures


@ROLES
def test_what_the_agent_says_meanwhile_is_kept(active: bool) -> None:
    """A second of silence on the wire, then the greeting from its first sample on."""
    call = DtlsCall(active=active)
    row = call.rig.streams[0].row
    speech = [bytes([0x20 + n]) * 160 for n in range(20)]
    pcm = g711.decode_ulaw(np.frombuffer(b"".join(speech), np.uint8)).reshape(1, -1)
    call.rig.engine.playback.push(np.array([row]), pcm, call.rig.now_ns)
    call.rig.run(1.0)
    assert not call.wire
    call.datagrams.clear()
    if active:  # its first flights are gone; OpenSSL repeats by the real clock
        time.sleep(1.05)
    call.shake()
    call.rig.run(1.0)
    heard = b"".join(packet[12:] for packet in call.heard)
    assert b"".join(speech) in heard


@ROLES
def test_lost_first_flights_are_sent_again(active: bool) -> None:
    """Ours leaves with the 200, and may be there before it; the peer's is repeated by the peer."""
    call, lost = DtlsCall(active=active), []

    def network(datagram: bytes) -> list[bytes]:
        if active and len(lost) < 2:
            lost.append(datagram)
            return []
        return [datagram, datagram]

    call.shake(network)
    assert call.agreed and call.peer.keys is not None
    call.talk(20)
    assert not call.not_understood and not call.drops


def test_a_lost_last_flight_is_answered_again() -> None:
    """We have our keys, the peer has not got our last flight, and repeats its own."""
    call = DtlsCall(active=False)
    call.receive(call.peer.start(time.monotonic_ns())[0])
    flight = [out for data in call.datagrams for out in call.peer.receive(data, time.monotonic_ns())]
    call.datagrams.clear()
    for data in flight:
        call.receive(data)
    assert call.agreed and call.datagrams and call.peer.keys is None
    call.datagrams.clear()
    time.sleep(max(0.0, (call.peer.next_deadline_ns - time.monotonic_ns()) / 1e9))
    for data in call.peer.handle_timeout(time.monotonic_ns()):
        call.receive(data)
    for data in call.datagrams:
        call.peer.receive(data, time.monotonic_ns())
    assert call.peer.keys is not None and len(call.agreed) == 1
    call.rig.now_ns += KEEP_NS
    call.rig.step()
    call.datagrams.clear()
    for data in flight:
        call.receive(data)
    assert not call.datagrams and not call.failures


@ROLES
def test_garbage_and_strangers_change_nothing(active: bool) -> None:
    """Noise from the peer's address is passed over; what comes from elsewhere is not even looked at."""
    call, noise = DtlsCall(active=active), random.Random(3)
    stranger = call.new_peer(OTHERS)
    hello = stranger.start(time.monotonic_ns()) or [b"\x16\xfe\xfd" + noise.randbytes(90)]
    strangers = 0

    def network(datagram: bytes) -> list[bytes]:
        nonlocal strangers
        for source in ((PEER[0], 9), ("192.0.2.66", 4000)):
            call.receive(hello[0], source)
            strangers += 1
        for _ in range(5):
            call.receive(bytes([noise.randrange(20, 64)]) + noise.randbytes(noise.randrange(0, 60)))
        return [datagram]

    call.shake(network)
    assert call.agreed and not call.failures
    assert call.drops == {"SOURCE": strangers}
    call.talk(20)
    assert not call.not_understood and len(call.heard) > 15


@ROLES
def test_another_certificate_ends_the_call_with_a_reason(active: bool) -> None:
    call = DtlsCall(active=active)
    call.peer = call.new_peer(OTHERS)
    call.shake()
    (failed,) = call.failures
    assert failed.reason == "dtls_failed" and "not the one whose fingerprint its SDP names" in failed.detail
    call.plain(10)
    assert not call.agreed and not call.wire and not call.rig.table.shared.packets_received[0]


@ROLES
def test_a_peer_that_does_not_answer_ends_the_call_after_half_a_minute(active: bool) -> None:
    call = DtlsCall(active=active)
    call.rig.run(29.5)
    assert not call.failures
    assert call.rig.engine.next_deadline_ns() <= call.rig.now_ns + 1_000_000_000
    call.rig.run(1.5)
    (failed,) = call.failures
    assert (failed.reason, failed.detail) == ("dtls_failed", "no DTLS handshake came about within 30 s")
    assert not call.wire and not call.rig.sockets.rtcp


@ROLES
def test_a_call_that_begins_on_hold_shakes_hands_when_it_has_an_address(active: bool) -> None:
    """0.0.0.0 would be this machine."""
    call = DtlsCall(active=active, remote_host="0.0.0.0", send=False)
    call.rig.run(40)
    assert not call.datagrams and not call.failures
    update(call, remote_host=PEER[0])
    call.shake()
    call.talk(20)
    assert call.agreed and not call.not_understood and len(call.heard) > 15


@ROLES
def test_hold_and_resume_keep_the_keys(active: bool) -> None:
    call = DtlsCall(active=active)
    call.shake()
    call.talk(20)
    for send in (False, True):
        update(call, send=send, receive=send)
        before = len(call.wire)
        call.rig.run(0.5)
        assert (len(call.wire) > before) is send
    call.talk(20)
    assert len(call.agreed) == 1 and not call.datagrams and not call.not_understood
    assert not {"SRTP_AUTH", "SRTP_REPLAY"} & call.drops.keys()


def test_a_hold_during_the_handshake_holds_after_it() -> None:
    call = DtlsCall(active=True)
    update(call, send=False, receive=True)
    assert call.rig.streams[0].on_hold
    call.shake()
    call.rig.run(0.5)
    assert call.agreed and not call.wire
    update(call, send=True, receive=True)
    call.rig.run(0.5)
    assert call.wire and not call.rig.streams[0].on_hold


@ROLES
def test_another_fingerprint_begins_anew_and_media_goes_on_meanwhile(active: bool) -> None:
    call = DtlsCall(active=active)
    call.shake()
    call.talk(20)
    call.rig.table.shared.tx_seq[0] += 1 << 16  # the new association's counters begin at zero all the same
    old_out = call.out
    update(call, dtls=DtlsTerms(active, (OTHERS.fingerprint,), call.terms.identity))
    received = int(call.rig.table.shared.packets_received[0])
    call.rig.sockets.on_packets = lambda rows, packets: call.wire.extend(bytes(one) for one in packets)
    before = len(call.wire)
    for _ in range(10):
        call.receive(old_out.protect(call.packet(), 0))
        call.rig.step()
        call.rig.step()
    assert call.rig.table.shared.packets_received[0] == received + 10 and len(call.wire) >= before + 9
    assert all(len(data) == 188 for data in call.wire)
    first, call.rig.posted[:] = call.agreed, []
    call.peer = call.new_peer(OTHERS)
    call.shake()
    (second,) = call.agreed
    assert second.send_key != first[0].send_key
    call.watch(call.rig)
    call.heard.clear()
    call.talk(30)
    assert not call.not_understood and len(call.heard) >= 28 and not call.failures


def test_encryption_by_dtls_ends_and_begins_with_the_offer() -> None:
    """To plain RTP and back: a new handshake, and silence until it is done."""
    call = DtlsCall(active=False)
    call.shake()
    call.talk(10)
    update(call, dtls=None)
    call.rig.sockets.on_packets = lambda rows, packets: call.wire.extend(bytes(one) for one in packets)
    call.wire.clear()
    call.plain(10)
    assert call.wire and {len(data) for data in call.wire} == {172}
    update(call, dtls=call.terms)
    call.wire.clear()
    call.plain(10)
    assert not call.wire
    call.peer = call.new_peer()
    call.rig.posted.clear()
    call.shake()
    call.watch(call.rig)
    call.heard.clear()
    call.talk(10)
    assert call.heard and not call.not_understood


@ROLES
def test_without_rtcp_mux_there_is_no_rtcp(active: bool) -> None:
    """Its port has no keys: nothing is sent there, and nothing heard."""
    call = DtlsCall(active=active, rtcp_mux=False, remote_rtcp_port=PEER[1] + 1)
    call.shake()
    call.talk(500)
    drops = call.drops
    call.rig.engine.receive_rtcp(call.rig.streams[0], b"\x80\xc9\x00\x01" + bytes(20), PEER, call.rig.now_ns)
    assert call.rig.engine.stop(call.rig.streams[0], "over", call.rig.now_ns)["packets_sent"] > 490
    assert not call.rig.sockets.rtcp and call.drops == drops


@ROLES
def test_a_successor_goes_on_with_the_keys(active: bool) -> None:
    """The gateway has kept them; the peer does not notice but for two numbers."""
    call = DtlsCall(active=active)
    call.shake()
    call.talk(20)
    call.watch(call.rig.successor(echo=True))
    assert not call.datagrams
    call.talk(30)
    assert not call.drops and not call.not_understood and len(call.heard) >= 45
    update(call, receive=False)
    assert call.rig.table.secure[0], "and keeps them, when it is told of a hold"


@ROLES
def test_a_successor_in_the_middle_of_a_handshake_begins_its_own(active: bool) -> None:
    call = DtlsCall(active=active)
    for data in call.peer.start(time.monotonic_ns()):
        call.receive(data)
    fresh = call.rig.successor(echo=True)
    call.datagrams.clear()
    call.watch(fresh)
    call.peer = call.new_peer()
    call.shake()
    call.talk(20)
    assert call.agreed and not call.not_understood and len(call.heard) > 15


def test_calls_without_dtls_do_not_look_at_such_datagrams() -> None:
    """They are no RTP, and end where they always have."""
    call = DtlsCall(active=False, dtls=None)
    call.rig.engine.receive(batch([b"\x16" + bytes(50)]), call.rig.now_ns)
    assert call.drops == {"VERSION": 1}
    assert THEIRS.fingerprint != OTHERS.fingerprint
