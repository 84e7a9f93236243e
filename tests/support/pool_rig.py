# SPDX-License-Identifier: GPL-2.0-or-later
"""A pool of fake workers, and what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pathlib
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from support.ports import free_block
from trunkline.gateway.media import control
from trunkline.gateway.media.pool import MediaPool
from trunkline.gateway.media.ports import PortPool
from trunkline.rtp.negotiation import MediaDescription

TESTS = pathlib.Path(__file__).resolve().parents[1]
PROGRAM = (sys.executable, str(TESTS / "gateway" / "media_pool" / "fake_worker.py"))
MEDIA = MediaDescription("PCMU", 0, 0, "127.0.0.1", 4000, "127.0.0.1", 4001, 20)
AGENT = control.AgentParams("echo", "unix:/nowhere", "trunkline")


class Seen:
    """What the pool reported."""

    def __init__(self) -> None:
        self.messages: list[control.Message] = []
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def of(self, kind: type[control.Message]) -> list[Any]:
        return [message for message in self.messages if isinstance(message, kind)]

    def named(self, name: str) -> list[Mapping[str, Any]]:
        return [data for event, data in self.events if event == name]


async def until(condition: Callable[[], Any], within_s: float = 10.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running(
    workers: int = 1, options: tuple[str, ...] = (), *, max_calls: int = 100, max_load: float = 0
) -> AsyncIterator[tuple[MediaPool, Seen]]:
    """A pool of fake workers, ended afterwards without a trace."""
    seen = Seen()
    pool = MediaPool(
        workers, max_calls, options, program=PROGRAM, max_load=max_load, on_message=seen.messages.append,
        on_event=lambda name, data: seen.events.append((name, data)),
    )  # fmt: skip
    await pool.start()
    pids = pool.pids
    try:
        yield pool, seen
    finally:
        await pool.stop()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


def start_of(**metadata: str) -> control.StartStream:
    call_id = str(uuid.uuid4())
    info = control.CallInfo(call_id, "inbound", "100", "600", "pbx", "all", metadata=metadata)
    return control.StartStream(info, MEDIA, AGENT)


_block = free_block(200)
ports = PortPool("127.0.0.1", _block[0], _block[-1])


def open_fds() -> int:
    gc.collect()  # a table's memory is unmapped, and its descriptor closed, with the last view of it
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))
