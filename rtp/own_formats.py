# SPDX-License-Identifier: GPL-2.0-or-later
"""What we say of the payload formats that we write: their companions, parameters and packet times."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.rtp import opus_fmtp, payload
from trunkline.rtp.payload import PayloadFormat

_KEYS_OF_A_TELEPHONE = "0-15"
"our a=fmtp for telephone-event"


class OwnFormats:
    """The same for all descriptions of a call."""

    def __init__(self, *, ptime_ms: int, dtmf: bool, opus_rate_hz: int) -> None:
        if ptime_ms not in payload.PACKET_TIMES_MS:
            raise ValueError(f"packet time {ptime_ms} ms; there are {payload.PACKET_TIMES_MS}")
        self._ptime_ms = ptime_ms
        self._dtmf = dtmf
        self._opus = opus_fmtp.write(opus_fmtp.receiving(opus_rate_hz))

    def beside(self, codecs: Sequence[PayloadFormat], *, noise: bool) -> list[PayloadFormat]:
        """Comfort noise and telephone-event that go with these codecs, one of each clock."""
        found = [payload.noise_of(codec) for codec in codecs] if noise else []
        if self._dtmf:
            found += [payload.TELEPHONE_EVENTS[codec.clock_hz] for codec in codecs]
        return [one for one in dict.fromkeys(found) if one is not None]

    def fmtp(self, encoding: PayloadFormat | None) -> str:
        """Our a=fmtp, empty for none."""
        if encoding is payload.OPUS:
            return self._opus
        return _KEYS_OF_A_TELEPHONE if encoding in payload.TELEPHONE_EVENTS.values() else ""

    def packet_times(self, codecs: Sequence[PayloadFormat]) -> tuple[int, int]:
        """Packet time to ask for and the longest to take, in ms; 0: no need to say.

        Both are of the whole m-line, so they must suit each of its codecs: 20 ms of L16 at 44.1 kHz,
        say, would not fit a packet.
        """
        possible = [
            ms for ms in payload.PACKET_TIMES_MS if all(ms in codec.packet_times_ms for codec in codecs)
        ]
        wish = min(possible, key=lambda ms: (abs(ms - self._ptime_ms), ms))
        # Opus peers may send 120 ms.
        limited = payload.OPUS in codecs or possible[-1] < payload.PACKET_TIMES_MS[-1]
        return wish, possible[-1] if limited else 0
