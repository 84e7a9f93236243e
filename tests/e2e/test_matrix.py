# SPDX-License-Identifier: GPL-2.0-or-later
"""Each codec, packet time and SRTP suite both ways, with SIPp and Asterisk, by the speech that each side hears.

`make matrix` does all combinations.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from matrix import calling, rig
from matrix.cells import Cell, representative
from matrix.rig import Outcome

CELLS = representative()
pytestmark = pytest.mark.timeout(400)  # Asterisk may have to be fetched


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[Cell, Outcome]]:
    """All calls are made at once; the drivers are `uac_codec` and `uas_codec`, or Asterisk."""
    with rig.started(CELLS) as running:
        yield {one.cell: one for one in calling.run_all(running, CELLS)}


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_both_sides_hear_what_was_said(cell: Cell, outcomes: dict[Cell, Outcome]) -> None:
    one = outcomes[cell]
    assert not one.problems, (one.problems, one.earlier)
    assert one.up is not None and one.down is not None, "both ways were compared"
