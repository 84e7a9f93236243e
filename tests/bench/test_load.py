# SPDX-License-Identifier: GPL-2.0-or-later
"""The load measurements in small: they run, and what they promise about losses and leaks holds for a few calls.

How fast and how cheap is not looked at here: the machine that runs the tests may be busy.
"""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from bench import calls, churn, load, setup_cost
from support.sipp import BINARY

pytestmark = pytest.mark.skipif(BINARY is None, reason="sipp is not installed")


def test_some_calls_at_once_lose_nothing_and_every_packet_is_accounted_for() -> None:
    figures = calls.run(calls.Options(5, seconds=1.5, workers=2))
    assert figures["signalling"]["failed"] == 0 and figures["calls_up_at_the_end"] == 5
    assert figures["sent"] >= 5 * 50 * (1.5 + calls.SETTLE_S) * 0.8, "all five callers spoke"
    losses = {name: figures[name] for name in ("lost_up", "flagged", "breaks", "lost_down", "missing_down")}
    assert losses == dict.fromkeys(losses, 0)
    assert figures["matched"] == 5
    assert figures["up_ms"]["count"] == pytest.approx(5 * 75, rel=0.1)
    assert 0 < figures["up_ms"]["p50_ms"] < 1000 and 0 <= figures["late_ms"]["p50_ms"] < 1000
    told = calls.render(figures)
    assert re.search(r"^  frames lost at the agent +0 +0 +met$", told, re.M), told


def test_two_hundred_calls_in_a_row_leave_nothing_behind() -> None:
    figures = churn.run(churn.Options(count=200, rate=100, rounds=1, hold_s=0.5, wait_s=1))
    missed = [entry for entry in churn.verdicts(figures) if not entry[-1]]
    assert missed == []
    assert figures["rounds"][0]["left"]["causes"] == {"caller_hangup": 200.0}
    assert figures["rounds"][0]["signalling"]["succeeded"] == 200


def test_setting_up_a_call_costs_something_and_both_threads_of_the_gateway_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    target = tmp_path / "figures.json"
    code = load.main(["--json", str(target), "setup", "--count", "100", "--rates", "50", "--repeat", "1"])
    assert code == 0
    (figures,) = json.loads(target.read_text())
    assert figures["mode"] == setup_cost.__name__.rpartition(".")[2]
    cost = figures["measured"][0]["cpu_ms"]
    assert 0 < cost["gateway"] < 100 and cost["worker"] > 0
    assert cost["gateway, call control"] + cost["gateway, PJSIP thread"] == pytest.approx(cost["gateway"])
    assert "ms of CPU per call" in capsys.readouterr().out
