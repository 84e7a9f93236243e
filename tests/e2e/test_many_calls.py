# SPDX-License-Identifier: GPL-2.0-or-later
"""Several calls at once: each has its own audio, none loses any. (Loads: tests/bench/load.py.)"""

from __future__ import annotations

import contextlib
import pathlib

from support.audio import encode_g711, speechlike
from support.echo_process import EchoProcess
from support.gateway import GatewayProcess
from support.phone import Phone

CALLS = 20


def test_twenty_calls_at_once_with_a_voice_each(short_path: pathlib.Path) -> None:
    said = [encode_g711(speechlike(2.0, seed=100 + i), 0) for i in range(CALLS)]
    with (
        EchoProcess(f"unix:{short_path}/a.sock") as agent,
        GatewayProcess(
            short_path,
            media={"workers": 2, "jitter_min_ms": 150},
            agent=[{"name": "a", "address": agent.address, "sample_rate_hz": 8000}],
            route=[{"name": "all", "agent": "a"}],
        ) as gateway,
        contextlib.ExitStack() as stack,
    ):
        phones = [
            stack.enter_context(Phone(gateway, "uac_hangup", keys={"called": f"6{i:03}"}))
            for i in range(CALLS)
        ]
        ids = [phone.wait_up() for phone in phones]
        assert gateway.status()["calls_by_state"] == {"up": CALLS}
        for phone, speech in zip(phones, said, strict=True):
            phone.say(speech)
        for phone in phones:
            phone.rtp.wait_sent()
        phones[-1].rtp.wait_received(len(phones[-1].rtp.received) + 15)
        for call_id in ids:
            gateway.hang_up(call_id)
        lines = [phone.wait_end() for phone in phones]
        gateway.assert_idle()
    for phone, speech, line in zip(phones, said, lines, strict=True):
        pieces = {speech[i : i + 160] for i in range(0, len(speech), 160)}
        heard = [one.payload for one in phone.rtp.audio]
        # A test's own threads may stall; what then runs dry is silence between two of these packets.
        assert len(pieces.intersection(heard)) >= 95, "its own voice"
        others = {other[i : i + 160] for other in said if other is not speech for i in range(0, len(other), 160)}
        assert not (others - pieces).intersection(heard), "and nobody else's"
        assert line["packets_received"] == 100 and line["packets_lost"] == 0
        assert "drops" not in line, line
