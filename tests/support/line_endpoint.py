# SPDX-License-Identifier: GPL-2.0-or-later
"""A telephone's audio in any codec of ours, clear or by SRTP, with FFmpeg and pylibsrtp: no code under test.

    endpoint = LineEndpoint("G722", 30, suite="AES_CM_128_HMAC_SHA1_80")
    with Phone(gateway, "uac_codec", said=endpoint.packets(pcm), endpoint=endpoint, keys=endpoint.offer()) as phone:
        ...
    endpoint.heard_pcm()
"""

from __future__ import annotations

import itertools
import re

import numpy as np

from support.audio import Pcm
from support.line_codecs import ENCODINGS, decode, encode
from support.rtp_endpoint import RtpEndpoint
from support.rtp_wire import Received
from support.sdes_wire import Key, key_in, opened
from support.voice import resample

RATE_HZ = 16000
"of what is said and heard"


class LineEndpoint(RtpEndpoint):
    """An RtpEndpoint that knows the codecs."""

    def __init__(self, codec: str, ptime_ms: int = 20, *, suite: str = "", host: str = "127.0.0.1") -> None:
        """`suite` empty: no SRTP."""
        self.encoding, self.suite, self.ptime_ms = ENCODINGS[codec], suite, ptime_ms
        super().__init__(host, payload_type=self.encoding.payload_type, ptime_ms=ptime_ms)
        self.timestamp_step, self.clock_hz = self.encoding.timestamps(ptime_ms), self.encoding.clock_hz
        self.key = Key.new(suite) if suite else None
        self._peer_key: Key | None = None
        self._protecting = self.key.session(sending=True) if self.key else None

    # --- signalling --------------------------------------------------------------------------

    def offer(self) -> dict[str, str]:
        """Keys of the scenario `uac_codec`."""
        number = self.payload_type
        return {
            "profile": "RTP/SAVP" if self.key else "RTP/AVP",
            "formats": f"{number}",
            "codec": f"{number} {self.encoding.rtpmap}",
            "ptime": str(self.ptime_ms),
            "crypto": f"a=crypto:1 {self.key.line}" if self.key else "a=x-clear",
        }

    def answer(self) -> dict[str, str]:
        """Words of the scenario `uas_codec`: what it looks for in the offer, and what it answers."""
        return {
            "PROFILE": "RTP/SAVP" if self.key else "RTP/AVP",
            "RTPMAP": self.encoding.rtpmap,
            "PTIME": str(self.ptime_ms),
            "SUITE": self.suite or "NONE",
            "CRYPTO": f"a=crypto:[$tag] {self.key.line}" if self.key else "a=x-clear",
        }

    def agree(self, sdp: str) -> None:
        """What the other side's SDP says: its key, and, when we answer, the payload type."""
        if self.suite:
            self._peer_key = key_in(sdp, self.suite)
        found = re.search(rf"^a=rtpmap:(\d+) {re.escape(self.encoding.rtpmap)}\s*$", sdp, re.M | re.I)
        static = re.search(rf"^m=audio .* {self.payload_type}\b", sdp, re.M)
        assert found or static, f"{self.encoding.rtpmap} is not in\n{sdp}"
        if found:
            self.payload_type = int(found[1])

    # --- audio -------------------------------------------------------------------------------

    def packets(self, pcm: Pcm) -> list[bytes]:
        """Payloads for `send`, of PCM at 16 kHz."""
        return encode(
            self.encoding.name, resample(pcm, RATE_HZ, self.encoding.rate_hz), self.ptime_ms
        )

    def protect(self, packet: bytes) -> bytes:
        """As it goes out."""
        return self._protecting.protect(packet) if self._protecting else packet

    def arrived(self) -> list[Received]:
        """Packets that have come, in the clear."""
        if not self.suite:
            return list(self.received)
        assert self._peer_key is not None, "the other side has not told its key"
        return opened(self.received, self._peer_key)

    def heard_pcm(self) -> Pcm:
        """At 16 kHz, on its own timeline, silence where nothing came."""
        packets = self.audio
        if not packets:
            return np.zeros(0, np.int16)
        parts = decode(self.encoding.name, [one.payload for one in packets])
        base, clock, rate = packets[0].timestamp, self.encoding.clock_hz, self.encoding.rate_hz
        places = [((one.timestamp - base) & 0xFFFFFFFF) * rate // clock for one in packets]
        out = np.zeros(max(at + len(part) for at, part in zip(places, parts, strict=True)), np.int16)
        for at, part in zip(places, parts, strict=True):
            out[at : at + len(part)] = part
        return resample(out, rate, RATE_HZ)

    def packet_times_ms(self) -> set[float]:
        """Audio in the packets that have come, by their timestamps; without gaps that is one figure."""
        clock = self.encoding.clock_hz
        return {
            ((after.timestamp - before.timestamp) & 0xFFFFFFFF) * 1000 / clock
            for before, after in itertools.pairwise(self.audio)
            if (after.sequence - before.sequence) & 0xFFFF == 1
        }
