# SPDX-License-Identifier: GPL-2.0-or-later
"""What a media worker must know of a call and its agents, as it travels with `to_worker.StartStream`."""

from __future__ import annotations

import msgspec


class AgentParams(msgspec.Struct, frozen=True):
    """Where an agent listens and in which form it wants its audio."""

    name: str
    address: str
    "`unix:/path` or `tcp:host:port`"
    dialect: str
    "one of `agent_bridge.links.DIALECTS`"
    sample_rate_hz: int = 16000
    frame_ms: int = 20
    connect_timeout_ms: int = 2000
    max_queue_ms: int = 60000
    "downlink audio held for one call at most; what does not fit is dropped and counted"
    token: str | None = None
    "secret for the `hello` of our dialect; WebSocket: bearer token, or the key that a dialect signs with"
    url: str = ""
    "WebSocket: `ws://` or `wss://`, as configured; `address` is what its host resolves to"
    username: str = ""
    password: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    "WebSocket: further headers of the request"
    account: str = ""
    "account id that some dialects name"
    ca: str = ""
    "wss: file with the authorities that are believed; empty: the system's"
    verify: bool = True
    "wss: whether the certificate must be good and name the host"
    options: tuple[tuple[str, str], ...] = ()
    "what can be chosen in some dialects"
    hang_timeout_ms: int = 5000
    "an agent that has said nothing for so long in spite of a ping, or has read nothing, hangs"
    connect_retries: int = 0
    "how often connecting is tried again before the answer, each time after"
    retry_pause_ms: int = 200
    flood_ms: int = 600_000
    "speech of one call beyond its queue, in 10 s, with which the agent has gone mad"
    flood_commands: int = 5000
    "... and commands about one call in a second"
    prebuffer_ms: int | None = None
    "how long the first words of a talkspurt wait; None: as long as the agent has shown to need (prebuffer.py),"
    prebuffer_max_ms: int = 200
    "and no longer than this"
    metadata: tuple[tuple[str, str], ...] = ()
    "texts that it is told with each call; those of the first agent are in `CallInfo.metadata` already"

    def __repr__(self) -> str:
        """Without the secrets, wherever a message may be shown."""
        return f"AgentParams({self.name!r}, {self.address!r}, {self.dialect!r})"


class CallInfo(msgspec.Struct, frozen=True):
    """What an agent is told of a call when it starts."""

    call_id: str
    "our id, a UUID4 in text form; also AudioSocket's UUID"
    direction: str
    "`inbound` (the caller rang us) or `outbound` (we rang)"
    caller: str
    called: str
    trunk: str
    route: str
    headers: dict[str, str] = {}
    metadata: dict[str, str] = {}


class DigitParams(msgspec.Struct, frozen=True):
    """How the keys of a call travel, beyond what its SDP says."""

    inband: bool = False
    "ours are sent as tones in the audio"
    detect: str = "auto"
    "`on`, `off` or `auto`: whether the caller's tones are told; auto: if no telephone-event was agreed on"
    cut: bool = False
    "tones are cut out of what the agent hears"


class RecordingParams(msgspec.Struct, frozen=True):
    """Where a call is recorded."""

    path: str
    "file that is made; must not be there"
    max_bytes: int
    redact: bool = False
    "telephone numbers, headers and metadata are left out"
