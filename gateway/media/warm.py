# SPDX-License-Identifier: GPL-2.0-or-later
"""Two calls of 0.4 s in virtual time, before there is a real one.

The first use of much is dear: NumPy imports `numpy.ma` at the first `unique`, einsum
builds its paths, filters are designed, code objects are specialised.  In a worker with
calls that would be a late tick, and without a free descriptor the import fails.  So a
worker does all of it once, on a small table of its own, before it says that it is ready.
"""

from __future__ import annotations

import contextlib
import random
import traceback
import uuid

import numpy as np
from numpy.typing import NDArray

from trunkline.agent_bridge.dialect import LinkSettings
from trunkline.agent_bridge.link_events import Accepted
from trunkline.agent_bridge.links import create_link
from trunkline.codecs.registry import open_codec
from trunkline.codecs.voicing import span_samples, voicing
from trunkline.gateway.media import compiled, control
from trunkline.gateway.media.agent_tls import new_context
from trunkline.gateway.media.batch import PACKET_BYTES, Batch
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.engine import Engine
from trunkline.gateway.media.table import Stream, Table
from trunkline.rtp import libsrtp
from trunkline.rtp.jitter import TargetParams
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.packet import Packet

PACKETS = 20
PTIME_NS = 20_000_000
PEER = ("192.0.2.1", 4000)


class _Nowhere:
    """Sockets and poller that do nothing."""

    def send(
        self, rows: NDArray[np.intp], packets: NDArray[np.uint8], lengths: NDArray[np.int32] | None = None
    ) -> NDArray[np.bool_]:
        return np.ones(len(rows), bool)

    def send_rtcp(self, stream: Stream, data: bytes) -> bool:
        return True

    def send_reports(self, rows: NDArray[np.intp], packets: NDArray[np.uint8]) -> None:
        pass

    def send_datagram(self, stream: Stream, data: bytes) -> bool:
        return True

    def watch(self, fd: int, mask: int, handler: object) -> None:
        pass

    def forget(self, fd: int) -> None:
        pass


def warm_up() -> str:
    """Returns what went wrong, or nothing: it keeps no worker from its work."""
    stale = ""
    try:
        try:
            _run()
        except compiled.Stale as error:  # then by NumPy
            stale = f"{error}; `trunkline doctor` names the cure"
            _run()
        _load_opus()
        _load_websocket()
    except Exception:  # noqa: BLE001 - see above
        return f"warm-up failed:\n{traceback.format_exc()}"
    return stale


def _run() -> None:
    now = [1_000_000_000_000]
    table, nowhere = Table(Columns(4)), _Nowhere()
    engine = Engine(
        table, nowhere, nowhere, lambda: now[0], lambda message: None, random.Random(1), jitter=TargetParams()
    )
    with contextlib.suppress(libsrtp.SrtpUnavailable):  # a call that needs it says so
        libsrtp.load()
    streams = []
    for number in range(2):  # one row is not treated as several are
        stream = table.take(_start(number), None, None)  # type: ignore[arg-type] # nothing reads them
        engine.start(stream, now[0])  # nobody listens at its agent's address
        stream.accepted = True
        engine.agents.on_accepted(stream, now[0], Accepted(stream.channel))
        streams.append(stream)
    rows = np.array([stream.row for stream in streams], np.intp)
    speech = (np.sin(np.arange(640) / 7) * 8000).astype(np.int16)
    for number in range(PACKETS):
        now[0] += PTIME_NS
        # Some are lost and some come in the wrong order.
        numbers = [] if number % 10 in (3, 4, 7) else [number, number - 1] if number % 10 == 8 else [number]
        for sequence in numbers:
            engine.receive(_batch(rows, sequence), now[0])
        if number % 7 < 5:
            engine.playback.push(rows, np.stack([speech[: 320 + number % 2]] * len(rows)), now[0])
        engine.tick(now[0])
    for stream in streams:
        engine.stop(stream, "", now[0])
    voicing(np.zeros((1, span_samples(8000)), np.int16), 8000)


def _load_opus() -> None:
    """The library is looked for and loaded at the first use; a machine without it is told when a call needs it."""
    with contextlib.suppress(ValueError):
        opus, row = open_codec("OPUS", 1, 16000), np.zeros(1, np.intp)
        payload, lengths = opus.encode(row, np.zeros((1, 320), np.int16))
        if lengths is not None:
            opus.decode_variable(row, payload, lengths, 320)


def _load_websocket() -> None:
    """The library takes 150 ms to import, the first context of OpenSSL 16 ms to make."""
    link = create_link("twilio", LinkSettings(url="ws://nobody.invalid/", sample_rate_hz=8000))
    link.connected(0)
    link.receive(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 0)
    new_context("", verify=False)


def _start(number: int) -> control.StartStream:
    media = MediaDescription(
        "PCMU", 0, 0, *PEER, PEER[0], PEER[1] + 1, 20, send_dtmf_pt=101, receive_dtmf_pt=101
    )
    info = control.CallInfo(str(uuid.UUID(int=number)), "inbound", "", "", "", "")
    return control.StartStream(info, media, control.AgentParams("", "unix:/dev/null/nobody", "trunkline"))


def _batch(rows: NDArray[np.intp], sequence: int) -> Batch:
    packets = np.zeros((len(rows), PACKET_BYTES), np.uint8)
    payload = bytes((sequence * 31 + i * i) % 256 for i in range(160))
    data = bytes(Packet(0, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, 1, payload))
    packets[:, : len(data)] = np.frombuffer(data, np.uint8)
    lengths = np.full(len(rows), len(data), np.int32)
    return Batch(rows, packets, lengths, np.ones(len(rows), bool), [PEER] * len(rows))
