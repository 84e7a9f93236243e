# SPDX-License-Identifier: GPL-2.0-or-later
"""Our own session descriptions: the same frame each time, and a version that tells of changes."""

from __future__ import annotations

import dataclasses
import ipaddress
import random
from collections.abc import Iterable, Sequence

from trunkline.rtp.sdp import Connection, Media, Origin, SessionDescription


@dataclasses.dataclass(frozen=True, slots=True)
class PayloadLine:
    """One payload type as we write it."""

    number: int
    rtpmap: str
    fmtp: str = ""
    "empty: none"


class SdpWriter:
    """Writes the descriptions of one call."""

    def __init__(self, session_id: int | None) -> None:
        """`session_id` is drawn at random when it is None; below 2**31, as some peers keep 32 bits."""
        self._session_id = random.getrandbits(31) if session_id is None else session_id
        self._version = self._session_id
        self._last_body = ""

    def move(self, local_host: str, rtp_port: int, rtcp_port: int) -> None:
        """Name this address from now on; ValueError if it is not a literal one."""
        self._family = f"IP{ipaddress.ip_address(local_host).version}"
        self.local_host = local_host
        self._rtp_port = rtp_port
        self._rtcp_port = rtcp_port

    def write(
        self,
        formats: Iterable[PayloadLine],
        lines: Iterable[Media | None],
        *,
        profile: str,
        ptime_ms: int,
        maxptime_ms: int = 0,
        send: bool,
        receive: bool,
        rtcp_mux: bool,
        rtcp_rsize: bool = False,
        rtcp_xr: str = "",
        keying: Sequence[tuple[str, str]] = (),
    ) -> str:
        """A description with our audio where `lines` has None, and the other lines refused.

        `formats` has the preferred one first; `rtcp_xr` is what a=rtcp-xr says, empty for none;
        `keying` are attributes about keys, name and value; `maxptime_ms` is left out when it is 0.
        """
        audio = Media(port=self._rtp_port, profile=profile)
        for one in formats:
            audio.formats.append(str(one.number))
            audio.attributes.append(("rtpmap", f"{one.number} {one.rtpmap}"))
            if one.fmtp:
                audio.attributes.append(("fmtp", f"{one.number} {one.fmtp}"))
        audio.attributes += keying
        audio.attributes.append(("ptime", str(ptime_ms)))
        if maxptime_ms:
            audio.attributes.append(("maxptime", str(maxptime_ms)))
        audio.attributes.append((_direction(send, receive), None))
        if rtcp_mux:
            audio.attributes.append(("rtcp-mux", None))
        elif self._rtcp_port != self._rtp_port + 1:
            audio.attributes.append(("rtcp", str(self._rtcp_port)))
        if rtcp_rsize:
            audio.attributes.append(("rtcp-rsize", None))
        if rtcp_xr:
            audio.attributes.append(("rtcp-xr", rtcp_xr))
        description = SessionDescription(
            connection=Connection(self._family, self.local_host),
            lines=[("t", "0 0")],
            media=[audio if line is None else _refused(line) for line in lines],
        )
        # RFC 3264 8: the version grows by one when anything else changes, and only then.
        body = str(description)
        if self._last_body and body != self._last_body:
            self._version += 1
        self._last_body = body
        description.origin = Origin(
            "-", str(self._session_id), str(self._version), self._family, self.local_host
        )
        return str(description)


def _refused(line: Media) -> Media:
    """An m-line as an answer refuses it: port 0, the formats as offered (RFC 3264 6)."""
    return Media(kind=line.kind, port=0, profile=line.profile, formats=line.formats)


def _direction(send: bool, receive: bool) -> str:
    if send:
        return "sendrecv" if receive else "sendonly"
    return "recvonly" if receive else "inactive"
