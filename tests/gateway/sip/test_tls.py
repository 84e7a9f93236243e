# SPDX-License-Identifier: GPL-2.0-or-later
"""SIP by TLS, as PJSIP and we do it: handshakes, whom we believe, other certificates in mid-call."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import pjsua2 as pj
import pytest
from cryptography import x509

from support.certificates import Authority, Pair
from support.ports import free_port
from support.sip_rig import SipRig, StaticSession
from support.sipp import Sipp
from support.tls_relay import TlsRelay
from support.waiting import wait_for
from trunkline.gateway.sip import engine
from trunkline.gateway.sip.events import CallState, Incoming, RegistrationChanged
from trunkline.gateway.sip.messages import HangUp, PlaceCall, ReloadCertificates, Respond
from trunkline.gateway.sip.settings import Credentials, Registration, Tls, Transport, Trunk
from trunkline.gateway.sip.tls_peers import TlsPeers
from trunkline.gateway.sip.tls_port import TlsPort

Start = Callable[..., SipRig]
KEYS = {"username": "gw1", "password": "secret"}


class Tools:
    """A SIP thread that speaks TLS, and peers for it."""

    def __init__(self, folder: pathlib.Path, start_sip: Start) -> None:
        self.authority = Authority(folder, intermediate=True)
        self.strangers = Authority(folder, "another authority")
        self.ours = self.authority.issue("gateway")
        self._start, self.port = start_sip, free_port()
        self.rig: SipRig

    def credentials(self, pair: Pair) -> Credentials:
        return Credentials(
            pair.certificate.read_bytes(), pair.key.read_bytes(), self.authority.certificate.read_bytes()
        )

    def start(self, *trunks: Trunk, **options: Any) -> SipRig:
        """With `options` of the TLS transport."""
        tls = Transport("tls", "127.0.0.1", self.port, tls=Tls(self.credentials(self.ours), **options))
        transports = (Transport("udp", "127.0.0.1", free_port()), Transport("tcp", "127.0.0.1", free_port()), tls)
        self.rig = self._start(transports=transports, trunks=trunks or (Trunk("pbx", transport="tls"),))
        return self.rig

    def client(self, pair: Pair | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Context of one who connects to us."""
        context = ssl.create_default_context(cafile=self.authority.certificate)
        if version is not None:
            context.minimum_version = context.maximum_version = version
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    def server(self, pair: Pair, clients: bool = False) -> ssl.SSLContext:
        """Context of one whom we connect to; `clients` must show certificates."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        if clients:
            context.load_verify_locations(self.authority.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def connect(self, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        return context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)

    @contextlib.contextmanager
    def relay(
        self, sipp_port: int, pair: Pair | None = None, clients: bool = False, **options: Any
    ) -> Iterator[TlsRelay]:
        """Between a SIPp and the gateway; `pair` is what it shows."""
        pair = pair or self.authority.issue("peer")
        with TlsRelay(sipp_port, self.port, self.server(pair, clients), self.client(pair), **options) as relay:
            yield relay


@pytest.fixture
def tools(tmp_path: pathlib.Path, start_sip: Start) -> Tools:
    return Tools(tmp_path, start_sip)


def shown(other: ssl.SSLSocket | bytes | None) -> int:
    """Serial number of the certificate that the other side has shown."""
    certificate = other.getpeercert(binary_form=True) if isinstance(other, ssl.SSLSocket) else other
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def answers(connection: ssl.SSLSocket) -> bool:
    """Whether a request is answered on a connection."""
    number = time.monotonic_ns()
    lines = (
        "OPTIONS sip:anyone@127.0.0.1 SIP/2.0", f"Via: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bK{number}",
        "From: <sip:a@example.com>;tag=1", "To: <sip:anyone@127.0.0.1>", f"Call-ID: {number}", "CSeq: 1 OPTIONS",
        "Max-Forwards: 70", "Content-Length: 0", "", "",
    )  # fmt: skip
    try:
        connection.settimeout(3)
        connection.sendall("\r\n".join(lines).encode())
        return connection.recv(4096).startswith(b"SIP/2.0 200")
    except OSError as error:
        print("no answer:", error)
        return False


# --- calls to us --------------------------------------------------------------------------------


def test_a_call_by_tls_is_known_for_one_and_everything_of_it_stays_there(tools: Tools) -> None:
    rig = tools.start()
    port = free_port()
    with tools.relay(port) as relay, Sipp("uac_hangup", relay.tcp_port, tcp=True, port=port) as caller:
        call_id, _ = rig.incoming()
        invite = rig.wait(Incoming).invite
        rig.post(Respond(call_id, 180), Respond(call_id, 200))
        rig.state(call_id, CallState.CONFIRMED)
        rig.post(HangUp(call_id))
        messages = caller.wait()
        assert rig.state(call_id, CallState.ENDED).by_us
        assert len(relay.accepted) == 1, "our BYE went to the Contact, by TLS"
    assert invite.transport == "tls"
    ok = next(one for one in messages if one.start_line == "SIP/2.0 200 OK" and "m=audio" in one.body)
    assert ok.header("Contact") == f"<sip:trunkline@127.0.0.1:{tools.port};transport=TCP>", "the relay's word for TLS"


@pytest.mark.parametrize("tcp", [False, True])
def test_a_via_that_says_tls_makes_nothing_secure(tools: Tools, tcp: bool) -> None:
    rig = tools.start()
    from trunkline.gateway.sip.door import read_invite

    text = "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bK1\r\n\r\n"
    assert read_invite(text, "127.0.0.1:5061", None).transport == "tcp"
    with Sipp("uac_basic", rig.thread.ports[int(tcp)], tcp=tcp) as caller:
        call_id, _ = rig.incoming()
        assert rig.wait(Incoming).invite.transport == ("tcp" if tcp else "udp")
        rig.post(Respond(call_id, 180), Respond(call_id, 200))
        caller.wait()


INVITE = (
    "INVITE {1}:1@127.0.0.1 SIP/2.0", "Via: SIP/2.0/TLS 127.0.0.1:9;rport;branch=z9hG4bK{0}",
    "From: <{1}:a@b>;tag=1", "To: <{1}:1@127.0.0.1>", "Call-ID: {0}", "CSeq: 1 INVITE",
    "Contact: <{1}:a@127.0.0.1:9;transport=tls>", "Max-Forwards: 70", "Content-Length: 0", "", "",
)  # fmt: skip


def test_a_datagram_from_the_address_of_a_tls_connection_proves_nothing(tools: Tools) -> None:
    """It says TLS, and its source is that of a peer whose certificate is good: the transport is what counts."""
    rig = tools.start(client_certificates="required")
    peer = tools.authority.issue("peer", ["pbx.example.com"])
    text = "\r\n".join(INVITE)
    with (
        tools.connect(tools.client(peer)) as secure,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain,
    ):
        plain.bind(secure.getsockname())
        plain.settimeout(5)
        secure.sendall(text.format("secure", "sip").encode())
        first = rig.wait(Incoming).invite
        assert (first.transport, first.certificate_names) == ("tls", ("pbx.example.com",))
        plain.sendto(text.format("plain", "sip").encode(), ("127.0.0.1", rig.thread.ports[0]))
        second = rig.wait(Incoming, 2).invite
        assert second.source == first.source, "else this shows nothing"
        assert (second.transport, second.certificate_names) == ("tcp", ()), "the word of its Via, but never TLS"
        plain.sendto(text.format("sips", "sips").encode(), ("127.0.0.1", rig.thread.ports[0]))
        while b"Call-ID: sips" not in (answer := plain.recv(4096)) or answer.startswith(b"SIP/2.0 1"):
            pass
        assert answer.startswith(b"SIP/2.0 400 SIPS Needs TLS")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_are_spoken_and_nothing_older(tools: Tools, version: ssl.TLSVersion) -> None:
    tools.start()
    with tools.connect(tools.client(version=version)) as connection:
        assert answers(connection) and connection.version() == version.name.replace("TLSv1_", "TLSv1.")
    old = tools.client(version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        tools.connect(old)


def test_the_least_version_can_be_raised(tools: Tools) -> None:
    tools.start(min_version="1.3")
    assert answers(tools.connect(tools.client()))
    with pytest.raises(ssl.SSLError):
        tools.connect(tools.client(version=ssl.TLSVersion.TLSv1_2))


def admitted(tools: Tools, context: ssl.SSLContext) -> bool:
    """Whether somebody gets in at all."""
    try:
        with tools.connect(context) as connection:
            return answers(connection)
    except OSError as error:
        print("no answer:", error)
        return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("wanted", "none", "unknown"), [("off", True, True), ("optional", True, False), ("required", False, False)]
)
def test_who_gets_in_without_and_with_a_certificate(
    tools: Tools, version: ssl.TLSVersion, wanted: str, none: bool, unknown: bool
) -> None:
    tools.start(client_certificates=wanted)
    good, bad = tools.authority.issue("good"), tools.strangers.issue("bad")
    late = tools.authority.issue("late", days=-1)
    found = [admitted(tools, tools.client(pair, version)) for pair in (good, None, bad, late)]
    assert found == [True, none, unknown, unknown]


@pytest.mark.parametrize("wanted", ["off", "optional", "required"])
def test_a_resumed_session_proves_no_more_than_its_first_handshake(tools: Tools, wanted: str) -> None:
    """PJSIP takes it for verified: with TLS 1.2, whoever was refused would get in at the second try."""
    rig = tools.start(client_certificates=wanted)
    bad = tools.strangers.issue("bad", ["pbx.example.com"])
    context = tools.client(bad, ssl.TLSVersion.TLSv1_2)
    with tools.connect(context) as first:
        session = first.session
        assert answers(first) == (wanted == "off")
    with tools.connect(context, session) as second:
        assert second.session_reused, "else this shows nothing"
        assert answers(second) == (wanted == "off")
        if wanted == "off":
            invite = (
                "INVITE sip:1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bK7\r\n"
                "From: <sip:a@b>;tag=1\r\nTo: <sip:1@127.0.0.1>\r\nCall-ID: 7\r\nCSeq: 1 INVITE\r\n"
                "Contact: <sip:a@127.0.0.1:9;transport=tls>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            )
            second.sendall(invite.encode())
            seen = rig.wait(Incoming).invite
            assert (seen.transport, seen.certificate_names) == ("tls", ())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_that_was_refused_gets_in_once_its_chain_is_whole(
    tools: Tools, monkeypatch: pytest.MonkeyPatch, version: ssl.TLSVersion, tmp_path: pathlib.Path
) -> None:
    """However often it tries meanwhile; and the session of the refused handshake is worth nothing afterwards."""
    monkeypatch.setattr(engine, "FORGIVE_S", 0.3)
    monkeypatch.setattr(engine, "OLD_HANDSHAKES_S", 0.1)
    tools.start(client_certificates="required")
    whole, bad = tools.authority.issue("peer", ["pbx.example.com"]), tools.strangers.issue("bad")
    leaf = tmp_path / "leaf.pem"
    first_of_all, end, _ = whole.certificate.read_text().partition("-----END CERTIFICATE-----\n")
    leaf.write_text(first_of_all + end)
    assert not admitted(tools, tools.client(Pair(leaf, whole.key), version))
    context = tools.client(bad, version)
    with tools.connect(context) as first:
        assert not answers(first)
        session = first.session
    wait_for(lambda: admitted(tools, tools.client(whole, version)), "the whole chain gets in", 5)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        try:
            with tools.connect(context, session) as again:
                assert not answers(again)
        except OSError as error:
            print("refused:", error)
        time.sleep(0.1)
    assert admitted(tools, tools.client(whole, version)), "a stranger's attempts do not spoil it"


@pytest.mark.parametrize("wanted", ["optional", "required"])
def test_the_names_of_a_verified_caller_are_told(tools: Tools, wanted: str) -> None:
    rig = tools.start(client_certificates=wanted)
    port = free_port()
    peer = tools.authority.issue("peer", ["pbx.example.com", "127.0.0.1"])
    with tools.relay(port, peer) as relay, Sipp("uac_basic", relay.tcp_port, tcp=True, port=port) as caller:
        call_id, _ = rig.incoming()
        rig.post(Respond(call_id, 180), Respond(call_id, 200))
        caller.wait()
    assert rig.wait(Incoming).invite.certificate_names == ("pbx.example.com", "127.0.0.1")


def test_half_a_handshake_and_noise_hurt_nobody(tools: Tools) -> None:
    rig = tools.start()
    quiet = [socket.create_connection(("127.0.0.1", tools.port)) for _ in range(20)]
    for number, one in enumerate(quiet):
        one.sendall(bytes([22, 3, 1, 2, 0, 1]) + b"x" * number)
    noisy = socket.create_connection(("127.0.0.1", tools.port))
    noisy.sendall(b"INVITE sip:1@127.0.0.1 SIP/2.0\r\n\r\n" * 50)
    assert answers(tools.connect(tools.client()))
    for one in (*quiet, noisy):
        one.close()
    assert answers(tools.connect(tools.client())) and not rig.count(Incoming)


def test_a_sips_call_is_secure_or_refused(tools: Tools) -> None:
    """RFC 3261, 12.1.1: our Contact must be sips: as well."""
    rig = tools.start()
    invite = (
        "INVITE sips:1@127.0.0.1 SIP/2.0", "Via: SIP/2.0/{0} 127.0.0.1:9;rport;branch=z9hG4bK7{0}",
        "From: <sips:a@b>;tag=1", "To: <sips:1@127.0.0.1>", "Call-ID: 7{0}", "CSeq: 1 INVITE",
        "Contact: <sips:a@127.0.0.1:9>", "Max-Forwards: 70", "Content-Length: 0", "", "",
    )  # fmt: skip
    text = "\r\n".join(invite)
    with socket.create_connection(("127.0.0.1", rig.thread.ports[1])) as plain:
        plain.sendall(text.format("TCP").encode())
        assert b"400 SIPS Needs TLS" in received(plain, b"SIP/2.0 4")
    with tools.connect(tools.client()) as secure:
        secure.sendall(text.format("TLS").encode())
        call_id, _ = rig.incoming()
        rig.post(Respond(call_id, 180))
        assert b"Contact: <sips:trunkline@127.0.0.1:%d" % tools.port in received(secure, b"SIP/2.0 180")


def received(connection: socket.socket, until: bytes) -> bytes:
    """Whole messages, the last of which begins so."""
    connection.settimeout(5)
    text = b""
    while b"\r\n\r\n" not in text.partition(until)[2]:
        text += connection.recv(4096)
    return text


# --- keys in SDP: by TLS, and by nothing else -----------------------------------------------------

OFFER = (
    "v=0\r\no=a 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)
TLS, ELSEWHERE = "<sip:a@127.0.0.1:9;transport=tls>", "<sip:a@127.0.0.1:9>"


class Caller:
    """One side of a dialog, written by hand."""

    def __init__(self, connection: socket.socket, contact: str, more: str = "") -> None:
        self.connection, self.contact, self.more = connection, contact, more
        self.number, self.to = 0, "<sip:1@127.0.0.1>"

    def request(self, method: str, sdp: str = "", other: socket.socket | None = None, to: object = None) -> None:
        self.number += method != "ACK"
        text = (
            f"{method} sip:1@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;rport;"
            f"branch=z9hG4bK{id(self)}{method}{self.number}\r\nFrom: <sip:a@b>;tag=1\r\nTo: {self.to}\r\n"
            f"Call-ID: {id(self)}\r\nCSeq: {self.number} {method}\r\nContact: {self.contact}\r\n{self.more}"
            f"Max-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
        ).encode()
        if other is None:
            self.connection.sendall(text)
        else:
            other.sendto(text, to)  # type: ignore[call-overload]

    def call(self, rig: SipRig) -> tuple[str, Any]:
        self.request("INVITE", OFFER)
        call_id, session = rig.incoming()
        rig.post(Respond(call_id, 200))
        answer = received(self.connection, b"SIP/2.0 200").decode().partition("SIP/2.0 200")[2]
        self.to = next(line[4:] for line in answer.split("\r\n") if line.startswith("To: "))
        self.request("ACK")
        rig.state(call_id, CallState.CONFIRMED)
        return call_id, session


@pytest.mark.parametrize(
    ("contact", "more", "by"),
    [
        (TLS, "", "tls"),
        ("<sips:a@127.0.0.1:9>", "", "tls"),
        (ELSEWHERE, "", "udp"),
        ("<sip:a@127.0.0.1:9;transport=tls;%74ransport=tcp>", "", "tcp"),
        ("sip:a@127.0.0.1:9;transport=tls", "", "udp"),  # a parameter of the header, not of the URI
        ("<sip:a;transport=tls@127.0.0.1:9>", "", "udp"),
        (ELSEWHERE, "Record-Route: <sip:127.0.0.1:9;transport=tls;lr>, <sip:127.0.0.2;lr>\r\n", "tls"),
        (TLS, "Record-Route: <sip:127.0.0.1:9;lr>\r\nRecord-Route: <sip:127.0.0.2;transport=tls;lr>\r\n", "udp"),
    ],
)
def test_keys_need_tls_in_both_directions(tools: Tools, contact: str, more: str, by: str) -> None:
    """Ours go where the route or the Contact says: the INVITE itself came by TLS each time."""
    rig = tools.start()
    with tools.connect(tools.client()) as connection:
        Caller(connection, contact, more).request("INVITE", OFFER)
        invite = rig.wait(Incoming).invite
        assert (invite.transport, invite.way_back) == ("tls", by)
        assert (invite.keys_by == "tls") == (by == "tls") and by in invite.keys_by


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_a_call_with_keys_that_moves_its_contact_away_from_tls_is_ended(tools: Tools, method: str) -> None:
    rig = tools.start()
    rig.screen.tls_only = True
    with tools.connect(tools.client()) as connection:
        caller = Caller(connection, TLS)
        call_id, session = caller.call(rig)
        caller.contact = ELSEWHERE
        caller.request(method, OFFER)
        assert b"SIP/2.0 488" in received(connection, b"SIP/2.0 488")
        end = rig.state(call_id, CallState.ENDED)
        assert end.cause == "media_failed" and "does not ask for TLS" in end.reason
        assert session.steps == ["answer"], "nothing was agreed on"


def test_an_offer_within_a_call_with_keys_that_does_not_come_by_tls_is_refused(tools: Tools) -> None:
    """It would be answered where it came from, with a key; the call goes on."""
    rig = tools.start()
    rig.screen.tls_only = True
    with (
        tools.connect(tools.client()) as connection,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain,
    ):
        plain.bind(connection.getsockname())
        plain.settimeout(5)
        caller = Caller(connection, TLS)
        _, session = caller.call(rig)
        caller.request("INVITE", OFFER, plain, ("127.0.0.1", rig.thread.ports[0]))
        while (answer := plain.recv(4096)).startswith(b"SIP/2.0 1"):
            pass
        assert answer.startswith(b"SIP/2.0 488") and session.steps == ["answer"]
        caller.request("ACK", "", plain, ("127.0.0.1", rig.thread.ports[0]))
        caller.request("INVITE", OFFER)
        received(connection, b"SIP/2.0 200")
        assert session.steps == ["answer", "answer"]


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_reinvite_without_sdp_is_refused_where_keys_are_in_force(tools: Tools, encrypted: bool) -> None:
    """A new key in its ACK would not be seen. The call goes on with what it has."""
    rig = tools.start()
    with tools.connect(tools.client()) as connection:
        caller = Caller(connection, TLS)
        _, session = caller.call(rig)
        session.encrypted = encrypted
        caller.request("INVITE")
        received(connection, b"SIP/2.0 488" if encrypted else b"SIP/2.0 200")
        caller.request("ACK", "" if encrypted else OFFER)
        if encrypted:
            caller.request("INVITE", OFFER)
            received(connection, b"SIP/2.0 200")
        wait_for(lambda: len(session.steps) > 1, "the session is asked")
        assert session.steps[1:2] == (["answer"] if encrypted else ["offer"])


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("tls", [False, True])
def test_our_call_with_keys_ends_if_the_answer_asks_for_another_transport(
    tools: Tools, tls: bool, encrypted: bool
) -> None:
    """Without keys in the answer it goes on, and never offers any again."""
    rig = tools.start()
    port = free_port()
    with (
        tools.relay(port) as relay,
        Sipp("uas_basic", 1, tcp=True, port=port) as callee,
    ):
        if not tls:
            relay._words[1] = (b"transport=TCP", b"transport=UDP")
        session = StaticSession()
        session.encrypted = encrypted
        target = f"sip:600@127.0.0.1:{relay.port}"
        rig.post(PlaceCall("ours", "pbx", target, session, tls_only=True))
        if encrypted and not tls:
            end = rig.state("ours", CallState.ENDED)
            assert end.cause == "media_failed" and "does not ask for TLS" in end.reason
        else:
            rig.state("ours", CallState.CONFIRMED)
            if not tls:
                wait_for(lambda: "forgo_keys" in session.steps, "it does without")
            else:
                assert "forgo_keys" not in session.steps
        assert callee


# --- calls of ours ------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["sip", "sips"])
def test_we_place_a_call_and_show_our_certificate(tools: Tools, scheme: str) -> None:
    """`sips:` goes by TLS whatever the trunk's transport, and has a Contact of its kind (RFC 3261, 8.1.1.8)."""
    rig = tools.start(Trunk("pbx", transport="tls" if scheme == "sip" else "udp"))
    port = free_port()
    with (
        tools.relay(port, clients=True, scheme=scheme) as relay,
        Sipp("uas_basic", 1, tcp=True, port=port) as callee,
    ):
        call_id, _ = rig.place(f"127.0.0.1:{relay.port}", scheme=scheme)
        rig.state(call_id, CallState.CONFIRMED)
        rig.post(HangUp(call_id))
        messages = callee.wait()
        assert [shown(one) for one in relay.accepted] == [tools.ours.serial], "INVITE, ACK and BYE: one connection"
    invite = messages[0]
    assert invite.start_line.startswith(f"INVITE {scheme}:600@") and invite.header("Contact").startswith(f"<{scheme}:")


