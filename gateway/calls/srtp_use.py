# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a call may have SRTP: what its trunk says, and how its keys would travel.

With SDES the keys stand in SDP (RFC 4568), so whoever reads the signalling can hear the call.  They are therefore
neither offered nor taken unless SIP comes and goes by TLS, or the trunk says that it may do without.  With DTLS
there is nothing secret in SDP.
"""

from __future__ import annotations

from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.config.model import Trunk
from trunkline.rtp.line_keys import SrtpUse


def srtp_use(trunk: Trunk, transport: str) -> tuple[SrtpUse, bool]:
    """What the call's session is told: whether SRTP is used, and whether its keys may stand in SDP.

    CallRefused where SRTP is required and its keys cannot be had in secret.

    `transport` is that of its SIP: tls, or in words what else.
    """
    in_sdp = transport == "tls" or trunk.srtp_without_tls
    if trunk.srtp == "required" and trunk.srtp_keys == "sdes" and not in_sdp:
        detail = (
            f"trunk {trunk.name} requires SRTP, whose keys would be readable in SIP by {transport}: "
            'use TLS, or srtp_keys = "dtls", or set srtp_without_tls = true if nobody can listen there'
        )
        raise CallRefused("srtp_without_tls", detail)
    return trunk.srtp, in_sdp


def tls_only(trunk: Trunk, transport: str) -> bool:
    """Whether keys may stand in a call's SDP because all its SIP goes by TLS, which must then stay so."""
    return trunk.srtp != "off" and transport == "tls" and not trunk.srtp_without_tls
