# SPDX-License-Identifier: GPL-2.0-or-later
"""CPU of a run in virtual time: the engine's own, and that of what stands around it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from support.virtual_engine import VirtualEngine

EACH = 8


class Costs:
    """From its making on: what `rig.engine` took, without the sockets that it writes to and reads from.

    Of the many times that it does, each eighth is timed.
    """

    def __init__(self, rig: VirtualEngine) -> None:
        self._begun_s = time.process_time()
        self._engine_s = 0.0
        rig.step = self._timed(rig.step, 1, 1)  # type: ignore[method-assign]
        for place, name in (
            (rig.agent.socket, "sendmsg"),
            (rig.agent.socket, "recv_into"),
            (rig.sockets, "send"),
            (rig.sockets, "send_rtcp"),
            (rig.sockets, "send_reports"),
        ):
            setattr(place, name, self._timed(getattr(place, name), -EACH, EACH))

    def _timed(self, function: Callable[..., Any], weight: int, each: int) -> Callable[..., Any]:
        """The same; one call of `each` counts, with this weight."""
        clock, turn = time.thread_time, itertools.cycle(range(each))

        def timed(*args: object) -> Any:
            if next(turn):
                return function(*args)
            begun_s = clock()
            try:
                return function(*args)
            finally:
                self._engine_s += weight * (clock() - begun_s)

        return timed

    def seconds(self) -> tuple[float, float]:
        """CPU of the engine, and of all else, so far."""
        total_s = time.process_time() - self._begun_s
        return self._engine_s, total_s - self._engine_s
