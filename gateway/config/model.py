# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole configuration as types; the text under a field is its documentation.

README's reference is generated from this page (`reference.py`), so what stands
here is what a user reads.  Attributes are plural where TOML repeats a table
(`config.trunks` is `[[trunk]]`), and `trunk.registration` is `[trunk.register]`.

A `Config` holds no secret: only the names of variables and files that do
(`secrets.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from trunkline.gateway.config import types

REFUSAL_HEADROOM = 16
"""PJSIP call slots beyond `limits.max_calls`: a refused call needs one for a moment."""


class Section(BaseModel):
    """Base of all tables: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class SipTransport(Section):
    """An address on which SIP is spoken. Without any, UDP on 127.0.0.1:5060."""

    protocol: Literal["udp", "tcp"] = "udp"
    "transport protocol"
    bind: types.Ipv4 = "127.0.0.1"
    "IPv4 address to listen on; `0.0.0.0` for all"
    port: types.Port = 5060
    "port to listen on"
    advertise: types.OptionalHost = ""
    "address that peers are told in Via and Contact, when it is not `bind` (behind NAT)"


class Sip(Section):
    """The SIP user agent."""

    user_agent: types.ReasonPhrase = "trunkline"
    "text of the User-Agent and Server headers"
    max_calls: types.Count = 0
    "calls that PJSIP reserves room for; 0: a few more than `limits.max_calls`"
    transports: list[SipTransport] = Field(
        default_factory=lambda: [SipTransport()], alias="transport", min_length=1
    )


class Media(Section):
    """RTP: addresses, timing and behaviour of the audio."""

    bind: types.Ipv4 = "0.0.0.0"
    "IPv4 address of the RTP sockets"
    advertise: types.AdvertiseMedia = "auto"
    "address in SDP; `auto`: the address that the route to the peer leaves from"
    port_range: Annotated[
        list[types.Port],
        Field(min_length=2, max_length=2),
        types.Allowed("list of the first and the last port"),
    ] = [16384, 32767]
    "first and last UDP port for audio; a call takes two, an even one for RTP and the next for RTCP"
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    "media worker processes; 0: one per core"
    packet_time_ms: types.FrameMs = 20
    "audio in one packet that we send, unless the peer asks for another time"
    jitter_max_ms: Annotated[int, Field(ge=0, le=2000)] = 200
    "longest that a missing packet is waited for"
    silence: Literal["send", "suppress"] = "send"
    "while the agent says nothing: send silence, or send no packets"
    no_media_timeout_s: Annotated[float, Field(ge=0, le=86400)] = 60
    "hang up when the peer, which should, has sent no RTP for so long; 0: never"
    dtmf_info: bool = True
    "take digits that arrive by SIP INFO"

    @property
    def max_calls(self) -> int:
        """Calls that the port range has room for: pairs that begin at an even port."""
        first, last = self.port_range
        return max(0, (last - (first + first % 2) + 1) // 2)


class Limits(Section):
    """Where new calls are refused with 503."""

    max_calls: Annotated[int, Field(ge=1, le=100_000)] = 1000
    "calls at one time, both directions together"
    calls_per_second: Annotated[float, Field(ge=0)] = 0
    "new inbound calls per second, with a burst of one second's worth; 0: unlimited"
    max_calls_per_trunk: types.Count = 0
    "calls at one time on each trunk that does not say otherwise; 0: unlimited"


class Api(Section):
    """The HTTP interface: control, events, metrics."""

    enabled: bool = True
    "whether it is served at all; the CLI's `calls`, `call`, `hangup`, `dtmf`, `events` need it"
    bind: types.ApiBind = "127.0.0.1"
    "address to listen on; other than loopback only with a token that is named here"
    port: types.Port = 8070
    "TCP port"
    token_env: types.EnvName = "TRUNKLINE_API_TOKEN"
    """environment variable with the bearer token. When neither this variable nor `token_file` holds one, a
    token is made at the first start and kept in the state folder, in `api-token`"""
    token_file: str = ""
    "file with the bearer token (mode 0600), relative to this configuration file"


class Logging(Section):
    """Log lines on standard error."""

    format: Literal["console", "json"] = "console"
    "for people, or one JSON object a line"
    level: Literal["debug", "info", "warning", "error"] = "info"
    "least level that is written"
    redact_numbers: bool = False
    "hide telephone numbers in log lines, all but the last two digits"
    pjsip_level: Annotated[int, Field(ge=0, le=6)] = 1
    "PJSIP's own messages: 1 errors ... 5 whole SIP messages"


class State(Section):
    """What trunkline itself keeps."""

    dir: str = ""
    """folder for what outlives a run, such as a generated API token; default `$XDG_STATE_HOME/trunkline`
    (`~/.local/state/trunkline`), or `/var/lib/trunkline` for root"""

    def path(self) -> Path:
        """The folder, with the default filled in. It is not created here."""
        if self.dir:
            return Path(self.dir).expanduser()
        if base := os.environ.get("XDG_STATE_HOME"):
            return Path(base) / "trunkline"
        if os.geteuid() == 0:
            return Path("/var/lib/trunkline")
        return Path("~/.local/state/trunkline").expanduser()


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


class Trunk(Section):
    """A peer that calls come from and go to. Whoever no trunk names is refused."""

    name: types.Name
    "name in routes, log lines and metrics"
    match: list[types.Source] = []
    """source addresses of its requests: `192.0.2.10`, `192.0.2.10:5060` or `10.0.0.0/8`; the most specific of
    all trunks wins. Without it, a trunk that registers matches the addresses of its registrar"""
    host: types.OptionalHostPort = ""
    "where outbound calls go, `host` or `host:port`; default the registrar"
    transport: Literal["udp", "tcp"] = "udp"
    "how outbound calls and registration travel"
    codecs: Annotated[list[types.Codec], Field(min_length=1)] = ["PCMU", "PCMA"]
    "audio codecs, in order of preference"
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
    dtmf: Literal["auto", "rfc4733", "info"] = "auto"
    "how digits are sent: `auto` uses RFC 4733 events when the peer takes them, else SIP INFO"
    max_calls: types.Count = 0
    "calls at one time on this trunk; 0: as `limits.max_calls_per_trunk`"
    headers_to_agent: list[types.HeaderGlob] = ["X-*", "Diversion"]
    "SIP headers of the INVITE that the agent is told; `*` at the end stands for the rest of a name"
    registration: Registration | None = Field(None, alias="register")

    @property
    def outbound_host(self) -> str:
        """`host[:port]` that calls are sent to, or empty when the trunk takes none."""
        if self.host or self.registration is None:
            return self.host
        return self.registration.server.removeprefix("sip:").split("@")[-1].split(";")[0].split("?")[0]


class Agent(Section):
    """A program that gets the audio of calls and speaks to the caller."""

    name: types.Name
    "name in routes, log lines and metrics"
    address: types.AgentAddress
    "where it listens: `unix:/path` or `tcp:host:port`"
    dialect: Literal["trunkline", "audiosocket"] = "trunkline"
    "protocol it speaks: ours, or Asterisk's AudioSocket"
    sample_rate_hz: types.SampleRateHz = 16000
    "rate of the PCM both ways, whatever the codec on the line; default with `audiosocket` 8000"
    frame_ms: types.FrameMs = 20
    "audio in one frame that the agent gets"
    connect_timeout_ms: Annotated[int, Field(ge=10, le=60_000)] = 2000
    "longest that connecting and accepting a call may take; after that the caller gets 503"
    max_queue_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 60_000
    "audio of one call that waits to be played at most; what does not fit is dropped and counted"
    token_env: types.EnvName = ""
    "environment variable with a token that the agent is shown in the handshake"
    token_file: str = ""
    "file with that token (mode 0600), relative to this configuration file"
    metadata: dict[str, str] = {}
    "texts that this agent is told with each call"

    @model_validator(mode="before")
    @classmethod
    def _rate_of_dialect(cls, data: object) -> object:
        """AudioSocket servers written for Asterisk's application expect 8 kHz, and cannot be told."""
        if isinstance(data, dict) and data.get("dialect") == "audiosocket":
            return {"sample_rate_hz": 8000, **data}
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
    header: dict[types.HeaderName, types.ValuePattern] = {}
    'pattern per SIP header of the INVITE, all of which must match: `{ X-Tenant = "acme" }`'
    agent: types.Reference | None = None
    "agent that answers; either this or `refuse`"
    refuse: Annotated[int, Field(ge=400, le=699)] | None = None
    "SIP code to refuse with; either this or `agent`"
    reason: types.ReasonPhrase = ""
    "reason phrase that goes with `refuse`; default the usual one of the code"
    metadata: dict[str, str] = {}
    "texts that the agent is told, over those of the agent itself"


class Config(Section):
    """A configuration file."""

    sip: Sip = Field(default_factory=Sip)
    media: Media = Field(default_factory=Media)
    limits: Limits = Field(default_factory=Limits)
    api: Api = Field(default_factory=Api)
    logging: Logging = Field(default_factory=Logging)
    state: State = Field(default_factory=State)
    trunks: list[Trunk] = Field(default_factory=list, alias="trunk")
    agents: list[Agent] = Field(default_factory=list, alias="agent")
    routes: list[Route] = Field(default_factory=list, alias="route")

    _source: Path | None = PrivateAttr(None)
    _warnings: tuple[str, ...] = PrivateAttr(())

    @property
    def source(self) -> Path | None:
        """File it was read from, or None."""
        return self._source

    @property
    def warnings(self) -> list[str]:
        """What is allowed but probably not meant, a sentence each."""
        return list(self._warnings)

    def read_from(self, source: Path | None, warnings: Iterable[str]) -> Config:
        """Note where this came from and what was doubtful about it (`loading`); returns itself."""
        self._source, self._warnings = source, tuple(warnings)
        return self

    @property
    def sip_call_slots(self) -> int:
        """Calls that PJSIP must have room for."""
        return self.sip.max_calls or self.limits.max_calls + REFUSAL_HEADROOM

    def resolve_path(self, text: str) -> Path:
        """A path of the configuration; relative ones start at the file's folder."""
        path = Path(text).expanduser()
        return path if self._source is None else self._source.parent / path

    def trunk(self, name: str) -> Trunk | None:
        """The trunk of that name."""
        return next((trunk for trunk in self.trunks if trunk.name == name), None)

    def agent(self, name: str) -> Agent | None:
        """The agent of that name."""
        return next((agent for agent in self.agents if agent.name == name), None)

    def route(self, name: str) -> Route | None:
        """The route of that name."""
        return next((route for route in self.routes if route.name == name), None)

    def trunk_limit(self, trunk: Trunk) -> int:
        """Calls at one time on `trunk`; 0 is unlimited."""
        return trunk.max_calls or self.limits.max_calls_per_trunk
