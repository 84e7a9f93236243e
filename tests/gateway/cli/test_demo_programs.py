# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's programs: its configuration, its children, the caller's voice, and all of it together."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from trunkline.gateway.config import load
from trunkline.gateway.demo import advice
from trunkline.gateway.demo.errors import DemoError
from trunkline.gateway.demo.live import PLAIN_EVERY_S, Show, bars
from trunkline.gateway.demo.processes import Child, trunkline_command
from trunkline.gateway.demo.recording import Recording
from trunkline.gateway.demo.speech import load_clip
from trunkline.gateway.demo.stage import free_port, sip_answers, staged

whole_call = pytest.mark.skipif(
    shutil.which("sipp") is None or importlib.util.find_spec("pjsua2") is None, reason="needs SIPp and pjsua2"
)


def test_the_configuration_is_valid_and_private(tmp_path):
    """It admits this machine only, its token is the client's, and nobody else can read any of it."""
    with staged(None, 0, 0, tmp_path) as stage:
        config = load(stage.config_file)
        assert config.warnings == []
        assert config.trunks[0].match == ["127.0.0.0/8"] and config.routes[0].agent == "echo"
        assert {t.bind for t in config.sip.transports} == {"127.0.0.1"} and config.media.bind == "127.0.0.1"
        assert {t.protocol for t in config.sip.transports} == {"udp", "tcp"}
        assert (
            stage.folder.stat().st_mode & 0o777 == 0o700 and stage.token_file.stat().st_mode & 0o777 == 0o600
        )
        folder = stage.folder
    assert not folder.exists()


@pytest.mark.parametrize(
    ("lan", "sentence"), [("nonsense", "wants an IPv4 address"), ("192.0.2.77", "no address of")]
)
def test_a_wrong_lan_address_is_told_before_anything_starts(tmp_path, lan, sentence):
    """Nothing to clean up, one sentence to read."""
    with pytest.raises(DemoError, match=sentence), staged(lan, 0, 0, tmp_path):
        pass


def test_a_lan_address_admits_its_network(tmp_path):
    """Loopback has an address that can stand for a LAN's."""
    with staged("127.0.0.2/30", 0, 0, tmp_path) as stage:
        config = load(stage.config_file)
        assert config.trunks[0].match == ["127.0.0.0/30"] and config.media.advertise == "127.0.0.2"


def test_a_long_tmpdir_does_not_make_the_sockets_path_too_long(tmp_path, monkeypatch):
    """108 bytes is all that a Unix socket's path may have."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with staged(None, 0, 0, tmp_path) as stage:
        assert len(str(stage.agent_socket)) < 108


def test_a_port_in_use_is_passed_over():
    """The wanted one if it is free, for UDP too if asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port, both=True) != port
        assert free_port("127.0.0.1", port) == port


def test_sip_answers_only_where_somebody_does():
    """An OPTIONS goes out; anything that is SIP counts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(2)
        port = peer.getsockname()[1]
        seen = []

        def answer():
            request, source = peer.recvfrom(4096)
            seen.append(request)
            peer.sendto(b"SIP/2.0 403 Forbidden\r\n\r\n", source)

        thread = threading.Thread(target=answer)
        thread.start()
        assert sip_answers("127.0.0.1", port)
        thread.join()
        assert seen[0].startswith(b"OPTIONS sip:") and seen[0].endswith(b"\r\n\r\n")
    assert not sip_answers("127.0.0.1", port)


def test_a_child_that_fails_is_told_with_the_end_of_its_log(tmp_path):
    """Exit code, last lines, and no waiting for what will never come."""
    command = [sys.executable, "-c", "print(*range(30), sep='\\n'); raise SystemExit('no port')"]
    child = Child("the thing", command, tmp_path / "log")
    started = time.monotonic()
    with pytest.raises(DemoError, match="the thing ended with exit code 1") as failure:
        child.wait_until(lambda: False, 20, "start")
    assert time.monotonic() - started < 10
    assert failure.value.log.splitlines()[-1] == "no port" and len(failure.value.log.splitlines()) == 12
    child.stop()


def test_a_child_that_does_not_listen_to_sigterm_is_killed(tmp_path):
    """Nothing is left behind."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    child = Child("stubborn", [sys.executable, "-c", code], tmp_path / "log")
    child.wait_until(lambda: "on" in child.tail(), 10, "start")
    child.stop(timeout_s=0.3)
    assert child.process.returncode == -signal.SIGKILL


def test_a_program_that_does_not_exist_is_a_sentence(tmp_path):
    """Not a traceback."""
    with pytest.raises(DemoError, match="cannot be started"):
        Child("sipp", ["/no/such/program"], tmp_path / "log")


