# SPDX-License-Identifier: GPL-2.0-or-later
"""Digits in SIP INFO: `application/dtmf-relay` and `application/dtmf`, as the PBXs of this world send them.

Neither has an RFC. dtmf-relay is Cisco's: lines `Signal=5` and `Duration=160`, in
milliseconds, with or without blanks.  `application/dtmf` carries the bare digit.
"""

from __future__ import annotations

import dataclasses
import re

DTMF_RELAY = "application/dtmf-relay"
DTMF = "application/dtmf"
DEFAULT_DURATION_MS = 160
MAX_DURATION_MS = 10_000

_SIGNAL = re.compile(r"^\s*signal\s*=\s*([0-9A-D*#]|1[0-5])\s*$", re.I | re.M)
_DURATION = re.compile(r"^\s*duration\s*=\s*(\d{1,6})\s*$", re.I | re.M)
_NUMBERED = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
"Event codes of RFC 4733, which some gateways put into Signal."


@dataclasses.dataclass(frozen=True, slots=True)
class Press:
    """One key."""

    digit: str
    duration_ms: int


def parse(media_type: str, body: str) -> Press | None:
    """The key that an INFO reports, or None when the body is something else or malformed."""
    if media_type == DTMF_RELAY:
        signal, duration = _SIGNAL.search(body), _DURATION.search(body)
        if signal is None:
            return None
        ms = int(duration[1]) if duration else DEFAULT_DURATION_MS
        return Press(_NUMBERED.get(signal[1], signal[1].upper()), min(ms, MAX_DURATION_MS))
    if media_type == DTMF and "=" in body:  # some put the other body under this name
        return parse(DTMF_RELAY, body)
    if media_type == DTMF:
        digit = body.strip().upper()
        digit = _NUMBERED.get(digit, digit)
        return Press(digit, DEFAULT_DURATION_MS) if re.fullmatch(r"[0-9A-D*#]", digit) else None
    return None


def relay_body(digit: str, duration_ms: int) -> str:
    """Body of an `application/dtmf-relay` INFO."""
    return f"Signal={digit}\r\nDuration={duration_ms}\r\n"
