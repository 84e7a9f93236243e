# SPDX-License-Identifier: GPL-2.0-or-later
"""Another codec, rate or packet time in the middle of a call, without a seam in either direction.

What is kept at the agent's rate just goes on: its queue, the half frame that waits for
the next packet, the samples that the resampler to the line remembers.  What is kept at
the rate of the line is resampled, so that concealment and filters begin with the sound
that was there, not with silence.  What is counted in ticks of the RTP clock becomes
ticks of the new one, and time stays what it was.

A sender that changes its clock may go on counting or begin anywhere (RFC 7160 tells of
both), so the first packet that comes then is where the timeline goes on.  Our own
timestamps go on counting, with the same SSRC: peers keep its statistics and keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trunkline.codecs.resample import get_resampler
from trunkline.rtp.outcomes import Drop

if TYPE_CHECKING:
    from trunkline.gateway.media.formats import Format
    from trunkline.gateway.media.frame_queue import FrameQueue
    from trunkline.gateway.media.table import Table


def change_format(table: Table, row: int, old: Format, new: Format) -> None:
    """A running row has the format `new` from now on; its clock is `change_clock`'s business."""
    if new.queue is not old.queue:
        _move_queue(table, row, old.queue, new.queue)
    if new.codec is not old.codec:
        old.codec.forget(row)
        table.shared.tx_talking[row] = 0  # so that the first packet has the marker
    kept = table.down_history[row, : old.down.history_samples].copy()
    _keep_in(table.down_history[row, : new.down.history_samples], kept)
    if new.line_hz != old.line_hz:
        _change_line_rate(table, row, old, new)


def _move_queue(table: Table, row: int, old: FrameQueue, new: FrameQueue) -> None:
    """What waits goes on; the last of it finds no room where longer packets leave less, or others hold too much."""
    c, rows, waiting = table.shared, np.array([row], np.intp), old.take_all(row)
    lost = new.push(rows, waiting[None]) if len(waiting) else None
    if lost is not None:
        blocks = -(-int(lost[0]) // new.block_samples)
        c.drops[row, Drop.AGENT_OVERFLOW] += blocks
        c.worker.drops[Drop.AGENT_OVERFLOW] += blocks
        stream = table.streams[row]
        if stream is not None:  # a mark behind what is gone is reached with the last sample that is left
            end = int(c.down_position[row] + new.queued_samples(rows)[0])
            moved = [(min(position, end), name) for position, name in stream.marks]
            stream.marks.clear()
            stream.marks.extend(moved)


def change_clock(table: Table, row: int, new_hz: int) -> None:
    """The row's RTP clock has `new_hz` from now on: what was counted in the old one is converted."""
    c, old_hz = table.shared, int(table.clock_hz[row])
    if new_hz == old_hz:
        return
    for column in (c.rx_next_ts, c.rx_max_ts, c.rx_ptime_ts):
        column[row] = int(column[row]) * new_hz // old_hz
    c.rx_jitter_ts[row] *= new_hz / old_hz
    c.rx_has_transit[row] = 0
    table.payload_bytes[row] = table.payload_ts[row] = 0
    table.restamped.add(row)


def _change_line_rate(table: Table, row: int, old: Format, new: Format) -> None:
    heard = _converted(old.line_history[row], old.line_hz, new.line_hz)
    _keep_in(new.line_history[row], heard)
    _keep_in(table.up_history[row, : new.up.history_samples], heard)
    _keep_in(table.background[row], _converted(table.background[row], old.line_hz, new.line_hz))
    table.noise_known[row] = False
    table.ahead_from[row] = -1


def _keep_in(history: NDArray[np.int16], sound: NDArray[np.int16]) -> None:
    """The end of `sound` becomes the end of `history`, with zeros before it if it is shorter."""
    history[:] = 0
    kept = sound[max(len(sound) - len(history), 0) :]
    history[len(history) - len(kept) :] = kept


def _converted(sound: NDArray[np.int16], from_hz: int, to_hz: int) -> NDArray[np.int16]:
    """At another rate: as much of the end as makes a whole number of samples."""
    resampler = get_resampler(from_hz, to_hz)
    whole = sound[len(sound) % resampler.down :]
    return resampler.process(resampler.new_history(1), whole[None])[0][0]