@pytest.mark.parametrize("proven", [False, True])
def test_a_call_does_not_go_out_on_a_connection_that_has_proven_nothing(tools: Tools, proven: bool) -> None:
    """Somebody connects to us from the very address and port that is called; with its certificate it is the peer."""
    rig = tools.start(client_certificates="optional")
    context = tools.client(tools.authority.issue("peer", ["127.0.0.1"]) if proven else None)
    plain = socket.create_connection(("127.0.0.1", tools.port), timeout=5)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as other:
        assert answers(other), "it is up, for PJSIP too"
        call_id, _ = rig.place(f"127.0.0.1:{other.getsockname()[1]}")
        if proven:
            assert b"INVITE sip:600@" in received(other, b"INVITE")
        else:
            assert rig.state(call_id, CallState.ENDED).cause == "peer_unreachable", "nobody listens there"
            other.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                assert b"INVITE" not in other.recv(4096)


def refusal(tools: Tools, pair: Pair, host: str, excused: str) -> tuple[str, str]:
    """Cause and reason of a call to a server that shows `pair`; another, `excused`, need not verify."""
    port = free_port()
    trunks = [Trunk("pbx", transport="tls")]
    if excused:
        trunks.append(Trunk("lab", transport="tls", unverified=excused))
    with tools.relay(port, pair) as relay, Sipp("uas_basic", 1, tcp=True, port=port) as callee:
        rig = tools.start(*trunks)
        call_id, _ = rig.place(f"{host}:{relay.port}")
        end = rig.state(call_id, CallState.ENDED)
        assert not callee.messages(), "nothing was sent to it"
    return end.cause, end.reason


