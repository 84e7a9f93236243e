# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline bench`: small real runs, and words for whoever cannot have one."""

from __future__ import annotations

import json
import resource
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from trunkline.gateway.bench import build, generating, lossy, machine, session
from trunkline.gateway.bench.errors import BenchError
from trunkline.gateway.bench.plan import Plan
from trunkline.gateway.cli import bench as command
from trunkline.gateway.cli.app import build_app

NEEDS_CC = pytest.mark.skipif(build.compiler() is None, reason="no C compiler")


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    done = CliRunner().invoke(build_app(["bench"]), ["bench", *arguments])
    return done.exit_code, done.stdout, done.stderr


def undisturbed(*arguments: str) -> Any:
    """Figures of a run that had the machine; where others take it from the worker, packets are lost in earnest."""
    for _ in range(4):
        code, out, err = run(*arguments, "--json")
        assert code in (0, 3), err
        told = json.loads(out)
        runs = told if isinstance(told, list) else [told]
        if code == 0 or all(one["others_cpu_percent"] < 25 * one["machine"]["cores"] for one in runs):
            break
    assert "measuring" in err
    return told


def check(one: dict[str, Any], calls: int, dialect: str, codec: str = "PCMU", srtp: str = "") -> None:
    """Nothing was lost, and every figure is there and can be true; how fast, a busy machine decides."""
    assert (one["calls"], one["codec"], one["dialect"], one["seconds"]) == (calls, codec, dialect, 2.0)
    assert one["srtp"] == srtp
    assert one["lost_frames"] == 0, one
    assert (one["uplink"]["packets"], one["uplink"]["wrong"], one["uplink"]["unmatched_calls"]) == (
        pytest.approx(calls * 100, abs=calls), 0, 0,
    )  # fmt: skip
    assert one["uplink_ms"]["count"] + one["uplink"]["sent_too_late"] == one["uplink"]["packets"]
    assert one["downlink"]["packets"] == pytest.approx(calls * 100, abs=5 * calls)
    assert one["downlink"]["unmatched_calls"] == 0
    for way in ("uplink_ms", "downlink_ms"):
        assert 0 <= one[way]["p50"] <= one[way]["p99"] <= one[way]["p999"] <= one[way]["max"] < 2000
    assert one["uplink_ms"]["p50"] > 0
    cost = one["cpu_us_per_call_second"]
    assert set(cost) == {"media_worker", "generator", "agent", "bench"}
    assert 0 < cost["generator"] < cost["media_worker"] < 1e6 / calls
    assert 0 < one["rss_mb_per_call"] < 5
    assert one["machine"]["cores"] >= 1


@NEEDS_CC
def test_ten_calls_for_two_seconds_lose_nothing(tmp_path: Path) -> None:
    picture = tmp_path / "bench.png"
    check(undisturbed("--calls", "10", "--seconds", "2", "--plot", str(picture)), 10, "trunkline")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000


@NEEDS_CC
def test_several_numbers_of_calls_in_audiosocket() -> None:
    few, more = undisturbed("--calls", "3,10", "--seconds", "2", "--dialect", "audiosocket")
    assert (few["calls"], more["calls"]) == (3, 10)
    assert few["agent_rate_hz"] == 8000
    check(more, 10, "audiosocket")


@NEEDS_CC
@pytest.mark.parametrize("dialect", ["teler", "telnyx", "asterisk-websocket"])
def test_dialects_over_websocket(dialect: str) -> None:
    """PCM and mu-law in JSON, and PCM in binary messages: each packet is found again at the agent."""
    check(undisturbed("--calls", "5", "--seconds", "2", "--dialect", dialect), 5, dialect)


@NEEDS_CC
@pytest.mark.parametrize(
    ("codec", "srtp"),
    [
        ("G722", "AES_CM_128_HMAC_SHA1_32"), ("OPUS", "AEAD_AES_256_GCM"), ("L16/16000", "AES_256_CM_HMAC_SHA1_80"),
        ("L16/8000", "AES_CM_128_HMAC_SHA1_80"), ("OPUS", ""),
    ],
)  # fmt: skip
def test_each_kind_of_codec_and_srtp(codec: str, srtp: str) -> None:
    """A packet that is not authentic, or not what was said, would be lost."""
    more = ["--srtp", srtp.lower()] if srtp else []
    check(undisturbed("--calls", "5", "--seconds", "2", "--codec", codec, *more), 5, "trunkline", codec, srtp)


def test_without_a_compiler_a_generator_in_python_serves_few_calls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "compiler", lambda: None)
    one = undisturbed("--calls", "5", "--seconds", "2", "--codec", "OPUS")
    check(one, 5, "trunkline", "OPUS")
    assert "generator in Python" in one["remarks"][0]


