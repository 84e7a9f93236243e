# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech of agents with one connection a call, gathered over a tick: a batch of one costs as much as one of a hundred.

    each connection's events -> take() -> what is no speech, in its order
    the end of the tick      -> settle() -> Playback, rows of one length at a time

What stands behind speech, a mark say, is for after it, so `take` settles first.  Here too is speech
at a rate of its own brought to the call's (`agent_rates.py`): agents on a shared connection do not
name one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.link_events import Audio, Clear, LinkEvent, Mark
from trunkline.gateway.media.agent_rates import AgentRates
from trunkline.gateway.media.table import Stream

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Push = Callable[[Rows, Pcm, int], None]


class Gathering:
    """What has been said in this tick, by row."""

    def __init__(self, push: Push) -> None:
        """`push` takes pcm[n, samples] for n different rows, and the time."""
        self._push = push
        self._rates = AgentRates()
        self.pieces: dict[int, list[Pcm]] = {}

    def take(self, stream: Stream | None, events: Sequence[LinkEvent], now_ns: int) -> Iterable[LinkEvent]:
        """Keep the speech of a connection's one call; everything else comes out when all before it is settled."""
        if len(events) == 1 and isinstance(only := events[0], Audio):
            if stream is not None and stream.accepted:
                self._keep(stream, only)
            return ()
        return self._take(stream, events, now_ns)

    def _take(self, stream: Stream | None, events: Sequence[LinkEvent], now_ns: int) -> Iterator[LinkEvent]:
        for event in events:
            if isinstance(event, Audio):
                if stream is not None and stream.accepted:
                    self._keep(stream, event)
                continue
            if stream is not None and isinstance(event, Mark | Clear) and self._rates.speech:
                self._finish(stream, event)
            self.settle(now_ns)
            yield event

    def _keep(self, stream: Stream, audio: Audio) -> None:
        row, pcm = stream.row, audio.pcm.reshape(-1)
        if audio.sample_rate_hz:
            pcm = self._rates.convert(row, pcm, audio.sample_rate_hz, stream.start.agent.sample_rate_hz)
        elif self._rates.speech:
            self._add(row, self._rates.finish(row))
        self._add(row, pcm)

    def _finish(self, stream: Stream, event: Mark | Clear) -> None:
        tail = self._rates.finish(stream.row)
        if isinstance(event, Mark):
            self._add(stream.row, tail)

    def _add(self, row: int, pcm: Pcm) -> None:
        if len(pcm):
            self.pieces.setdefault(row, []).append(pcm)

    def settle(self, now_ns: int) -> None:
        """All that has been gathered is played from now on."""
        if not self.pieces:
            return
        pieces, self.pieces = self.pieces, {}
        by_length: dict[int, tuple[list[int], list[Pcm]]] = {}
        for row, parts in pieces.items():
            pcm = parts[0] if len(parts) == 1 else np.concatenate(parts)
            if (same := by_length.get(len(pcm))) is None:
                same = by_length[len(pcm)] = [], []
            same[0].append(row)
            same[1].append(pcm)
        for rows, speech in by_length.values():
            self._push(np.array(rows, np.intp), np.concatenate(speech).reshape(len(rows), -1), now_ns)

    def forget(self, row: int) -> None:
        """The call is over, or its agent is lost."""
        self.pieces.pop(row, None)
        self._rates.drop(row)


def parted(indices: NDArray[np.int64]) -> Iterator[tuple[int, slice | Rows]]:
    """Which items have each value; a value's only item as a slice, whose views cost less than a selection."""
    order = indices.argsort(kind="stable")
    in_order = indices[order]
    edges = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
    places = order.tolist()
    for start, end in itertools.pairwise([0, *edges.tolist(), len(places)] if places else []):
        first = places[start]
        yield int(in_order[start]), slice(first, first + 1) if end == start + 1 else order[start:end]