@pytest.mark.parametrize("lab", ["", "127.0.0.1:9"], ids=["PJSIP judges", "we judge"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("expired", "expired"),
        ("future", "not valid yet"),
        ("self-signed", "self-signed"),
        ("unknown", "the authority that signed it is not among those of `ca`"),
        ("name", "not for the name that we connected to"),
        ("wildcard", "not for the name that we connected to"),
    ],
)
def test_a_server_that_cannot_prove_itself_gets_no_invite(
    tools: Tools, fault: str, said: str, lab: str
) -> None:
    """Also when another server is excused from proof, which PJSIP takes for all of them."""
    host = "127.0.0.1"
    if fault == "expired":
        pair = tools.authority.issue("peer", days=-1)
    elif fault == "future":
        pair = tools.authority.issue("peer", since_days=-1)
    elif fault == "self-signed":
        pair = tools.authority.issue("peer", self_signed=True)
    elif fault == "unknown":
        pair = tools.strangers.issue("peer")
    elif fault == "name":
        pair = tools.authority.issue("peer", ["pbx.example.com", "192.0.2.1"])
    else:
        pair, host = tools.authority.issue("peer", ["*.localhost", "*"]), "localhost"
    cause, reason = refusal(tools, pair, host, lab)
    assert cause == "peer_unreachable" and said in reason and "certificate" in reason


