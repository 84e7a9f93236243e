# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows: whose they are after a worker's death."""

from __future__ import annotations

import msgspec

from support.media_rig import running, start_message
from trunkline.gateway.media.columns import Columns
from trunkline.gateway.media.table import Table


def test_a_call_that_is_resumed_gets_the_row_that_its_predecessor_left() -> None:
    columns = Columns(4)
    first, message = Table(columns), start_message()
    row = running(first, message, 1).row
    generation = int(columns.generation[row])
    resumed = Table(columns).take(
        msgspec.structs.replace(message, slot=row, generation=generation), None, None
    )  # type: ignore[arg-type]
    assert resumed.resumed and resumed.row == row and int(columns.generation[row]) == generation


def test_no_two_calls_share_a_row_whatever_comes_first() -> None:
    """A new call that comes before one is resumed takes what was kept for that one; then it has to start anew."""
    columns = Columns(4)
    first, messages = Table(columns), [start_message() for _ in range(2)]
    rows = [running(first, message, 1).row for message in messages]
    second = Table(columns)
    taken = [second.take(start_message(), None, None).row]  # type: ignore[arg-type]
    for row, message in zip(rows, messages, strict=True):
        again = msgspec.structs.replace(message, slot=row, generation=int(columns.generation[row]))
        taken.append(second.take(again, None, None).row)  # type: ignore[arg-type]
    taken.append(second.take(start_message(), None, None).row)  # type: ignore[arg-type]
    assert sorted(taken) == [0, 1, 2, 3]
