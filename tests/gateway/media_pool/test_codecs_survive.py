# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls with codecs that have a state, in real worker processes, one of which is killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import pathlib
import signal
import socket
import time
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from support.echo_process import EchoProcess
from support.pool_rig import Seen, ports, start_of, until
from trunkline.codecs.registry import AudioCodec, open_codec
from trunkline.gateway.media import control
from trunkline.gateway.media.pool import MediaPool
from trunkline.rtp.negotiation import MediaDescription
from trunkline.rtp.packet import Packet
from trunkline.rtp.payload import AUDIO_FORMATS

ROW = np.zeros(1, np.intp)
PT = 96
ENOUGH = 75
"Packets: 1.5 s of a call."


class Phone:
    """Speaks a tone each 20 ms, and keeps what comes back."""

    def __init__(self, codec: str) -> None:
        self.clock_ts = AUDIO_FORMATS[codec].clock_hz // 50
        self.name, self._codec = codec, open_codec(codec, 1)
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)
        self.heard: list[Packet] = []
        self._number = 0

    def media(self) -> MediaDescription:
        port = self.sock.getsockname()[1]
        return MediaDescription(self.name, PT, PT, "127.0.0.1", port, "127.0.0.1", 0, 20)

    async def talk(self, port: int, until: Callable[[], object], within_s: float = 20) -> None:
        """A packet each 20 ms, until something has happened."""
        begun = time.monotonic()
        for number in itertools.count():
            if until():
                return
            assert number < within_s * 50, "did not happen in time"
            await asyncio.sleep(max(0.0, begun + number * 0.02 - time.monotonic()))
            rate = self._codec.sample_rate_hz
            samples = np.arange(rate // 50) + self._number * (rate // 50)
            payload, lengths = self._codec.encode(
                ROW, (8000 * np.sin(2 * np.pi * 1000 * samples / rate)).astype(np.int16)[None]
            )
            data = payload[0, : None if lengths is None else int(lengths[0])].tobytes()
            packet = Packet(PT, self._number, self._number * self.clock_ts, 9, data)
            self.sock.sendto(bytes(packet), ("127.0.0.1", port))
            self._number += 1
            self._listen()

    def _listen(self) -> None:
        while True:
            try:
                self.heard.append(Packet.parse(self.sock.recv(2048)))
            except BlockingIOError:
                return


def tone_share(codec: AudioCodec, packets: list[Packet]) -> float:
    """Of the power of a packet, the share that is the tone; of the best half of them, as a busy machine makes gaps."""
    pieces = []
    for packet in packets:
        data = np.frombuffer(packet.payload, np.uint8)[None]
        if codec.variable:
            lengths = np.array([data.shape[1]], np.int32)
            pieces.append(codec.decode_variable(ROW, data, lengths, int(codec.durations(data, lengths)[0]))[0])
        else:
            pieces.append(codec.decode(ROW, data)[0])
    sound = np.stack(pieces).astype(float)
    samples = sound.shape[1]
    wave = np.exp(-2j * np.pi * 1000 * np.arange(samples) / codec.sample_rate_hz)
    tone = (2 * np.abs(sound @ wave) / samples) ** 2 / 2
    return float(np.quantile(tone / np.maximum(np.mean(sound**2, axis=1), 1), 0.75))


@pytest.mark.parametrize("codec", ["OPUS", "G722"])
def test_a_call_goes_on_when_its_worker_is_killed(codec: str, tmp_path: pathlib.Path) -> None:
    """The same SSRC, numbers that go on, and the tone is a tone again: the codec starts anew, the call does not."""
    agent = control.AgentParams("echo", f"unix:{tmp_path}/echo", "trunkline")
    phone, seen = Phone(codec), Seen()

    async def scenario() -> int:
        pool = MediaPool(
            1, 10, ("--opus-complexity", "3"), on_message=seen.messages.append,
            on_event=lambda name, data: seen.events.append((name, data)),
        )  # fmt: skip
        await pool.start()
        pair = ports.acquire()
        pool.start_stream(msgspec.structs.replace(start_of(), media=phone.media(), agent=agent), pair)
        await until(lambda: seen.of(control.StreamReady))
        await phone.talk(pair.rtp_port, lambda: len(phone.heard) >= ENOUGH and pool.spare_pid)
        before = len(phone.heard)
        os.kill(pool.pids[0], signal.SIGKILL)
        await phone.talk(pair.rtp_port, lambda: seen.named("worker.restarted"))
        assert seen.named("worker.died")
        enough = len(phone.heard) + ENOUGH
        await phone.talk(pair.rtp_port, lambda: len(phone.heard) >= enough)
        await pool.stop()
        pair.release()
        return before

    with EchoProcess(agent.address), phone.sock:
        before = asyncio.run(scenario())
    assert not seen.of(control.StreamFailed)
    assert len({packet.ssrc for packet in phone.heard}) == 1
    numbers = np.array([packet.sequence for packet in phone.heard])
    stamps = np.array([packet.timestamp for packet in phone.heard], np.uint32)
    assert (np.diff(numbers) > 0).all(), "no number is used twice"
    assert (np.diff(stamps).astype(np.int32) % phone.clock_ts == 0).all()
    assert tone_share(open_codec(codec, 1), phone.heard[before - 30 : before]) > 0.9
    assert tone_share(open_codec(codec, 1), phone.heard[-30:]) > 0.9