def test_a_server_that_is_excused_gets_its_call(tools: Tools) -> None:
    pair = tools.strangers.issue("peer", ["somebody.else"], days=-1)
    port = free_port()
    with tools.relay(port, pair) as relay, Sipp("uas_basic", 1, tcp=True, port=port) as callee:
        rig = tools.start(Trunk("pbx", transport="tls", unverified=f"127.0.0.1:{relay.port}"))
        call_id, _ = rig.place(f"127.0.0.1:{relay.port}")
        rig.state(call_id, CallState.CONFIRMED)
        rig.post(HangUp(call_id))
        callee.wait()


def test_the_name_is_checked_and_sent_as_sni(tools: Tools) -> None:
    rig = tools.start()
    port = free_port()
    pair = tools.authority.issue("peer", ["localhost"])
    with tools.relay(port, pair) as relay, Sipp("uas_basic", 1, tcp=True, port=port) as callee:
        call_id, _ = rig.place(f"localhost:{relay.port}")
        rig.state(call_id, CallState.CONFIRMED)
        assert relay.server_names[0] == "localhost"
        rig.post(HangUp(call_id))
        rig.state(call_id, CallState.ENDED)
        assert callee


def test_a_peer_that_speaks_no_tls_or_refuses_us(tools: Tools) -> None:
    rig = tools.start()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        call_id, _ = rig.place(f"127.0.0.1:{deaf.getsockname()[1]}")
        near, _ = deaf.accept()
        near.sendall(b"SIP/2.0 400 Bad Request\r\n\r\n")
        end = rig.state(call_id, CallState.ENDED)
        near.close()
    assert end.cause == "peer_unreachable" and end.reason
    call_id, _ = rig.place(f"127.0.0.1:{free_port()}")
    assert rig.state(call_id, CallState.ENDED).cause == "peer_unreachable"


