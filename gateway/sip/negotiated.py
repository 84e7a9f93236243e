# SPDX-License-Identifier: GPL-2.0-or-later
"""The peer's answer, written again out of what PJSIP says it has negotiated, for the one that nobody shows us."""

from __future__ import annotations

import re

from trunkline.gateway.sip.guard import LegError
from trunkline.gateway.sip.leg import Leg


def negotiated_answer(leg: Leg, offer: str) -> str:
    """An SDP answer to `offer` out of what PJSIP negotiated; its "encoding" is our sending, thus their receiving."""
    try:
        info = leg.remote_media()
    except LegError:  # inactive: there is no stream to ask
        return _inactive(offer)
    host, _, port = info.remoteRtpAddress.rpartition(":")
    host, family = host.strip("[]"), "IP6" if host.startswith("[") else "IP4"
    direction = {0: "inactive", 1: "recvonly", 2: "sendonly", 3: "sendrecv"}[info.dir & 3]
    formats = [f"{info.txPt}"] + ([f"{info.audTxEventPt}"] if info.audTxEventPt >= 0 else [])
    lines = [
        "v=0",
        f"o=- 0 0 IN {family} {host}",
        "s=-",
        f"c=IN {family} {host}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {' '.join(formats)}",
        f"a=rtpmap:{info.txPt} {info.codecName}/{info.codecClockRate}",
        f"a={direction}",
    ]
    if info.audTxEventPt >= 0:
        # PJSIP tells no clock of it: that of the speech, and G.722's is not its sample rate (RFC 3551 4.5.2).
        clock_hz = 8000 if info.codecName.upper() == "G722" else info.codecClockRate
        lines += [f"a=rtpmap:{info.audTxEventPt} telephone-event/{clock_hz}", f"a=fmtp:{info.audTxEventPt} 0-16"]
    rtcp_host, _, rtcp_port = info.remoteRtcpAddress.rpartition(":")
    if rtcp_port.isdigit() and int(rtcp_port):
        lines.append(f"a=rtcp:{rtcp_port} IN {family} {rtcp_host.strip('[]')}")
    return "".join(f"{line}\r\n" for line in lines)


def _inactive(offer: str) -> str:
    """Nothing flows: the codec is the one that our offer has first, which is the one in use, by our own number."""
    audio = re.search(r"^m=audio [1-9]\d* \S+ (\d+)", offer, re.MULTILINE)
    number = audio[1] if audio else "0"
    head = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    return f"{head}m=audio 9 RTP/AVP {number}\r\na=inactive\r\n"
