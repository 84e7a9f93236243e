# SPDX-License-Identifier: GPL-2.0-or-later
"""What the gateway process has an agent told of its call, and what a later agent of that call must know."""

from __future__ import annotations

import msgspec

from trunkline.gateway.media import control
from trunkline.gateway.media.table import Stream
from trunkline.gateway.media.telling import Telling


def tell(telling: Telling, stream: Stream, message: control.ToWorker) -> None:
    """Pass one message on; one of another kind is not for agents."""
    match message:
        case control.CommandRefused(code=code, text=text):
            telling.refused(stream, code, text)
        case control.TellCallState(state=state):
            if state == "answered":
                stream.start = msgspec.structs.replace(stream.start, answered=True)
            telling.call_state(stream, state)
        case control.TellTransfer(state=state, code=code, reason=reason):
            telling.transfer(stream, state, code, reason)
        case control.SetVariables(values=values):
            stream.start = msgspec.structs.replace(stream.start, variables=values)
