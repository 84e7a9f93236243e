# SPDX-License-Identifier: GPL-2.0-or-later
"""Offer/answer of one call's audio (RFC 3264), without I/O.

A `Session` is what one call knows of its SDP.  `answer` reads an offer and
returns ours, `offer` makes one and `accepted` reads what came back; each may
happen any number of times, in any order that SIP allows.  An exchange that fails
raises `NegotiationError` and changes nothing: the call goes on as it was.

What we do where RFC 3264 leaves a choice:

- One audio line is used, the first that we can use; others are refused with port 0.
- An answer names one speech encoding (and telephone-event), so that no packet can
  come in another one.  An offer names all, the one in use first.
- Payload types are the offerer's; once named, an encoding keeps its number.
- An encoding in use stays in use while the peer still offers it, unless the
  peer's order is to be followed.
- Extended reports (RFC 3611 5) are offered always, and answered where the peer speaks of
  them; rtcp-mux and reduced size only where the peer has offered them itself.
- While we hold, we offer sendonly: the agent may still be heard, as music on hold is.

Not thread-safe: one thread at a time, in practice the one that owns SIP.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from trunkline.rtp import payload
from trunkline.rtp.audio_line import (
    PACKET_TIMES_MS,
    PROFILES,
    AudioLine,
    NegotiationError,
    choose,
    names,
    read_audio_line,
)
from trunkline.rtp.sdes import CryptoKey
from trunkline.rtp.sdp import Media, SdpSyntaxError, SessionDescription
from trunkline.rtp.sdp_writer import SdpWriter

__all__ = ["MediaDescription", "NegotiationError", "Session"]

_FIRST_DYNAMIC_PT = 96
_TELEPHONE_EVENT_PT = 101
"what nearly everybody uses for it, so peers with a fixed number understand us too"
_XR_VOIP, _XR_ROUND_TRIP = "voip-metrics", "rcvr-rtt=all"


@dataclasses.dataclass(frozen=True, slots=True)
class MediaDescription:
    """What offer and answer agreed on, as the media worker needs it.

    Addresses are the peer's; `send` and `receive` are from our point of view
    and already take hold into account.
    """

    codec: str
    "name in `payload.AUDIO_FORMATS`"
    send_pt: int
    "payload type the peer expects"
    receive_pt: int
    "payload type we announced"
    remote_host: str
    remote_port: int
    remote_rtcp_host: str
    remote_rtcp_port: int
    "0: the peer has no port for RTCP"
    ptime_ms: int
    "packet time that we send"
    send: bool = True
    receive: bool = True
    rtcp_mux: bool = False
    rtcp_rsize: bool = False
    "RTCP need not be compound"
    xr_voip: bool = False
    "the peer wants VoIP metrics"
    xr_round_trip: bool = False
    "the peer wants reference times, and answers to its own"
    send_dtmf_pt: int = -1
    "-1: the peer takes no telephone-event"
    receive_dtmf_pt: int = -1
    dtmf_clock_hz: int = 8000
    send_cn_pt: int = -1
    "-1: no comfort noise was agreed on"
    receive_cn_pt: int = -1
    send_fmtp: str = ""
    "the peer's a=fmtp for the codec: how it would like us to send"
    receive_fmtp: str = ""
    "ours"
    peer_maxptime_ms: int = 0
    "longest packet that the peer takes; 0: it does not say"
    send_key: CryptoKey | None = dataclasses.field(default=None, repr=False)
    "SRTP: the key that we protect with; None, as `receive_key`, on a call without"
    receive_key: CryptoKey | None = dataclasses.field(default=None, repr=False)
    "... that the peer does"


class Session:
    """Offer and answer of one call."""

    def __init__(
        self,
        codecs: Sequence[str] = ("PCMU", "PCMA"),
        *,
        local_host: str,
        rtp_port: int,
        rtcp_port: int,
        ptime_ms: int = 20,
        prefer: Literal["ours", "theirs"] = "ours",
        dtmf: bool = True,
        offer_noise: bool = False,
        session_id: int | None = None,
    ) -> None:
        """`codecs` in order of preference; `local_host` is the literal address that peers send to.

        `offer_noise` offers comfort noise (RFC 3389), which asks the peer to pause; a peer that
        offers it is answered with it.  `session_id` is that of o=, drawn at random when it is None.
        """
        if not codecs:
            raise ValueError("a session needs at least one codec")
        if ptime_ms not in PACKET_TIMES_MS:
            raise ValueError(f"packet time {ptime_ms} ms; there are {PACKET_TIMES_MS}")
        self._codecs = [payload.AUDIO_FORMATS[name.upper()] for name in codecs]
        self._ptime_ms = ptime_ms
        self._prefer = prefer
        self._dtmf = dtmf
        self._offer_noise = offer_noise
        self._writer = SdpWriter(session_id)
        self._on_hold = False
        self._agreed: MediaDescription | None = None
        self._held = False
        self._profile = PROFILES[0]
        # m-lines of this call, which no later offer or answer may drop or reorder
        # (RFC 3264 8): the refused ones as they were offered, None for our audio.
        self._lines: list[Media | None] = [None]
        # Payload types by encoding, as we last wrote them.
        self._numbers: dict[str, int] = {}
        # Those of our last offer, while it may still be answered.
        self._offered: dict[str, int] | None = None
        self._offered_receive = True
        self._offered_mux = self._offered_rsize = False
        self.move(local_host, rtp_port, rtcp_port)

    def description(self) -> MediaDescription | None:
        """What holds now; None before the first agreement."""
        return self._agreed

    @property
    def held(self) -> bool:
        """The peer has put us on hold: it does not want to hear us."""
        return self._held

    @property
    def on_hold(self) -> bool:
        """We put the peer on hold, from our next offer or answer on."""
        return self._on_hold

    def hold(self, held: bool) -> None:
        """Let the next offer put the peer on hold, or take it back."""
        self._on_hold = held

    def move(self, local_host: str, rtp_port: int, rtcp_port: int) -> None:
        """Let the next offer or answer name another address of ours."""
        self._writer.move(local_host, rtp_port, rtcp_port)

    def answer(self, offer: str) -> str:
        """Our answer to the peer's offer."""
        description = _parse(offer, "offer")
        wishes = [codec.name for codec in self._codecs]
        follow = self._prefer == "theirs"
        if self._agreed is not None and not follow:
            wishes = [self._agreed.codec] + [name for name in wishes if name != self._agreed.codec]
        choice = choose(description, wishes, self._writer.local_host, follow_peer=follow)
        line, index, chosen = choice.line, choice.index, choice.format
        codec = payload.AUDIO_FORMATS[chosen.name]
        events = line.telephone_event(codec.clock_hz) if self._dtmf else None
        noise = line.comfort_noise(chosen)
        numbers = {codec.name: chosen.payload_type}
        if noise is not None:
            numbers[payload.COMFORT_NOISE.name] = noise.payload_type
        if events is not None:
            numbers[payload.TELEPHONE_EVENT.name] = events.payload_type
        receive = line.sends and not self._on_hold
        self._lines = [None if i == index else media for i, media in enumerate(description.media)]
        self._profile = description.media[index].profile
        # A number that the peer now gives to another encoding is no longer ours to offer.
        kept = {name: n for name, n in self._numbers.items() if n not in numbers.values()}
        self._numbers = kept | numbers
        self._offered = None
        mux, rsize = line.rtcp_mux, line.rtcp_rsize
        self._agree(line, codec, numbers, numbers, receive=receive, mux=mux, rsize=rsize)
        xr = ""
        if line.xr is not None:  # the round trip is for both or for none (RFC 3611 5.2)
            xr = f"{_XR_ROUND_TRIP} {_XR_VOIP}" if line.xr.round_trip else _XR_VOIP
        return self._write(numbers, receive=receive, send=line.receives, mux=mux, rsize=rsize, xr=xr)

    def offer(self) -> str:
        """Our offer: the first of the call, a refresh, hold, resume or another address.

        The description stays what it was until `accepted`.
        """
        ordered = list(self._codecs)
        if self._agreed is not None:
            used = payload.AUDIO_FORMATS[self._agreed.codec]
            ordered = [used] + [codec for codec in ordered if codec is not used]
        noise = self._offer_noise or (self._agreed is not None and self._agreed.receive_cn_pt >= 0)
        wanted = ordered + ([payload.COMFORT_NOISE] if noise else [])
        wanted += [payload.TELEPHONE_EVENT] if self._dtmf else []
        self._offered = {codec.name: self._number(codec) for codec in wanted}
        self._offered_receive = not self._on_hold
        # Only a peer that offered rtcp-mux itself is known to understand it.
        self._offered_mux = self._agreed is not None and self._agreed.rtcp_mux
        self._offered_rsize = self._agreed is not None and self._agreed.rtcp_rsize
        return self._write(
            self._offered,
            receive=self._offered_receive,
            send=True,
            mux=self._offered_mux,
            rsize=self._offered_rsize,
            xr=f"{_XR_ROUND_TRIP} {_XR_VOIP}",
        )

    def accepted(self, answer: str) -> None:
        """The peer's answer to our last offer; may come again (183, then 200)."""
        if self._offered is None:
            raise NegotiationError(400, "an answer came, but nothing is offered")
        description = _parse(answer, "answer")
        index = self._lines.index(None)
        if index >= len(description.media):
            raise NegotiationError(488, f"the answer has no m-line {index + 1}, where our audio is")
        known = {number: _encoding(name) for name, number in self._offered.items()}
        try:
            line = read_audio_line(description, description.media[index], self._writer.local_host, known)
        except NegotiationError as error:
            raise NegotiationError(error.code, f"the answer's audio {error.reason}") from None
        speech = [f for f in line.formats if f.audio is not None and f.name in self._offered]
        if not speech:
            offered = ", ".join(self._offered)
            raise NegotiationError(488, f"the answer takes {names(line.formats)}; offered were {offered}")
        codec = payload.AUDIO_FORMATS[speech[0].name]
        theirs = {codec.name: speech[0].payload_type}
        for extra in (line.comfort_noise(speech[0]), line.telephone_event(codec.clock_hz)):
            if extra is not None and extra.name in self._offered:
                theirs[extra.name] = extra.payload_type
        mux, rsize = line.rtcp_mux and self._offered_mux, line.rtcp_rsize and self._offered_rsize
        receive = self._offered_receive and line.sends
        self._agree(line, codec, theirs, self._offered, receive=receive, mux=mux, rsize=rsize)

    def _agree(
        self,
        line: AudioLine,
        codec: payload.PayloadFormat,
        send: dict[str, int],
        receive_numbers: dict[str, int],
        *,
        receive: bool,
        mux: bool,
        rsize: bool,
    ) -> None:
        """Commit an exchange. `send` has the peer's numbers, `receive_numbers` ours."""
        before = self._agreed
        host, rtcp_host, rtcp_port = line.host, line.rtcp_host, line.rtcp_port
        if line.black_hole and before is not None:
            # 0.0.0.0 says "send nothing", not "I have moved": what the peer sends (music on
            # hold) still comes from where it was.
            host, rtcp_host = before.remote_host, before.remote_rtcp_host
        if mux:
            rtcp_host, rtcp_port = host, 0 if line.black_hole else line.port
        event, noise = payload.TELEPHONE_EVENT.name, payload.COMFORT_NOISE.name
        events_agreed, noise_agreed = event in send, noise in send
        self._held = not line.receives
        self._agreed = MediaDescription(
            codec=codec.name,
            send_pt=send[codec.name],
            receive_pt=receive_numbers[codec.name],
            remote_host=host,
            remote_port=line.port,
            remote_rtcp_host=rtcp_host,
            remote_rtcp_port=rtcp_port,
            ptime_ms=line.packet_time(self._ptime_ms),
            send=line.receives,
            receive=receive,
            rtcp_mux=mux,
            rtcp_rsize=rsize,
            xr_voip=line.xr is not None and line.xr.voip_metrics,
            xr_round_trip=line.xr is not None and line.xr.round_trip,
            send_dtmf_pt=send[event] if events_agreed else -1,
            receive_dtmf_pt=receive_numbers[event] if events_agreed else -1,
            dtmf_clock_hz=codec.clock_hz,
            send_cn_pt=send[noise] if noise_agreed else -1,
            receive_cn_pt=receive_numbers[noise] if noise_agreed else -1,
        )

    def _number(self, codec: payload.PayloadFormat) -> int:
        """Payload type for an encoding in our offer: its earlier one, the static one, or a free one."""
        if codec.name not in self._numbers:
            taken = set(self._numbers.values())
            usual = _TELEPHONE_EVENT_PT if codec is payload.TELEPHONE_EVENT else codec.static_pt
            candidates = [usual] if usual is not None else []
            candidates += range(_FIRST_DYNAMIC_PT, 128)
            self._numbers[codec.name] = next(n for n in candidates if n not in taken)
        return self._numbers[codec.name]

    def _write(
        self, numbers: dict[str, int], *, receive: bool, send: bool, mux: bool, rsize: bool, xr: str
    ) -> str:
        """Our description with these payload types."""
        return self._writer.write(
            [(_encoding(name), number) for name, number in numbers.items()],
            self._lines,
            profile=self._profile,
            ptime_ms=self._ptime_ms,
            send=send,
            receive=receive,
            rtcp_mux=mux,
            rtcp_rsize=rsize,
            rtcp_xr=xr,
        )


def _parse(text: str, what: str) -> SessionDescription:
    try:
        return SessionDescription.parse(text)
    except SdpSyntaxError as error:
        raise NegotiationError(400, f"the {what} is no SDP: {error}") from None


def _encoding(name: str) -> payload.PayloadFormat:
    """One of our own encodings by name."""
    extras = {extra.name: extra for extra in (payload.TELEPHONE_EVENT, payload.COMFORT_NOISE)}
    return payload.AUDIO_FORMATS.get(name) or extras[name]
