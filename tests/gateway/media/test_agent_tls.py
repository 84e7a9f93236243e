# SPDX-License-Identifier: GPL-2.0-or-later
"""Agents by ws and wss through the worker's own connections: certificates good and bad, slow and broken TLS."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from support.agent_rig import AgentRig
from support.certificates import Authority
from support.media_rig import MS
from support.twilio_server import TwilioServer
from support.waiting import wait_for
from trunkline.gateway.media import agent_link, agent_tls, control
from trunkline.gateway.media.agent_tls import Contexts, TlsFailed, TlsStream
from trunkline.gateway.media.table import Stream


@pytest.fixture
def authority(tmp_path: pathlib.Path) -> Authority:
    """One that signs agents' certificates."""
    return Authority(tmp_path)


def rig_for(folder: pathlib.Path, url: str, **agent: Any) -> AgentRig:
    """A worker's side, whose agent is at this URL on loopback."""
    rig = AgentRig(folder, "twilio")
    port = url.rpartition(":")[2].partition("/")[0]
    params = {"address": f"tcp:127.0.0.1:{port}", "url": url, **agent}
    rig.agent = msgspec.structs.replace(rig.agent, **params)
    return rig


def until(rig: AgentRig, condition: Callable[[], Any], what: str) -> Any:
    """Let the worker go on until then; its clock goes on by a millisecond each time."""

    def turn() -> Any:
        rig.tick()
        return condition()

    return wait_for(turn, what, step_s=0)


def answered(rig: AgentRig, stream: Stream) -> None:
    """The agent has the call."""
    until(rig, lambda: stream.accepted or rig.posted, "the call is accepted")
    assert stream.accepted, rig.posted


def answered_and_over(rig: AgentRig) -> None:
    """A whole call, from the connection to its close."""
    stream = rig.call()
    answered(rig, stream)
    link = stream.link
    rig.links.stop(stream, "caller_hangup", {})
    until(rig, lambda: link is not None and not link.open, "the connection is closed")


def failure(rig: AgentRig) -> Any:
    """Why there was no call."""
    return until(rig, lambda: rig.of(control.StreamFailed), "the call has failed")[0]


def test_a_call_by_wss_carries_audio_marks_and_a_close(short_path: pathlib.Path, authority: Authority) -> None:
    """More than a record of TLS at a time both ways, in order, and the close frame is the last."""
    with TwilioServer(certificate=authority.issue("a"), echo=False) as server:
        rig = rig_for(short_path, server.url, ca=str(authority.certificate))
        stream = rig.call(answered=True)
        answered(rig, stream)
        assert isinstance(stream.link and stream.link._socket, TlsStream)
        rows, nothing = np.array([stream.row]), np.zeros(1, np.int64)
        said = (np.arange(160) * 100).astype(np.int16).reshape(1, -1)
        for i in range(300):
            rig.links.deliver(rows, nothing + 160 * i, nothing.astype(np.uint16), said)
        rig.links.flush()
        theirs = server.stream()
        until(rig, lambda: len(theirs.of("media")) == 300, "300 frames at the agent")
        before = int(rig.table.formats.at(stream.row).queue.queued_samples(rows)[0])
        theirs.speak(bytes(100_000))
        theirs.send("mark", mark={"name": "end"})
        queued = rig.table.formats.at(stream.row).queue
        until(rig, lambda: queued.queued_samples(rows)[0] >= before + 100_000, "all of it is queued")
        until(rig, lambda: stream.marks, "the mark waits behind it")
        link = stream.link
        rig.links.stop(stream, "caller_hangup", {})
        until(rig, lambda: link is not None and not link.open, "the connection is closed")
        assert wait_for(lambda: theirs.closed, "the agent has closed") == (1000, "caller_hangup")
        assert len(theirs.of("stop")) == 1


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_last_words_reach_an_agent_that_speaks_all_the_time(
    short_path: pathlib.Path, authority: Authority, scheme: str
) -> None:
    """Closed with its speech unread, the connection would be reset, and `stop` thrown away with it."""
    certificate = authority.issue("a") if scheme == "wss" else None
    with TwilioServer(certificate=certificate, echo=False) as server:
        rig = rig_for(short_path, server.url, ca=str(authority.certificate))
        stream = rig.call(answered=True)
        answered(rig, stream)
        theirs = server.stream()
        over = threading.Event()

        def speak() -> None:
            with contextlib.suppress(Exception):
                while not over.is_set():
                    theirs.speak(bytes(8000))

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        until(rig, lambda: stream.link and stream.link.backlog_bytes == 0, "connected")
        time.sleep(0.05)
        rig.links.stop(stream, "caller_hangup", {})
        closed = until(rig, lambda: theirs.closed, "the agent has closed")
        over.set()
        speaker.join(5)
        assert closed == (1000, "caller_hangup")
        assert len(theirs.of("stop")) == 1


