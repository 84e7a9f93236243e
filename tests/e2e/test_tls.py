# SPDX-License-Identifier: GPL-2.0-or-later
"""SIP over TLS of the whole gateway: calls both ways, with a real Asterisk, and certificates that change meanwhile."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator

import pytest
from cryptography import x509

from support.agents import AgentHost
from support.asterisk import Asterisk
from support.audio import compare, decode_g711, encode_g711, speechlike
from support.certificates import Authority, Pair
from support.gateway import GatewayProcess
from support.phone import Phone
from support.ports import free_port
from support.tls_relay import TlsRelay
from support.waiting import wait_for

PASSWORD = "s3cret-of-the-key"
SPEECH = encode_g711(speechlike(1.0), 0)
pytestmark = pytest.mark.timeout(400)


@dataclasses.dataclass
class Secure:
    """A gateway with a TLS transport, and what its peers need."""

    gateway: GatewayProcess
    authority: Authority
    ours: Pair
    tls_port: int
    agent: AgentHost
    asterisk: Asterisk

    def shown(self) -> int:
        """Serial number of the certificate that a new connection gets to see."""
        context = ssl.create_default_context(cafile=self.authority.certificate)
        with (
            socket.create_connection(("127.0.0.1", self.tls_port), timeout=5) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            certificate = connection.getpeercert(binary_form=True)
            assert certificate is not None
            return x509.load_der_x509_certificate(certificate).serial_number

    @contextlib.contextmanager
    def relay(self, port: int, pair: Pair) -> Iterator[TlsRelay]:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pair.certificate, pair.key)
        client = ssl.create_default_context(cafile=self.authority.certificate)
        client.load_cert_chain(pair.certificate, pair.key)
        with TlsRelay(port, self.tls_port, server, client) as relay:
            yield relay

    def replace(self, pair: Pair) -> None:
        """As a renewal does: other files under the same names."""
        pair.certificate.replace(self.ours.certificate)
        pair.key.replace(self.ours.key)


@pytest.fixture(scope="module")
def secure() -> Iterator[Secure]:
    with tempfile.TemporaryDirectory(prefix="tl-") as name:
        folder = pathlib.Path(name)
        authority = Authority(folder, intermediate=True)
        ours = authority.issue("gateway", password=PASSWORD)
        port = free_port()
        with (
            Asterisk(tls=(authority.issue("asterisk"), authority.certificate)) as asterisk,
            AgentHost(f"unix:{folder}/echo.sock") as agent,
            GatewayProcess(
                folder,
                env={"KEY_PASSWORD": PASSWORD},
                sip={
                    "transport": [
                        {"protocol": "udp", "bind": "127.0.0.1", "port": free_port()},
                        {
                            "protocol": "tls",
                            "bind": "127.0.0.1",
                            "port": port,
                            "certificate": ours.certificate.name,
                            "key": ours.key.name,
                            "key_password_env": "KEY_PASSWORD",
                            "ca": authority.certificate.name,
                            "client_certificates": "optional",
                        },
                    ]
                },
                trunk=[
                    {"name": "pbx", "host": f"127.0.0.1:{asterisk.tls_port}", "transport": "tls"},
                    {"name": "named", "match_certificate": ["pbx.example.com"]},
                ],
                agent=[{"name": "echo", "address": agent.address, "sample_rate_hz": 8000}],
                route=[{"name": "all", "agent": "echo"}],
            ) as gateway,
        ):
            yield Secure(gateway, authority, ours, port, agent, asterisk)


@pytest.mark.parametrize("scheme", ["sip", "sips"])
def test_asterisk_is_called_by_tls_and_echoes(secure: Secure, scheme: str) -> None:
    gateway = secure.gateway
    call_id = gateway.place(f"{scheme}:600@127.0.0.1:{secure.asterisk.tls_port}", "echo", trunk="pbx")
    gateway.wait_call("up", id=call_id)
    wait_for(lambda: gateway.call(call_id)["media"]["packets_received"] > 50, "its echo comes back")
    gateway.hang_up(call_id)
    line = gateway.wait_end(call_id)
    assert line["cause"] == "api_hangup" and line["packets_sent"] > 50
    wait_for(lambda: secure.asterisk.channels() == 0, "Asterisk has hung up, too")


def test_a_call_by_certificate_goes_on_while_certificates_change(secure: Secure) -> None:
    """SIGHUP, new files, wrong files: the call that is up hears its echo, new connections see what is good."""
    gateway, port = secure.gateway, free_port()
    peer = secure.authority.issue("peer", ["pbx.example.com", "127.0.0.1"])
    with (
        secure.relay(port, peer) as relay,
        Phone(gateway, "uac_hangup", tcp=True, sipp_port=port, port=relay.tcp_port) as phone,
    ):
        phone.wait_up()
        assert secure.shown() == secure.ours.serial
        ends = gateway.metric("trunkline_certificate_expiry_timestamp_seconds")
        fresh = secure.authority.issue("fresh", days=100, password=PASSWORD)
        serial = fresh.serial
        secure.replace(fresh)
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gateway.log("certificates.reloaded"), "the new files are in use")
        assert secure.shown() == serial
        assert gateway.metric("trunkline_certificate_expiry_timestamp_seconds") > ends + 50 * 86_400
        phone.say(SPEECH)
        phone.rtp.wait_received(60)
        again = secure.authority.issue("again", days=100, password=PASSWORD)
        serial = again.serial
        secure.replace(again)
        wait_for(lambda: len(gateway.log("certificates.reloaded")) == 2, "they are found without a signal", 30)
        assert secure.shown() == serial
        secure.ours.key.write_text("no key")
        gateway.process.send_signal(signal.SIGHUP)
        kept = wait_for(lambda: gateway.log("certificates.kept"), "wrong files are told")
        assert "gateway.key cannot be used" in kept[0]["detail"]
        assert secure.shown() == serial and gateway.metric("trunkline_certificate_reloads_total", result="refused") == 1
        gateway.hang_up(phone.call_id)
        line = phone.wait_end()
    assert line["trunk"] == "named" and line["cause"] == "api_hangup"
    assert compare(decode_g711(SPEECH, 0), phone.rtp.heard()).correlation > 0.99
    secure.replace(secure.authority.issue("last", password=PASSWORD))
    wait_for(lambda: len(gateway.log("certificates.reloaded")) == 3, "mended files are found", 30)


def test_a_caller_without_that_certificate_is_a_stranger(secure: Secure) -> None:
    port = free_port()
    peer = secure.authority.issue("other", ["other.example.com", "127.0.0.1"])
    with (
        secure.relay(port, peer) as relay,
        Phone(secure.gateway, "uac_refused", tcp=True, sipp_port=port, port=relay.tcp_port) as phone,
    ):
        messages = phone.sipp.wait()
    assert any(one.start_line.startswith("SIP/2.0 403") for one in messages)
    refused = secure.gateway.log("call.refused")[-1]
    assert "with a certificate for other.example.com, 127.0.0.1" in refused["detail"]


def test_a_wrong_name_is_told_to_who_placed_the_call(secure: Secure) -> None:
    port = free_port()
    with secure.relay(port, secure.authority.issue("wrong", ["192.0.2.1"])) as relay:
        call_id = secure.gateway.place(f"sip:600@127.0.0.1:{relay.port}", "echo", trunk="pbx")
        line = secure.gateway.wait_end(call_id)
    assert line["cause"] == "peer_unreachable"
    assert "for 192.0.2.1, is refused: it is not for the name that we connected to" in str(line)


def test_neither_key_nor_password_is_ever_written(secure: Secure) -> None:
    text = secure.gateway.log_text()
    assert "certificates.reloaded" in text
    assert PASSWORD not in text and "PRIVATE KEY" not in text
