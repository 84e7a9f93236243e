# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of states: every state can end, nothing leaves the end, no trigger is forgotten."""

from __future__ import annotations

from trunkline.gateway.calls.call import SHOWN, TRANSITIONS, Phase, Trigger


def test_every_state_is_in_the_table_and_shown() -> None:
    """A state without a row or a word would be found only when a call gets there."""
    assert set(TRANSITIONS) == set(Phase)
    assert set(SHOWN) == set(Phase)


def test_every_living_state_can_end() -> None:
    """There is no state in which a call could not be ended."""
    for phase, row in TRANSITIONS.items():
        if phase not in (Phase.CLOSING, Phase.ENDED):
            assert row[Trigger.END] is Phase.CLOSING
    assert TRANSITIONS[Phase.CLOSING] == {Trigger.OVER: Phase.ENDED}
    assert TRANSITIONS[Phase.ENDED] == {}


def test_every_state_is_reached_from_one_of_the_two_beginnings() -> None:
    """A state that nothing leads to is a mistake in the table."""
    reached = {Phase.INCOMING, Phase.PREPARING}
    for _ in Phase:
        reached |= {following for phase in reached for following in TRANSITIONS[phase].values()}
    assert reached == set(Phase)


def test_every_trigger_means_something_somewhere() -> None:
    """A trigger that no state knows would be a reaction that never happens."""
    assert {trigger for row in TRANSITIONS.values() for trigger in row} == set(Trigger)
