# SPDX-License-Identifier: GPL-2.0-or-later
"""By which transport a request goes, as PJSIP decides it: by the first URI of the route, else by the target.

Keys of SRTP stand in SDP, so this decides whether a call may have any.  What is doubtful counts as not TLS.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from trunkline.gateway.sip.message import SipText, name_and_uri


def uri_transport(uri: str) -> str:
    """The transport that a SIP URI asks for, lower case; `sips:` is TLS; empty when it leaves it open.

    PJSIP takes escapes out of parameters, and the last of several alike: then the one that is not TLS is told.
    """
    uri = uri.strip().strip("<>")
    if uri.lower().startswith("sips:"):
        return "tls"
    behind_user = uri.partition("?")[0].rpartition("@")[2]
    asked = []
    for parameter in behind_user.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if unquote(name).strip().lower() == "transport":
            asked.append(unquote(value).strip().lower())
    return next((one for one in asked if one != "tls"), asked[0] if asked else "")


def first_hop_transport(proxy: str, target: str, default: str) -> str:
    """How an INVITE to `target` leaves a trunk with that outbound proxy, or none, and that transport."""
    if target.lower().startswith("sips:"):
        return "tls"
    return uri_transport(proxy or target) or default


def hop_address(proxy: str, target: str) -> tuple[str, int]:
    """Host, as it is written, and port of the first hop by TLS."""
    hop = re.sub(r"^<?sips?:(?:[^@]*@)?|[;?>].*$", "", proxy or target, flags=re.IGNORECASE)
    host, colon, port = hop.rpartition(":") if not hop.endswith("]") else (hop, "", "")
    return (host, int(port)) if colon and port.isdigit() else (hop, 5061)


def way_back(invite: SipText) -> str:
    """How our requests go within the dialog that an INVITE opens (RFC 3261 12.1.1)."""
    routes = invite.record_routes
    return uri_transport(routes[0] if routes else name_and_uri(invite.header("Contact"))[1]) or "udp"
