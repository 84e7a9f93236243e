# SPDX-License-Identifier: GPL-2.0-or-later
"""Compound packets of many calls at once: the dataclasses of `rtcp.py` and `rtcp_xr.py`, as columns.

Calls whose compounds have the same parts (`Shape`) have packets of one length, so a
packet is a row of a structured array in network order, and a field a column of it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MASK32 = 0xFFFFFFFF

Column = NDArray[Any] | int


class Shape(NamedTuple):
    """The parts of a compound, in their order."""

    sender: bool
    "a sender report; else a receiver report"
    block: bool
    "with one report block"
    cname_bytes: int
    "SDES with a CNAME of so many bytes; 0: none (RFC 5506)"
    voip: bool
    "XR with VoIP metrics"
    reference: bool
    "XR with a receiver reference time"
    answer: bool
    "XR with a DLRR of one entry"
    bye: bool = False


@dataclasses.dataclass(slots=True)
class Reports:
    """What n compounds say; each column is [n], of any width: it is cut to that of the wire."""

    ssrc: Column
    ntp: Column
    "64 bits"
    rtp_timestamp: Column = 0
    packets: Column = 0
    octets: Column = 0
    source: Column = 0
    "the source that block and metrics are about"
    fraction_lost: Column = 0
    cumulative_lost: Column = 0
    highest_sequence: Column = 0
    jitter_ts: Column = 0
    last_sr: Column = 0
    delay_since_last_sr: Column = 0
    last_rr: Column = 0
    delay_since_last_rr: Column = 0
    metrics: Mapping[str, Column] = dataclasses.field(default_factory=dict)
    "fields of `VoipMetrics` by name, within their widths; the others as `DEFAULT_METRICS` has them"


_METRICS = (
    ("loss_rate", "u1"), ("discard_rate", "u1"), ("burst_density", "u1"), ("gap_density", "u1"),
    ("burst_ms", ">u2"), ("gap_ms", ">u2"), ("round_trip_ms", ">u2"), ("end_system_ms", ">u2"),
    ("signal_dbm0", "u1"), ("noise_dbm0", "u1"), ("echo_return_loss_db", "u1"), ("gmin", "u1"),
    ("r_factor", "u1"), ("external_r_factor", "u1"), ("mos_lq", "u1"), ("mos_cq", "u1"),
    ("rx_config", "u1"), ("reserved", "u1"), ("nominal_ms", ">u2"),
    ("maximum_ms", ">u2"), ("absolute_maximum_ms", ">u2"),
)  # fmt: skip
DEFAULT_METRICS = {
    "signal_dbm0": 127, "noise_dbm0": 127, "echo_return_loss_db": 127, "gmin": 16,
    "r_factor": 127, "external_r_factor": 127, "mos_lq": 127, "mos_cq": 127,
}  # fmt: skip


@functools.lru_cache(maxsize=128)
def _layout(shape: Shape) -> tuple[np.dtype[Any], dict[str, int]]:
    """Type of one compound, and the words in it that are always the same."""
    fields: list[tuple[str, Any]] = [("head", ">u4"), ("ssrc", ">u4")]
    words = 1 + 5 * shape.sender + 6 * shape.block
    constants = {"head": (0x80 | shape.block) << 24 | (200 if shape.sender else 201) << 16 | words}
    if shape.sender:
        fields += [("ntp", ">u8"), ("rtp_timestamp", ">u4"), ("packets", ">u4"), ("octets", ">u4")]
    if shape.block:
        names = ("source", "loss", "highest_sequence", "jitter_ts", "last_sr", "delay_since_last_sr")
        fields += [(name, ">u4") for name in names]
    if shape.cname_bytes:
        padded = shape.cname_bytes + 2 + 4 - (shape.cname_bytes + 2) % 4
        fields += [("sdes", ">u4"), ("sdes_ssrc", ">u4"), ("sdes_item", f"({padded},)u1")]
        constants["sdes"] = 0x81CA << 16 | 1 + padded // 4
    fields += _extended(shape, constants)
    if shape.bye:
        fields += [("bye", ">u4"), ("bye_ssrc", ">u4")]
        constants["bye"] = 0x81CB << 16 | 1
    return np.dtype(fields), constants


def _extended(shape: Shape, constants: dict[str, int]) -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = []
    if shape.reference:
        fields += [("rrtr", ">u4"), ("rrtr_ntp", ">u8")]
        constants["rrtr"] = 4 << 24 | 2
    if shape.answer:
        fields += [("dlrr", ">u4"), ("dlrr_ssrc", ">u4"), ("last_rr", ">u4"), ("delay_since_last_rr", ">u4")]
        constants["dlrr"] = 5 << 24 | 3
    if shape.voip:
        fields += [("voip", ">u4"), ("voip_source", ">u4"), *_METRICS]
        constants |= DEFAULT_METRICS | {"voip": 7 << 24 | 8}
    if not fields:
        return []
    words = 1 + 3 * shape.reference + 4 * shape.answer + 9 * shape.voip
    constants["xr"] = 0x80CF << 16 | words
    return [("xr", ">u4"), ("xr_ssrc", ">u4"), *fields]


def compound_bytes(shape: Shape) -> int:
    """Length of a compound of this shape."""
    return _layout(shape)[0].itemsize


def write(shape: Shape, n: int, reports: Reports, cname: bytes = b"") -> NDArray[np.uint8]:
    """n compounds of one shape: u8[n, bytes]. `cname` is everybody's, of `shape.cname_bytes` bytes."""
    dtype, constants = _layout(shape)
    out = np.zeros(n, dtype)
    for name, value in constants.items():
        out[name] = value
    out["ssrc"] = reports.ssrc
    if shape.sender:
        out["ntp"] = reports.ntp
        _put(out, reports, "rtp_timestamp", "packets", "octets")
    if shape.block:
        _put(out, reports, "source", "highest_sequence", "jitter_ts", "last_sr", "delay_since_last_sr")
        fraction = np.asarray(reports.fraction_lost, np.int64) & 0xFF
        out["loss"] = fraction << 24 | np.asarray(reports.cumulative_lost, np.int64) & 0xFFFFFF
    if shape.cname_bytes:
        out["sdes_ssrc"] = reports.ssrc
        out["sdes_item"][:, : 2 + shape.cname_bytes] = np.frombuffer(
            bytes([1, shape.cname_bytes]) + cname, np.uint8
        )
    if shape.reference or shape.answer or shape.voip:
        out["xr_ssrc"] = reports.ssrc
        _write_extended(shape, out, reports)
    if shape.bye:
        out["bye_ssrc"] = reports.ssrc
    return out.view(np.uint8).reshape(n, dtype.itemsize)


def _write_extended(shape: Shape, out: NDArray[Any], reports: Reports) -> None:
    if shape.reference:
        out["rrtr_ntp"] = reports.ntp
    if shape.answer:
        out["dlrr_ssrc"] = reports.source
        _put(out, reports, "last_rr", "delay_since_last_rr")
    if shape.voip:
        out["voip_source"] = reports.source
        for name, column in reports.metrics.items():
            out[name] = column


def _put(out: NDArray[Any], reports: Reports, *names: str) -> None:
    for name in names:
        out[name] = np.asarray(getattr(reports, name)) & MASK32
