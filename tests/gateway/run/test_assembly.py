# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration in the words of each part: nothing is lost on the way."""

from __future__ import annotations

import dataclasses
import re

import pytest

from trunkline.gateway import assembly
from trunkline.gateway.calls.agent_url import for_call
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.srtp_use import srtp_use
from trunkline.gateway.config import Agent, Trunk, parse
from trunkline.gateway.config.secrets import resolve
from trunkline.gateway.media.control import CallInfo
from trunkline.gateway.sip import settings

TEXT = """
[sip]
user_agent = "ua"
[[sip.transport]]
protocol = "tcp"
bind = "127.0.0.2"
port = 5080
advertise = "gw.example.com"
[media]
jitter_max_ms = 120
silence = "suppress"
packet_time_ms = 30
[media.opus]
complexity = 9
fec = false
dtx = true
[limits]
max_calls = 50
[logging]
pjsip_level = 3
[api]
enabled = false
[[trunk]]
name = "pbx"
transport = "tcp"
codecs = ["PCMU", "PCMA"]
outbound_proxy = "sip:proxy"
from_user = "me"
caller_domain = "example.com"
prack = "required"
session_timer = "off"
session_expires_s = 90
[trunk.register]
server = "sip:127.0.0.1:5160"
username = "gw1"
password_env = "PBX"
realm = "asterisk"
expires_s = 60
[[trunk]]
name = "plain"
match = ["127.0.0.1"]
[[agent]]
name = "a"
address = "tcp:127.0.0.1:9"
sample_rate_hz = 24000
token_env = "AGENT"
frame_ms = 40
connect_timeout_ms = 500
max_queue_ms = 1000
"""


def test_sip_gets_transports_trunks_and_passwords() -> None:
    """Every field of a trunk that registers, with its password from the environment."""
    config = parse(TEXT)
    made = assembly.sip_config(config, resolve(config, {"PBX": "geheim", "AGENT": "t"}))
    assert made.transports == (settings.Transport("tcp", "127.0.0.2", 5080, "gw.example.com"),)
    assert (made.user_agent, made.max_calls, made.log_level) == ("ua", config.sip_call_slots, 3)
    assert made.trunks[0] == settings.Trunk(
        "pbx", "127.0.0.1:5160", "tcp", "sip:proxy", "me", "example.com", "required", "off", 90,
        settings.Registration("sip:127.0.0.1:5160", "gw1", "geheim", "asterisk", 60),
    )  # fmt: skip
    assert made.trunks[1] == settings.Trunk("plain")


def test_workers_get_agents_with_tokens_and_options() -> None:
    """Every field of an agent, the token from the environment."""
    config = parse(TEXT)
    [params] = assembly.agent_params(config, resolve(config, {"PBX": "x", "AGENT": "t"}), {}).values()
    assert (params.dialect, params.sample_rate_hz, params.frame_ms, params.token) == (
        "trunkline",
        24000,
        40,
        "t",
    )
    assert (params.connect_timeout_ms, params.max_queue_ms) == (500, 1000)
    assert assembly.worker_options(config) == [
        "--jitter-min-ms", "45", "--jitter-max-ms", "120", "--silence", "suppress",
        "--opus-complexity", "9", "--opus-bitrate-bps", "0", "--no-opus-fec", "--opus-dtx",
    ]  # fmt: skip


def test_workers_get_agents_addresses_as_numbers() -> None:
    """A worker must never wait for DNS; a name that has no address now stays, and the call says so."""
    text = TEXT.replace(re.search(r'address = "[^"]+"', TEXT)[0], 'address = "tcp:bots.example.com:9092"')  # type: ignore[index]
    config = parse(text)
    secrets = resolve(config, {"PBX": "x", "AGENT": "t"})
    name = config.agents[0].name
    assert assembly.agent_hosts(config) == {name: "bots.example.com"}
    for addresses, address in (
        (["192.0.2.7", "192.0.2.8"], "tcp:192.0.2.7:9092"),
        ([], "tcp:bots.example.com:9092"),
    ):
        assert assembly.agent_params(config, secrets, {name: addresses})[name].address == address


