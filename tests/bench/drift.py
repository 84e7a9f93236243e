# SPDX-License-Identifier: GPL-2.0-or-later
"""A live agent whose clock is 200 ppm off, for an hour: what waits for the caller, and how often it runs dry.

    PYTHONPATH=tests python -m bench.drift [MINUTES]

The agent says a frame every 20 ms by its own clock and never pauses; 2 % of the time (half a second
in 25) is quiet.  `music` is never quiet.  `uncured` is the same without `gateway/media/pace.py`.
"""

from __future__ import annotations

import collections
import sys

import numpy as np

from support.media_rig import MS, DownlinkRig

FRAME = 160
LOUD = (np.sin(np.arange(FRAME) * 0.4) * 8000).astype(np.int16)
FAINT = (np.arange(FRAME) % 2 * 20).astype(np.int16)


def run(minutes: float, ppm: float, *, quiet: bool, cured: bool) -> str:
    """One call; a line of figures."""
    rig = DownlinkRig()
    rig.sent = collections.deque(maxlen=0)  # type: ignore[assignment]  # an hour of packets is too much
    if not cured:
        rig.downlink.pace.look = lambda rows, now_ns: None  # type: ignore[method-assign]
    c, begin_ns, waits = rig.table.shared, rig.now_ns, []
    interval_ns = 20 * MS * (1 - ppm * 1e-6)
    for k in range(int(minutes * 3000)):
        at_ns = begin_ns + int(k * interval_ns)
        while rig.now_ns < at_ns:
            rig.now_ns = min(at_ns, int(c.tx_due_ns[0]), rig.now_ns + 7 * MS)
            rig.downlink.advance(rig.now_ns)
        rig.speak(FAINT if quiet and k % 1250 >= 1225 else LOUD)
        if k % 50 == 49:
            waits.append(int(c.queued_samples[0]) / 8 + (int(c.tx_due_ns[0]) - rig.now_ns) / MS)
    name = ("speech" if quiet else "music") + ("" if cured else ", uncured")
    return (
        f"{name:16} {ppm:+5.0f} {np.mean(waits[:60]):9.0f} {np.mean(waits[-60:]):9.0f} {max(waits):9.0f} "
        f"{int(c.underruns[0]):9} {int(c.frames_left_out[0]):9} {int(c.frames_repeated[0]):9}"
    )


def main(minutes: float = 60) -> None:
    """Print the table."""
    print(f"{minutes:g} minutes; ms that wait for the caller in the first minute, in the last, at most")
    print(
        f"{'':16} {'ppm':>5} {'first':>9} {'last':>9} {'most':>9} {'dry':>9} {'left out':>9} {'repeated':>9}"
    )
    for ppm in (-200, 200):
        for quiet, cured in ((True, False), (True, True), (False, True)):
            print(run(minutes, ppm, quiet=quiet, cured=cured), flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
