# SPDX-License-Identifier: GPL-2.0-or-later
"""Compounds of many calls at once are those that the dataclasses write one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.rtp import rtcp, rtcp_batch
from trunkline.rtp.rtcp_batch import DEFAULT_METRICS, Reports, Shape
from trunkline.rtp.rtcp_xr import DelaySinceLastRr, LastReference, ReferenceTime, XrBlock
from trunkline.rtp.voip_metrics import VoipMetrics

N = 3
CNAME = b"4f2c@here"
wide = st.integers(-(1 << 40), 1 << 40)
"counters as they are inside: longer than the wire"
shapes = st.builds(
    Shape, st.booleans(), st.booleans(), st.sampled_from([0, len(CNAME)]), *[st.booleans()] * 4
)


def column(values: st.SearchStrategy[int]) -> st.SearchStrategy[np.ndarray]:
    """One value for each of N calls."""
    return st.lists(values, min_size=N, max_size=N).map(lambda items: np.array(items, np.int64))


u8, u16 = st.integers(0, 255), st.integers(0, 0xFFFF)
reports = st.builds(
    Reports,
    column(st.integers(0, 0xFFFFFFFF)),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=N, max_size=N).map(lambda v: np.array(v, np.uint64)),
    *[column(wide)] * 3,
    column(st.integers(0, 0xFFFFFFFF)),
    column(u8),
    column(st.integers(-(1 << 23), (1 << 23) - 1)),
    *[column(wide)] * 6,
    metrics=st.fixed_dictionaries(
        {"loss_rate": column(u8), "burst_ms": column(u16), "mos_cq": column(u8), "rx_config": column(u8)}
    ),
)


def one(shape: Shape, r: Reports, i: int) -> bytes:
    """Scalar twin."""

    def of(name: str) -> int:
        return int(getattr(r, name)[i])

    cut = {name: of(name) & 0xFFFFFFFF for name in ("source", "last_rr", "delay_since_last_rr")}
    block = rtcp.ReportBlock(
        cut["source"], of("fraction_lost"), of("cumulative_lost"), of("highest_sequence"), of("jitter_ts"),
        of("last_sr"), of("delay_since_last_sr"),
    )  # fmt: skip
    blocks = (block,) if shape.block else ()
    packets: list[rtcp.RtcpPacket] = [rtcp.ReceiverReport(of("ssrc"), blocks)]
    if shape.sender:
        counters = (of("rtp_timestamp"), of("packets"), of("octets"))
        packets = [rtcp.SenderReport(of("ssrc"), of("ntp"), *counters, blocks)]
    if shape.cname_bytes:
        packets.append(rtcp.SourceDescription(((of("ssrc"), CNAME.decode()),)))
    extended: list[XrBlock] = [ReferenceTime(of("ntp"))] if shape.reference else []
    if shape.answer:
        entry = LastReference(cut["source"], cut["last_rr"], cut["delay_since_last_rr"])
        extended.append(DelaySinceLastRr((entry,)))
    if shape.voip:
        fields = {name: int(values[i]) for name, values in r.metrics.items()}  # type: ignore[index]
        extended.append(VoipMetrics(cut["source"], **(DEFAULT_METRICS | fields)))
    if extended:
        packets.append(rtcp.ExtendedReport(of("ssrc"), tuple(extended)))
    if shape.bye:
        packets.append(rtcp.Goodbye((of("ssrc"),)))
    return rtcp.build_compound(packets)


@given(shapes, reports)
def test_batch_equals_loop(shape: Shape, r: Reports) -> None:
    """Byte for byte, in every shape."""
    out = rtcp_batch.write(shape, N, r, CNAME)
    assert [row.tobytes() for row in out] == [one(shape, r, i) for i in range(N)]


@pytest.mark.parametrize("length", range(1, 12))
def test_a_name_of_any_length_ends_at_a_word(length: int) -> None:
    """At least one null behind it."""
    shape = Shape(False, False, length, False, False, False)
    (row,) = rtcp_batch.write(shape, 1, Reports(np.array([5]), np.array([0])), b"x" * length)
    assert rtcp.parse_compound(row.tobytes())[1] == rtcp.SourceDescription(((5, "x" * length),))
