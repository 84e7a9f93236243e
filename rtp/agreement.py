# SPDX-License-Identifier: GPL-2.0-or-later
"""From the two sides of an exchange to the media that both have agreed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from trunkline.rtp.audio_line import AudioLine
from trunkline.rtp.line_formats import OfferedFormat
from trunkline.rtp.media_description import MediaDescription
from trunkline.rtp.payload import PayloadFormat


@dataclasses.dataclass(frozen=True, slots=True)
class Selection:
    """What is used of the peer's payload types."""

    speech: OfferedFormat
    codec: PayloadFormat
    "the same as one of ours"
    noise: OfferedFormat | None
    event: OfferedFormat | None

    @classmethod
    def of(cls, line: AudioLine, speech: OfferedFormat, codec: PayloadFormat, *, dtmf: bool) -> Selection:
        """The speech, and what the peer has beside it."""
        event = line.telephone_event(codec.clock_hz) if dtmf else None
        return cls(speech, codec, line.comfort_noise(speech), event)

    def within(self, ours: Mapping[str, int]) -> Selection:
        """Without what is in no offer of ours: an answer may not add to it (RFC 3264 6.1)."""
        kept = [
            one if one and one.format and one.format.name in ours else None
            for one in (self.noise, self.event)
        ]
        return dataclasses.replace(self, noise=kept[0], event=kept[1])

    @property
    def all(self) -> list[OfferedFormat]:
        """Speech first."""
        return [one for one in (self.speech, self.noise, self.event) if one is not None]

    @property
    def numbers(self) -> dict[str, int]:
        """The peer's payload types, by our names."""
        return {one.format.name: one.payload_type for one in self.all if one.format is not None}


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the stream as a whole, from our point of view."""

    send: bool
    receive: bool
    mux: bool = False
    "RTCP comes and goes on the port of RTP"
    rsize: bool = False
    "RTCP need not be compound"


def agree(
    line: AudioLine,
    selection: Selection,
    ours: Mapping[str, int],
    before: MediaDescription | None,
    *,
    terms: Terms,
    ptime_ms: int,
    fmtp: str,
) -> MediaDescription:
    """`ours` are the payload types that we have named, `fmtp` is what we have said of the codec.

    Keys are not in it.
    """
    host, rtcp_host, rtcp_port = line.host, line.rtcp_host, line.rtcp_port
    if line.black_hole and before is not None:
        # 0.0.0.0 says "send nothing", not "I have moved": what the peer sends (music on
        # hold) still comes from where it was.
        host, rtcp_host = before.remote_host, before.remote_rtcp_host
    if terms.mux:
        rtcp_host, rtcp_port = host, 0 if line.black_hole else line.port
    codec, event, noise = selection.codec, selection.event, selection.noise
    return MediaDescription(
        codec=codec.name,
        send_pt=selection.speech.payload_type,
        receive_pt=ours[codec.name],
        remote_host=host,
        remote_port=line.port,
        remote_rtcp_host=rtcp_host,
        remote_rtcp_port=rtcp_port,
        ptime_ms=line.packet_time(ptime_ms, selection.speech),
        send=terms.send,
        receive=terms.receive,
        rtcp_mux=terms.mux,
        rtcp_rsize=terms.rsize,
        xr_voip=line.xr is not None and line.xr.voip_metrics,
        xr_round_trip=line.xr is not None and line.xr.round_trip,
        send_dtmf_pt=event.payload_type if event else -1,
        receive_dtmf_pt=ours[event.format.name] if event and event.format else -1,
        dtmf_clock_hz=event.clock_hz if event else codec.clock_hz,
        send_cn_pt=noise.payload_type if noise else -1,
        receive_cn_pt=ours[noise.format.name] if noise and noise.format else -1,
        send_fmtp=selection.speech.parameters or "",
        receive_fmtp=fmtp,
        peer_maxptime_ms=int(line.maxptime_ms or 0),
    )
