# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech from agents in the pieces that cost least, whatever the pieces in which it came.

A hundred calls may come as a hundred messages, and a second of speech as thousands
of records of one sample: what is done for each piece is done for all other calls'
time.  So pieces are joined before anything else happens to them, and the work grows
with the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge import link_events
from trunkline.agent_bridge.link_events import LinkEvent

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]


def joined(events: Sequence[LinkEvent]) -> Iterator[LinkEvent]:
    """The same events, with audio that follows audio of the same length as one: an agent may write call by call."""
    audio: list[link_events.Audio] = []
    for event in events:
        if audio and not (isinstance(event, link_events.Audio) and event.pcm.shape[1] == audio[0].pcm.shape[1]):
            yield _join(audio)
            audio = []
        if isinstance(event, link_events.Audio):
            audio.append(event)
        else:
            yield event
    if audio:
        yield _join(audio)


def _join(audio: list[link_events.Audio]) -> link_events.Audio:
    if len(audio) == 1:
        return audio[0]
    return link_events.Audio(np.concatenate([a.channels for a in audio]), np.concatenate([a.pcm for a in audio]))


def by_row(rows: Rows, pcm: Pcm) -> Iterator[tuple[Rows, Pcm]]:
    """Records pcm[n, samples], `rows` in any order and repeated, as pieces for different rows.

    The records of a row are joined, and rows with as many of them come together: n records
    have at most sqrt(2 n) different counts, so there are few pieces.
    """
    order = rows.argsort(kind="stable")  # by row, and in a row by arrival
    in_order = rows[order]
    changes = in_order[1:] != in_order[:-1]
    if changes.all():
        if len(rows):
            yield rows, pcm
        return
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    counts = np.diff(starts, append=len(rows))
    for count in np.unique(counts):
        first = starts[counts == count]
        records = order[first[:, None] + np.arange(count)]  # [rows, count]
        yield in_order[first], pcm[records].reshape(len(records), -1)
