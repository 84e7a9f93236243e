# SPDX-License-Identifier: GPL-2.0-or-later
"""One clip, said in many calls at once over networks that lose packets: what each agent hears.

The way is the real one, from the RTP packet to the agent's frame: header, reorder buffer,
timeline, concealment; in virtual time, at the agent's rate of 8 kHz, so that nothing is
resampled.  Besides, what silence or repetition would have made of the same losses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from support.media_rig import MS, PEER, UplinkRig
from trunkline.codecs import g711
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.worker import JITTER_MIN_MS
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.packet import Packet

FRAME = 160
TICK_MS = 2.5
JITTER_MS = 4.0
"delay of a packet beyond the least, even up to this; more would be another question than loss"

BLIND_WAIT_MS = 12
"longer than the jitter, shorter than a packet: a gap is given up before the packet behind it is there"

Pcm = NDArray[np.int16]
Losses = NDArray[np.bool_]


def heard(clip: Pcm, losses: Losses, *, look_ahead: bool = True) -> Pcm:
    """The clip as the agents of n calls hear it: losses [n, packets] to i16[n, samples].

    Without `look_ahead` gaps are given up before the packet behind them can be there.
    """
    wait_ms = JITTER_MIN_MS if look_ahead else BLIND_WAIT_MS
    params = TargetParams(min_ns=wait_ms * MS, max_ns=wait_ms * MS)
    calls, packets = losses.shape
    rig = UplinkRig(calls=calls, jitter=params)
    start = rig.now_ns
    payload = g711.encode_ulaw(np.ascontiguousarray(clip)).reshape(packets, FRAME)
    jitter = np.random.default_rng(calls).uniform(0, JITTER_MS, losses.shape)
    jitter[:, 0] = 0
    due = (np.arange(packets) * 20 + jitter) * MS
    rows = np.array([stream.row for stream in rig.streams], np.intp)
    for tick in range(round(packets * 20 / TICK_MS) + 80):
        since, until = tick * TICK_MS * MS, (tick + 1) * TICK_MS * MS
        for i in range(max(int(since / MS - JITTER_MS) // 20, 0), min(int(until / MS) // 20 + 1, packets)):
            come = np.flatnonzero(~losses[:, i] & (due[:, i] >= since) & (due[:, i] < until))
            if len(come):
                _arrive(rig, rows[come], i, payload[i].tobytes())
        rig.now_ns = start + int(until)
        rig.timeline.advance(rig.now_ns)
    out = [np.concatenate([frame.pcm for frame in rig.frames[int(row)]]) for row in rows]
    return np.stack([sound[: packets * FRAME] for sound in out])


def _arrive(rig: UplinkRig, rows: NDArray[np.intp], number: int, payload: bytes) -> None:
    """The same packet in each of these calls."""
    data = bytes(Packet(0, number + 100, number * FRAME, 5, payload))
    buffer = np.zeros((len(rows), PACKET_BYTES), np.uint8)
    buffer[:, : len(data)] = np.frombuffer(data, np.uint8)
    lengths = np.full(len(rows), len(data), np.int32)
    batch = Batch(rows, buffer, lengths, np.ones(len(rows), bool), [PEER] * len(rows))
    rig.receiver.receive(batch, rig.now_ns)


def silenced(clip: Pcm, losses: Losses) -> Pcm:
    """Lost packets are silence: [n, samples]."""
    sound = _decoded(clip, losses)
    sound[losses] = 0
    return sound.reshape(len(losses), -1)


def repeated(clip: Pcm, losses: Losses) -> Pcm:
    """Lost packets are the last that came, again and again: [n, samples]."""
    sound = _decoded(clip, losses)
    for i in range(1, losses.shape[1]):
        lost = losses[:, i]
        sound[lost, i] = sound[lost, i - 1]
    return sound.reshape(len(losses), -1)


def _decoded(clip: Pcm, losses: Losses) -> Pcm:
    whole = g711.decode_ulaw(g711.encode_ulaw(np.ascontiguousarray(clip)))
    return np.tile(whole.reshape(1, -1, FRAME), (len(losses), 1, 1))
