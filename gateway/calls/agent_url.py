# SPDX-License-Identifier: GPL-2.0-or-later
"""The address of an agent for one call: what stands in braces in its URL becomes the call's."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from trunkline.gateway.config.agent_checks import URL_FIELDS
from trunkline.gateway.media.control import AgentParams, CallInfo


def for_call(agent: AgentParams, info: CallInfo) -> AgentParams:
    """The same agent, at the URL that this call has there; each value percent-encoded (RFC 3986, section 2.1)."""
    if "{" not in agent.url:
        return agent
    url = agent.url
    for field in URL_FIELDS:
        url = url.replace(f"{{{field}}}", quote(getattr(info, field), safe=""))
    return msgspec.structs.replace(agent, url=url)
