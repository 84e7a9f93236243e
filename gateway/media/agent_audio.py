# SPDX-License-Identifier: GPL-2.0-or-later
"""Speech from agents in the pieces that cost least, whatever the pieces in which it came.

A hundred calls may come as a hundred messages, a tenth of a second in three pieces of
which none is a packet long, and a second of speech as thousands of records of one
sample: what is done for each piece is done for all other calls' time.  So all that
comes without a command in between is one piece for each row before anything else
happens to it, and the work grows with the number of samples.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.link_events import (
    Accepted,
    Audio,
    Command,
    LinkEvent,
    LinkFailed,
    LinkUp,
    Rejected,
)

Rows = NDArray[np.intp]
Pcm = NDArray[np.int16]
Samples = NDArray[np.int64]
Other = LinkUp | LinkFailed | Accepted | Rejected | Command


def runs(events: Sequence[LinkEvent]) -> Iterator[list[Audio] | Other]:
    """The same events, with audio of one rate that nothing stands between as one: an agent may write call by call."""
    audio: list[Audio] = []
    for event in events:
        if audio and not (isinstance(event, Audio) and event.sample_rate_hz == audio[0].sample_rate_hz):
            yield audio
            audio = []
        if isinstance(event, Audio):
            audio.append(event)
        else:
            yield event
    if audio:
        yield audio


def joined(run: Sequence[Audio]) -> Iterator[Audio]:
    """The same records in the same order, those of messages alike that follow each other as one message."""
    for _samples, group in itertools.groupby(run, key=lambda audio: audio.pcm.shape[1]):
        alike = list(group)
        if len(alike) == 1:
            yield alike[0]
        else:
            channels = np.concatenate([audio.channels for audio in alike])
            yield Audio(channels, np.concatenate([audio.pcm for audio in alike]), alike[0].sample_rate_hz)


def by_row(rows: Rows, run: Sequence[Pcm]) -> tuple[Rows, Pcm, Samples | None]:
    """All records of a run as one piece for each row; rows[n] is whose each record is, in order of arrival.

    Returns different rows, and pcm[rows, samples]; or, where not all have the same number of samples, their pieces
    end to end, pcm[samples], and how many each has. Records whose row is -1 are nobody's.
    """
    width = run[0].shape[1]
    alike = len(run) == 1 or all(pcm.shape[1] == width for pcm in run)
    order = rows.argsort(kind="stable")  # by row, and in a row by arrival
    in_order = rows[order]
    if len(rows) and in_order[0] < 0:
        order = order[in_order >= 0]
        in_order = rows[order]
    changes = in_order[1:] != in_order[:-1]
    if alike:
        pcm = run[0] if len(run) == 1 else np.concatenate(run)
        if changes.all():
            return (rows, pcm, None) if len(order) == len(rows) else (in_order, pcm[order], None)
        pcm, lengths = pcm[order].reshape(-1), np.full(len(order), width)
    else:
        pieces = [piece for pcm in run for piece in pcm]
        lengths = np.repeat([pcm.shape[1] for pcm in run], [len(pcm) for pcm in run])[order]
        pcm = np.concatenate([pieces[i] for i in order.tolist()]) if len(order) else run[0][:0].reshape(-1)
    starts = np.flatnonzero(np.concatenate([[True], changes])) if len(order) else order
    samples = np.add.reduceat(lengths, starts) if len(starts) else lengths
    if (samples == samples[:1]).all() and len(starts):
        return in_order[starts], pcm.reshape(len(starts), -1), None
    return in_order[starts], pcm, samples


def part(pcm: Pcm, samples: Samples, which: Rows | slice) -> Pcm:
    """Some of the pieces that `pcm` has end to end."""
    if isinstance(which, slice):
        return pcm
    ends = np.cumsum(samples)
    return np.concatenate([pcm[ends[i] - samples[i] : ends[i]] for i in which.tolist()])
