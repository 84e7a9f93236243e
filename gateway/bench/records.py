# SPDX-License-Identifier: GPL-2.0-or-later
"""What generator and agent have written down, as arrays.

The generator's file, in the machine's byte order: ten int64 (format, calls, packets, heard,
start, clock drift, send errors, unrecorded, reports heard, size of an entry), the phase of each
call, the send times [calls, packets] (0: not sent), and the packets that came back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trunkline.gateway.bench.errors import BenchError

FORMAT = 2
HEAD = 10
WINDOW_BYTES = 36
"a period of 16-bit samples at 16 kHz, and no hole at the end of an entry"
HEARD = np.dtype(
    [
        ("arrival_ns", np.int64), ("call", np.uint32), ("timestamp", np.uint32), ("sequence", np.uint16),
        ("bytes", np.uint16), ("window", np.uint8, (WINDOW_BYTES,)),
    ]
)  # fmt: skip

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class Generated:
    """The callers' side of a run. Times are CLOCK_MONOTONIC in ns."""

    start_ns: int
    phase_ns: Ints
    "[calls] when in its packet time a call is due"
    sent_ns: Ints
    "[calls, packets]; 0 where the kernel refused the packet"
    heard: NDArray[np.void]
    "[n] of `HEARD`, in order of reading, which for each call is the order of arrival"
    clock_drift_ns: int
    "by which CLOCK_REALTIME was set while arrivals were stamped with it"
    send_errors: int
    unrecorded: int
    "packets that came beyond the room for records"
    reports_heard: int
    "RTCP datagrams"

    def due_ns(self, packet_ns: int) -> Ints:
        """[calls, packets] when each should have been sent."""
        return self.start_ns + self.phase_ns[:, None] + np.arange(self.sent_ns.shape[1]) * packet_ns


def write_generated(path: Path, generated: Generated) -> None:
    """The file, as the generator in C writes it."""
    calls, packets = generated.sent_ns.shape
    head = [FORMAT, calls, packets, len(generated.heard), generated.start_ns, generated.clock_drift_ns]
    head += [generated.send_errors, generated.unrecorded, generated.reports_heard, HEARD.itemsize]
    parts = [np.array(head, np.int64), generated.phase_ns, generated.sent_ns, generated.heard]
    path.write_bytes(b"".join(part.tobytes() for part in parts))


def read_generated(path: Path) -> Generated:
    """Raises BenchError for a file that is no record, or not whole."""
    data = path.read_bytes()
    if len(data) < HEAD * 8:
        raise BenchError(f"the generator's record {path} is cut short")
    head = np.frombuffer(data, np.int64, HEAD).tolist()
    form, calls, packets, count, start, drift, errors, unrecorded, reports, size = head
    places = HEAD * 8, (HEAD + calls) * 8, (HEAD + calls + calls * packets) * 8
    if form != FORMAT or size != HEARD.itemsize or len(data) != places[2] + count * size:
        raise BenchError(f"the generator's record {path} is not what this version writes")
    return Generated(
        start, np.frombuffer(data, np.int64, calls, places[0]),
        np.frombuffer(data, np.int64, calls * packets, places[1]).reshape(calls, packets),
        np.frombuffer(data, HEARD, count, places[2]), drift, errors, unrecorded, reports,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Frames:
    """The agent's side of a run, in order of reading: one entry a frame."""

    call: Ints
    "number of the call, from its id"
    read_ns: Ints
    "when the last byte of the message that holds it had been read"
    window: NDArray[np.int16]
    "[n, samples] of the frame, for its loudness"
    position: Ints | None = None
    "of the first sample; None in a dialect that has no positions"
    flags: NDArray[np.uint16] | None = None


def join(parts: Sequence[Frames]) -> Frames:
    """Frames of several connections; at least one part."""
    one = parts[0]
    return Frames(
        np.concatenate([part.call for part in parts]),
        np.concatenate([part.read_ns for part in parts]),
        np.concatenate([part.window for part in parts]),
        None
        if one.position is None
        else np.concatenate([p.position for p in parts if p.position is not None]),
        None if one.flags is None else np.concatenate([p.flags for p in parts if p.flags is not None]),
    )


def write_frames(path: Path, frames: Frames) -> None:
    """To a .npz file."""
    fields: dict[str, Any] = {
        name: value
        for name in ("call", "read_ns", "window", "position", "flags")
        if (value := getattr(frames, name)) is not None
    }
    with path.open("wb") as file:
        np.savez(file, **fields)


def read_frames(path: Path) -> Frames:
    """Raises BenchError when the agent has left no whole record."""
    try:
        with np.load(path) as archive:
            return Frames(**dict(archive))
    except (OSError, ValueError, TypeError) as error:
        raise BenchError(f"the agent's record {path} cannot be read: {error}") from None
