# SPDX-License-Identifier: GPL-2.0-or-later
"""A turn that a worker tells of: an event, histograms, and the figures of the call."""

from __future__ import annotations

import asyncio

from support.call_rig import Rig
from trunkline.gateway.media.agent_asks import TurnTaken

TURN = {
    "agent_ms": 412.5, "gateway_ms": 225.0, "detect_ms": 205.0, "play_ms": 20.0, "total_ms": 637.5,
    "speech_ms": 1800.0, "barge_in_ms": 64.0,
}  # fmt: skip


def test_a_turn_is_told_counted_and_summed_up() -> None:
    async def scenario() -> None:
        rig = Rig()
        call_id = await rig.up()
        rig.told()
        rig.service.media_message(TurnTaken(call_id, TURN))
        rig.service.media_message(TurnTaken("gone", TURN))
        (event,) = rig.told()
        assert (event.event, event.call_id) == ("call.turn", call_id)
        assert event.data | TURN == event.data
        for name, seconds in {
            "turn_agent": 0.4125, "turn_gateway": 0.225, "turn_total": 0.6375, "barge_in": 0.064,
        }.items():  # fmt: skip
            get = rig.metrics.registry.get_sample_value
            assert get(f"trunkline_{name}_seconds_count") == 1
            assert get(f"trunkline_{name}_seconds_sum") == seconds
        assert rig.service.calls[call_id].turns.summary()["turn_agent_ms_p50"] == 412.5

    asyncio.run(scenario())
