# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of the configuration that repeat: trunks, agents, routes; the text under a field is its documentation."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from trunkline.gateway.config import types
from trunkline.gateway.config.addresses import split_host_port
from trunkline.gateway.config.sections import Section
from trunkline.rtp.sdes import SUITES

DEFAULT_RATES_HZ = {"audiosocket": 8000, "twilio": 8000, "telnyx": 8000, "plivo": 8000}
"Of dialects whose agents expect another rate than 16000, mostly because they cannot be told."


class Registration(Section):
    """Register at the peer, as a telephone does; inbound calls then come from there."""

    server: types.SipUri
    "registrar, as a SIP URI: `sip:pbx.example.com`"
    username: types.UriUser
    "user of the address that is registered, and of digest authentication"
    password_env: types.EnvName = ""
    "environment variable with the password"
    password_file: str = ""
    "file with the password (mode 0600), relative to this configuration file"
    realm: str = "*"
    "digest realm to answer; `*`: any"
    expires_s: Annotated[int, Field(ge=30, le=86400)] = 300
    "lifetime to ask for; it is refreshed before it runs out"

    @property
    def hop(self) -> str:
        """`host[:port]` of the registrar."""
        return re.sub(r"^sips?:", "", self.server).rpartition("@")[2].partition(";")[0].partition("?")[0]

    @property
    def host(self) -> str:
        """Address or name of the registrar."""
        return split_host_port(self.hop)[0]


class Trunk(Section):
    """A peer that calls come from and go to. Whoever no trunk names is refused."""

    name: types.Name
    "name in routes, log lines and metrics"
    match: list[types.Source] = Field(default_factory=list)
    """source addresses of its requests: `192.0.2.10`, `192.0.2.10:5060` or `10.0.0.0/8`; the most specific of
    all trunks wins. Without it, a trunk that registers matches the addresses of its registrar"""
    host: types.OptionalHostPort = ""
    "where outbound calls go, `host` or `host:port`; default the registrar"
    transport: Literal["udp", "tcp", "tls"] = "udp"
    "how outbound calls and registration travel"
    verify_certificate: bool = True
    """TLS: whether the server that calls go to must prove by its certificate that it is `host`. Without, `host` must
    be an address, and whoever has it for the moment gets the calls"""
    match_certificate: list[types.CertificateName] = Field(default_factory=list)
    """TLS: names, one of which must stand in the certificate of its requests' sender. With `match` too, both must
    hold; without, its requests may come from anywhere"""
    codecs: Annotated[list[types.Codec], Field(min_length=1)] = Field(
        default_factory=lambda: ["PCMU", "PCMA", "G722", "OPUS"]
    )
    """audio codecs, in order of preference. By default all that peers usually have, the cheap ones first, as most
    calls come out of a telephone network that has nothing better; put `OPUS` or `G722` in front for wideband
    wherever the peer has it"""
    codec_preference: Literal["ours", "theirs"] = "ours"
    "whose order decides when the peer offers several of them: that of `codecs`, or that of its offer"
    srtp: Literal["off", "optional", "required"] = "off"
    """encryption of the audio. `off`: none; `optional`: where the peer has it, it is used (our offers are RTP/AVP with
    keys, RFC 8643); `required`: calls without it are refused"""
    srtp_suites: Annotated[list[types.SrtpSuite], Field(min_length=1)] = Field(
        default_factory=lambda: list(SUITES)
    )
    "suites of SRTP with keys in SDP, in order of preference; DTLS has its own list"
    srtp_keys: Literal["sdes", "dtls"] = "sdes"
    """how the keys of SRTP come about in calls that we place. `sdes`: they stand in SDP (RFC 4568); `dtls`: by a
    handshake between the two ends (RFC 5764), our offers being UDP/TLS/RTP/SAVP, which a peer without it refuses.
    Offers of the peer may have either"""
    srtp_without_tls: bool = False
    """let SRTP's keys stand in SIP by UDP or TCP, where all can read them that SIP passes. Without it, `required`
    refuses calls whose SIP is not by TLS, and `optional` leaves them unencrypted; DTLS needs no such thing"""
    outbound_proxy: types.OptionalSipUri = ""
    "SIP URI that all requests of this trunk go to first"
    from_user: types.UriUser = ""
    "user of the From header of outbound calls that name no caller; default the registered user"
    caller_domain: types.OptionalHost = ""
    "host of the From header of outbound calls; default the trunk's host"
    prack: Literal["off", "optional", "required"] = "optional"
    "reliable provisional responses (RFC 3262)"
    session_timer: Literal["off", "optional", "required"] = "optional"
    "session timers (RFC 4028), which end calls whose peer has vanished"
    session_expires_s: Annotated[int, Field(ge=90, le=86400)] = 1800
    "session interval; RFC 4028 forbids less than 90"
    dtmf: Literal["auto", "rfc4733", "info", "inband"] = "auto"
    """how digits are sent: `auto` uses RFC 4733 events when the peer takes them, else SIP INFO, and tones in the
    audio where that is refused; `inband` always tones"""
    dtmf_info_body: Literal["dtmf-relay", "dtmf"] = "dtmf-relay"
    "body of SIP INFO with digits; `dtmf` is the bare digit, without its duration. Both are taken"
    dtmf_detect: Literal["auto", "on", "off"] = "auto"
    """whether tones in the other party's audio are told as digits; `auto`: in calls where no telephone-event was
    agreed on"""
    max_calls: types.Count = 0
    "calls at one time on this trunk; 0: as `limits.max_calls_per_trunk`"
    headers_to_agent: list[types.HeaderGlob] = Field(default_factory=lambda: ["X-*", "Diversion"])
    "SIP headers of the INVITE that the agent is told; `*` at the end stands for the rest of a name"
    registration: Registration | None = Field(None, alias="register")

    @property
    def outbound_host(self) -> str:
        """`host[:port]` that calls are sent to, or empty when the trunk takes none."""
        return self.host if self.host or self.registration is None else self.registration.hop


