# SPDX-License-Identifier: GPL-2.0-or-later
"""One m-line of a peer, read as a telephone call's audio, or refused with a reason.

Everything that offer and answer have in common is here: address, direction,
packet time, what each payload type number means, and which of several is best.
"""

from __future__ import annotations

import dataclasses
import ipaddress

from trunkline.rtp import sdp_attributes as attributes
from trunkline.rtp.payload import (
    COMFORT_NOISE,
    STATIC_NAMES,
    TELEPHONE_EVENT,
    PayloadFormat,
    audio_format,
)
from trunkline.rtp.sdp import Connection, Media, SessionDescription

PROFILES = ("RTP/AVP", "RTP/AVPF")
"""Profiles that we carry.

RTP/AVPF (RFC 4585) only lets RTCP come earlier and adds feedback messages that a
receiver may ignore, so it is answered as it is.
"""

PACKET_TIMES_MS = (10, 20, 30, 40, 60)
"packet times that we send"

_KEYS = set(range(12))
"0-9, * and #: a peer that cannot take these has no use for our digits"


class NegotiationError(Exception):
    """No agreement on media; the text says what was offered and what we take."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        "SIP status: 400 for text that is no SDP, 488 for SDP that we cannot take"
        self.reason = reason


@dataclasses.dataclass(frozen=True, slots=True)
class OfferedFormat:
    """One payload type of an m-line."""

    payload_type: int
    name: str
    "encoding name, upper case; empty for a dynamic number without a readable a=rtpmap"
    clock_hz: int
    channels: int
    parameters: str | None
    "its a=fmtp"

    @property
    def audio(self) -> PayloadFormat | None:
        """The speech encoding, if we carry it."""
        return audio_format(self.name, self.clock_hz, self.channels)

    @property
    def carries_keys(self) -> bool:
        """Whether this is a telephone-event that takes the keys of a telephone."""
        return self.name == TELEPHONE_EVENT.name and attributes.events(self.parameters) >= _KEYS


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
    rtcp_mux: bool
    rtcp_rsize: bool = False
    xr: attributes.XrFormats | None = None
    "extended reports that the peer wants; None: it says nothing of them"

    @property
    def black_hole(self) -> bool:
        """The address is 0.0.0.0 or ::, the way to hold a call of RFC 2543 (RFC 3264 8.4)."""
        return ipaddress.ip_address(self.host).is_unspecified

    def packet_time(self, ours_ms: int) -> int:
        """Packet time to send: as asked for, else ours, within what the peer takes."""
        wish = self.ptime_ms or float(ours_ms)
        limit = self.maxptime_ms or float(PACKET_TIMES_MS[-1])
        allowed = [ms for ms in PACKET_TIMES_MS if ms <= limit] or [PACKET_TIMES_MS[0]]
        return min(allowed, key=lambda ms: (abs(ms - wish), ms))

    def telephone_event(self, clock_hz: int) -> OfferedFormat | None:
        """The telephone-event that goes with speech of that clock (RFC 4733 2.1)."""
        matching = (f for f in self.formats if f.carries_keys and f.clock_hz == clock_hz)
        return next(matching, None)

    def comfort_noise(self, speech: OfferedFormat) -> OfferedFormat | None:
        """The comfort noise that goes with that speech: of the same clock (RFC 3389 4).

        Only what is named after it: PJSIP keeps the order of an offer, and takes the first format
        of an answer for the speech.  G.722's clock is not its sample rate, and peers differ in
        which of them its noise has: none.
        """
        if speech.audio is None or speech.audio.sample_rate_hz != speech.clock_hz:
            return None
        later = self.formats[self.formats.index(speech) + 1 :]
        matching = (f for f in later if f.name == COMFORT_NOISE.name and f.channels == 1)
        return next((f for f in matching if f.clock_hz == speech.clock_hz), None)


def read_audio_line(
    description: SessionDescription, media: Media, local_host: str, known: dict[int, PayloadFormat]
) -> AudioLine:
    """Read an m-line; NegotiationError (without saying which line) when we cannot use it.

    `known` are dynamic payload types that mean something without an a=rtpmap: in
    an answer, those of the offer.
    """
    if media.kind != "audio":
        raise NegotiationError(488, f"is {_quote(media.kind)}, not audio")
    if media.port == 0:
        raise NegotiationError(488, "is switched off (port 0)")
    if media.profile.upper() not in PROFILES:
        raise NegotiationError(
            488, f"wants {_quote(media.profile)}; taken are {' and '.join(PROFILES)}, without encryption"
        )
    connection = media.connection or description.connection
    if connection is None:
        raise NegotiationError(400, "has no c= line, neither of its own nor at session level")
    host = _literal(connection, local_host)
    rtcp_port, elsewhere = attributes.rtcp(media) or ((media.port + 1) % 65536, None)
    rtcp_host = _literal(elsewhere, local_host) if elsewhere else host
    if ipaddress.ip_address(rtcp_host).is_unspecified:
        rtcp_port = 0  # RFC 3264 8.4: no RTCP either; and Linux takes 0.0.0.0 for itself
    direction = attributes.direction(media, description)
    return AudioLine(
        profile=media.profile.upper(),
        host=host,
        port=media.port,
        rtcp_host=rtcp_host,
        rtcp_port=rtcp_port,
        sends=direction in ("sendrecv", "sendonly"),
        receives=direction in ("sendrecv", "recvonly") and not ipaddress.ip_address(host).is_unspecified,
        formats=_formats(media, known),
        ptime_ms=attributes.ptime_ms(media),
        maxptime_ms=attributes.maxptime_ms(media),
        rtcp_mux=attributes.rtcp_mux(media),
        rtcp_rsize=attributes.rtcp_rsize(media),
        xr=attributes.rtcp_xr(media, description),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What we take of an offer."""

    line: AudioLine
    index: int
    "of its m-line"
    format: OfferedFormat
    "the speech encoding, with the offerer's payload type"


