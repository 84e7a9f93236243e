# SPDX-License-Identifier: GPL-2.0-or-later
"""What offer and answer have agreed on, as the media worker needs it."""

from __future__ import annotations

import dataclasses

from trunkline.rtp.dtls_certificate import Fingerprint, Identity
from trunkline.rtp.sdes import CryptoKey


@dataclasses.dataclass(frozen=True, slots=True)
class DtlsTerms:
    """A DTLS association: equal ones are the same, another one needs a handshake of its own."""

    active: bool
    "we begin"
    fingerprints: tuple[Fingerprint, ...]
    "the peer's certificate has one of them"
    identity: Identity
    "ours"


@dataclasses.dataclass(frozen=True, slots=True)
class MediaDescription:
    """The media of one call.

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
    "of the telephone-event; that of the codec, or 8000 where the peer knows no other"
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
    "SRTP: our key; None: what we send is not encrypted"
    receive_key: CryptoKey | None = dataclasses.field(default=None, repr=False)
    "the peer's; both or none are set. Equal to the former one: the same stream goes on, counters and all"
    dtls: DtlsTerms | None = None
    "the keys come by a handshake on the RTP port (RFC 5764); until they are there nothing flows"
