# SPDX-License-Identifier: GPL-2.0-or-later
"""One m-line of a peer, read as a telephone call's audio, or refused with a reason.

Everything that offer and answer have in common is here: profile and keys, address,
direction, packet time, and which telephone-event and comfort noise go with speech.
Nothing of ICE is read (RFC 8445): where a peer's candidates stand besides a usable
address they neither help nor harm, and without ICE in our SDP it does without, too.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping

from trunkline.rtp import opus_fmtp
from trunkline.rtp import sdp_attributes as attributes
from trunkline.rtp.line_dtls import DtlsLineError, PeerDtls, read_dtls
from trunkline.rtp.line_formats import OfferedFormat, quote, read_formats
from trunkline.rtp.line_keys import PeerKey, Wanted, pick
from trunkline.rtp.payload import OPUS, TELEPHONE_EVENT, PayloadFormat, noise_of
from trunkline.rtp.sdp import Connection, Media, SessionDescription

PLAIN_PROFILES = ("RTP/AVP", "RTP/AVPF")
SECURE_PROFILES = ("RTP/SAVP", "RTP/SAVPF")
DTLS_PROFILES = ("UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF")
"""Profiles that we carry (RFC 3551, 4585, 3711, 5124, 5764).

The F of feedback only lets RTCP come earlier and adds messages that a receiver may
ignore, so such a profile is answered as it is.
"""


class NegotiationError(Exception):
    """No agreement on media; the text says what was offered and what we take."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        "SIP status: 400 for text that is no SDP, 488 for SDP that we cannot take"
        self.reason = reason


@dataclasses.dataclass(frozen=True, slots=True)
class AudioLine:
    """An m=audio line that is switched on, in a profile and at an address that we can use."""

    profile: str
    host: str
    port: int
    rtcp_host: str
    rtcp_port: int
    "without multiplexing; 0: nowhere"
    sends: bool
    receives: bool
    "both from the peer's point of view; 0.0.0.0 takes `receives` away"
    formats: list[OfferedFormat]
    "in the peer's order of preference"
    ptime_ms: float | None
    maxptime_ms: float | None
    minptime_ms: float | None
    rtcp_mux: bool
    rtcp_rsize: bool = False
    xr: attributes.XrFormats | None = None
    "extended reports that the peer wants; None: it says nothing of them"
    peer_key: PeerKey | None = None
    "of its a=crypto lines the one that we use; None: no keys are in SDP"
    peer_dtls: PeerDtls | None = None
    "keys come by DTLS"

    @property
    def encrypted(self) -> bool:
        """By whatever keys."""
        return self.peer_key is not None or self.peer_dtls is not None

    @property
    def black_hole(self) -> bool:
        """The address is 0.0.0.0 or ::, the way to hold a call of RFC 2543 (RFC 3264 8.4)."""
        return ipaddress.ip_address(self.host).is_unspecified

    def packet_time(self, ours_ms: int, speech: OfferedFormat) -> int:
        """Packet time to send: as asked for, else ours, within what the peer takes and the encoding has."""
        wish = self.ptime_ms or float(ours_ms)
        least = self.minptime_ms or 0.0
        if speech.audio is OPUS and speech.parameters:
            least = max(least, opus_fmtp.parse(speech.parameters).min_ptime_ms)
        possible = speech.audio.packet_times_ms if speech.audio else ()
        allowed = [ms for ms in possible if ms <= (self.maxptime_ms or ms)] or list(possible[:1])
        allowed = [ms for ms in allowed if ms >= least] or allowed[-1:]
        return min(allowed, key=lambda ms: (abs(ms - wish), ms))

    def telephone_event(self, clock_hz: int) -> OfferedFormat | None:
        """The telephone-event that goes with speech of that clock (RFC 4733 2.1).

        Peers that know no other than 8000 put it beside Opus too, and mean it: it is taken, with its clock.
        """
        for clock in dict.fromkeys((clock_hz, TELEPHONE_EVENT.clock_hz)):
            matching = (f for f in self.formats if f.carries_keys and f.clock_hz == clock and f.format)
            if found := next(matching, None):
                return found
        return None

    def comfort_noise(self, speech: OfferedFormat) -> OfferedFormat | None:
        """The comfort noise that goes with that speech: of the same clock (RFC 3389 4).

        Only what is named after it: PJSIP keeps the order of an offer, and takes the first format
        of an answer for the speech.
        """
        noise = noise_of(speech.audio) if speech.audio else None
        later = self.formats[self.formats.index(speech) + 1 :]
        return next((f for f in later if f.format is noise), None) if noise else None


