# SPDX-License-Identifier: GPL-2.0-or-later
"""What the API, the CLI and the live view see of a call; no logic."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from trunkline.gateway.calls.texts import Address, HeaderTexts, Name, Texts

State = Literal["incoming", "calling", "ringing", "early", "answering", "up", "held", "ended"]


class PlaceRequest(BaseModel, extra="forbid"):
    """A call to be placed."""

    to: Address = Field(
        description="SIP URI, or a number when `trunk` is given", examples=["sip:600@pbx.example.com"]
    )
    agent: Name | None = Field(None, description="name of the agent that gets the call; default: that of `route`")
    trunk: Name | None = Field(
        None, description="trunk to use; default: the one whose host matches, else the only one"
    )
    from_: Address | None = Field(None, alias="from", description="calling number or SIP URI")
    headers: HeaderTexts = Field(default_factory=dict, description="extra headers of the INVITE")
    metadata: Texts = Field(default_factory=dict, description="told to the agent; 16 kB in all")
    dtmf_audio: Literal["keep", "cut"] | None = Field(
        None, description="whether the agent hears the tones of keys; default as `route` says, else `keep`"
    )
    timeout_s: float = Field(30.0, gt=0, le=300, description="give up ringing after this many seconds")
    route: Name | None = Field(
        None, description="route whose agents and settings hold for the call, whatever calls it takes itself"
    )

    @model_validator(mode="after")
    def _who_gets_it(self) -> PlaceRequest:
        if self.agent is None and self.route is None:
            raise ValueError("name an agent, or a route whose agent gets the call")
        return self


class DtmfRequest(BaseModel, extra="forbid"):
    """Digits to be sent to the other party."""

    digits: str = Field(pattern=r"^[0-9A-Da-d*#]{1,64}$")
    duration_ms: int = Field(160, ge=40, le=6000)
    gap_ms: int = Field(80, ge=20, le=6000, description="silence after each; receivers of tones ask for 40")


class TransferRequest(BaseModel, extra="forbid"):
    """To whom the other party of a call is to be handed on: one of `target` and `attended`."""

    target: Address = Field("", description="SIP URI, or a number at the call's own trunk", examples=["601"])
    attended: Name = Field("", description="id of another call, whose other party is the target (RFC 3891)")
    headers: HeaderTexts = Field(default_factory=dict, description="extra headers of the REFER")
    timeout_s: float = Field(60.0, gt=0, le=300, description="without a result by then it has failed")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.target) == bool(self.attended):
            raise ValueError("one of target and attended is needed")
        return self


class HoldRequest(BaseModel, extra="forbid"):
    """Put the other party on hold, or take it back."""

    held: bool = True
    music: Name = Field("", description="name of one of the route's sounds; default its `hold_music`")


class VariablesRequest(BaseModel, extra="forbid"):
    """Texts for a call; an empty one removes it."""

    values: Texts = Field(examples=[{"customer": "4711"}])


class RecordRequest(BaseModel, extra="forbid"):
    """Where a call is recorded."""

    file: str = Field(
        pattern=r"^/[^\x00]{1,4000}\.pcapng$",
        description="absolute path on the gateway's machine, of a file that is not there; mode 0600",
        examples=["/var/lib/trunkline/recordings/call.pcapng"],
    )


class MediaView(BaseModel):
    """Audio of a call, both ways. Delays are upper edges of histogram buckets.

    Quality is brought up to date once a second: `mos` and what follows is what we hear,
    `peer_` what the other side says that it hears of us (RTCP).
    """

    codec: str
    encryption: str | None = Field(default=None, description="suite of SRTP; null: in the clear, or no keys yet")
    remote: str
    local: str
    ptime_ms: int
    packets_received: int = 0
    packets_sent: int = 0
    packets_lost: int = 0
    loss_percent: float = 0.0
    jitter_ms: float = 0.0
    frames_to_agent: int = 0
    frames_from_agent: int = 0
    frames_played: int = 0
    frames_concealed: int = 0
    frames_gap: int = 0
    frames_comfort_noise: int = 0
    underruns: int = 0
    queued_ms: int = 0
    peer_lost: int = 0
    peer_jitter_ms: float = 0.0
    rtt_ms: float | None = None
    mos: float | None = Field(default=None, description="estimate by ITU-T G.107, 1 to 4.5, since the start")
    r_factor: float | None = None
    mos_min: float | None = Field(default=None, description="the least of all `recent_mos`")
    recent_mos: float | None = Field(default=None, description="of the last 1 to 5 s")
    recent_loss_percent: float | None = Field(
        default=None, description="lost or discarded in the last 1 to 5 s"
    )
    discard_percent: float | None = Field(default=None, description="packets that came too late to be heard")
    bursts: int | None = Field(default=None, description="times of heavy loss (RFC 3611 4.7.2)")
    burst_ms: float | None = Field(default=None, description="their mean length")
    burst_loss_percent: float | None = Field(default=None, description="lost or discarded in them")
    gap_ms: float | None = Field(default=None, description="mean time between them")
    gap_loss_percent: float | None = Field(default=None, description="lost or discarded between them")
    delay_ms: float | None = Field(
        default=None, description="one way, from the other side to the agent, estimated"
    )
    peer_mos: float | None = None
    peer_r_factor: float | None = None
    peer_loss_percent: float | None = None
    peer_discard_percent: float | None = None
    peer_burst_ms: float | None = None
    peer_burst_loss_percent: float | None = None
    uplink_ms_p50: float | None = None
    uplink_ms_p99: float | None = None
    downlink_ms_p50: float | None = None
    downlink_ms_p99: float | None = None
    drops: dict[str, int] = Field(default_factory=dict)
    frames_withheld: int = Field(default=0, description="silence that the route keeps from the agent")
    barge_ins: int = Field(default=0, description="how often the caller interrupted, and the route acted on it")
    underrun_ms: int = Field(default=0, description="speech of the agent that came too late, in all underruns")
    turns: int = Field(default=0, description="times that the caller spoke and the agent answered")
    turn_agent_ms_p50: float | None = Field(
        default=None, description="the agent's part: from its being told that the caller stopped to its answer"
    )
    turn_agent_ms_max: float | None = None
    turn_gateway_ms_p50: float | None = Field(
        default=None, description="our part: detection of the end of speech, prebuffer, packet clock"
    )
    turn_gateway_ms_max: float | None = None
    turn_total_ms_p50: float | None = Field(
        default=None, description="from the caller's last word in to the first packet of the answer out"
    )
    turn_total_ms_max: float | None = None
    barge_in_ms_p50: float | None = Field(
        default=None, description="from the caller's first word to the last packet of the agent that it cut off"
    )
    barge_in_ms_max: float | None = None


class CallView(BaseModel):
    """One call."""

    id: str
    direction: Literal["inbound", "outbound"]
    state: State
    caller: str
    called: str
    trunk: str
    route: str
    agent: str
    sip_call_id: str = ""
    created: float = Field(description="Unix time")
    answered: float | None = None
    ended: float | None = None
    cause: str = ""
    "our word for why it ended: caller_hangup, agent_hangup, agent_lost, no_media, ..."
    sip_code: int = 0
    "code that was on the wire, or the 408 that stands for no answer in time (RFC 3261 8.1.3.1); else 0"
    sip_reason: str = ""
    detail: str = ""
    "a sentence for people about the end, where there is more to say than the cause does"
    media: MediaView | None = None
    variables: dict[str, str] = Field(default_factory=dict, description="texts that agents and the API have set")
    transfer: str = Field("", description="`asked`, `trying` or `ringing` while the other party is being handed on")
    agents: list[str] = Field(default_factory=list, description="agents that had it, where there was more than one")
    attempts: int = Field(1, description="which agent in turn has or had it; above 1, agents before it were lost")


class AgentView(BaseModel):
    """One agent, as calls have found it."""

    name: str
    address: str
    dialect: str
    up: bool = Field(description="it took its last call, or none has failed")
    tried: bool = Field(default=True, description="whether a call, or a probe, has found it so; else nobody knows yet")
    since_s: float = Field(description="for how long it has been up, or down")
    avoided_s: float = Field(description="for how long other agents of a route are asked before it")
    reason: str = Field(description="why it is down: agent_unreachable, agent_lost, agent_hung, ...")
    detail: str = Field(description="a sentence about it, for people")
    failures: dict[str, int] = Field(description="how often it has failed since the gateway was started, by reason")
    calls: int = Field(description="calls that it has now, counting those that are offered to it")


class CallEvent(BaseModel):
    """One line of the event stream."""

    time: float
    call_id: str = ""
    event: str
    """what happened: call.incoming, call.up, call.dtmf, call.turn, media.silent, media.resumed, agent.mark,
    trunk.registered, ..."""
    data: dict[str, Any] = Field(default_factory=dict)
