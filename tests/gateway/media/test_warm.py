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


CALL_BY_WEBSOCKET = """
import base64, hashlib, sys
import trunkline.gateway.media.worker
from trunkline.agent_bridge.dialect import LinkSettings, StartInfo
from trunkline.agent_bridge.links import create_link
from trunkline.gateway.media import warm
warm.warm_up()
known = set(sys.modules)
link = create_link("twilio", LinkSettings(url="ws://h/", sample_rate_hz=8000))
link.connected(0)
request = b"".join(map(bytes, link.data_to_send()))
key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\\r")[0]
accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
head = b"HTTP/1.1 101 x\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\nSec-WebSocket-Accept: "
print(link.receive(head + accept + b"\\r\\n\\r\\n", 0))
link.start(1, StartInfo("00000000-0000-4000-8000-000000000001", "", "", "", "", "", {}, {}, 8000, 20), 0)
link.receive(b'\\x81\\x11{"event":"clear"}\\x88\\x00', 0)
print(*sorted(set(sys.modules) - known))
"""


def test_afterwards_a_call_by_websocket_loads_no_module_any_more() -> None:
    """Its library takes 150 ms to import, in which nobody would be sent anything."""
    ran = subprocess.run(
        [sys.executable, "-c", CALL_BY_WEBSOCKET], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.splitlines() == ["[LinkUp(agent='twilio agent')]", ""] and not ran.stderr


def test_a_fault_in_it_is_told_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("no")

    monkeypatch.setattr(warm, "_run", fail)
    assert "warm-up failed" in warm.warm_up()
