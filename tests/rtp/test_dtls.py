# SPDX-License-Identifier: GPL-2.0-or-later
"""The handshake that makes keys, with itself, with OpenSSL's own program, over a bad network."""

from __future__ import annotations

import datetime as dt
import random
import shutil
import socket
import subprocess
import time

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp.dtls import MAX_DATAGRAM, Handshake, HandshakeFailed, is_dtls, split_records
from trunkline.rtp.dtls_certificate import Fingerprint, FingerprintError, Identity, new_identity


@pytest.fixture(scope="module")
def identities() -> tuple[Identity, Identity]:
    return new_identity(dt.datetime.now(dt.UTC)), new_identity(dt.datetime.now(dt.UTC))


def pair(ours: Identity, theirs: Identity) -> tuple[Handshake, Handshake]:
    client = Handshake(active=True, identity=ours, fingerprints=[theirs.fingerprint])
    return client, Handshake(active=False, identity=theirs, fingerprints=[ours.fingerprint])


def run(client: Handshake, server: Handshake, deliver=lambda datagram: [datagram], rounds: int = 20) -> None:
    """Exchange datagrams until nothing is under way; `deliver` is the network."""
    to_server = [d for sent in client.start(time.monotonic_ns()) for d in deliver(sent)]
    for _ in range(rounds):
        to_client = [d for data in to_server for out in server.receive(data, time.monotonic_ns()) for d in deliver(out)]
        to_server = [d for data in to_client for out in client.receive(data, time.monotonic_ns()) for d in deliver(out)]
        if not to_server and not to_client:
            return


def test_both_sides_get_each_others_keys(identities):
    client, server = pair(*identities)
    run(client, server)
    assert client.keys.send == server.keys.receive
    assert client.keys.receive == server.keys.send
    assert client.keys.send != client.keys.receive
    assert client.keys.send.suite == "AEAD_AES_128_GCM"
    assert client.next_deadline_ns is None and server.next_deadline_ns is None


def test_keys_are_not_shown(identities):
    client, server = pair(*identities)
    run(client, server)
    shown = repr(client.keys) + repr(identities[0])
    assert client.keys.send.master.hex() not in shown and repr(client.keys.send.master) not in shown
    assert "PRIVATE" not in shown


def test_another_certificate_gives_no_keys(identities):
    ours, theirs = identities
    stranger = new_identity(dt.datetime.now(dt.UTC))
    client = Handshake(active=True, identity=ours, fingerprints=[theirs.fingerprint])
    server = Handshake(active=False, identity=stranger, fingerprints=[ours.fingerprint])
    with pytest.raises(HandshakeFailed, match="not the one whose fingerprint"):
        run(client, server)
    assert client.keys is None


def test_one_of_several_fingerprints_is_enough(identities):
    ours, theirs = identities
    wrong = Fingerprint("sha-256", bytes(32))
    client = Handshake(active=True, identity=ours, fingerprints=[wrong, theirs.fingerprint])
    server = Handshake(active=False, identity=theirs, fingerprints=[ours.fingerprint])
    run(client, server)
    assert client.keys is not None


def test_duplicates_and_garbage_do_no_harm(identities):
    client, server = pair(*identities)
    noise = random.Random(5)

    def network(datagram):
        return [datagram, noise.randbytes(noise.randrange(1, 60)), datagram, b"\x16\xfe\xfd" + noise.randbytes(30)]

    run(client, server, network)
    assert client.keys is not None and client.keys.send == server.keys.receive


def test_a_lost_flight_is_sent_again(identities):
    client, server = pair(*identities)
    assert client.start(time.monotonic_ns())  # and lost
    deadline = client.next_deadline_ns
    assert client.handle_timeout(deadline - 100_000_000) == []
    time.sleep((deadline - time.monotonic_ns()) / 1e9)
    again = client.handle_timeout(time.monotonic_ns())
    assert again
    to_client = server.receive(again[0], time.monotonic_ns())
    for _ in range(10):
        to_server = [out for data in to_client for out in client.receive(data, time.monotonic_ns())]
        to_client = [out for data in to_server for out in server.receive(data, time.monotonic_ns())]
    assert client.keys is not None and server.keys is not None


