# SPDX-License-Identifier: GPL-2.0-or-later
"""How busy a worker is, and what follows: fewer new calls for it, none when all are busy."""

from __future__ import annotations

import asyncio

from support.pool_rig import ports, running, start_of, until
from trunkline.gateway.media import control
from trunkline.gateway.media.load import LoadMeter

MS = 1_000_000


def feed(meter: LoadMeter, shares: list[float], streams: int = 10) -> list[bool]:
    """Samples every 250 ms with these shares of busy time; whether each changed the state."""
    now = busy = 0
    changes = []
    for share in shares:
        now += 250 * MS
        busy += round(share * 250 * MS)
        changes.append(meter.sample(now, busy, now, streams))
    return changes


def test_load_is_the_busy_share_of_the_last_second() -> None:
    meter = LoadMeter(0.85)
    feed(meter, [0.5] * 8)
    assert meter.load == 0.5
    feed(meter, [0.2] * 8)
    assert meter.load == 0.2


def test_a_state_changes_once_and_ends_well_below_the_limit() -> None:
    meter = LoadMeter(0.85)
    assert sum(feed(meter, [0.5] * 5 + [0.95] * 8)) == 1 and meter.overloaded
    assert sum(feed(meter, [0.8] * 8)) == 0 and meter.overloaded, "between the two it stays as it is"
    assert sum(feed(meter, [0.6] * 8)) == 1 and not meter.overloaded
    assert sum(feed(meter, [0.8] * 8)) == 0 and not meter.overloaded


def test_a_worker_that_does_not_tick_is_fully_loaded() -> None:
    meter = LoadMeter(0.85)
    meter.sample(0, 0, 0, 1)
    assert meter.sample(700 * MS, 0, 0, 1) and meter.load == 1.0


def test_without_a_limit_nobody_is_overloaded() -> None:
    meter = LoadMeter(0)
    assert not any(feed(meter, [1.0] * 8)) and meter.load == 1.0


def test_new_streams_count_before_they_are_measured() -> None:
    """The load is a second old: a burst of calls must not all go to whoever was idle then."""
    meter = LoadMeter(0.85)
    feed(meter, [0.4] * 8, streams=100)
    assert meter.expected(100) == 0.4
    assert meter.expected(150) == 0.6


def test_an_overloaded_worker_gets_no_new_calls_and_when_all_are_there_are_none() -> None:
    """Two workers of which first one, then both are busy; each change is told once."""

    async def scenario() -> None:
        async with running(2, max_load=0.5) as (pool, seen):
            busy: set[int] = set()

            async def work() -> None:
                while True:
                    for index in busy:
                        pool.tables[index].worker.busy_ns[0] += 20 * MS
                    await asyncio.sleep(0.02)

            working = asyncio.create_task(work())
            busy.add(0)
            await until(lambda: pool.each()[0]["overloaded"])
            assert pool.overload == ""
            taken = [ports.acquire() for _ in range(4)]
            for pair in taken:
                pool.start_stream(start_of(), pair)
            assert [one["streams"] for one in pool.each()] == [0, 4]
            busy.add(1)
            await until(lambda: pool.overload)
            assert "limits.max_worker_load 0.5" in pool.overload
            busy.clear()
            await until(lambda: not any(one["overloaded"] for one in pool.each()))
            assert pool.overload == ""
            if not seen.named("worker.died"):  # as one that gets no CPU for seconds does: it begins anew
                assert [data["worker"] for data in seen.named("worker.overloaded")] == [0, 1]
                assert sorted(data["worker"] for data in seen.named("worker.relieved")) == [0, 1]
            working.cancel()
            for pair in taken:
                pair.release()

    asyncio.run(scenario())


def test_a_successor_begins_without_its_predecessors_load() -> None:
    async def scenario() -> None:
        async with running(1, max_load=0.5) as (pool, seen):
            pair, start = ports.acquire(), start_of()
            pool.start_stream(start, pair)
            await until(lambda: seen.of(control.StreamReady))
            pool.send(control.SendDtmf(start.info.call_id, "C"))  # it hangs
            await until(lambda: pool.overload)
            await until(lambda: seen.named("worker.restarted"))
            await until(lambda: not pool.overload)
            pair.release()

    asyncio.run(scenario())
