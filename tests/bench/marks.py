# SPDX-License-Identifier: GPL-2.0-or-later
"""How true marks are: from when the packet with a mark's last sample is there to when the agent is told.

    make bench-marks [ARGS="--load 0,100 --calls 4 --marks 200"]

Real processes over the loopback: `trunkline run` with one media worker, an agent that marks all it says, telephones
whose kernel stamps each packet's arrival; beside it, under load, that many calls with speech both ways and another
agent.  A positive error is a report that comes after the packet, a negative one would be a lie.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.rig import Program, Rig
from bench.tables import table
from support.phone import Phone
from support.rtp_endpoint import RtpEndpoint
from support.waiting import wait_for

LOUD_CODE = 0x80
"mu-law of the loud sample"
RATE = 20
"calls of the load that begin in a second"
SAY_S = 0.0465
"A mark's piece of speech, on average."


class MarkRig(Rig):
    """With a second agent, which gets the calls to 601."""

    def _settings(self, address: str) -> dict[str, Any]:
        settings = super()._settings(address)
        settings["agent"].append(
            {"name": "marks", "address": f"unix:{self.folder}/marks.sock", "sample_rate_hz": 8000}
        )
        settings["route"].insert(0, {"name": "marks", "called": "601", "agent": "marks"})
        return settings


def arrivals(endpoint: RtpEndpoint) -> list[int]:
    """When each loud sample came, CLOCK_REALTIME in ns."""
    return [one.time_ns for one in endpoint.audio for _ in range(one.payload.count(LOUD_CODE))]


def measure(load: int, calls: int, marks: int) -> list[Any]:
    """One line of the table."""
    rig = MarkRig(calls=load + calls)
    ramp_s = load / RATE
    record = rig.folder / "marks.npz"
    with contextlib.ExitStack() as stack:
        stack.enter_context(rig)
        agent = Program("marking_agent", "--listen", f"{rig.folder}/marks.sock", "--marks", str(marks), record=record)
        stack.callback(agent.kill)
        hold_s = ramp_s * 1.5 + marks * SAY_S * 1.3 + 8
        if load:
            stack.enter_context(
                rig.sipp(calls=load, rate=RATE, hold_ms=round(hold_s * 1000), timeout_s=round(hold_s + ramp_s + 60))
            )
            wait_for(lambda: len(rig.gateway.calls()) >= load, f"{load} calls are up", ramp_s * 2 + 20, 0.2)
        phones = [
            stack.enter_context(
                Phone(rig.gateway, "uac_basic", keys={"called": "601"}, hold_ms=round((marks * SAY_S + 4) * 1000))
            )
            for _ in range(calls)
        ]
        call_ids = [phone.wait_up() for phone in phones]
        time.sleep(marks * SAY_S * 1.1 + 1.5)
        heard = {call_id: arrivals(phone.rtp) for call_id, phone in zip(call_ids, phones, strict=True)}
        told = agent.finish()
    errors_ms = np.concatenate([*_errors(told, heard)])
    assert len(errors_ms) > 0.9 * calls * marks, f"{len(errors_ms)} of {calls * marks} marks"
    half, most = np.percentile(errors_ms, (50, 99))
    return [load, len(errors_ms), float(errors_ms.min()), float(half), float(most), float(errors_ms.max())]


def _errors(told: Any, heard: dict[str, list[int]]) -> list[NDArray[np.float64]]:
    """Of each call, in ms; marks and loud samples are in order, and each mark is there once."""
    errors = []
    for index, call_id in enumerate(told["call_ids"].tolist()):
        mine = told["reports"][told["reports"][:, 0] == index]
        assert mine[:, 1].tolist() == list(range(len(mine))) and mine[:, 3].all()
        came = np.array(heard[call_id][: len(mine)])
        errors.append((mine[: len(came), 2] - came) / 1e6)
    return errors


def main() -> None:
    """Program."""
    parser = argparse.ArgumentParser(prog="bench.marks", description=__doc__)
    parser.add_argument("--load", default="0,100", help="calls beside those that are measured")
    parser.add_argument("--calls", type=int, default=4, help="calls that are measured, at once")
    parser.add_argument("--marks", type=int, default=200, help="marks of each")
    options = parser.parse_args()
    rows = [measure(int(load), options.calls, options.marks) for load in options.load.split(",")]
    head = ["other calls", "marks", "least", "p50", "p99", "most"]
    print(table("Report of a mark, after the arrival of the packet with its last sample; ms", head, rows))


if __name__ == "__main__":
    main()