def test_a_lost_last_flight_is_repeated_when_the_peer_repeats_its_own(identities):
    client, server = pair(*identities)
    to_client = server.receive(client.start(time.monotonic_ns())[0], time.monotonic_ns())
    to_server = [out for data in to_client for out in client.receive(data, time.monotonic_ns())]
    lost = [out for data in to_server for out in server.receive(data, time.monotonic_ns())]
    assert lost and server.keys is not None and client.keys is None
    time.sleep(max(0.0, (client.next_deadline_ns - time.monotonic_ns()) / 1e9))
    repeated = client.handle_timeout(time.monotonic_ns())
    answers = [out for data in repeated for out in server.receive(data, time.monotonic_ns())]
    for data in answers:
        client.receive(data, time.monotonic_ns())
    assert client.keys is not None and client.keys.receive == server.keys.send


def test_a_handshake_without_a_fingerprint_is_a_mistake(identities):
    with pytest.raises(ValueError, match="needs the fingerprint"):
        Handshake(active=True, identity=identities[0], fingerprints=[])


@given(st.lists(st.binary(max_size=700), max_size=8))
def test_datagrams_hold_whole_records(payloads):
    records = [b"\x16\xfe\xfd" + bytes(8) + len(p).to_bytes(2, "big") + p for p in payloads]
    datagrams = split_records(b"".join(records))
    assert b"".join(datagrams) == b"".join(records)
    assert all(len(datagram) <= MAX_DATAGRAM for datagram in datagrams)
    assert all(datagrams)


def test_which_first_bytes_are_dtls():
    assert [first for first in range(256) if is_dtls(first)] == list(range(20, 64))


@pytest.mark.parametrize(
    "text", ["sha-256 00", "md5 00:11", "sha-1 " + "00:" * 19 + "00", "", "sha-256 zz:11", "sha-256"]
)
def test_fingerprints_that_cannot_be_used(text):
    with pytest.raises(FingerprintError):
        Fingerprint.parse(text)


def test_a_fingerprint_reads_what_it_writes(identities):
    ours = identities[0].fingerprint
    assert Fingerprint.parse(str(ours)) == ours
    assert Fingerprint.parse(str(ours).lower()) == ours
    assert ours.matches(x509.load_pem_x509_certificate(identities[0].certificate))
    assert not ours.matches(x509.load_pem_x509_certificate(identities[1].certificate))


@pytest.mark.parametrize("seed", range(20))
def test_random_datagrams_never_break_it(identities, seed):
    rng = random.Random(seed)
    client, server = pair(*identities)
    flights = client.start(time.monotonic_ns())
    for side in (client, server):
        for _ in range(50):
            data = bytearray(flights[0])
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            try:
                side.receive(bytes(data) if rng.random() < 0.7 else rng.randbytes(rng.randrange(200)), 0)
            except HandshakeFailed:
                break
        assert side.keys is None


def test_with_openssl_as_the_server(identities, tmp_path):
    """An implementation's own program at the other end; it says which keys it has exported."""
    ours, theirs = identities
    (tmp_path / "cert.pem").write_bytes(theirs.certificate)
    (tmp_path / "key.pem").write_bytes(theirs.private_key)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        shutil.which("openssl"), "s_server", "-dtls1_2", "-accept", f"127.0.0.1:{port}", "-Verify", "1",
        "-cert", tmp_path / "cert.pem", "-key", tmp_path / "key.pem", "-use_srtp", "SRTP_AES128_CM_SHA1_80",
        "-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "60",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            keys = _handshake_with(port, Handshake(active=True, identity=ours, fingerprints=[theirs.fingerprint]))
            server.stdin.close()
            said = server.stdout.read().decode()
        finally:
            server.kill()
    assert keys.send.suite == "AES_CM_128_HMAC_SHA1_80"
    secret = next(line.split(": ")[1] for line in said.splitlines() if "Keying material: " in line)
    ours_in_order = keys.send.master[:16] + keys.receive.master[:16] + keys.send.master[16:] + keys.receive.master[16:]
    assert bytes.fromhex(secret) == ours_in_order


def _handshake_with(port, handshake):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect(("127.0.0.1", port))
        end = time.monotonic() + 15
        out = []
        while handshake.keys is None and time.monotonic() < end:
            out = out or handshake.start(time.monotonic_ns()) or handshake.handle_timeout(time.monotonic_ns())
            try:
                for datagram in out:
                    sock.send(datagram)
                out = handshake.receive(sock.recv(4096), time.monotonic_ns())
            except (TimeoutError, ConnectionRefusedError):  # not yet listening
                time.sleep(0.05)
        for datagram in out:
            sock.send(datagram)
    return handshake.keys