def read_audio_line(
    description: SessionDescription,
    media: Media,
    local_host: str,
    wanted: Wanted,
    known: Mapping[int, PayloadFormat] | None = None,
) -> AudioLine:
    """Read an m-line; NegotiationError (without saying which line) when we cannot use it.

    `known` are dynamic payload types that mean something without an a=rtpmap: in
    an answer, those of the offer.
    """
    if media.kind != "audio":
        raise NegotiationError(488, f"is {quote(media.kind)}, not audio")
    if media.port == 0:
        raise NegotiationError(488, "is switched off (port 0)")
    _check_profile(media, wanted)
    secured_by_dtls = media.profile.upper() in DTLS_PROFILES
    peer_dtls = _dtls(media, description, wanted) if secured_by_dtls else None
    peer_key = None if secured_by_dtls else _keys(media, wanted)
    connection = media.connection or description.connection
    if connection is None:
        raise NegotiationError(400, "has no c= line, neither of its own nor at session level")
    host = _literal(connection, local_host)
    rtcp_port, elsewhere = attributes.rtcp(media) or ((media.port + 1) % 65536, None)
    rtcp_host = host
    try:
        rtcp_host = _literal(elsewhere, local_host) if elsewhere else host
    except NegotiationError:
        rtcp_port = 0  # a call without our reports is better than none
    if ipaddress.ip_address(rtcp_host).is_unspecified:
        rtcp_port = 0  # RFC 3264 8.4: no RTCP either; and Linux takes 0.0.0.0 for itself
    if ipaddress.ip_address(host).is_unspecified and media.port == 9 and media.has("ice-ufrag"):
        # RFC 8840 4.1.1: no candidate is known yet. Without ICE there never will be one.
        raise NegotiationError(488, "has no address yet (trickle ICE); we do without ICE and need one")
    direction = attributes.direction(media, description)
    return AudioLine(
        profile=media.profile.upper(),
        host=host,
        port=media.port,
        rtcp_host=rtcp_host,
        rtcp_port=rtcp_port,
        sends=direction in ("sendrecv", "sendonly"),
        receives=direction in ("sendrecv", "recvonly") and not ipaddress.ip_address(host).is_unspecified,
        formats=read_formats(media, known or {}),
        ptime_ms=attributes.ptime_ms(media),
        maxptime_ms=attributes.maxptime_ms(media),
        minptime_ms=attributes.minptime_ms(media),
        rtcp_mux=attributes.rtcp_mux(media),
        rtcp_rsize=attributes.rtcp_rsize(media),
        xr=attributes.rtcp_xr(media, description),
        peer_key=peer_key,
        peer_dtls=peer_dtls,
    )


def _check_profile(media: Media, wanted: Wanted) -> None:
    """NegotiationError where it is one that is not wanted."""
    profile = media.profile.upper()
    on = wanted.use != "off"
    # Keys in a plain profile say "encrypt if you can", which is enough where we insist on it (RFC 8643, Asterisk).
    plain = wanted.use != "required" or (wanted.sdes and media.has("crypto"))
    taken = (
        *(SECURE_PROFILES if on and wanted.sdes else ()),
        *(DTLS_PROFILES if on and wanted.dtls else ()),
        *(PLAIN_PROFILES if plain else ()),
    )
    if profile in taken:
        return
    why = f"wants {quote(media.profile)}; taken are {' and '.join(taken)}"
    if profile in (*SECURE_PROFILES, *DTLS_PROFILES):
        if not on:
            why += ", as SRTP is switched off here"
        elif wanted.tags is not None:
            why += ", as we have offered"
        elif profile in SECURE_PROFILES:
            why += ", as keys in SIP without TLS can be read on its way"
    elif profile in PLAIN_PROFILES:
        why += ", as we have offered" if wanted.tags is not None and wanted.dtls else ", as SRTP is required here"
    raise NegotiationError(488, why)


def _dtls(media: Media, description: SessionDescription, wanted: Wanted) -> PeerDtls:
    """The peer's side of the handshake."""
    try:
        return read_dtls(media, description, answer=wanted.tags is not None)
    except DtlsLineError as error:
        raise NegotiationError(488, f"wants {quote(media.profile)} and has {error}") from None


def _keys(media: Media, wanted: Wanted) -> PeerKey | None:
    """The peer's key, where it is such as we want; NegotiationError where it is not."""
    profile = media.profile.upper()
    if wanted.use == "off" or not wanted.sdes:
        return None
    key, problem = pick(attributes.crypto(media), wanted)
    # An answer that has keys in a plain profile expects us to use them.
    needed = profile in SECURE_PROFILES or wanted.use == "required" or (
        wanted.tags is not None and media.has("crypto")
    )
    if key is None and needed:
        raise NegotiationError(488, f"wants {quote(media.profile)} and has {problem}")
    return key


def _literal(connection: Connection, local_host: str) -> str:
    """Address to send to, in the form that sockets report; only a literal of our own family."""
    shown = quote(f"{connection.address_type} {connection.address}")
    try:
        address = ipaddress.ip_address(connection.address)
    except ValueError:
        # A name would have to be looked up while SIP waits, and may change under the call.
        raise NegotiationError(488, f"is at {shown}; only literal IP addresses are taken") from None
    if connection.network != "IN" or connection.address_type.upper() != f"IP{address.version}":
        raise NegotiationError(400, f"has an address of the wrong type: {quote(str(connection))}")
    zone = "%" in connection.address  # of `::%1`, too, which counts as unspecified otherwise
    mapped = address.version == 6 and address.ipv4_mapped is not None  # IPv4, and ::ffff:0.0.0.0 this very machine
    if address.is_unspecified and not zone and not mapped:
        return str(address)
    if mapped or address.version != ipaddress.ip_address(local_host).version:
        raise NegotiationError(488, f"is at {shown}; our media is at {local_host}")
    if address.is_multicast or zone:
        raise NegotiationError(488, f"is at {shown}; only unicast addresses without a zone are taken")
    return str(address)
