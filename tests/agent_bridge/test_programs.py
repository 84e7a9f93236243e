# SPDX-License-Identifier: MIT
"""Agents as programs: the snippets of the SDK's README, and `trunkline agent echo`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

import trunkline.agent_bridge
from trunkline.agent_bridge.testing import GatewayDouble

README = Path(trunkline.agent_bridge.__file__).with_name("README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
(ECHO,) = [snippet for snippet in SNIPPETS if "async def echo" in snippet and "serve(" in snippet]
(TEST,) = [snippet for snippet in SNIPPETS if "async def test_echo" in snippet]
ECHO_COMMAND = "import sys; from trunkline.gateway.cli import main; sys.argv[0] = 'trunkline'; main()"
NOISE = np.random.default_rng(7).integers(-32768, 32767, 16000, np.int16)


@contextlib.asynccontextmanager
async def running(
    code: str, *arguments: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python program, terminated at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, **environment},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_echo_agent_of_the_readme_runs_and_is_under_15_lines(tmp_path, until):
    """As it is printed, but for the path of the socket."""
    assert len(ECHO.strip().splitlines()) < 15
    path = tmp_path / "echo.sock"
    async with running(ECHO.replace("/run/trunkline/echo.sock", str(path))):
        await until(path.exists)
        async with GatewayDouble.to(f"unix:{path}") as gateway:
            call = await gateway.call()
            call.say(NOISE)
            assert (await call.hear(len(NOISE)) == NOISE).all()


async def test_test_of_the_readme_passes():
    """The example for the gateway's double."""
    async with running(TEST) as process:
        _, error = await process.communicate()
        assert (process.returncode, error) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_echo_command_says_where_it_listens_and_ends_cleanly(tmp_path, number):
    """Samples come back; a signal hangs up, removes the socket and exits 0."""
    path = tmp_path / "s"
    async with running(ECHO_COMMAND, "agent", "echo", "--listen", f"unix:{path}") as process:
        assert await process.stdout.readline() == f"echo agent (trunkline) listens on unix:{path}\n".encode()
        async with GatewayDouble.to(f"unix:{path}") as gateway:
            call = await gateway.call()
            call.say(NOISE)
            assert (await call.hear(len(NOISE)) == NOISE).all()
            process.send_signal(number)
            await gateway.until(lambda: gateway.failure is not None, "the end")
        _, error = await process.communicate()
        assert (process.returncode, error) == (0, b"")
    assert not path.exists()


async def test_echo_command_with_delay_token_and_tcp(tmp_path):
    """What was said comes back later, and only to a gateway that knows the token."""
    async with running(
        ECHO_COMMAND,
        "agent",
        "echo",
        "--listen",
        "tcp:0",
        "--delay-ms",
        "300",
        TRUNKLINE_AGENT_TOKEN="s3cret",
    ) as process:
        where = (await process.stdout.readline()).split()[-1].decode()
        with pytest.raises(ConnectionError, match="token"):
            await GatewayDouble.to(where).__aenter__()
        async with GatewayDouble.to(where, token="s3cret") as gateway:
            call = await gateway.call()
            loop = asyncio.get_running_loop()
            began = loop.time()
            call.say(NOISE[:320])
            assert (await call.hear(320) == NOISE[:320]).all()
            assert 0.28 < loop.time() - began < 3


async def test_echo_command_in_audiosocket(tmp_path):
    """The same agent for a plain Asterisk."""
    arguments = ["agent", "echo", "--listen", f"unix:{tmp_path}/s", "--dialect", "audiosocket"]
    async with running(ECHO_COMMAND, *arguments) as process:
        await process.stdout.readline()
        async with GatewayDouble.to(
            f"unix:{tmp_path}/s", dialect="audiosocket", sample_rate_hz=8000
        ) as gateway:
            call = await gateway.call(sample_rate_hz=8000)
            call.say(NOISE[:1600])
            assert (await call.hear(1600) == NOISE[:1600]).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--listen", "/tmp/x"], "did you mean 'unix:/tmp/x'"),
        (["--listen", "unix:/nowhere/at/all/s"], "no folder /nowhere/at/all"),
        (["--dialect", "smoke-signals"], "one of trunkline, audiosocket"),
    ],
)
async def test_echo_command_explains_what_is_wrong(arguments, says):
    """One line and exit code 1, no traceback."""
    async with running(ECHO_COMMAND, "agent", "echo", *arguments) as process:
        _, error = await process.communicate()
        assert process.returncode == 1
        assert says in error.decode()
        assert "Traceback" not in error.decode()
