# SPDX-License-Identifier: GPL-2.0-or-later
"""Which agents a call is offered to: properties of the order, of weights and of stickiness, and agents' health."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.agent_health import FLAPPING, LONGEST_S, SAME_S, Health, HealthBook
from trunkline.gateway.agents_choice import by_weight, choose
from trunkline.gateway.config.model import Route

NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


def route(agents: list[str], **fields: object) -> Route:
    return Route.model_validate({"name": "r", "agents": agents, **fields})


@given(NAMES, NAMES, st.sets(st.sampled_from("abcdefgh")), st.text(), st.text(), st.booleans(), st.booleans())
def test_every_agent_is_asked_once_and_those_that_failed_come_last(
    names: list[str], backup: list[str], avoided: set[str], caller: str, call_id: str, balance: bool, sticky: bool
) -> None:
    """Whatever the policy, the key and the health; the same question has the same answer."""
    backup = [name for name in backup if name not in names]
    fields = {"agent_policy": "balance" if balance else "failover", "backup_agents": backup}
    one = route(names, sticky="caller" if balance and sticky else "none", **fields)
    order = choose(one, {}, avoided, caller, call_id)
    assert sorted(order) == sorted([*names, *backup])
    healthy = [name for name in order if name not in avoided]
    assert order[: len(healthy)] == healthy
    if not balance:
        assert healthy == [name for name in [*names, *backup] if name not in avoided]
    assert [n for n in healthy if n in backup] == [n for n in backup if n not in avoided]
    assert order == choose(one, {}, avoided, caller, call_id)


@given(NAMES, st.text(max_size=20))
def test_an_agent_that_leaves_takes_only_its_own_calls_along(names: list[str], key: str) -> None:
    """The others keep their order: whoever had one of them has it still."""
    order = by_weight(names, {}, key)
    for gone in names:
        assert by_weight([n for n in names if n != gone], {}, key) == [n for n in order if n != gone]


def test_calls_are_spread_by_weight() -> None:
    """3 to 1, and of what the first leaves when it fails, too."""
    one = route(["a", "b", "c"], agent_policy="balance")
    weights = {"a": 3, "b": 1, "c": 1}
    first = Counter(choose(one, weights, (), "", f"call {n}")[0] for n in range(5000))
    assert first["a"] / 5000 == pytest.approx(0.6, abs=0.03)
    assert first["b"] / 5000 == pytest.approx(0.2, abs=0.03)
    without = Counter(choose(one, weights, {"a"}, "", f"call {n}")[0] for n in range(5000))
    assert without["b"] / 5000 == pytest.approx(0.5, abs=0.03)


def test_a_sticky_caller_has_one_agent_and_callers_are_spread() -> None:
    """While it is healthy; a caller without a number is not everybody's."""
    one = route(["a", "b"], agent_policy="balance", sticky="caller")
    for caller in range(50):
        assert len({choose(one, {}, (), str(caller), f"call {n}")[0] for n in range(10)}) == 1
    assert len({choose(one, {}, (), str(caller), "x")[0] for caller in range(50)}) == 2
    assert len({choose(one, {}, (), "", f"call {n}")[0] for n in range(50)}) == 2


# --- health ---------------------------------------------------------------------------------


def test_an_agent_that_fails_again_and_again_is_avoided_for_longer_each_time() -> None:
    """1, 2, 4 ... 60 s; told once that it is down, and once that it is up."""
    health, now, penalties = Health(), 100.0, []
    for n in range(9):
        assert health.failed(now, "agent_unreachable", "nobody") is (n == 0)
        penalties.append(health.avoided_until - now)
        now = health.avoided_until + 0.01
        assert not health.avoided(now)
    assert penalties == [1, 2, 4, 8, 16, 32, 60, 60, 60] and LONGEST_S == 60
    assert health.works(now) and not health.works(now)


def test_a_death_that_every_worker_tells_is_one() -> None:
    """Within half a second; the counters count all."""
    health = Health()
    for n in range(4):
        health.failed(50 + n * 0.1, "agent_lost", "")
    assert (health.failures, health.counts["agent_lost"]) == (1, 4)
    health.failed(50 + SAME_S, "agent_lost", "")
    assert health.failures == 2


def test_one_that_is_back_is_used_at_once_but_not_one_that_flaps() -> None:
    """A restart costs nothing; dying after every call does, until it has been quiet for long."""
    health, now = Health(), 10.0
    for n in range(6):
        health.failed(now, "agent_lost", "")
        now += 0.6
        health.works(now)
        assert health.avoided(now) is (n + 1 >= FLAPPING)
        assert health.up
    now += 10 * health.penalty_s + 1
    health.failed(now, "agent_lost", "")
    assert health.failures == 1


@pytest.mark.parametrize("reason", ["agent_rejected", "agent_flooded"])
def test_what_concerns_one_call_is_no_failure(reason: str) -> None:
    """It is counted, and the agent stays up."""
    health = Health()
    assert not health.failed(1.0, reason, "busy")
    assert health.up and not health.avoided(1.0) and health.counts[reason] == 1


def test_a_probe_is_no_failure_of_a_call() -> None:
    """It is avoided for longer, and counted nowhere; before either nobody knows how it is."""
    health = Health()
    assert health.up and not health.tried
    health.failed(1.0, "agent_lost", "it closed")
    health.failed(3.0, "agent_unreachable", "nobody there", probed=True)
    assert health.counts == {"agent_lost": 1} and health.tried and health.avoided(4.9)


def test_down_agents_are_probed_when_their_time_is_over() -> None:
    book = HealthBook(["a", "b"], 0.0)
    book.of["a"].failed(10.0, "agent_unreachable", "")
    assert book.avoided(10.5) == {"a"} and book.to_probe(10.5) == []
    assert book.avoided(11.5) == frozenset() and book.to_probe(11.5) == ["a"]