class Agent(Section):
    """A program that gets the audio of calls and speaks to the caller."""

    name: types.Name
    "name in routes, log lines and metrics"
    address: types.AgentAddress
    """where it listens: `unix:/path` or `tcp:host:port` with `trunkline` and `audiosocket`, `ws://host:port/path` or
    `wss://host:port/path` with all others. In a path or query `{call_id}`, `{caller}`, `{called}`, `{direction}`,
    `{trunk}` and `{route}` become the call's own, percent-encoded"""
    dialect: Literal[
        "trunkline", "audiosocket", "twilio", "teler", "telnyx", "vonage", "plivo", "jambonz", "asterisk-websocket"
    ] = "trunkline"
    """protocol it speaks: ours, Asterisk's AudioSocket, or over WebSocket Twilio Media Streams and what other
    platforms have"""
    sample_rate_hz: types.SampleRateHz = 16000
    """rate of the PCM both ways, whatever the codec on the line; default with `audiosocket`, `twilio`, `telnyx` and
    `plivo` 8000"""
    frame_ms: types.FrameMs = 20
    "audio in one frame that the agent gets"
    connect_timeout_ms: Annotated[int, Field(ge=10, le=60_000)] = 2000
    "longest that connecting, hello and accepting may each take; after that the caller gets 503"
    max_queue_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 60_000
    "audio of one call that waits to be played at most; what does not fit is dropped and counted"
    token_env: types.EnvName = ""
    """environment variable with a token that the agent is shown in the handshake; WebSocket: as `Authorization:
    Bearer`, and with `twilio` the auth token, which signs"""
    token_file: str = ""
    "file with that token (mode 0600), relative to this configuration file"
    metadata: dict[str, str] = Field(default_factory=dict)
    "texts that this agent is told with each call"
    username: types.HttpUser = ""
    "WebSocket: user of basic authentication"
    password_env: types.EnvName = ""
    "environment variable with its password"
    password_file: str = ""
    "file with that password (mode 0600), relative to this configuration file"
    headers: dict[types.HttpHeaderName, types.HttpHeaderValue] = Field(default_factory=dict)
    "WebSocket: further headers of the handshake, those of the dialect among them if they are to be others"
    headers_env: dict[types.HttpHeaderName, types.EnvName] = Field(default_factory=dict)
    'the same, with the value in an environment variable: `{ X-Api-Key = "BOT_KEY" }`'
    headers_file: dict[types.HttpHeaderName, str] = Field(default_factory=dict)
    "the same, with the value in a file (mode 0600), relative to this configuration file"
    account: str = ""
    "account id that the dialect names to the agent, where it has one; default one of ours that never changes"
    ca: str = ""
    """wss: file with the authorities (PEM) whose certificates are believed, relative to this configuration file;
    default the system's. A self-signed certificate is its own authority"""
    verify_certificate: bool = True
    "wss: whether the agent must prove by its certificate that it is the host of `address`"
    options: dict[str, str] = Field(default_factory=dict)
    "what can be chosen in some dialects (README, Dialects)"

    @property
    def url(self) -> str:
        """The address, if it is a WebSocket's; else empty."""
        return self.address if self.address.startswith(("ws:", "wss:")) else ""

    @property
    def shown_address(self) -> str:
        """The address without its query, which may hold what is nobody's business."""
        return self.address.partition("?")[0] if self.url else self.address

    @model_validator(mode="before")
    @classmethod
    def _rate_of_dialect(cls, data: object) -> object:
        """AudioSocket servers written for Asterisk's application expect 8 kHz, and cannot be told."""
        if isinstance(data, dict) and isinstance(dialect := data.get("dialect"), str) and dialect in DEFAULT_RATES_HZ:
            return {"sample_rate_hz": DEFAULT_RATES_HZ[dialect], **data}
        return data


class Route(Section):
    """Which agent gets a call. The first route whose conditions all hold decides; none: 404."""

    name: types.Name
    "name in log lines and in what the agent is told"
    trunk: types.Reference | None = None
    "only calls from this trunk; absent: from any"
    called: types.NumberPattern = "*"
    """pattern of the called number (user part of the request URI): digits, `.` for any one character, `*` at
    the end for the rest, or `re:` and a regular expression. Visual separators in numbers do not count"""
    calling: types.NumberPattern = "*"
    "pattern of the calling number (user part of From)"
    header: dict[types.HeaderName, types.ValuePattern] = Field(default_factory=dict)
    'pattern per SIP header of the INVITE, all of which must match: `{ X-Tenant = "acme" }`'
    agent: types.Reference | None = None
    "agent that answers; either this or `refuse`"
    refuse: Annotated[int, Field(ge=400, le=699)] | None = None
    "SIP code to refuse with; either this or `agent`"
    dtmf_audio: Literal["keep", "cut"] = "keep"
    "`cut` takes the tones of keys out of what the agent hears; its audio is then 30 ms later"
    record: str = ""
    "folder in which each call leaves a recording (pcapng) of its RTP and its talk with the agent; absent: none"
    record_max_mb: Annotated[int, Field(ge=1, le=100_000)] = 200
    "a recording ends when it has this size: some 35 minutes at 16 kHz"
    record_folder_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    "no recording begins while those in the folder have this size together"
    reason: types.ReasonPhrase = ""
    "reason phrase that goes with `refuse`; default the usual one of the code"
    metadata: dict[str, str] = Field(default_factory=dict)
    "texts that the agent is told, over those of the agent itself"
