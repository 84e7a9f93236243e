# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run measures: how many calls of which kind, and for how long."""

from __future__ import annotations

import dataclasses

from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.links import MESSAGE_DIALECTS
from trunkline.codecs.registry import AudioCodec, open_codec
from trunkline.gateway.bench.errors import WrongOption
from trunkline.rtp.payload import AUDIO_FORMATS, G722, OPUS, PACKET_TIMES_MS
from trunkline.rtp.sdes import SUITES

WARM_UP_S = 2.0
"Sent, and judged for content, but not measured: first ticks, page faults, jitter estimates that settle."
TAIL_S = 0.6
"Listened on after the last packet: what is still under way arrives within it."
DIALECTS = ("trunkline", "audiosocket", *MESSAGE_DIALECTS)
DEFAULT_RATE_HZ = {"audiosocket": 8000, "twilio": 8000, "telnyx": 8000, "plivo": 8000, "teler": 8000}
"Of dialects that do not have 16000 by default."
RATES_HZ = (8000, 16000, 24000, 48000)
CODEC_ROWS = 8
"Loudnesses of the signal (signal.py), each a stream of its own."
MOST_LOSS_PERCENT = 20
"Beyond that there are too few packets between the gaps to tell them by."
MAX_CALLS = 9000
"RTP and RTCP ports of so many calls lie below the ports that the kernel gives out by itself."


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    calls: int
    codec: str = "PCMU"
    ptime_ms: int = 20
    dialect: str = "trunkline"
    agent_rate_hz: int = 16000
    seconds: float = 10.0
    "measured; `WARM_UP_S` comes before it"
    workers: int = 1
    srtp: str = ""
    "suite, a key of `sdes.SUITES`; empty: in the clear"
    loss_percent: float = 0.0
    "of the callers' packets are left out, at random, every time the same"

    def __post_init__(self) -> None:
        """Refuse what cannot be run, in words."""
        if not 1 <= self.calls <= MAX_CALLS:
            raise WrongOption(f"--calls {self.calls}: a run has 1 to {MAX_CALLS}")
        if self.ptime_ms not in PACKET_TIMES_MS:
            raise WrongOption(f"--ptime {self.ptime_ms}: it is one of {_list(PACKET_TIMES_MS)}")
        if self.dialect not in DIALECTS:
            raise WrongOption(f"--dialect {self.dialect!r}: it is one of {_list(DIALECTS)}")
        if self.agent_rate_hz not in RATES_HZ:
            raise WrongOption(f"--agent-rate {self.agent_rate_hz}: it is one of {_list(RATES_HZ)}")
        if not 1 <= self.seconds <= 3600:
            raise WrongOption(f"--seconds {self.seconds:g}: a run measures 1 to 3600")
        try:
            open_codec(self.codec, 1)
        except ValueError as error:
            raise WrongOption(f"--codec: {error}") from None
        if self.codec not in AUDIO_FORMATS:
            raise WrongOption(f"--codec {self.codec!r}: it is one of {_list(AUDIO_FORMATS)}")
        if not 0 <= self.loss_percent <= MOST_LOSS_PERCENT:
            raise WrongOption(f"--loss {self.loss_percent:g}: it is 0 to {MOST_LOSS_PERCENT} percent")
        self._check_pair()

    def _check_pair(self) -> None:
        """What does not go together."""
        if self.srtp and self.srtp not in SUITES:
            raise WrongOption(f"--srtp {self.srtp!r}: it is one of {_list(SUITES)}")
        if self.ptime_ms not in (times := AUDIO_FORMATS[self.codec].packet_times_ms):
            raise WrongOption(f"--ptime {self.ptime_ms}: packets of {self.codec} have {_list(times)} ms")
        if self.dialect in MESSAGE_DIALECTS:
            try:
                MESSAGE_DIALECTS[self.dialect](LinkSettings(sample_rate_hz=self.agent_rate_hz))
            except ValueError as error:
                raise WrongOption(f"--agent-rate: {error}") from None
        if self.loss_percent and not self.stands_alone:
            raise WrongOption(
                f"--loss with {self.codec}: what follows a gap depends on what was lost, and could not be told from "
                "what is wrong; use PCMU, PCMA or L16"
            )
        if self.dialect != "trunkline" and not self.stands_alone:
            raise WrongOption(
                f"--dialect {self.dialect} has no positions, and in a stream of {self.codec} only they tell the "
                "packets apart: use --dialect trunkline"
            )

    @property
    def stands_alone(self) -> bool:
        """Each packet can be decoded without those before it."""
        return AUDIO_FORMATS[self.codec].name not in (G722.name, OPUS.name)

    def with_calls(self, calls: int) -> Plan:
        """The same with another number of calls."""
        return dataclasses.replace(self, calls=calls)

    @property
    def audio_codec(self) -> AudioCodec:
        """A new one, with room for each loudness of the signal (signal.py)."""
        return open_codec(self.codec, CODEC_ROWS)

    @property
    def packet_ns(self) -> int:
        """Packet time."""
        return self.ptime_ms * 1_000_000

    @property
    def clock_hz(self) -> int:
        """RTP timestamp clock."""
        return AUDIO_FORMATS[self.codec].clock_hz

    @property
    def payload_type(self) -> int:
        """RTP payload type: the static one, if there is one."""
        static = AUDIO_FORMATS[self.codec].static_pt
        return 96 if static is None else static

    @property
    def timestamp_step(self) -> int:
        """RTP timestamp units of a packet."""
        return self.clock_hz * self.ptime_ms // 1000

    @property
    def frame_samples(self) -> int:
        """Samples of a frame at the agent; one frame is one packet."""
        return self.agent_rate_hz * self.ptime_ms // 1000

    @property
    def packets(self) -> int:
        """Packets of each call, warm-up included."""
        return round((WARM_UP_S + self.seconds) * 1000 / self.ptime_ms)

    @property
    def tail_packets(self) -> int:
        """Packet times that the generator listens on."""
        return round(TAIL_S * 1000 / self.ptime_ms)

    def span(self, start_ns: int) -> tuple[int, int]:
        """What is measured, [from, to) in CLOCK_MONOTONIC, of a run that started then."""
        begin = start_ns + round(WARM_UP_S * 1e9)
        return begin, begin + round(self.seconds * 1e9)


def _list(things: object) -> str:
    return ", ".join(str(thing) for thing in things)  # type: ignore[attr-defined]
