# SPDX-License-Identifier: MIT
"""The examples of the SDK, run as they stand, as programs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

import trunkline.agent_bridge
from trunkline.agent_bridge import link_events as said
from trunkline.agent_bridge.conformance import check
from trunkline.agent_bridge.testing import GatewayDouble

FOLDER = Path(trunkline.agent_bridge.__file__).with_name("examples")
VOICE = np.random.default_rng(7).integers(-9000, 9000, 16000, np.int16)


def listens(path: Path) -> bool:
    """The file is there a moment before anybody may connect."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextlib.asynccontextmanager
async def example(name: str, folder: Path, until) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """One of them as a program that listens, and its address."""
    path = folder / f"{name}.sock"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(FOLDER / f"{name}.py"), f"unix:{path}", cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    try:
        await until(lambda: listens(path))
        yield process, f"unix:{path}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("name", ["listen", "echo", "barge_in"])
def test_each_fits_on_one_screen(name):
    """50 lines of 100 characters, imports and docstring included."""
    lines = (FOLDER / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 110


def test_the_readme_shows_the_one_that_can_be_interrupted():
    """As it is in the folder, but for the licence line."""
    shown = FOLDER.with_name("README.md").read_text()
    assert (FOLDER / "barge_in.py").read_text().split("\n", 1)[1] in shown


async def test_listen_writes_what_it_hears(tmp_path, until):
    """Every sample, in a file that others can read."""
    async with example("listen", tmp_path, until) as (process, where), GatewayDouble.to(where) as gateway:
        call = await gateway.call(call_id="a-call")
        call.say(VOICE)
        call.hang_up()
        assert await process.stdout.readline() == b"caller: a-call.wav\n"
        with wave.open(str(tmp_path / "a-call.wav")) as file:
            assert (file.getframerate(), file.getnchannels()) == (16000, 1)
            assert (np.frombuffer(file.readframes(16000), "<i2") == VOICE).all()


async def test_echo_repeats(tmp_path, until):
    """Every sample."""
    async with example("echo", tmp_path, until) as (_, where), GatewayDouble.to(where) as gateway:
        call = await gateway.call()
        call.say(VOICE)
        assert (await call.hear(16000) == VOICE).all()


async def test_barge_in_says_back_what_it_heard_and_knows_what_was_heard_of_it(tmp_path, until):
    """Interrupted after 240 ms; its state is with the gateway."""
    async with example("barge_in", tmp_path, until) as (process, where), GatewayDouble.to(where) as gateway:
        call = await gateway.call(playback="manual")
        call.speak(VOICE)
        call.stop_speaking()
        assert (await call.hear(16000) == VOICE).all()
        call.play_out(240)
        call.speak(VOICE[:8000])
        await call.event(said.Clear)
        call.stop_speaking()
        assert await process.stdout.readline() == b"interrupted after 240 of 1000 ms\n"
        await call.event(said.Variables, 2)
        assert (call.saved, call.variables) == (b"2", {"turns": "2"})


async def test_an_agent_that_is_told_to_leave_hands_its_call_over(tmp_path, until):
    """SIGTERM: no hang-up, exit code 0; the next one goes on counting where the first was."""
    async with example("barge_in", tmp_path, until) as (process, where):
        async with GatewayDouble.to(where) as gateway:
            call = await gateway.call()
            call.speak(VOICE)
            call.stop_speaking()
            await call.event(said.State)
            process.send_signal(signal.SIGTERM)
            await gateway.until(lambda: gateway.failure is not None, "the end")
        assert not [e for e in call.said if isinstance(e, said.Hangup)]
        assert await process.wait() == 0
    assert not list(tmp_path.glob("*.sock"))
    async with example("barge_in", tmp_path, until) as (_, where), GatewayDouble.to(where) as gateway:
        new = await call.hand_over(gateway)
        new.speak(VOICE)
        new.stop_speaking()
        assert (await new.event(said.State)).data == b"2"


async def test_the_one_that_can_be_interrupted_takes_over_a_call_with_a_state_that_is_not_its_own(tmp_path, until):
    """As of an agent of another version: it counts from none, and does not drop the call."""
    async with example("barge_in", tmp_path, until) as (_, address):
        report = await check(address, only=["hand-over"])
    assert report.passed, report.text()