def test_an_agent_that_never_closes_keeps_the_connection_for_a_second(short_path: pathlib.Path) -> None:
    """It has been told all there is."""
    with hanging(upgrade=True) as port:
        rig = rig_for(short_path, f"ws://127.0.0.1:{port}/")
        stream = rig.call()
        answered(rig, stream)
        link = stream.link
        assert link is not None
        rig.links.stop(stream, "caller_hangup", {})
        rig.tick(ms=agent_link.LINGER_NS / MS - 10)
        assert link.open
        rig.tick(ms=20)
        assert not link.open and rig.links.next_deadline_ns is None


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("stranger", "its authority is not one that is believed here: name the authority's certificate as `ca`"),
        ("self-signed", "it is self-signed: name it as `ca` of this agent"),
        ("expired", "it has expired: renew it"),
        ("early", "it is not valid yet: look at the clocks"),
        ("wrong host", "it is for other names than the one in `address`"),
        ("wrong address", "it does not name the address in `address`"),
    ],
)
def test_a_certificate_that_is_not_good_names_its_fault_and_the_cure(
    short_path: pathlib.Path, tmp_path: pathlib.Path, authority: Authority, kind: str, says: str
) -> None:
    """Before a word of the call has been said."""
    names = ("agent.example",) if kind.startswith("wrong") else ("127.0.0.1", "localhost")
    given: dict[str, Any] = {
        "expired": {"days": -1}, "early": {"since_days": -5}, "self-signed": {"self_signed": True},
    }.get(kind, {})  # fmt: skip
    (tmp_path / "other").mkdir()
    signer = Authority(tmp_path / "other", "other authority") if kind == "stranger" else authority
    with TwilioServer(certificate=signer.issue("a", names, **given)) as server:
        url = server.url.replace("127.0.0.1", "localhost") if kind == "wrong host" else server.url
        rig = rig_for(short_path, url, ca=str(authority.certificate))
        rig.call()
        failed = failure(rig)
        assert failed.reason == "agent_unreachable" and says in failed.detail, failed.detail
        assert server.streams == []


@pytest.mark.parametrize("how", ["as its own ca", "unverified", "by name"])
def test_certificates_that_are_believed(
    short_path: pathlib.Path, tmp_path: pathlib.Path, authority: Authority, how: str
) -> None:
    """A self-signed one is its own authority; with verify = false anything is; a name is compared as a name."""
    pair = authority.issue("a", ("localhost",), self_signed=how != "by name")
    ca = {"as its own ca": pair.certificate, "unverified": ""}.get(how, authority.certificate)
    with TwilioServer(certificate=pair) as server:
        rig = rig_for(
            short_path, server.url.replace("127.0.0.1", "localhost"), ca=str(ca), verify=how != "unverified"
        )
        answered_and_over(rig)


@pytest.mark.parametrize(
    ("ca", "says"), [("none.pem", "cannot be read: No such file"), ("empty.pem", "holds no certificates")]
)
def test_a_ca_file_that_cannot_be_used_is_named(
    short_path: pathlib.Path, tmp_path: pathlib.Path, authority: Authority, ca: str, says: str
) -> None:
    """Gone, or not certificates; each call says so, and after the file is mended calls go through."""
    (tmp_path / "empty.pem").write_text("nothing")
    with TwilioServer(certificate=authority.issue("a")) as server:
        rig = rig_for(short_path, server.url, ca=str(tmp_path / ca))
        for _ in range(2):
            rig.posted.clear()
            rig.call()
            failed = failure(rig)
            assert failed.reason == "agent_unreachable" and says in failed.detail
        (tmp_path / ca).write_bytes(authority.certificate.read_bytes())
        rig.posted.clear()
        answered_and_over(rig)