def choose(offer: SessionDescription, codecs: list[str], local_host: str, *, follow_peer: bool) -> Choice:
    """The first m-line that we can use, and its best encoding.

    `codecs` are ours in order of preference; `follow_peer` takes the peer's order
    instead.  The NegotiationError says for each line what is wrong with it.
    """
    refusals: list[NegotiationError] = []
    for index, media in enumerate(offer.media):
        try:
            line = read_audio_line(offer, media, local_host, {})
        except NegotiationError as error:
            refusals.append(NegotiationError(error.code, f"m-line {index + 1} {error.reason}"))
            continue
        common = [f for f in line.formats if f.audio is not None and f.name in codecs]
        if common:
            best = common[0] if follow_peer else min(common, key=lambda f: codecs.index(f.name))
            return Choice(line, index, best)
        reason = f"m-line {index + 1} offers {names(line.formats)}; taken are {', '.join(codecs)}"
        refusals.append(NegotiationError(488, reason))
    if not refusals:
        raise NegotiationError(488, "the offer has no m-line")
    code = 488 if any(refusal.code == 488 for refusal in refusals) else 400
    raise NegotiationError(code, "; ".join(refusal.reason for refusal in refusals[:4]))


def names(formats: list[OfferedFormat]) -> str:
    """Encodings for a person, such as `G729/8000, opus/48000/2`; at most eight."""
    words = []
    for offered in formats[:8]:
        channels = f"/{offered.channels}" if offered.channels > 1 else ""
        name = f"{_quote(offered.name)}/{offered.clock_hz}{channels}"
        words.append(name if offered.name else f"payload type {offered.payload_type} (no rtpmap)")
    if len(formats) > 8:
        words.append(f"{len(formats) - 8} more")
    return ", ".join(words) or "nothing"


def _formats(media: Media, known: dict[int, PayloadFormat]) -> list[OfferedFormat]:
    maps = attributes.rtpmaps(media)
    parameters = attributes.format_parameters(media)
    out = []
    for text in media.formats:
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 3 else 128
        if number > 127:
            continue
        if mapped := maps.get(number):
            name, clock_hz, channels = mapped.name, mapped.clock_hz, mapped.channels
        else:
            name, clock_hz, channels = STATIC_NAMES.get(number, ("", 0, 1))
            if number in known:
                name, clock_hz, channels = known[number].name, known[number].clock_hz, known[number].channels
        out.append(OfferedFormat(number, name, clock_hz, channels, parameters.get(number)))
    return out


def _literal(connection: Connection, local_host: str) -> str:
    """Address to send to, in the form that sockets report; only a literal of our own family."""
    shown = _quote(f"{connection.address_type} {connection.address}")
    try:
        address = ipaddress.ip_address(connection.address)
    except ValueError:
        # A name would have to be looked up while SIP waits, and may change under the call.
        raise NegotiationError(488, f"is at {shown}; only literal IP addresses are taken") from None
    if connection.network != "IN" or connection.address_type.upper() != f"IP{address.version}":
        raise NegotiationError(400, f"has an address of the wrong type: {_quote(str(connection))}")
    if address.is_unspecified:
        return str(address)
    if address.version != ipaddress.ip_address(local_host).version:
        raise NegotiationError(488, f"is at {shown}; our media is at {local_host}")
    if address.is_multicast or "%" in connection.address:
        raise NegotiationError(488, f"is at {shown}; only unicast addresses without a zone are taken")
    return str(address)


def _quote(text: str) -> str:
    """A peer's words in our sentence: short, and printable."""
    return ascii(text[:60])[1:-1]