def test_sessions_speak_the_trunks_codecs_at_the_configured_packet_time() -> None:
    """What the SDP says is what the configuration says."""
    config = parse(TEXT)

    @dataclasses.dataclass
    class Ports:
        rtp_port: int = 4000
        rtcp_port: int = 4001

    offer = assembly.session_factory(config)(
        config.trunks[0], Agent(name="a", address="unix:/x"), "192.0.2.1", Ports(), "udp"
    ).offer()  # type: ignore[arg-type]
    for line in ("c=IN IP4 192.0.2.1", "m=audio 4000", "a=ptime:30", "PCMU/8000", "PCMA/8000"):
        assert line in offer


def test_comfort_noise_is_offered_where_silence_is_suppressed() -> None:
    """One key decides: what we may send in pauses is what we ask the peer to take."""

    @dataclasses.dataclass
    class Ports:
        rtp_port: int = 4000
        rtcp_port: int = 4001

    for text, offered in ((TEXT, True), (TEXT.replace('silence = "suppress"', ""), False)):
        config = parse(text)
        session = assembly.session_factory(config)(
            config.trunks[0], Agent(name="a", address="unix:/x"), "192.0.2.1", Ports(), "udp"
        )  # type: ignore[arg-type]
        assert ("a=rtpmap:13 CN/8000" in session.offer()) == offered


def test_srtp_of_a_trunk_reaches_its_sessions() -> None:
    """Policy and suites; keys stand in SIP by TLS only, unless the trunk says otherwise."""

    @dataclasses.dataclass
    class Ports:
        rtp_port: int = 4000
        rtcp_port: int = 4001

    def lines(transport: str, **keys: str) -> list[str]:
        text = "".join(f"{key} = {value}\n" for key, value in keys.items())
        config = parse(f'[[trunk]]\nname = "a"\nmatch = ["192.0.2.9"]\n{text}')
        session = assembly.session_factory(config)(
            config.trunks[0], Agent(name="a", address="unix:/x"), "192.0.2.1", Ports(), transport
        )  # type: ignore[arg-type]
        return [
            line.split(" inline:")[0]
            for line in session.offer().splitlines()
            if line[:8] in ("m=audio ", "a=crypto")
        ]

    two = '["AEAD_AES_128_GCM", "AES_CM_256_HMAC_SHA1_80"]'
    secure = lines("udp", srtp='"required"', srtp_suites=two, srtp_without_tls="true")
    assert "RTP/SAVP" in secure[0] and len(secure) == 3
    assert secure[1:] == ["a=crypto:1 AEAD_AES_128_GCM", "a=crypto:2 AES_256_CM_HMAC_SHA1_80"]
    optional = lines("udp", srtp='"optional"', srtp_without_tls="true")
    assert "RTP/AVP" in optional[0] and len(optional) == 6
    offer = lines("udp", srtp='"required"', srtp_keys='"dtls"')
    assert "UDP/TLS/RTP/SAVP" in offer[0] and len(offer) == 1
    assert all("SAVP" not in line and "crypto" not in line for line in lines("udp"))
    trunk = Trunk(name="a", srtp="optional")
    assert [srtp_use(trunk, transport) for transport in ("udp", "tls")] == [
        ("optional", False), ("optional", True)
    ]  # fmt: skip
    dtls = Trunk(name="a", srtp="required", srtp_keys="dtls")
    assert srtp_use(dtls, "udp") == ("required", False)
    trunk = Trunk(name="a", srtp="required")
    assert srtp_use(trunk, "tls") == ("required", True)
    with pytest.raises(
        CallRefused, match="trunk a requires SRTP, whose keys would be readable in SIP by tcp"
    ) as caught:
        srtp_use(trunk, "tcp")
    assert caught.value.cause == "srtp_without_tls"


