# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU of a run in virtual time: the engine's own, and that of what stands around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from support.virtual_engine import VirtualEngine


class Costs:
    """From its making on: what `rig.engine` took, without the sockets that it writes to and reads from."""

    def __init__(self, rig: VirtualEngine) -> None:
        self._begun_s = time.process_time()
        self._engine_s = 0.0
        for place, name, sign in (
            (rig, "step", 1),
            (rig.agent.socket, "sendmsg", -1),
            (rig.agent.socket, "recv_into", -1),
            (rig.sockets, "send", -1),
            (rig.sockets, "send_rtcp", -1),
            (rig.sockets, "send_reports", -1),
        ):
            setattr(place, name, self._timed(getattr(place, name), sign))

    def _timed(self, function: Callable[..., Any], sign: int) -> Callable[..., Any]:
        """The same; it counts."""
        clock = time.thread_time

        def timed(*args: object) -> Any:
            begun_s = clock()
            try:
                return function(*args)
            finally:
                self._engine_s += sign * (clock() - begun_s)

        return timed

    def seconds(self) -> tuple[float, float]:
        """CPU of the engine, and of all else, so far."""
        total_s = time.process_time() - self._begun_s
        return self._engine_s, total_s - self._engine_s
