# SPDX-License-Identifier: GPL-2.0-or-later
"""A phone that sends nothing while it is mute or on hold, and whose timestamps stand still meanwhile."""

from __future__ import annotations

from support.media_rig import MS, UplinkRig, voice


def test_no_pause_is_taken_out_of_the_agents_time() -> None:
    """Of a second of silence the 60 ms that the base moves while it is decided whose clock stood still, no more."""
    rig, seq = UplinkRig(), 0
    start_ns = rig.now_ns
    for pause in range(6):
        for _ in range(150):
            rig.packet(voice(seq))
            seq += 1
            rig.run(20)
        assert abs(len(rig.heard) - (rig.now_ns - start_ns) / (20 * MS)) <= 3 * pause
        assert -1 < rig.table.slip[0] < 1
        rig.run(1000)