def test_a_trunk_registers_by_tls(tools: Tools) -> None:
    port = free_port()
    with tools.relay(port, plain=True) as relay, Sipp("uas_register", 1, tcp=True, port=port, keys=KEYS) as registrar:
        registration = Registration(f"sip:127.0.0.1:{relay.port}", "gw1", "secret")
        rig = tools.start(Trunk("pbx", transport="tls", registration=registration))
        rig.wait(RegistrationChanged, registered=True)
        rig.stop()
        registrar.wait()
        assert len(relay.accepted) == 1


# --- other certificates -------------------------------------------------------------------------


def reload(tools: Tools, pair: Pair) -> str:
    done: list[str] = []
    tools.rig.post(ReloadCertificates(tools.credentials(pair), done.append))
    wait_for(lambda: done, "certificates are reloaded")
    return done[0]


def test_another_certificate_while_a_call_is_up(tools: Tools) -> None:
    rig = tools.start()
    port = free_port()
    with tools.relay(port) as relay, Sipp("uac_hangup", relay.tcp_port, tcp=True, port=port) as caller:
        call_id, _ = rig.incoming()
        rig.post(Respond(call_id, 180), Respond(call_id, 200))
        rig.state(call_id, CallState.CONFIRMED)
        with tools.connect(tools.client()) as before:
            # Answered: a client of TLS 1.3 is done with the handshake before the server is, and one whose
            # handshake is under way at a reload has to connect again.
            assert shown(before) == tools.ours.serial and answers(before)
            fresh = tools.authority.issue("fresh")
            assert reload(tools, fresh) == ""
            assert answers(before), "what was up goes on"
            for _ in range(3):
                with tools.connect(tools.client()) as after:
                    assert shown(after) == fresh.serial and answers(after)
            again = tools.authority.issue("again")
            assert reload(tools, again) == ""
            assert answers(before)
        rig.post(HangUp(call_id))
        caller.wait()
        assert rig.state(call_id, CallState.ENDED).code == 200
    port = free_port()
    with tools.relay(port, clients=True) as relay, Sipp("uas_basic", 1, tcp=True, port=port) as callee:
        call_id, _ = rig.place(f"127.0.0.1:{relay.port}")
        rig.state(call_id, CallState.CONFIRMED)
        rig.post(HangUp(call_id))
        callee.wait()
        assert [shown(one) for one in relay.accepted] == [again.serial], "our own connections show it, too"