def test_the_figures_for_a_person() -> None:
    code, out, err = run("--calls", "2", "--seconds", "1")
    assert code in (0, 3), err  # 3: a busy machine
    for words in ("media worker", "load generator", "to the agent", "to the caller", "kB per call", "p99.9"):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--calls", "many"], "takes a number, or several with commas"),
        (["--calls", "0"], "a run has 1 to"),
        (["--codec", "GSM"], "there are PCMU, PCMA"),
        (["--ptime", "25"], "--ptime 25: it is one of 10, 20"),
        (["--dialect", "smoke"], "--dialect 'smoke': it is one of trunkline, audiosocket"),
        (["--dialect", "telnyx", "--agent-rate", "16000"], "PCMU is of 8000 Hz, not 16000"),
        (["--agent-rate", "11025"], "--agent-rate 11025: it is one of 8000, 16000"),
        (["--seconds", "0.1"], "a run measures 1 to 3600"),
        (["--plot", "/nowhere/at/all.png"], "there is no folder /nowhere/at"),
        (["--plot", "bench.gif"], "ends in .png"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert code == 2 and words in err and not out


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft limit is raised; where the hard one is too low, the cure is told."""
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    machine.need_descriptors(200)
    assert raised == []
    machine.need_descriptors(3000)
    assert raised == [(3000, 4096)]
    with pytest.raises(
        BenchError, match=r"need 6200 open files, and this shell may have 4096: raise the limit"
    ):
        machine.need_descriptors(6200)


def test_many_calls_need_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "compiler", lambda: None)
    with pytest.raises(BenchError, match=r"apt install gcc .* up to 100 calls"):
        generating.generator_command(Plan(2000))


def test_a_compiler_that_fails_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "bad-cc"
    compiler.write_text("#!/bin/sh\necho 'stdint.h: No such file' >&2; exit 1\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(BenchError, match=r"could not build generator\.c:\nstdint\.h: No such file"):
        build.program(generating.SOURCE)
    assert not list((tmp_path / "trunkline" / "bench").iterdir()), "nothing is left behind"


@NEEDS_CC
def test_a_program_is_built_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = build.program(generating.SOURCE)
    monkeypatch.setattr(build, "compiler", lambda: None)
    assert build.program(generating.SOURCE) == first


def test_cpu_time_is_that_of_all_threads() -> None:
    """It grows while we work, and not by more than the time that passes on all cores."""
    meter = machine.Meter({})
    total = 0
    while meter.read().used_ns["bench"] < 50_000_000:
        total += sum(range(10_000))
    cpu = meter.read()
    assert cpu.used_ns["bench"] <= cpu.wall_s * 1e9 * machine.describe()["cores"] * 1.1  # type: ignore[operator]
    assert machine.cpu_ns(2**22 - 1) == 0


def test_a_search_reports_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Played: the figures of the best run, the limit, and every step with its verdict."""

    def measured(plan: Any, show: Any, *, quiet: bool) -> dict[str, Any]:
        late = 3.0 if plan.calls <= 300 else 8.0
        fine = {"lost": 0, "wrong": 0, "unmatched_calls": 0}
        return {
            "calls": plan.calls, "uplink_ms": {"p99": late}, "downlink_ms": {"p99": 1.0}, "uplink": fine,
            "downlink": fine, "cpu_us_per_call_second": {"media_worker": 400.0},
            "generator": {"behind_ms": {"p99": 0.1}, "unrecorded": 0, "send_errors": 0, "clock_drift_ms": 0.0},
            "others_cpu_percent": 1.0, "machine": {"cores": 2},
        }  # fmt: skip

    monkeypatch.setattr(command, "_measure", measured)
    code, out, _ = run("--find-limit", "--json")
    told = json.loads(out)
    assert code == 0
    assert 285 <= told["limit"] <= 300 and told["calls"] == told["limit"]
    assert [step["calls"] for step in told["steps"]][:3] == [100, 200, 400]
    assert told["steps"][2] == {"calls": 400, "verdict": "too many", "why": "p99 to the agent 8.0 ms"}
    assert "p99 to the agent" in told["bounded_by"]
    code, out, _ = run("--find-limit")
    assert f"{told['limit']} calls fit" in out


@NEEDS_CC
@pytest.mark.parametrize("generator", ["c", "python"])
def test_a_network_that_loses_packets(generator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was left out is known to the packet in both generators, and nothing else is lost."""
    if generator == "python":
        found = generating.python("slow_generator"), "in Python"
        monkeypatch.setattr(session, "generator_command", lambda plan: found)
    one = undisturbed("--calls", "5", "--seconds", "2", "--loss", "5")
    assert one["loss_percent"] == 5.0
    plan = Plan(5, seconds=2.0, loss_percent=5.0)
    gone = int(lossy.left_out(5.0, 5, plan.packets)[:, 100:].sum())
    up = one["uplink"]
    assert up["left_out"] == pytest.approx(gone, abs=3), "at the ends of the measured time phases decide"
    assert up["made_up"] == up["left_out"] and up["packets"] == pytest.approx(500 - gone, abs=5)
    assert (one["lost_frames"], up["wrong"], up["unmatched_calls"], up["moved_calls"]) == (0, 0, 0, 0)
    assert one["downlink"]["unmatched_calls"] == 0
    assert up["held_ms"]["count"] + one["uplink_ms"]["count"] + up["sent_too_late"] == up["packets"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--loss", "21"), "0 to 20 percent"), (("--loss", "-1"), "0 to 20 percent"),
        (("--loss", "1", "--codec", "OPUS"), "depends on what was lost"),
    ],
)  # fmt: skip
def test_losses_that_cannot_be_told(words: tuple[str, ...], why: str) -> None:
    code, _, err = run("--calls", "1", *words)
    assert code == 2 and why in " ".join(err.split())
