# SPDX-License-Identifier: GPL-2.0-or-later
"""The columns of a media worker's table, and the shared memory that holds them.

One row is one stream.  The gateway process creates the memory (a memfd) and
keeps it; the worker maps it and writes in place, tick by tick.  So counters are
read without a message, and a worker that dies leaves behind all that its
successor needs to go on with the same SSRC, sequence numbers and timestamps.

Rows are plain data: objects that cannot live in shared memory (sockets, queues)
are the worker's own, in `table.py`.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.media.figures import QUALITY_SLOTS
from trunkline.rtp.loss_bursts import COUNTS

DELAY_EDGES_US = np.array(
    [50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7500, 10000, 15000]
    + [20000, 30000, 50000, 75000, 100000, 200000, 500000, 1000000],
    dtype=np.int64,
)
"""Upper edges of the delay histograms, in microseconds; one more bucket holds the rest."""

DELAY_BUCKETS = len(DELAY_EDGES_US) + 1
DROP_SLOTS = 32
"Room for rtp.outcomes.Drop, so that a new reason does not move the columns."

FLOW_FIELDS = (
    # -- receiving: reset when the source changes
    "rx_next_seq",  # extended; next in order for the agent
    "rx_next_ts",  # extended; its timestamp
    "rx_max_seq",  # extended; highest seen
    "rx_max_ts",
    "rx_transit_ts",
    "rx_last_ns",  # arrival of the last proven packet
    "rx_deadline_ns",  # when the next frame is filled if it has not come
    "rx_received",  # packets of this source
    "credit_ns",  # audio that may still go to the agent (credit.py),
    "credit_at_ns",  # as of when
    # -- what the next packet looks like if nothing happens (express.py)
    "expected_lead",  # first word without marker and sequence number
    "expected_ssrc",
    "expected_bytes",  # its length, negative: its timestamp units, 0: something may happen
    # -- counters since the start of the call
    "packets_received",
    "octets_received",
)
"""What a packet in order moves: int64, side by side in `flow` [capacity, fields], so that one gather and one
scatter do for all of them.  Each has its name as a column besides, a view."""

SEND_FIELDS = (
    "tx_seq",  # extended; next to send
    "tx_ts",  # extended; of the next packet
    "tx_due_ns",
    "packets_sent",
    "octets_sent",
    "frames_played",
    "down_position",  # samples of the agent's played, at its rate
)
"What a packet to the caller moves, in `send` [capacity, fields] likewise."

# name, dtype, shape of one row.  Unit in the name; `_ts` is in RTP clock ticks.
ROW_FIELDS: list[tuple[str, Any, tuple[int, ...]]] = [
    # -- life: written when the row is taken and given back
    ("state", np.uint8, ()),  # 0 free, 1 waiting for its agent, 2 running
    ("generation", np.uint32, ()),  # bumped at each reuse
    ("call_id", np.uint8, (16,)),  # UUID bytes
    ("started_ns", np.int64, ()),
    ("flow", np.int64, (len(FLOW_FIELDS),)),
    ("send", np.int64, (len(SEND_FIELDS),)),
    # -- receiving: reset when the source changes
    ("rx_ssrc", np.uint32, ()),
    ("rx_proven", np.uint8, ()),  # 1 once consecutive packets came from one source
    ("rx_followed_port", np.int32, ()),  # port at the named host that was followed, 0 for none
    ("rx_base_seq", np.int64, ()),  # extended; first of this source
    ("rx_has_transit", np.uint8, ()),
    ("rx_jitter_ts", np.float64, ()),
    ("rx_clock_hz", np.int32, ()),  # RTP clock that all `_ts` of receiving are in, 0: none yet
    ("rx_ptime_ts", np.int64, ()),  # packet time that the peer really sends
    ("rx_base_delay_ns", np.float64, ()),  # least relative delay, slowly forgotten
    ("rx_target_ns", np.float64, ()),  # how long a gap is held back
    ("rx_lost_before", np.int64, ()),  # lost from earlier sources of the call
    ("rx_expected_prior", np.int64, ()),  # at the last report
    ("rx_received_prior", np.int64, ()),
    # -- uplink: position of the agent's timeline, in samples at its rate
    ("up_position", np.int64, ()),
    ("up_flags", np.uint16, ()),  # added to the next frame (gap after a slow agent)
    # -- downlink
    ("tx_ssrc", np.uint32, ()),
    ("tx_talking", np.uint8, ()),  # 0: the next packet opens a talkspurt
    # -- encryption: see srtp_rows.py
    ("srtp_known", np.uint8, ()),  # bit 0: srtp_tx_base is known, bit 1: srtp_rx_base
    ("srtp_tx_base", np.int64, ()),  # tx_seq >> 16 when the rollover counter was 0
    ("srtp_tx_reports", np.int64, ()),  # SRTCP indexes used
    ("srtp_rx_base", np.int64, ()),  # rx_max_seq >> 16 when the peer's counter was 0; may be negative
    ("srtp_rx_report", np.int64, ()),  # highest SRTCP index of the peer, plus 1
    # -- counters since the start of the call
    ("packets_lost", np.int64, ()),
    ("packets_reordered", np.int64, ()),
    ("frames_to_agent", np.int64, ()),
    ("frames_concealed", np.int64, ()),
    ("frames_gap", np.int64, ()),
    ("frames_comfort_noise", np.int64, ()),
    ("frames_from_agent", np.int64, ()),
    ("frames_silence", np.int64, ()),
    ("frames_left_out", np.int64, ()),  # of a live agent with a fast clock (pace.py)
    ("frames_repeated", np.int64, ()),  # ... with a slow one
    ("underruns", np.int64, ()),
    ("queued_samples", np.int64, ()),  # now waiting for the caller
    ("level_up_dbov", np.float32, ()),
    ("drops", np.int64, (DROP_SLOTS,)),  # by rtp.outcomes.Drop
    # -- what the peer reports of our stream (RTCP)
    ("peer_lost", np.int64, ()),
    ("peer_expected", np.int64, ()),  # packets of ours up to its last report; 0: it has sent none
    ("peer_jitter_ms", np.float32, ()),
    ("peer_xr", np.float32, (7,)),  # its VoIP metrics (reports.py); the first is 0 if none have come
    ("rtt_ms", np.float32, ()),
    # -- quality of what we receive (quality.py)
    ("loss_from_seq", np.int64, ()),  # extended; from here on, packets came in order up to rx_next_seq
    ("loss_carry", np.int64, ()),  # such packets of the source before this one
    ("loss_counts", np.int64, (COUNTS,)),  # rtp.loss_bursts
    ("quality", np.float32, (QUALITY_SLOTS,)),  # figures.Figure; all 0 before the first look
    # -- delays that we add
    ("uplink_delay", np.uint32, (DELAY_BUCKETS,)),  # RTP at the kernel to the agent's socket
    ("downlink_delay", np.uint32, (DELAY_BUCKETS,)),  # due time to the kernel
    # -- who speaks: voice.py, turns.py
    ("speaking", np.uint8, ()),  # the agent was last told that the caller speaks
    ("frames_withheld", np.int64, ()),  # silence that was not sent to the agent (withholding.py)
    ("barge_ins", np.int64, ()),  # the caller spoke while the agent did, and the route acts on it
    # -- more of the downlink
    ("underrun_ns", np.int64, ()),  # for which agents had run dry in mid-speech
]

WORKER_FIELDS: list[tuple[str, Any, tuple[int, ...]]] = [
    ("pid", np.int64, ()),
    ("heartbeat_ns", np.int64, ()),  # monotonic time of the last tick
    ("busy_ns", np.int64, ()),  # CPU time, or time for which it was behind if that is more (load.py)
    ("ticks", np.int64, ()),
    ("tick_max_us", np.int64, ()),  # since start
    ("tick_duration", np.int64, (DELAY_BUCKETS,)),
    ("streams", np.int64, ()),
    ("drops", np.int64, (DROP_SLOTS,)),  # of all streams that ever were, and of none
    ("packets_received", np.int64, ()),
    ("packets_sent", np.int64, ()),
    ("frames_to_agent", np.int64, ()),
    ("frames_from_agent", np.int64, ()),
    ("uplink_delay", np.int64, (DELAY_BUCKETS,)),
    ("downlink_delay", np.int64, (DELAY_BUCKETS,)),
    ("agent_links", np.int64, ()),
    ("frames_withheld", np.int64, ()),
    ("barge_ins", np.int64, ()),
    ("underruns", np.int64, ()),
    ("replays_refused", np.int64, ()),
    ("behind_since_ns", np.int64, ()),  # since when frames of many calls wait for us in every tick, 0: they do not
]


ROW_STATE = np.dtype(ROW_FIELDS)
"A row as one packed record, in the order of `ROW_FIELDS`."


class Columns:
    """NumPy views of the shared memory: `columns.rx_ssrc[rows]`, `columns.worker.ticks[0]`.

    Columns are arrays of `capacity` rows, each aligned to 64 bytes; those of
    `FLOW_FIELDS` are views of one, and so are those of `SEND_FIELDS`.
    """

    def __init__(self, capacity: int, fd: int | None = None) -> None:
        """Map `fd`, or create a new memfd (zeroed) when it is None."""
        self.capacity = capacity
        size, offsets = _layout(capacity)
        created = fd is None
        self.fd = os.memfd_create("trunkline-table") if fd is None else fd
        if created:
            os.ftruncate(self.fd, size)
        self._map = mmap.mmap(self.fd, size)
        self._close = weakref.finalize(self, os.close, self.fd) if created else None
        self.worker = _Block()
        for scope, name, dtype, shape, offset in offsets:
            count = int(np.prod(shape, dtype=np.int64)) if shape else 1
            view: NDArray[Any] = np.frombuffer(self._map, dtype, count, offset).reshape(shape)
            setattr(self if scope == "row" else self.worker, name, view)
        for block, names in ((self.flow, FLOW_FIELDS), (self.send, SEND_FIELDS)):
            for place, name in enumerate(names):
                setattr(self, name, block[:, place])

    def row_state(self, row: int) -> bytes:
        """All columns of a row, so that a call can go on in another table."""
        return b"".join(getattr(self, name)[row].tobytes() for name, _dtype, _shape in ROW_FIELDS)

    def restore_row(self, row: int, state: bytes) -> None:
        """Put `row_state` of another table of the same build into a row; its own generation stays."""
        record = np.frombuffer(state, ROW_STATE, 1)[0]
        for name, _dtype, _shape in ROW_FIELDS:
            if name != "generation":
                getattr(self, name)[row] = record[name]

    def close(self) -> None:
        """Give back the descriptor, once; the memory itself stays as long as somebody looks at it."""
        if self._close is not None:
            self._close()

    def __getattr__(self, name: str) -> NDArray[Any]:
        raise AttributeError(f"no column {name!r}")


class _Block:
    """The worker's own counters; each is an array of one (or of buckets)."""

    def __getattr__(self, name: str) -> NDArray[Any]:
        raise AttributeError(f"no worker column {name!r}")


def _layout(capacity: int) -> tuple[int, list[tuple[str, str, Any, tuple[int, ...], int]]]:
    """Total size in bytes, and where each column begins."""
    offset = 0
    out = []
    for name, dtype, shape in ROW_FIELDS:
        full = (capacity, *shape)
        out.append(("row", name, dtype, full, offset))
        offset = _align(offset + int(np.prod(full)) * np.dtype(dtype).itemsize)
    for name, dtype, shape in WORKER_FIELDS:
        full = shape or (1,)
        out.append(("worker", name, dtype, full, offset))
        offset = _align(offset + int(np.prod(full)) * np.dtype(dtype).itemsize)
    return offset, out


def _align(offset: int) -> int:
    return (offset + 63) & ~63


def delay_percentile(histogram: NDArray[Any], share: float) -> float:
    """Delay in milliseconds below which `share` (0..1) of the histogram lies; nan when empty.

    The upper edge of the bucket is returned, so the figure is never flattering.
    """
    total = int(histogram.sum())
    if total == 0:
        return float("nan")
    bucket = int(np.searchsorted(np.cumsum(histogram), share * total))
    edge = DELAY_EDGES_US[min(bucket, len(DELAY_EDGES_US) - 1)]
    return float(edge) / 1000
