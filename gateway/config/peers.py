# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of the configuration that repeat: trunks, agents, routes; the text under a field is its documentation."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from trunkline.agent_bridge.links import DEFAULT_RATES_HZ
from trunkline.gateway.config import types
from trunkline.gateway.config.addresses import split_host_port
from trunkline.gateway.config.sections import Section
from trunkline.rtp.sdes import SUITES

Permission = Literal["early_media", "hold", "transfer", "dtmf", "mute", "hangup", "headers", "variables"]
"Those of `media.call_policy.PERMISSIONS`."


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
    prebuffer_ms: Annotated[int, Field(ge=0, le=2000)] | None = None
    """how long the first words of an utterance wait before the caller hears them. Absent: 5 ms, and for an agent whose
    chunks come late and unevenly as long as it has shown to need in this call; `0`: never longer than 5 ms"""
    prebuffer_max_ms: Annotated[int, Field(ge=0, le=2000)] = 200
    "without `prebuffer_ms`: the longest that such an agent's words wait"
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
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    'share of the calls of a route with agent_policy = "balance": twice the weight, twice as many'
    connect_retries: Annotated[int, Field(ge=0, le=10)] = 0
    "how often connecting is tried again before a call goes to the next agent, or is refused"
    retry_pause_ms: Annotated[int, Field(ge=10, le=10_000)] = 200
    "pause before each of these tries"
    hang_timeout_ms: Annotated[int, Field(ge=200, le=60_000)] = 5000
    """an agent that has said nothing for so long in spite of a ping, or has read nothing, hangs: its calls go to
    another. Dialects without a ping notice only that nothing is read"""
    flood_ms: Annotated[int, Field(ge=1000, le=86_400_000)] = 600_000
    "speech of one call beyond its queue, in 10 s, with which an agent counts as gone mad: the call goes to another"
    flood_commands: Annotated[int, Field(ge=100, le=1_000_000)] = 5000
    "... and commands about one call in a second"

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


