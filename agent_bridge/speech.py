# SPDX-License-Identifier: MIT
"""What calls say within one iteration of the loop, put together into few messages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.call_types import Pcm
from trunkline.agent_bridge.wire import MAX_SAMPLES


class Speech:
    """Chunks by channel, in the order in which each call said them."""

    def __init__(self) -> None:
        """Nobody has said anything."""
        self._chunks: dict[int, list[Pcm]] = {}

    def add(self, channel: int, pcm: Pcm) -> None:
        """A call says something."""
        self._chunks.setdefault(channel, []).append(pcm)

    def forget(self, channel: int) -> None:
        """The call is over."""
        self._chunks.pop(channel, None)

    def take(self) -> Iterator[tuple[NDArray[np.uint32], Pcm]]:
        """Yield channels[n], pcm[n, samples]: once for all calls that said equally much."""
        if not self._chunks:
            return
        chunks, self._chunks = self._chunks, {}
        groups: dict[int, tuple[list[int], list[Pcm]]] = {}
        for channel, parts in chunks.items():
            pcm = parts[0] if len(parts) == 1 else np.concatenate(parts)
            for start in range(0, len(pcm), MAX_SAMPLES):
                piece = pcm[start : start + MAX_SAMPLES]
                channels, rows = groups.setdefault(len(piece), ([], []))
                channels.append(channel)
                rows.append(piece)
        # Only the last piece of a long speech is shorter than the longest, so longest first keeps its order.
        for _, (channels, rows) in sorted(groups.items(), reverse=True):
            yield np.array(channels, np.uint32), np.stack(rows)
