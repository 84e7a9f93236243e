# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of the configuration that a file has once; the text under a field is its documentation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trunkline.gateway.config import types

REFUSAL_HEADROOM = 16
"PJSIP call slots beyond `limits.max_calls`: a refused call needs one for a moment."

DESCRIPTORS_PER_CALL = 2
"""RTP and RTCP: the gateway opens both, and the worker that the call is on holds both as well. Each process
has a limit of its own."""

DESCRIPTORS_BESIDES = 200
"listeners, TCP peers, API clients, agents, shared memory, libraries"


class Section(BaseModel):
    """Base of all tables: no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class SipTransport(Section):
    """An address on which SIP is spoken. Without any, UDP on 127.0.0.1:5060."""

    protocol: Literal["udp", "tcp", "tls"] = "udp"
    "transport protocol; of `tls` there can be one"
    bind: types.Ip = "127.0.0.1"
    "address to listen on; `0.0.0.0` for all of IPv4, `::` for all of IPv6"
    port: types.Port = 5060
    "port to listen on; default with `tls` 5061"
    advertise: types.OptionalHost = ""
    "address that peers are told in Via and Contact, when it is not `bind` (behind NAT)"
    certificate: str = ""
    "TLS: file with our certificate and those between it and its authority (PEM), relative to this configuration file"
    key: str = ""
    "TLS: file with its private key (PEM, mode 0600)"
    key_password_env: types.EnvName = ""
    "environment variable with the password of the key, if it is encrypted"
    key_password_file: str = ""
    "file with that password (mode 0600)"
    ca: str = ""
    """TLS: file with the authorities (PEM) whose certificates we believe; default the system's. A self-signed
    certificate of a peer is its own authority"""
    client_certificates: Literal["off", "optional", "required"] = "off"
    "TLS: whether those who connect to us must show a certificate of `ca`; `optional`: only a good one or none"
    min_version: Literal["1.2", "1.3"] = "1.2"
    "TLS: oldest version that is spoken"

    @model_validator(mode="before")
    @classmethod
    def _port_of_protocol(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("protocol") == "tls":
            return {"port": 5061, **data}
        return data


class Sip(Section):
    """The SIP user agent."""

    user_agent: types.ReasonPhrase = "trunkline"
    "text of the User-Agent and Server headers"
    max_calls: types.Count = 0
    "calls that PJSIP reserves room for; 0: twice `limits.max_calls` + 16 (a lost peer holds one for 32 s)"
    transports: list[SipTransport] = Field(
        default_factory=lambda: [SipTransport()], alias="transport", min_length=1
    )


class Opus(Section):
    """How we send Opus, to all trunks; what a peer asks for in its a=fmtp goes before."""

    complexity: Annotated[int, Field(ge=0, le=10)] = 5
    "how hard the encoder tries: CPU for quality"
    bitrate_bps: Annotated[int, Field(ge=0, le=510_000)] = 0
    "bit rate, 6000 at least; 0: 16000 for agents at 8 kHz to 32000 for agents at 48 kHz"
    fec: bool = True
    "in-band error correction for peers that can use it, while they report loss"
    dtx: bool = False
    "leave out packets of silence; also done for a peer that asks for it"


class Media(Section):
    """RTP: addresses, timing and behaviour of the audio."""

    bind: types.Ip = "0.0.0.0"
    "address of the RTP sockets; of the same family as those of `[[sip.transport]]`"
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
    jitter_min_ms: Annotated[int, Field(ge=0, le=2000)] = 45
    "shortest wait for a missing packet; the default gives way to a smaller `jitter_max_ms`"
    jitter_max_ms: Annotated[int, Field(ge=0, le=2000)] = 200
    "longest wait for a missing packet; between the two it is as long as packets of the call have lately needed"
    silence: Literal["send", "suppress"] = "send"
    "while the agent says nothing: send silence, or no packets but, if the peer takes it, comfort noise (RFC 3389)"
    no_media_timeout_s: Annotated[float, Field(ge=0, le=86400)] = 60
    "hang up when the peer, which should, has sent no RTP for so long; 0: never"
    dtmf_info: bool = True
    "take digits that arrive by SIP INFO"
    opus: Opus = Field(default_factory=Opus)

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
    max_worker_load: Annotated[float, Field(ge=0, le=1)] = 0.85
    """share of its time that a media worker may be busy before it gets no new calls; one that has kept the packets of
    many calls waiting for 250 ms counts as fully busy; calls are refused when no worker is below. 0: no limit"""

    @property
    def descriptors(self) -> int:
        """File descriptors that the gateway needs for so many calls, and each worker no more."""
        return DESCRIPTORS_PER_CALL * self.max_calls + DESCRIPTORS_BESIDES


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
