# SPDX-License-Identifier: GPL-2.0-or-later
"""One cell: the call is made, both sides speak at once, and what each has heard is compared with what was said."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import numpy as np

from matrix import pbx
from matrix.agents import VOICE_S
from matrix.cells import Cell
from matrix.rig import CLEAR_HOST, SECURE_HOST, Outcome, Rig, trunk_name
from support.audio import Pcm
from support.line_endpoint import LineEndpoint
from support.phone import Phone
from support.voice import likeness, voice
from support.waiting import wait_for

AT_ONCE = (16, 4, 1)
"""Calls at one time; what fails is made again with fewer. Callers and agents are threads in real time, which a busy
machine holds up; what is broken fails each time."""
CALL_S = 25.0
BETWEEN_S = 0.1
"from one call's begin to the next: starting a SIPp is what takes most of a core"
SILENCE_S = 0.4
"Said after the voice: what a codec and a resampler still hold back comes out with it."


class Caller:
    """Makes cells; sound is compared in a process beside, which holds up no caller's clock."""

    def __init__(self, rig: Rig, comparing: concurrent.futures.Executor) -> None:
        self._rig, self._comparing = rig, comparing

    def run(self, cell: Cell, earlier: Sequence[str] = ()) -> Outcome:
        """One cell; never raises for what a call did."""
        outcome = Outcome(cell, earlier=[*earlier])
        try:
            pairs = (_with_asterisk if cell.peer == "asterisk" else _with_sipp)(self._rig, cell, outcome)
        except (AssertionError, OSError, httpx.HTTPError) as wrong:
            outcome.problems.append(str(wrong))
        else:
            for way, (said, heard) in zip(("up", "down"), pairs, strict=True):
                outcome.judge(way, self._comparing.submit(likeness, said, heard).result())
        return outcome

    def run_some(self, cells: Sequence[tuple[Cell, list[str]]], at_once: int) -> Iterator[Outcome]:
        """Outcomes as they come."""
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            begun = []
            for one in cells:
                begun.append(pool.submit(self.run, *one))
                time.sleep(BETWEEN_S)
            for done in concurrent.futures.as_completed(begun):
                yield done.result()


def run_all(
    rig: Rig, cells: Sequence[Cell], told: Callable[[Outcome], None] = lambda one: None, at_once: int = AT_ONCE[0]
) -> list[Outcome]:
    """All of them, `at_once` at a time, and again those that fail; `told` of each that will not be made again."""
    left: list[tuple[Cell, list[str]]] = [(cell, []) for cell in cells]
    outcomes: list[Outcome] = []
    context = multiprocessing.get_context("spawn")  # this process has threads
    with concurrent.futures.ProcessPoolExecutor(1, context) as comparing:
        caller = Caller(rig, comparing)
        for number in (at_once, *(one for one in AT_ONCE[1:])):
            now, left = left, []
            for one in caller.run_some(now, min(number, at_once)):
                if one.problems and number != AT_ONCE[-1]:
                    left.append((one.cell, [*one.earlier, "; ".join(one.problems)]))
                else:
                    outcomes.append(one)
                    told(one)
    return sorted(outcomes, key=lambda one: one.cell.number)


Sounds = tuple[tuple[Pcm, Pcm], tuple[Pcm, Pcm]]
"said and heard, of either way"


def _with_sipp(rig: Rig, cell: Cell, outcome: Outcome) -> Sounds:
    said = voice(VOICE_S, cell.seeds[0])
    host = SECURE_HOST if cell.suite else CLEAR_HOST
    endpoint = LineEndpoint(cell.codec, cell.ptime_ms, suite=cell.suite, host=host)
    silence = np.zeros(round(SILENCE_S * 16000), np.int16)
    packets = endpoint.packets(np.concatenate([said, silence]))
    turn = rig.agent.expect(cell)
    keys = {"called": cell.extension, **endpoint.offer()}
    words = None if cell.inbound else endpoint.answer()
    scenario = "uac_codec" if cell.inbound else "uas_codec"
    with Phone(
        rig.gateway, scenario, endpoint=endpoint, source=host, keys=keys, words=words,
        said=packets if cell.inbound else b"",
    ) as phone:  # fmt: skip
        if not cell.inbound:
            rig.gateway.place(
                f"sip:{cell.extension}@{phone.sipp.uri_host}", "agent", trunk=trunk_name(cell)
            )
            phone.say(packets)
        heard = turn.wait(CALL_S)
        phone.sipp.wait()
        _check_call(rig, cell, outcome, turn.call_id)
        outcome.expect("packet times heard", endpoint.packet_times_ms(), {float(cell.ptime_ms)})
        return (said, heard), (turn.pcm, endpoint.heard_pcm())


def _with_asterisk(rig: Rig, cell: Cell, outcome: Outcome) -> Sounds:
    asterisk = rig.asterisk
    assert asterisk is not None, "the rig has an Asterisk"
    pbx.forget(asterisk, cell)
    turn = rig.agent.expect(cell)
    if cell.inbound:
        pbx.place(asterisk, cell, f"127.0.0.1:{rig.gateway.sip_port}")
    else:
        port = rig.secure_port if cell.suite else asterisk.sip_port
        rig.gateway.place(
            f"sip:{cell.extension}@127.0.0.1:{port}", "agent", trunk=trunk_name(cell),
            **{"from": f"sip:{pbx.endpoint_name(cell)}@127.0.0.1"},
        )  # fmt: skip
    heard = turn.wait(CALL_S)
    _check_call(rig, cell, outcome, turn.call_id)
    return (voice(VOICE_S, cell.seeds[0]), heard), (turn.pcm, pbx.heard(asterisk, cell))


def _check_call(rig: Rig, cell: Cell, outcome: Outcome, call_id: str) -> None:
    """What the gateway says of the call when it is over."""
    view = wait_for(lambda: _ended(rig, call_id), "the end of the call at the gateway", step_s=0.1)
    outcome.expect("cause", view["cause"], "agent_hangup")
    media = view["media"] or {}
    outcome.expect("codec", media.get("codec"), cell.codec)
    outcome.expect("encryption", media.get("encryption") or "", cell.suite)
    outcome.expect("packet time", media.get("ptime_ms"), cell.ptime_ms)


def _ended(rig: Rig, call_id: str) -> dict[str, Any] | None:
    view = rig.gateway.call(call_id)
    return view if view["ended"] else None
