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

    Each tick is timed, and what is done for others in each eighth.
    """

    def __init__(self, rig: VirtualEngine) -> None:
        self._begun_s = time.process_time()
        self._engine_s = 0.0
        self._inner = [
            (place, name, self._timed(getattr(place, name), -EACH))
            for place, name in (
                (rig.agent.socket, "sendmsg"),
                (rig.agent.socket, "recv_into"),
                (rig.sockets, "send"),
                (rig.sockets, "send_rtcp"),
                (rig.sockets, "send_reports"),
            )
        ]
        turn, timed = itertools.cycle(range(EACH)), self._timed(rig.step, 1)

        def step(*args: Any) -> None:
            if next(turn) < EACH - 1:
                timed(*args)
                return
            for place, name, inner in self._inner:
                setattr(place, name, inner)
            try:
                timed(*args)
            finally:
                for place, name, _ in self._inner:
                    delattr(place, name)  # back to the one of its class

        rig.step = step  # type: ignore[method-assign]

    def _timed(self, function: Callable[..., Any], weight: int) -> Callable[..., Any]:
        """The same; it counts, with this weight."""
        clock = time.thread_time

        def timed(*args: object) -> Any:
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
