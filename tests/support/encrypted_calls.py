# SPDX-License-Identifier: GPL-2.0-or-later
"""What encrypted calls with an echo have to survive, however their keys came about."""

from __future__ import annotations

import os
import signal

import numpy as np

from support.agents import AgentHost
from support.audio import tone_share
from support.gateway import GatewayProcess
from support.waiting import wait_for

TONE = (8000 * np.sin(np.arange(8000 * 20) * 2 * np.pi * 500 / 8000)).astype(np.int16)
"For the agent to say: 500 Hz for 20 s at 8 kHz, which any piece of shows."


def goes_on_after_a_workers_death(gateway: GatewayProcess, agent: AgentHost) -> None:
    """Call the echo 600, kill the worker: `TONE` goes on coming back, so each side understands the other."""
    call_id = gateway.place("600", "a", trunk="pbx")
    gateway.wait_call("up", id=call_id)
    heard = agent.wait_call(call_id)
    wait_for(lambda: len(heard.frames) >= 75, "1.5 s of frames")
    os.kill(gateway.workers[0], signal.SIGKILL)
    wait_for(lambda: any("Resumed" in type(one).__name__ for one in heard.events), "the agent is told")
    heard.call.play(TONE)  # what the worker had queued is gone
    count = len(heard.frames)
    wait_for(lambda: len(heard.frames) >= count + 150, "3 s of frames")
    last = np.concatenate([frame.pcm for frame in heard.frames[-50:]])
    assert tone_share(last, 500) > 0.9
    drops = gateway.call(call_id)["media"]["drops"]
    assert not {"srtp_auth", "srtp_replay"} & drops.keys(), drops
    gateway.hang_up(call_id)
    gateway.wait_end(call_id)
