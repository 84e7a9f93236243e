# SPDX-License-Identifier: GPL-2.0-or-later
"""What a peer reports at the end of a call, just before its BYE, in a real worker process."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import socket
import struct

import msgspec

from support.echo_process import EchoProcess
from support.pool_rig import Seen, ports, start_of, until
from trunkline.gateway.media import control
from trunkline.gateway.media.pool import MediaPool
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.packet import Packet

LOST, CALLS, SSRC = 7, 3, 9


def receiver_report(ours: int, highest: int) -> bytes:
    """RFC 3550, 6.4.2: one block."""
    block = struct.pack("!IIIIII", ours, 64 << 24 | LOST, highest, 80, 0, 0)
    return struct.pack("!BBHI", 0x81, 201, 7, SSRC) + block


async def talk(rtp: socket.socket, port: int) -> Packet:
    """Silence each 20 ms, until a few packets have come back; returns the last."""
    heard: list[Packet] = []
    for number in range(500):
        packet = Packet(0, number, number * 160, SSRC, b"\xff" * 160)
        rtp.sendto(bytes(packet), ("127.0.0.1", port))
        await asyncio.sleep(0.02)
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(Packet.parse(rtp.recv(2048)))
        if len(heard) >= 10 and number >= 10:
            return heard[-1]
    raise AssertionError("nothing came back in 10 s")


def bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def test_the_last_report_is_in_the_figures_of_the_call(tmp_path: pathlib.Path) -> None:
    """It comes a moment before the end: RTCP can wait, but not for longer than its call."""
    agent = control.AgentParams("echo", f"unix:{tmp_path}/echo", "trunkline")
    seen = Seen()

    async def call(pool: MediaPool, rtp: socket.socket, rtcp: socket.socket) -> float:
        (_, rtp_port), (_, rtcp_port) = rtp.getsockname(), rtcp.getsockname()
        media = MediaDescription("PCMU", 0, 0, "127.0.0.1", rtp_port, "127.0.0.1", rtcp_port, 20)
        start = msgspec.structs.replace(start_of(), media=media, agent=agent)
        pair = ports.acquire()
        pool.start_stream(start, pair)
        call_id, ended = start.info.call_id, len(seen.of(control.StreamEnded))
        await until(lambda: call_id in [ready.call_id for ready in seen.of(control.StreamReady)])
        last = await talk(rtp, pair.rtp_port)
        rtcp.sendto(receiver_report(last.ssrc, last.sequence), ("127.0.0.1", pair.rtp_port + 1))
        pool.stop_stream(call_id, "bye")
        await until(lambda: len(seen.of(control.StreamEnded)) > ended)
        pair.release()
        return float(seen.of(control.StreamEnded)[-1].stats["peer_lost"])

    async def scenario() -> list[float]:
        pool = MediaPool(1, 10, (), on_message=seen.messages.append, on_event=lambda name, data: None)
        await pool.start()
        lost = []
        for _ in range(CALLS):
            with bound() as rtp, bound() as rtcp:
                lost.append(await call(pool, rtp, rtcp))
        await pool.stop()
        return lost

    with EchoProcess(agent.address):
        assert asyncio.run(scenario()) == [LOST] * CALLS
