# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline run`: what it says, how it fails, how it stops."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from support.ports import free_block, free_port
from trunkline.gateway.media import compiled

pytest.importorskip("pjsua2")

TRUNKLINE = str(pathlib.Path(sys.executable).with_name("trunkline"))


def write_config(folder: pathlib.Path, sip_port: int, api_port: int, extra: str = "") -> pathlib.Path:
    path, rtp = folder / "trunkline.toml", free_block(100)
    path.write_text(
        f"""
[[sip.transport]]
port = {sip_port}
[media]
port_range = [{rtp[0]}, {rtp[-1]}]
workers = 1
{extra}
[api]
port = {api_port}
[state]
dir = "{folder}/state"
[[trunk]]
name = "pbx"
match = ["127.0.0.1"]
[[agent]]
name = "echo"
address = "unix:{folder}/echo.sock"
[[agent]]
name = "second"
address = "unix:{folder}/second.sock"
[[route]]
name = "all"
agents = ["echo", "second"]
"""
    )
    return path


def environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name != "TRUNKLINE_API_TOKEN"}
    return {**env, "PYTHONUNBUFFERED": "1"}


def attempt(config: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run it where it must fail."""
    return subprocess.run(
        [TRUNKLINE, "run", "--config", str(config)],
        capture_output=True, text=True, timeout=60, env=environment(), check=False,
    )  # fmt: skip


@contextlib.contextmanager
def running(config: pathlib.Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run it until its banner is complete; yields process and banner."""
    with (config.parent / "log").open("w") as log:
        process = subprocess.Popen(
            [TRUNKLINE, "run", "--config", str(config), "--drain-timeout", "5"],
            stdout=subprocess.PIPE, stderr=log, text=True, env=environment(),
        )  # fmt: skip
    assert process.stdout is not None
    banner = []
    try:
        while "API" not in "".join(banner):
            line = process.stdout.readline()
            assert line, (config.parent / "log").read_text()
            banner.append(line)
        yield process, banner
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_says_what_runs_and_stops_when_told(tmp_path: pathlib.Path) -> None:
    """The banner names everything but the token; the state folder is the owner's; SIGTERM ends all with 0."""
    sip_port, api_port = free_port(), free_port()
    with running(write_config(tmp_path, sip_port, api_port)) as (process, banner):
        text = "".join(banner)
        for fact in (
            f"udp 127.0.0.1:{sip_port}",
            "pbx",
            "all -> echo or second",
            str(tmp_path / "echo.sock"),
            str(api_port),
        ):
            assert fact in text
        token_file = tmp_path / "state" / "api-token"
        assert str(token_file) in text
        token = token_file.read_text().strip()
        assert token not in text
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        assert stat.S_IMODE(token_file.parent.stat().st_mode) == 0o700
        headers = {"Authorization": f"Bearer {token}"}
        status = httpx.get(f"http://127.0.0.1:{api_port}/v1/status", headers=headers, trust_env=False).json()
        assert (status["calls"], status["workers"]["ready"], status["trunks"]) == (0, 1, ["pbx"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        for pid in status["workers"]["pids"]:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
    log = (tmp_path / "log").read_text()
    assert token not in log
    assert re.search(rf"gateway\.started .*\bkernels={compiled.in_use()}\b", re.sub(r"\x1b\[\d*m", "", log)), log


@pytest.mark.parametrize("taken", ["sip", "api"])
def test_a_port_that_is_taken_is_one_line_with_its_cure_and_exit_code_1(
    taken: str, tmp_path: pathlib.Path
) -> None:
    """No traceback; what was started is stopped again."""
    sip_port, api_port = free_port(), free_port()
    with socket.socket(
        socket.AF_INET, socket.SOCK_DGRAM if taken == "sip" else socket.SOCK_STREAM
    ) as stranger:
        stranger.bind(("127.0.0.1", sip_port if taken == "sip" else api_port))
        if taken == "api":
            stranger.listen()
        result = attempt(write_config(tmp_path, sip_port, api_port))
    assert result.returncode == 1
    [line] = [line for line in result.stderr.splitlines() if line.startswith("trunkline: ")]
    assert str(sip_port if taken == "sip" else api_port) in line
    assert "Traceback" not in result.stderr


def test_a_mistake_in_the_configuration_is_told_with_its_place_and_exit_code_2(
    tmp_path: pathlib.Path,
) -> None:
    """File, line, key, and what was probably meant."""
    result = attempt(write_config(tmp_path, free_port(), free_port(), "jitter_max = 100"))
    assert result.returncode == 2
    assert "trunkline.toml:7: media.jitter_max" in result.stderr
    assert "jitter_max_ms" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_not_there_is_told(tmp_path: pathlib.Path) -> None:
    """The commonest mistake of all."""
    result = attempt(tmp_path / "nowhere.toml")
    assert result.returncode == 2
    assert "nowhere.toml" in result.stderr
    assert "Traceback" not in result.stderr