def test_only_trunks_without_match_are_known_by_their_registrar() -> None:
    """Names resolve to addresses; one that does not resolve has none."""
    config = parse(TEXT)
    assert assembly.registrars(config.trunks) == {"pbx": "127.0.0.1"}
    assert assembly.resolve({"pbx": "127.0.0.1"}) == {"pbx": ["127.0.0.1"]}


@pytest.mark.parametrize("server", ["sips:pbx.example.com", "sips:pbx.example.com:5071;lr", "sip:u@pbx.example.com"])
def test_a_registrar_of_any_scheme_is_found(server: str) -> None:
    """Its host is what names are looked up for."""
    trunk = f"[[trunk]]\nname = 'pbx'\n[trunk.register]\nserver = '{server}'\nusername = 'u'\n"
    assert assembly.registrars(parse(trunk).trunks) == {"pbx": "pbx.example.com"}


def test_a_trunk_may_follow_the_peers_order_of_codecs() -> None:
    """codec_preference reaches the negotiation: the peer's first choice wins where the trunk says so."""

    @dataclasses.dataclass
    class Ports:
        rtp_port: int = 4000
        rtcp_port: int = 4001

    offer = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 9000 RTP/AVP 8 0\r\n"
    for preference, first in (("ours", "PCMU"), ("theirs", "PCMA")):
        config = parse(f'[[trunk]]\nname = "a"\nmatch = ["192.0.2.9"]\ncodec_preference = "{preference}"\n')
        session = assembly.session_factory(config)(
            config.trunks[0], Agent(name="a", address="unix:/x"), "192.0.2.1", Ports(), "udp"
        )  # type: ignore[arg-type]
        assert f"{first}/8000" in session.answer(offer)


WEBSOCKET = """
[[agent]]
name = "w"
address = "wss://bots.example.com/{called}?a=b"
dialect = "twilio"
token_env = "AGENT"
username = "u"
password_env = "PBX"
headers = { X-A = "1" }
headers_env = { X-B = "AGENT" }
ca = "ca.pem"
"""


def test_workers_get_websockets_by_url_and_number() -> None:
    """The URL as it was written, for the handshake and the certificate; the address to connect to beside it."""
    config = parse(TEXT + WEBSOCKET)
    secrets = resolve(config, {"PBX": "x", "AGENT": "t"})
    assert assembly.agent_hosts(config)["w"] == "bots.example.com"
    params = assembly.agent_params(config, secrets, {"w": ["192.0.2.7"]})["w"]
    assert (params.address, params.url) == ("tcp:192.0.2.7:443", "wss://bots.example.com/{called}?a=b")
    assert (params.token, params.username, params.password, params.headers) == (
        "t", "u", "x", (("X-A", "1"), ("X-B", "t")),
    )  # fmt: skip
    assert (params.ca, params.verify, params.sample_rate_hz) == ("ca.pem", True, 8000)
    [(sid, token, name)] = assembly.twilio_accounts(config, secrets)
    assert (sid[:2], len(sid), token, name) == ("AC", 34, "t", "w")


def test_a_calls_own_words_stand_percent_encoded_in_the_url() -> None:
    """A caller's name can hold anything, and must not become a path or a parameter of its own."""
    config = parse(TEXT + WEBSOCKET.replace("{called}?a=b", "{called}/x?id={call_id}&from={caller}"))
    params = assembly.agent_params(config, resolve(config, {"PBX": "x", "AGENT": "t"}), {})
    info = CallInfo("id-1", "inbound", "+49 30/1&x=ü", "a?b{caller}", "t", "r")
    assert for_call(params["w"], info).url == (
        "wss://bots.example.com/a%3Fb%7Bcaller%7D/x?id=id-1&from=%2B49%2030%2F1%26x%3D%C3%BC"
    )
    assert for_call(params["a"], info) is params["a"]