def test_a_reload_that_breaks_is_answered(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it would wait for ever, and never look at the files again."""
    rig = tools.start()

    def broken(*_: object) -> None:
        raise OSError("no memory file")

    with monkeypatch.context() as patch:
        patch.setattr(TlsPort, "reload", broken)
        assert reload(tools, tools.ours) == "the SIP thread failed; see the log"
    assert reload(tools, tools.authority.issue("fresh")) == "" and rig.thread._thread.is_alive()


def test_the_authorities_change_too(tools: Tools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OLD_HANDSHAKES_S", 0.1)
    tools.start(client_certificates="required")
    other = tools.strangers.issue("other")
    assert not admitted(tools, tools.client(other))
    tools.authority, mine = tools.strangers, tools.authority
    ours = tools.strangers.issue("gateway2")
    assert reload(tools, ours) == ""
    wait_for(lambda: admitted(tools, tools.client(other)), "a certificate that was refused before gets in")
    context = tools.client(mine.issue("old"))
    assert not admitted(tools, context)


def test_connections_that_are_being_made_while_certificates_change(tools: Tools) -> None:
    """A hundred reloads between connections of which some are in mid-handshake: nothing is left behind or broken."""
    tools.start()
    pairs = [tools.authority.issue("one"), tools.authority.issue("two")]
    half = []
    for number in range(100):
        half.append(socket.create_connection(("127.0.0.1", tools.port)))
        half[-1].sendall(bytes([22, 3, 1, 2, 0, 1, 0]))
        if number % 2:
            half.pop(0).close()
        assert reload(tools, pairs[number % 2]) == ""
    with tools.connect(tools.client()) as last:
        assert shown(last) == pairs[1].serial and answers(last)
    for one in half:
        one.close()


def test_a_port_that_another_has_and_a_reload_without_tls(tools: Tools, start_sip: Start) -> None:
    from trunkline.gateway.sip.settings import SipStartError

    with socket.create_server(("127.0.0.1", tools.port)), pytest.raises(SipStartError, match="another program"):
        tools.start()
    tools.rig = start_sip()
    assert reload(tools, tools.ours) == "there is no TLS transport"


def test_whoever_cannot_be_judged_is_shut_out() -> None:
    """A connection of which PJSIP tells nothing, and a judgement that fails, let nobody in."""
    peers, shut = TlsPeers(), []
    peers.judge(5061, strict=False, excused=frozenset(), shut_down=shut.append)
    peers.changed(7, pj.PJSIP_TP_STATE_CONNECTED, 0, pj.TlsInfo())
    assert shut == [7]
    with pytest.raises(AttributeError):
        peers.changed(8, pj.PJSIP_TP_STATE_CONNECTED, 0, None)
    assert shut == [7, 8] and peers.names(7) is None and peers.names(8) is None
