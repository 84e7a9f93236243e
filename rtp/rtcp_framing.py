# SPDX-License-Identifier: GPL-2.0-or-later
"""What all RTCP packets share: the common header, padding, and the error (RFC 3550 6.4.1, A.2)."""

from __future__ import annotations

import struct

from trunkline.rtp.outcomes import Drop


class RtcpError(ValueError):
    """A datagram that is not RTCP; the text says which rule it breaks."""

    drop = Drop.RTCP_INVALID


def framed(kind: int, count: int, body: bytes) -> bytes:
    """A packet of whole words behind its header; `count` are the five bits after version and padding."""
    if count > 31:
        raise ValueError(f"{count} entries, where an RTCP packet holds 31")
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def strip_padding(body: bytes, *, last: bool) -> bytes:
    """6.4.1: only the last packet of a compound may be padded, by a multiple of four."""
    if not last:
        raise RtcpError("padding before the last packet")
    if not body or body[-1] == 0 or body[-1] % 4 or body[-1] > len(body):
        raise RtcpError("impossible padding")
    return body[: -body[-1]]
