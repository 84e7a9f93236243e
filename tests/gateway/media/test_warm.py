# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls that a worker has before it has any."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trunkline.gateway.media import warm

LATER = """
import sys
import trunkline.gateway.media.worker
from trunkline.gateway.media import warm
warm.warm_up()
known = set(sys.modules)
warm.PACKETS = 100
warm._run()
print(*sorted(set(sys.modules) - known))
"""


def test_warming_up_goes_through() -> None:
    """A fault would only be told, since it may not keep a worker from its work."""
    assert warm.warm_up() == ""


def test_afterwards_audio_loads_no_module_any_more() -> None:
    """NumPy imports some of itself at first use: late for the calls of that tick, or without a descriptor for it."""
    ran = subprocess.run(
        [sys.executable, "-c", LATER], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "" and not ran.stderr


def test_a_fault_in_it_is_told_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("no")

    monkeypatch.setattr(warm, "_run", fail)
    assert "warm-up failed" in warm.warm_up()
