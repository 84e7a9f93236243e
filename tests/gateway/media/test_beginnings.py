# SPDX-License-Identifier: GPL-2.0-or-later
"""First packets by the hundred: what they leave behind is what one after the other would, and gateways hear of all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.media_rig import PEER
from support.virtual_engine import VirtualEngine
from support.virtual_network import Callers, Network
from trunkline.gateway.media import control
from trunkline.gateway.media.batch import Batch
from trunkline.gateway.media.channel import MAX_MESSAGE_BYTES
from trunkline.gateway.media.columns import ROW_FIELDS
from trunkline.gateway.media.receive import Receiver

CALLS = 12


def _run(seed: int) -> VirtualEngine:
    """Calls that begin; some of the packets come from elsewhere, and one call has been told of another clock."""
    rig = VirtualEngine(CALLS, seed=seed, tick_ms=4)
    rng = np.random.default_rng(seed)
    rig.table.restamped.add(3)
    network = Network(loss=0.1, jitter_ms=10, duplicate=0.05)
    for batches in itertools.islice(rig.traffic(seed, Callers(CALLS, restart=0.2), network).batches(150), 150):
        moved = []
        for batch in batches:
            strange = rng.random(len(batch.rows)) < 0.1
            addresses = [("192.0.2.9", 9) if one else PEER for one in strange]
            moved.append(Batch(batch.rows, batch.packets, batch.lengths, batch.named & ~strange, addresses))
        rig.step(moved)
    return rig


@pytest.mark.parametrize("seed", range(6))
def test_first_packets_of_many_leave_what_one_after_the_other_would(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = _run(seed)
    monkeypatch.setattr(Receiver, "_is_first", lambda self, batch: np.zeros(len(batch.rows), bool))
    one = _run(seed)
    assert many.digests() == one.digests()
    for name, _dtype, _shape in ROW_FIELDS:
        first, second = getattr(many.table.shared, name), getattr(one.table.shared, name)
        assert np.array_equal(first, second, equal_nan=first.dtype.kind == "f"), name
    for name in ("seen", "late_since_ns", "lost_run", "held", "slip"):
        assert np.array_equal(getattr(many.table, name), getattr(one.table, name)), name
    assert many.table.restamped == one.table.restamped
    assert [(s.named_spoke, s.media_seen, s.remote) for s in many.streams] == [
        (s.named_spoke, s.media_seen, s.remote) for s in one.streams
    ]
    started = [message for message in many.posted if isinstance(message, control.MediaStarted)]
    assert len(started) == len({message.call_id for message in started}) == CALLS


@given(st.lists(st.text(max_size=60)), st.integers(100, 400))
def test_messages_that_leave_together_come_apart(texts: list[str], most: int) -> None:
    """Whatever is in them, in their order, and no packet is longer than the channel takes."""
    said: list[control.Message] = [control.StreamFailed("id", "reason", text) for text in texts]
    packets = list(control.joined(map(control.encode, said), most))
    longest = max((len(control.encode(message)) for message in said), default=0)
    assert all(0 < len(packet) <= max(most, longest) for packet in packets)
    heard = [control.decode_from_worker(line) for packet in packets for line in control.apart(packet)]
    assert heard == said


def test_a_thousand_messages_are_a_few_packets() -> None:
    said = [control.encode(control.MediaStarted(f"{i:036}", "127.0.0.1:4000")) for i in range(1000)]
    assert len(list(control.joined(said, MAX_MESSAGE_BYTES))) <= 3