class Turns(Section):
    """Who speaks: how that is found out, and what happens when the caller speaks while the agent does."""

    detector: Literal["energy", "neural", "off"] = "energy"
    """`energy`: what lies well above the line's noise, and has a pitch; next to no CPU. `neural`: Silero's network,
    for 20 to 30 calls a core (`pip install 'trunkline[vad]'`). `off`: nobody is told of speech, and frames above
    -45 dBov are flagged"""
    barge_in: Literal["off", "tell", "clear", "pause"] = "tell"
    """when the caller speaks while the agent is played: `tell` tells the agent, which may `clear`; `clear` throws away
    what is queued, at once; `pause` stops it, and lets it go on if the caller has said less than `resume_ms`, or else
    clears it; with `off` the agent is told of no speech at all, but by the flags of its frames"""
    min_speech_ms: Annotated[int, Field(ge=20, le=1000)] = 40
    "voice that goes on for so long is speech; so late it is known. Shorter interrupts sooner, and for less"
    min_silence_ms: Annotated[int, Field(ge=100, le=5000)] = 400
    "after so long without voice the caller has stopped; pauses between words are shorter"
    resume_ms: Annotated[int, Field(ge=100, le=5000)] = 700
    '`barge_in = "pause"`: who says less means no interruption: "yes", "mhm", a cough'
    withhold_silence: bool = False
    """the agent gets frames only while the caller speaks, from 240 ms before it until `min_silence_ms` after it.
    Positions of the frames tell what was left out"""
    events: bool = False
    "an event `call.speech` in the event stream, whenever a caller begins to speak or stops"


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
    "agent that answers; either this, or `agents`, or `refuse`"
    refuse: Annotated[int, Field(ge=400, le=699)] | None = None
    "SIP code to refuse with; either this, or an agent, or several"
    dtmf_audio: Literal["keep", "cut"] = "keep"
    "`cut` takes the tones of keys out of what the agent hears; its audio is then 30 ms later"
    record: str = ""
    """folder in which each call leaves a recording (pcapng) of its SIP, its RTP and its talk with the agent, relative
    to this configuration file; absent: none"""
    record_max_mb: Annotated[int, Field(ge=1, le=100_000)] = 200
    "a recording ends when it has this size: some 35 minutes at 16 kHz"
    record_folder_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    "no recording begins while those in the folder have this size together"
    reason: types.ReasonPhrase = ""
    "reason phrase that goes with `refuse`; default the usual one of the code"
    metadata: dict[str, str] = Field(default_factory=dict)
    "texts that the agent is told, over those of the agent itself"
    agents: list[types.Reference] = Field(default_factory=list)
    "several agents in place of `agent`: one gets the call, the others when it fails, before the answer or after"
    agent_policy: Literal["failover", "balance"] = "failover"
    "`failover`: in the order of `agents`; `balance`: by their weights. Those that have just failed come last"
    sticky: Literal["none", "caller"] = "none"
    'with "balance": calls of one caller go to one agent, as long as it is healthy'
    backup_agents: list[types.Reference] = Field(default_factory=list)
    "agents that are asked, in this order, when none of the others takes the call"
    patience_ms: Annotated[int, Field(ge=500, le=60_000)] = 10_000
    "how long agents are tried before the answer, all together; then the caller is refused"
    rescue_ms: Annotated[int, Field(ge=0, le=30_000)] | None = None
    """how long another agent, or the same one restarted, is looked for when the agent is lost during the call; 0: not
    at all, the call ends. Default 2000, but 0 where one of the agents speaks AudioSocket: to close the connection is
    how its servers hang up, and what their death looks like"""
    rescue_sound: str = ""
    "WAV file that the caller hears meanwhile, again and again; default a soft tone"
    replay_ms: Annotated[int, Field(ge=0, le=60_000)] | None = None
    """audio of the caller that is kept for the next agent at most, less what the agent has acknowledged. Default
    10000, but 0 for a single agent; 10 s are 320 kB a call at 16 kHz"""
    fallback: Literal["hangup", "transfer"] = "hangup"
    "what becomes of the call when no agent is found"
    fallback_target: types.Destination = ""
    'number or SIP URI that "transfer" sends the caller to'
    fallback_sound: str = ""
    "WAV file that the caller hears before that, once; default three notes"
    agent_may: list[Permission] = Field(default_factory=lambda: list(get_args(Permission)))
    """what its agents may do with a call beside taking, answering and rejecting it: `early_media` (be heard before the
    answer), `hold`, `transfer`, `dtmf`, `mute`, `hangup`, `headers` (of SIP, of their own), `variables`"""
    transfer_targets: list[types.TransferTarget] = Field(default_factory=list)
    """whom calls may be transferred to by agents: patterns of numbers, as `called`, which are called at the call's own
    trunk, and `sip:user@host` with a pattern for the user, and a host or `*`. A regular expression has to match the
    whole, and a URI has no parameters but transport and user. Absent: any number at the call's own trunk"""
    answer_timeout_s: Annotated[float, Field(gt=0, le=170)] = 60.0
    """how long an agent that has taken a call may let it ring; then the caller gets 480. Proxies give up after three
    minutes (RFC 3261 16.6)"""
    hold_music: str = ""
    "WAV file that the other party hears when we put it on hold, again and again; default a soft tune"
    music: dict[str, str] = Field(default_factory=dict)
    'further WAV files for that, by the names that agents call them: `{ jazz = "jazz.wav" }`'
    turns: Turns = Field(default_factory=Turns)
    "who speaks"

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, data: object) -> object:
        """`agent` is the first of `agents`: who needs one of them to go by has it there."""
        if isinstance(data, dict) and "agent" not in data:
            several = data.get("agents")
            if isinstance(several, list) and several:
                return {**data, "agent": several[0]}
        return data

    @property
    def main_agents(self) -> list[str]:
        """Agents that may get the call first; none for a route that refuses."""
        return self.agents or ([self.agent] if self.agent is not None else [])

    @property
    def all_agents(self) -> list[str]:
        """Every agent of the route."""
        return [*self.main_agents, *self.backup_agents]

    @property
    def sounds(self) -> list[str]:
        """Sound files that its calls may need."""
        several = (self.rescue_sound, self.fallback_sound, self.hold_music, *self.music.values())
        return [path for path in several if path]
