# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls whose SRTP keys come by DTLS, with a real Asterisk: in both directions, and over a worker's death."""

from __future__ import annotations

import datetime as dt
import pathlib
import socket
import time
from collections.abc import Iterator

import pytest

from support.agents import AgentHost, say
from support.asterisk import BYIP_HOST, CALLER_HOST, Asterisk
from support.audio import compare, speechlike
from support.bare_caller import BareCaller
from support.encrypted_calls import TONE, goes_on_after_a_workers_death
from support.gateway import GatewayProcess
from support.waiting import wait_for
from trunkline.rtp.dtls import Handshake
from trunkline.rtp.dtls_certificate import Fingerprint, new_identity
from trunkline.rtp.sdp import SessionDescription

pytestmark = pytest.mark.timeout(400)  # the first test may have to fetch 19 MB over a slow line


@pytest.fixture(scope="module")
def asterisk() -> Iterator[Asterisk]:
    """One whose endpoints want DTLS, and let the other side choose who begins; `byip` shares no port with RTCP."""
    pbx = Asterisk()
    endpoints, modules = pbx.folder / "etc/pjsip.conf", pbx.folder / "etc/modules.conf"
    keys = "media_encryption = dtls\ndtls_auto_generate_cert = yes\ndtls_setup = actpass\n"
    text = endpoints.read_text().replace("[line](!)\n", f"[line](!)\n{keys}")
    endpoints.write_text(text.replace("[caller](line)\n", "[caller](line)\nrtcp_mux = yes\n"))
    rtp = "load = res_rtp_asterisk.so"
    modules.write_text(
        modules.read_text().replace(rtp, f"load = res_srtp.so\nload = res_clioriginate.so\n{rtp}")
    )
    with pbx:
        yield pbx


def gateway_with(
    asterisk: Asterisk,
    folder: pathlib.Path,
    agent: AgentHost,
    *,
    host: str = CALLER_HOST,
    srtp: str = "required",
    **more: int,
) -> GatewayProcess:
    """A gateway that offers DTLS, by SIP over UDP."""
    trunk = {
        "name": "pbx", "match": ["127.0.0.1"], "host": f"127.0.0.1:{asterisk.sip_port}", "srtp": srtp,
        "srtp_keys": "dtls",
    }  # fmt: skip
    return GatewayProcess(
        folder,
        host=host,
        **more,
        trunk=[trunk],
        agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
        route=[{"name": "all", "trunk": "pbx", "agent": "a"}],
    )


@pytest.mark.parametrize("host", [CALLER_HOST, BYIP_HOST])
def test_asterisk_echoes_what_our_agent_says(asterisk: Asterisk, short_path: pathlib.Path, host: str) -> None:
    """We offer, Asterisk begins; with rtcp-mux and without. The greeting is whole, and no packet is refused."""
    speech = speechlike(1.5, 8000, seed=9)
    with (
        AgentHost(f"unix:{short_path}/a.sock", say(speech)) as agent,
        gateway_with(asterisk, short_path, agent, host=host) as gateway,
    ):
        call_id = gateway.place("600", "a", trunk="pbx")
        gateway.wait_call("up", id=call_id)
        heard = agent.wait_call(call_id)
        wait_for(lambda: len(heard.frames) >= 100, "2 s of frames")
        gateway.hang_up(call_id)
        line = gateway.wait_end(call_id)
        assert compare(speech, heard.pcm).correlation > 0.98
        assert line["encryption"] in ("AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80"), line
        assert not {"srtp_auth", "srtp_replay"} & (line.get("drops") or {}).keys()
        assert "PRIVATE" not in gateway.log_text() and "master" not in gateway.log_text()


def test_asterisk_calls_us(asterisk: Asterisk, short_path: pathlib.Path) -> None:
    """It offers, we begin; its own echo gives our agent's speech back."""
    speech = speechlike(1.5, 8000, seed=9)
    with (
        AgentHost(f"unix:{short_path}/a.sock", say(speech)) as agent,
        gateway_with(
            asterisk, short_path, agent, host=BYIP_HOST, srtp="optional", sip_port=asterisk.byip_port
        ) as gateway,
    ):
        asterisk.rx("channel originate PJSIP/byip extension 600@test")
        heard = agent.wait_call()
        wait_for(lambda: len(heard.frames) >= 100, "2 s of frames")
        (call,) = gateway.calls()
        assert call["direction"] == "inbound" and call["media"]["encryption"], call
        gateway.hang_up(call["id"])
        line = gateway.wait_end(call["id"])
        assert compare(speech, heard.pcm).correlation > 0.98
        assert not {"srtp_auth", "srtp_replay"} & (line.get("drops") or {}).keys(), line


def test_a_call_survives_its_worker(asterisk: Asterisk, short_path: pathlib.Path) -> None:
    """Killed in mid-call: the successor has the keys, and a tone of ours goes on coming back."""
    with (
        AgentHost(f"unix:{short_path}/a.sock", say(TONE)) as agent,
        gateway_with(asterisk, short_path, agent) as gateway,
    ):
        goes_on_after_a_workers_death(gateway, agent)


def test_another_certificate_than_the_sdp_names_ends_the_call(short_path: pathlib.Path) -> None:
    """Somebody who can read the media's way, but not change SIP, gets nothing; the log says why the call ended."""
    named, shown = new_identity(dt.datetime.now(dt.UTC)), new_identity(dt.datetime.now(dt.UTC))
    with (
        AgentHost(f"unix:{short_path}/a.sock", say(speechlike(5, 8000))) as agent,
        GatewayProcess(
            short_path,
            trunk=[{"name": "local", "match": ["127.0.0.0/8"], "srtp": "required", "srtp_keys": "dtls"}],
            agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
            route=[{"name": "all", "trunk": "local", "agent": "a"}],
        ) as gateway,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media,
        BareCaller(gateway.sip_port) as caller,
    ):
        media.bind(("127.0.0.1", 0))
        media.settimeout(0.2)
        port = media.getsockname()[1]
        reply = caller.invite(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port} UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:{named.fingerprint}\r\na=setup:actpass\r\n"
        )
        (audio,) = SessionDescription.parse(reply.sdp).media
        assert (reply.code, audio.values("setup")) == (200, ["active"])
        ours = Fingerprint.parse(audio.values("fingerprint")[0])
        peer = Handshake(active=False, identity=shown, fingerprints=[ours])
        first_bytes = set()
        deadline = time.monotonic() + 10
        while not gateway.log("call.ended"):
            assert time.monotonic() < deadline, gateway.log_text()[-3000:]
            try:
                data, address = media.recvfrom(2048)
            except TimeoutError:
                continue
            first_bytes.add(data[0])
            for datagram in peer.receive(data, time.monotonic_ns()):
                media.sendto(datagram, address)
        (line,) = gateway.log("call.ended")
        assert (line["cause"], line["packets_sent"]) == ("dtls_failed", 0)
        assert "not the one whose fingerprint its SDP names" in line["detail"]
        assert all(20 <= byte <= 63 for byte in first_bytes), "not a packet of audio"