@contextlib.contextmanager
def hanging(upgrade: bool = False, answer: bytes = b"") -> Iterator[int]:
    """A server that says `answer`, or answers a WebSocket handshake, and then nothing more."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                if upgrade:
                    from websockets.server import ServerProtocol

                    protocol = ServerProtocol()
                    while not (events := protocol.events_received()):
                        protocol.receive_data(connection.recv(4096))
                    protocol.send_response(protocol.accept(events[0]))  # type: ignore[arg-type]
                    connection.sendall(b"".join(protocol.data_to_send()))
                elif answer:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
        for connection in connections:
            connection.close()


def test_a_tls_handshake_that_stalls_times_out(short_path: pathlib.Path) -> None:
    """A server that takes the connection and is silent: in its time, with a sentence, and no other call waits."""
    with hanging() as port:
        rig = rig_for(short_path, f"wss://127.0.0.1:{port}/", verify=False)
        stream = rig.call()
        until(rig, lambda: stream.link and stream.link._connecting and stream.link._connecting._tls, "TLS has begun")
        assert not rig.posted
        rig.tick(ms=rig.agent.connect_timeout_ms)
        (failed,) = rig.of(control.StreamFailed)
        assert failed.reason == "agent_timeout"
        assert "did not finish the TLS handshake within 2000 ms" in failed.detail


def test_a_port_that_speaks_no_tls_is_told(short_path: pathlib.Path) -> None:
    """An HTTP server, say, that answers in the clear."""
    with hanging(answer=b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        rig = rig_for(short_path, f"wss://127.0.0.1:{port}/", verify=False)
        rig.call()
        assert "does not speak TLS: is it ws:// instead of wss://" in failure(rig).detail


def test_wss_behind_ws_is_told(short_path: pathlib.Path, authority: Authority) -> None:
    """A TLS server cannot read a plain request, and hangs up on it or sends an alert."""
    with TwilioServer(certificate=authority.issue("a")) as server:
        rig = rig_for(short_path, server.url.replace("wss:", "ws:"))
        rig.call()
        failed = failure(rig)
        assert failed.reason in ("agent_unreachable", "agent_protocol")
        assert "WebSocket handshake" in failed.detail or "ws:// or wss://" in failed.detail or "broke" in failed.detail


def test_the_authorities_are_read_once_and_again_when_the_file_changes(
    tmp_path: pathlib.Path, authority: Authority
) -> None:
    """By a thread: the first to ask is told to come back."""
    contexts = Contexts()
    ca = str(authority.certificate)
    assert contexts.get(ca, True) is None
    first = wait_for(lambda: contexts.get(ca, True), "the context")
    assert contexts.get(ca, True) is first
    authority.certificate.write_bytes(authority.certificate.read_bytes() + b"\n")
    assert contexts.get(ca, True) is None
    wait_for(lambda: contexts.get(ca, True), "the new context")
    assert len(contexts._made) == 1
    with pytest.raises(TlsFailed, match="cannot be read"):
        contexts.get(str(tmp_path / "none"), True)


def test_tls_holds_no_more_than_one_piece_back(authority: Authority) -> None:
    """A peer that does not read: what is encrypted and not taken is bounded, the rest stays where it is counted."""
    ours, theirs = socket.socketpair()
    pair = authority.issue("a")
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(pair.certificate, pair.key)
    ours.setblocking(False)
    stream = TlsStream(ours, agent_tls.new_context(str(authority.certificate), True), "127.0.0.1")
    server: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: server.append(server_context.wrap_socket(theirs, server_side=True)))
    thread.start()
    wait_for(stream.shake, "the handshake")
    thread.join(5)
    big = memoryview(bytes(1 << 20))
    taken = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            taken += stream.sendmsg([big])
    assert stream.waiting and 0 < taken < 1 << 21
    got = 0
    server[0].settimeout(5)
    while got < taken:
        got += len(server[0].recv(1 << 16))
        with contextlib.suppress(BlockingIOError):
            stream._push()
    assert got == taken and not stream.waiting
    stream.close()
    assert server[0].recv(10) == b"", "the end is told in TLS, too"
    server[0].close()


def test_an_agent_cannot_choose_how_long_a_handshake_computes() -> None:
    """No DHE, whose numbers are the server's, and no second handshake on a connection."""
    context = agent_tls.new_context("", False)
    assert all(c["protocol"] == "TLSv1.3" or c["name"].startswith("ECDHE-") for c in context.get_ciphers())
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_an_agent_with_none_of_our_ciphers_is_told_of(authority: Authority) -> None:
    """TLS 1.2 with CBC alone."""
    pair = authority.issue("a")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.certificate, pair.key)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    server.set_ciphers("ECDHE+AES+SHA256:!AESGCM:@SECLEVEL=0")
    ours, theirs = socket.socketpair()
    stream = TlsStream(ours, agent_tls.new_context("", False), "127.0.0.1")
    ours.setblocking(False)
    assert not stream.shake()
    with pytest.raises(ssl.SSLError):
        server.wrap_socket(theirs, server_side=True)
    with pytest.raises(TlsFailed, match="2 with ECDHE"):
        stream.shake()


def test_a_write_that_tls_must_read_for_is_tried_again() -> None:
    """As with a socket that takes nothing now."""
    ours, _theirs = socket.socketpair()
    stream = TlsStream(ours, agent_tls.new_context("", False), "127.0.0.1")
    with pytest.raises(BlockingIOError):  # the handshake is not done: OpenSSL wants to read
        stream.sendmsg([memoryview(b"x")])
