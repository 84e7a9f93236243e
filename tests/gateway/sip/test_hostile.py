# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams that no SIP phone would send: the thread must outlive them all."""

from __future__ import annotations

import random
import socket
import time

from support.sip_rig import SipRig
from support.sipp import Sipp
from trunkline.gateway.sip.events import CallState, Incoming
from trunkline.gateway.sip.messages import HangUp, Refusal

BODY = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"


def invite(port: int, number: int, name: bytes = b"Ann", extra: bytes = b"", body: bytes = BODY) -> bytes:
    return (
        b"INVITE sip:600@127.0.0.1 SIP/2.0\r\n"
        b"Via: SIP/2.0/UDP 127.0.0.1:%d;branch=z9hG4bK-h%d\r\n"
        b'From: "%s" <sip:77@127.0.0.1>;tag=%d\r\nTo: <sip:600@127.0.0.1>\r\nCall-ID: hostile-%d\r\n'
        b"CSeq: 1 INVITE\r\nContact: <sip:77@127.0.0.1:%d>\r\nMax-Forwards: 70\r\n%b"
        b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%b"
    ) % (port, number, name, number, number, port, extra, len(body), body)


def assert_alive(sip: SipRig) -> None:
    with Sipp("uac_options", sip.port) as caller:
        caller.wait()


def test_bytes_that_are_no_utf8_become_writable_text(sip: SipRig) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.sendto(
            invite(peer.getsockname()[1], 1, b"J\xfcrgen", b"X-Odd: \xff\xfe\r\n"), ("127.0.0.1", sip.port)
        )
        event = sip.wait(Incoming)
        sip.post(HangUp(event.call_id, 486))
        sip.state(event.call_id, CallState.ENDED)
    assert event.invite.from_name == "J\ufffdrgen"
    assert event.invite.headers["X-Odd"].encode() == "\ufffd\ufffd".encode()


def test_mutilated_invites_do_not_end_the_thread(sip: SipRig) -> None:
    sip.screen.refusal = Refusal(403, "Forbidden", "unknown_peer", "test")
    rng = random.Random(20260301)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        for number in range(400):
            datagram = bytearray(invite(peer.getsockname()[1], number))
            for _ in range(rng.randrange(1, 4)):
                datagram[rng.randrange(len(datagram))] = rng.randrange(256)
            if rng.random() < 0.3:
                del datagram[rng.randrange(len(datagram)) :]
            peer.sendto(datagram, ("127.0.0.1", sip.port))
            time.sleep(0.0005)  # or the kernel drops most of them
        peer.sendto(rng.randbytes(1400), ("127.0.0.1", sip.port))
        peer.sendto(b"\0" * 100, ("127.0.0.1", sip.port))
    assert_alive(sip)
    assert len(sip.screen.seen) > 50, "some of them were still INVITEs"


def test_a_flood_of_strangers_is_refused_and_leaves_nothing(sip: SipRig) -> None:
    sip.screen.refusal = Refusal(403, "Forbidden", "unknown_peer", "test")
    with Sipp("uac_refused", sip.port, calls=200, rate=400, trace=False) as strangers:
        strangers.wait()
    assert len(sip.screen.seen) == 200
    assert_alive(sip)
