# SPDX-License-Identifier: GPL-2.0-or-later
"""Offer/answer of one call's audio (RFC 3264), without I/O.

A `Session` is what one call knows of its SDP.  `answer` reads an offer and
returns ours, `offer` makes one and `accepted` reads what came back; each may
happen any number of times, in any order that SIP allows.  An exchange that fails
raises `NegotiationError` and changes nothing: the call goes on as it was.  `withdraw`
takes back an answer that never went out.

What we do where RFC 3264 leaves a choice:

- One audio line is used, the first that we can use, an encrypted one before others; the rest
  is refused with port 0.
- An answer names one speech encoding (and telephone-event), so that no packet can
  come in another one.  An offer names all, the one in use first.
- Payload types are the offerer's; once named, an encoding keeps its number.
- An encoding in use stays in use while the peer still offers it, unless the
  peer's order is to be followed.
- Extended reports (RFC 3611 5) are offered always, and answered where the peer speaks of
  them; rtcp-mux and reduced size only where the peer has offered them itself.
- While we hold, we offer sendonly: the agent may still be heard, as music on hold is.
- Where SRTP is optional, our offer is RTP/AVP with a=crypto.  RFC 4568 does not know this, but
  Asterisk and most others do, and take it with or without encryption; of two audio lines, RTP/SAVP
  and RTP/AVP, many take none.
- With keys by DTLS our offer is UDP/TLS/RTP/SAVP, and offers rtcp-mux: there is one handshake, on
  the RTP port, so RTCP has no other way to its keys.

Not thread-safe: one thread at a time, in practice the one that owns SIP.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from trunkline.rtp import payload
from trunkline.rtp.agreement import Selection, Terms, agree
from trunkline.rtp.audio_line import (
    DTLS_PROFILES,
    PLAIN_PROFILES,
    SECURE_PROFILES,
    AudioLine,
    NegotiationError,
    read_audio_line,
)
from trunkline.rtp.dtls_certificate import Identity
from trunkline.rtp.line_formats import names
from trunkline.rtp.line_keys import SrtpUse, Wanted
from trunkline.rtp.media_description import MediaDescription
from trunkline.rtp.offer_choice import choose
from trunkline.rtp.own_formats import OwnFormats
from trunkline.rtp.payload_numbers import PayloadNumbers
from trunkline.rtp.sdes import SUITES
from trunkline.rtp.sdp import Media, SdpSyntaxError, SessionDescription
from trunkline.rtp.sdp_writer import PayloadLine, SdpWriter
from trunkline.rtp.session_dtls import Attributes, SessionDtls
from trunkline.rtp.session_keys import SessionKeys

__all__ = ["MediaDescription", "NegotiationError", "Session"]

_XR_VOIP, _XR_ROUND_TRIP = "voip-metrics", "rcvr-rtt=all"

_KEPT = ("_before", "_writer", "_on_hold")
"what no answer changes, or not in a way that matters: the version in o= may skip numbers"


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
        srtp: SrtpUse = "off",
        suites: Sequence[str] = tuple(SUITES),
        sdes: bool = True,
        new_identity: Callable[[], Identity] | None = None,
        offer_keys: Literal["sdes", "dtls"] = "sdes",
        opus_rate_hz: int = 48000,
        session_id: int | None = None,
    ) -> None:
        """`codecs` and `suites` in order of preference; `local_host` is the literal address that peers send to.

        `offer_noise` offers comfort noise (RFC 3389), which asks the peer to pause; a peer that
        offers it is answered with it.  `opus_rate_hz` is what the agent hears and speaks: more of Opus
        would be thrown away.  Where there is SRTP, a peer may have it with keys in SDP unless `sdes` is
        false, and by DTLS if `new_identity` makes a certificate; `offer_keys` is what our offers have.
        `session_id` is that of o=, drawn at random when it is None.
        """
        if not codecs:
            raise ValueError("a session needs at least one codec")
        self._codecs = list(dict.fromkeys(payload.AUDIO_FORMATS[name.upper()] for name in codecs))
        self._ptime_ms = ptime_ms
        self._prefer = prefer
        self._dtmf = dtmf
        self._offer_noise = offer_noise
        self._own = OwnFormats(ptime_ms=ptime_ms, dtmf=dtmf, opus_rate_hz=opus_rate_hz)
        self._writer = SdpWriter(session_id)
        self._keys = SessionKeys(srtp, suites, sdes=sdes)
        self._dtls = SessionDtls(None if srtp == "off" else new_identity)
        self._numbers = PayloadNumbers()
        self._on_hold = False
        self._agreed: MediaDescription | None = None
        self._held = False
        self._profile = SECURE_PROFILES[0] if srtp == "required" else PLAIN_PROFILES[0]
        if offer_keys == "dtls" and self._dtls.available:
            self._profile = DTLS_PROFILES[0]
        # m-lines of this call, which no later offer or answer may drop or reorder
        # (RFC 3264 8): the refused ones as they were offered, None for our audio.
        self._lines: list[Media | None] = [None]
        # Payload types of our last offer by encoding, while it may still be answered.
        self._offered: dict[str, int] | None = None
        self._offered_terms = Terms(send=True, receive=True)
        self._before: dict[str, object] = {}
        "what the last answer has changed, as it was; empty once it can no longer be withdrawn"
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

    @property
    def encrypted(self) -> bool:
        """Keys that stood in SDP are in force."""
        return self._keys.send is not None

    def forgo_keys(self) -> None:
        """Neither offer nor take keys in SDP from now on: they could be read."""
        self._keys.forgo()

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
        choice = choose(
            description,
            wishes,
            self._writer.local_host,
            self._keys.of_offers(dtls=self._dtls.available),
            follow_peer=follow,
        )
        line = choice.line
        selection = Selection.of(line, choice.offered, choice.codec, dtmf=self._dtmf)
        receive = line.sends and not self._on_hold
        terms = Terms(line.receives, receive, line.rtcp_mux, line.rtcp_rsize)
        self._before = {name: copy.copy(value) for name, value in vars(self).items() if name not in _KEPT}
        self._lines = [None if i == choice.index else media for i, media in enumerate(description.media)]
        self._profile = line.profile
        self._numbers.learn(selection.numbers, (one.payload_type for one in line.formats))
        self._offered = None
        keying = [("crypto", value) for value in self._keys.answer(line.peer_key)]
        keying += self._dtls.answer(line.peer_dtls)
        self._commit(line, selection, selection.numbers, terms)
        xr = ""
        if line.xr is not None:  # the round trip is for both or for none (RFC 3611 5.2)
            xr = f"{_XR_ROUND_TRIP} {_XR_VOIP}" if line.xr.round_trip else _XR_VOIP
        formats = [
            PayloadLine(one.payload_type, one.rtpmap, self._own.fmtp(one.format)) for one in selection.all
        ]
        return self._write(formats, [choice.codec], keying, terms, xr)

    def withdraw(self) -> None:
        """Our last answer has not gone out: SIP refused the offer after all. Everything is as before it."""
        vars(self).update(self._before)
        self._before = {}

    def offer(self) -> str:
        """Our offer: the first of the call, a refresh, hold, resume or another address.

        The description stays what it was until `accepted`.
        """
        codecs, agreed = list(self._codecs), self._agreed
        self._before = {}
        if agreed is not None:
            used = payload.AUDIO_FORMATS[agreed.codec]
            codecs = [used] + [codec for codec in codecs if codec is not used]
        noise = self._offer_noise or (agreed is not None and agreed.receive_cn_pt >= 0)
        wanted = codecs + self._own.beside(codecs, noise=noise)
        self._offered = {one.name: self._numbers.of(one) for one in wanted}
        # Only a peer that offered rtcp-mux itself is known to understand it, or one that has DTLS.
        dtls = self._offers_dtls
        mux, rsize = (agreed.rtcp_mux or dtls, agreed.rtcp_rsize) if agreed is not None else (dtls, False)
        self._offered_terms = Terms(send=True, receive=not self._on_hold, mux=mux, rsize=rsize)
        formats = [PayloadLine(self._offered[one.name], one.rtpmap, self._own.fmtp(one)) for one in wanted]
        xr = f"{_XR_ROUND_TRIP} {_XR_VOIP}"
        keying = self._dtls.offer() if dtls else [("crypto", value) for value in self._keys.offer()]
        return self._write(formats, codecs, keying, self._offered_terms, xr)

    @property
    def _offers_dtls(self) -> bool:
        return self._profile in DTLS_PROFILES

    def repeated(self) -> None:
        """What we said last counts as an offer (again), whose answer comes: of another fork, or to SIP's own refresh.

        An offer that was answered already is the same to the next answer, keys and all.
        """
        if self._offered is None:
            self.offer()

    def accepted(self, answer: str, *, keys_unseen: bool = False) -> None:
        """The peer's answer to our last offer; may come again (183, then 200), also from several forks in turn.

        `keys_unseen` is for an answer that was put together from what somebody else has understood
        of it, without keys: those in force stay.
        """
        if self._offered is None:
            raise NegotiationError(400, "an answer came, but nothing is offered")
        description = _parse(answer, "answer")
        index = self._lines.index(None)
        if index >= len(description.media):
            raise NegotiationError(488, f"the answer has no m-line {index + 1}, where our audio is")
        known = {number: payload.FORMATS[name] for name, number in self._offered.items()}
        wanted = Wanted() if keys_unseen else self._keys.of_answers(dtls=self._offers_dtls)
        try:
            line = read_audio_line(
                description, description.media[index], self._writer.local_host, wanted, known
            )
        except NegotiationError as error:
            raise NegotiationError(error.code, f"the answer's audio {error.reason}") from None
        speech = next((one for one in line.formats if one.audio and one.audio.name in self._offered), None)
        if speech is None or speech.audio is None:
            offered = ", ".join(self._offered)
            raise NegotiationError(488, f"the answer takes {names(line.formats)}; offered were {offered}")
        selection = Selection.of(line, speech, speech.audio, dtmf=self._dtmf).within(self._offered)
        ours = self._offered_terms
        terms = Terms(
            send=line.receives,
            receive=ours.receive and line.sends,
            mux=ours.mux and (line.rtcp_mux or (keys_unseen and self._dtls.terms is not None)),
            rsize=ours.rsize and line.rtcp_rsize,
        )
        if not keys_unseen:
            self._keys.accepted(line.peer_key)
            self._dtls.accepted(line.peer_dtls)
        self._commit(line, selection, self._offered, terms)

    def _commit(self, line: AudioLine, selection: Selection, ours: dict[str, int], terms: Terms) -> None:
        """From here on it holds; `ours` are the payload types that we have named."""
        agreed = agree(
            line,
            selection,
            ours,
            self._agreed,
            terms=terms,
            ptime_ms=self._ptime_ms,
            fmtp=self._own.fmtp(selection.codec),
        )
        self._held = not line.receives
        self._agreed = dataclasses.replace(
            agreed, send_key=self._keys.send, receive_key=self._keys.receive, dtls=self._dtls.terms
        )

    def _write(
        self,
        formats: list[PayloadLine],
        codecs: list[payload.PayloadFormat],
        keying: Attributes,
        terms: Terms,
        xr: str,
    ) -> str:
        """Our description."""
        ptime_ms, maxptime_ms = self._own.packet_times(codecs)
        return self._writer.write(
            formats,
            self._lines,
            profile=self._profile,
            ptime_ms=ptime_ms,
            maxptime_ms=maxptime_ms,
            send=terms.send,
            receive=terms.receive,
            rtcp_mux=terms.mux,
            rtcp_rsize=terms.rsize,
            rtcp_xr=xr,
            keying=keying,
        )


def _parse(text: str, what: str) -> SessionDescription:
    try:
        return SessionDescription.parse(text)
    except SdpSyntaxError as error:
        raise NegotiationError(400, f"the {what} is no SDP: {error}") from None
