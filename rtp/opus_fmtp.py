# SPDX-License-Identifier: GPL-2.0-or-later
"""Parameters of Opus in a=fmtp (RFC 7587 6.1): what the writer would like to receive.

All are declarative: each side states its own, an answer repeats nothing of the offer
(section 7.1), and only what the *other* side wrote binds a sender.  `sprop-*` alone speak
of what the writer will send; they are hints.  `ptime` and `maxptime` are attributes of
their own in SDP (section 7) and are not here.

`minptime` was in drafts of the RFC and is not in it; browsers go on writing it.
"""

from __future__ import annotations

import dataclasses
import re

RATES_HZ = (8000, 12000, 16000, 24000, 48000)
"narrow, medium, wide, super-wide and full band, as sampling rates (RFC 7587 table 1)"
BITRATES_BPS = range(6000, 510001)
"section 6.1: maxaveragebitrate outside of it is to be ignored"


@dataclasses.dataclass(frozen=True, slots=True)
class OpusFmtp:
    """What one side has said; the defaults are those of the RFC."""

    max_playback_rate_hz: int = 48000
    "maxplaybackrate: sound above half of it is lost on the writer; 8000 to 48000"
    sprop_max_capture_rate_hz: int = 48000
    "sprop-maxcapturerate: the same of what the writer will send"
    max_average_bitrate_bps: int = 0
    "maxaveragebitrate: what a sender may not exceed on average; 0: the writer sets no limit"
    stereo: bool = False
    "the writer prefers stereo; without it a sender should send mono"
    sprop_stereo: bool = False
    "the writer is likely to send stereo"
    cbr: bool = False
    "the writer wants a constant bit rate"
    use_inband_fec: bool = False
    "useinbandfec: the writer can use the copy of a lost packet that the next one carries"
    use_dtx: bool = False
    "usedtx: the writer prefers that silence is not sent"
    min_ptime_ms: int = 0
    "minptime: shortest packets that the writer wants; 0: not said"

    @property
    def bandwidth_hz(self) -> int:
        """The widest of `RATES_HZ` that the writer can play; narrow band at least, as nothing is below."""
        return max((rate for rate in RATES_HZ if rate <= self.max_playback_rate_hz), default=RATES_HZ[0])

    def bitrate_bps(self, wanted: int) -> int:
        """Bit rate to send with, of what a sender would like: never above the writer's limit."""
        return min(wanted, self.max_average_bitrate_bps or wanted)


def receiving(sample_rate_hz: int) -> OpusFmtp:
    """What trunkline says of itself when the agent hears and speaks at that rate.

    FEC is always of use to us, stereo never; a rate is named only where it spares the peer work.
    """
    return OpusFmtp(
        max_playback_rate_hz=sample_rate_hz, sprop_max_capture_rate_hz=sample_rate_hz, use_inband_fec=True
    )


def parse(text: str) -> OpusFmtp:
    """Read the parameters of an a=fmtp, without its payload type.

    Never raises: an unknown parameter, or a value that the RFC does not allow, counts as not
    said.  Of a parameter that stands there twice the last one counts.
    """
    said: dict[str, int] = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        name, value = name.strip().lower(), value.strip()
        if name in _ALLOWED and re.fullmatch(r"\d{1,7}", value, re.ASCII) and int(value) in _ALLOWED[name]:
            said[name] = int(value)
    return OpusFmtp(
        **{
            field: type(getattr(_DEFAULTS, field))(said[name])
            for name, field in _FIELDS.items()
            if name in said
        }
    )


def write(parameters: OpusFmtp) -> str:
    """As it stands in a=fmtp behind the payload type; empty when everything is as by default."""
    said = (
        (name, int(getattr(parameters, field)), getattr(_DEFAULTS, field)) for name, field in _FIELDS.items()
    )
    return ";".join(f"{name}={value}" for name, value, default in said if value != default)


_FLAG = range(2)
_FIELDS = {
    "maxplaybackrate": "max_playback_rate_hz",
    "sprop-maxcapturerate": "sprop_max_capture_rate_hz",
    "maxaveragebitrate": "max_average_bitrate_bps",
    "stereo": "stereo",
    "sprop-stereo": "sprop_stereo",
    "cbr": "cbr",
    "useinbandfec": "use_inband_fec",
    "usedtx": "use_dtx",
    "minptime": "min_ptime_ms",
}
_ALLOWED: dict[str, range] = {
    **dict.fromkeys(_FIELDS, _FLAG),
    "maxplaybackrate": range(8000, 48001),
    "sprop-maxcapturerate": range(8000, 48001),
    "maxaveragebitrate": BITRATES_BPS,
    "minptime": range(3, 121),
}
_DEFAULTS = OpusFmtp()