def test_the_voice_speaks_in_time_and_keeps_what_it_hears(tmp_path):
    """Against an echo in this process: 25 packets, 20 ms apart, all recorded both ways."""
    (tmp_path / "clip").write_bytes(load_clip()[8000:12_000].tobytes())
    command = [sys.executable, "-m", "trunkline.gateway.demo.talker", "--host", "127.0.0.1"]
    command += ["--clip", str(tmp_path / "clip"), "--record", str(tmp_path / "r.npz")]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talker,
    ):
        echo.bind(("127.0.0.1", 0))
        echo.settimeout(5)
        assert talker.stdin is not None and talker.stdout is not None
        port = json.loads(talker.stdout.readline())["port"]
        assert port % 2 == 0
        talker.stdin.write(json.dumps({"host": "127.0.0.1", "port": echo.getsockname()[1]}) + "\n")
        talker.stdin.flush()
        for _ in range(25):
            packet, source = echo.recvfrom(2048)
            assert len(packet) == 172 and packet[0] == 0x80 and source == ("127.0.0.1", port)
            echo.sendto(packet, source)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(packet, source)  # from another port: not heard
        reports = [json.loads(line) for line in talker.stdout]
        assert talker.wait(5) == 0
    record = Recording.load(tmp_path / "r.npz")
    assert reports[-1]["sent"] == reports[-1]["received"] == 25 and 0 < reports[-1]["said"] <= 1
    assert len(record.sent_ns) == len(record.received_ns) == 25 and record.lost == 0
    assert np.array_equal(record.heard(), record.said)
    assert np.diff(record.sent_ns).mean() == pytest.approx(20e6, rel=0.02)
    assert (record.received_ns >= record.sent_ns).all()


def test_the_voice_ends_with_its_parent(tmp_path):
    """Standard input closes: no orphan goes on talking."""
    (tmp_path / "clip").write_bytes(load_clip().tobytes())
    command = [sys.executable, "-m", "trunkline.gateway.demo.talker", "--host", "127.0.0.1"]
    command += ["--clip", str(tmp_path / "clip"), "--record", str(tmp_path / "r.npz")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as talker:
        assert talker.stdin is not None and talker.stdout is not None
        talker.stdout.readline()
        talker.stdin.write('{"host": "127.0.0.1", "port": 9}\n')
        talker.stdin.flush()
        talker.stdout.readline()
        talker.stdin.close()
        started = time.monotonic()
        talker.wait(5)
        assert time.monotonic() - started < 2


def test_where_nobody_looks_a_line_each_two_seconds_is_enough(capsys):
    """And one at each change of state."""
    show = Show(Console(width=200))
    progress = {"sent": 0, "received": 0}
    with show:
        for _ in range(5):
            show.update(None, progress, [], 9.0)
    assert capsys.readouterr().out.count("dialling") == 1 and PLAIN_EVERY_S >= 1
    assert bars([0.0, 0.3, 1.0]) == "  █"


def test_the_advice_names_this_gateway():
    """Snippets can be pasted: they have the address."""
    for _, _, text in advice.snippets("192.0.2.1", 5062):
        assert "192.0.2.1:5062" in text
    assert all("--token-file /x/token" in command for command in advice.commands(8071, Path("/x/token")))
    assert "everybody else is refused" in advice.who_may_call("127.0.0.1", "127.0.0.0/8", lan=False)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A TMPDIR with a short name, as a socket's path needs, that nobody else uses."""
    with tempfile.TemporaryDirectory(prefix="d-") as folder:
        yield Path(folder)


def demo_process(tmp_path: Path, scratch: Path, *arguments: str) -> subprocess.Popen[str]:
    """`trunkline demo` on free ports."""
    command = trunkline_command("demo", "--sip-port", "0", "--api-port", "0", "--seconds", "3")
    return subprocess.Popen(
        [*command, "--out", str(tmp_path / "out"), *arguments],
        env={**os.environ, "TMPDIR": str(scratch)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@whole_call
def test_the_demo_hears_its_own_voice_through_the_gateway(tmp_path, scratch):
    """A real call: exit 0, a WAV with the speech in it, a picture, and nothing left behind."""
    with demo_process(tmp_path, scratch, "--once") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "The call worked" in output and "ended by caller_hangup" in output
    with wave.open(str(tmp_path / "out" / "heard.wav")) as file:
        heard = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    assert len(heard) >= 3 * 8000 and np.sqrt((heard**2).mean()) > 500
    assert list(scratch.iterdir()) == []


@whole_call
def test_sigterm_in_the_middle_of_the_call_clears_everything_away(tmp_path, scratch):
    """Both programs and the folder are gone when the demo is."""
    with demo_process(tmp_path, scratch, "--once") as process:
        assert process.stdout is not None
        pids = []
        for line in process.stdout:
            pids += [int(line.split("(process ")[1].split(",")[0])] if "(process " in line else []
            if line.strip().startswith("up"):
                break
        process.terminate()
        rest, _ = process.communicate(timeout=20)
    assert process.returncode == 130 and "everything is cleared away" in rest
    assert len(pids) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(scratch.iterdir()) == []
