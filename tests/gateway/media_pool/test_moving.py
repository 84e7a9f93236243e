# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of calls when their worker cannot be replaced, and who replaces it when it can."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from support.pool_rig import Seen, ports, running, start_of, until
from trunkline.gateway.media import control, spare, supervisor, worker_process
from trunkline.gateway.media.pool import MediaPool
from trunkline.gateway.media.ports import PortPair


async def started(pool: MediaPool, seen: Seen, count: int) -> tuple[list[str], list[PortPair]]:
    """So many calls, in turn on each worker: their ids and ports."""
    pairs = [ports.acquire() for _ in range(count)]
    starts = [start_of() for _ in pairs]
    for start, pair in zip(starts, pairs, strict=True):
        pool.start_stream(start, pair)
    await until(lambda: len(seen.of(control.StreamReady)) == count)
    return [start.info.call_id for start in starts], pairs


async def kill_again_and_again(pool: MediaPool, seen: Seen, place: int) -> None:
    """Until the place is given up."""
    for deaths in range(1, supervisor.MAX_DEATHS + 1):
        await until(lambda: pool.each()[place]["ready"])
        os.kill(pool.each()[place]["pid"], signal.SIGKILL)
        await until(
            lambda expected=deaths: (
                len([d for d in seen.named("worker.died") if d["worker"] == place]) == expected
            )
        )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between deaths, except after the last."""
    monkeypatch.setattr(supervisor, "_pause_s", lambda place: 60.0 if place.failing else 0.0)


def test_the_spare_takes_over_and_another_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The successor is the process that was waiting; it knows its number and has the table."""
    monkeypatch.setattr(spare, "DELAY_S", 0.1)

    async def scenario() -> None:
        async with running(2) as (pool, seen):
            await until(lambda: pool.spare_pid)
            waiting = pool.spare_pid
            _, pairs = await started(pool, seen, 2)
            assert waiting not in pool.pids
            os.kill(pool.pids[1], signal.SIGKILL)
            await until(lambda: seen.named("worker.restarted"))
            assert pool.each()[1]["pid"] == waiting
            assert seen.named("worker.restarted")[0]["streams"] == 1
            assert int(pool.tables[1].worker.pid[0]) == waiting
            await until(lambda: pool.spare_pid not in (0, waiting))
            for pair in pairs:
                pair.release()

    asyncio.run(scenario())


def test_a_spare_that_dies_is_told_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spare, "RETRY_S", 0.1)

    async def scenario() -> None:
        async with running(1) as (pool, seen):
            await until(lambda: pool.spare_pid)
            first = pool.spare_pid
            os.kill(first, signal.SIGKILL)
            await until(lambda: seen.named("worker.no_spare"))
            await until(lambda: pool.spare_pid not in (0, first))
            assert not seen.named("worker.died"), "no call was on it"

    asyncio.run(scenario())


@pytest.mark.usefixtures("quick")
def test_calls_of_a_place_that_is_given_up_go_on_elsewhere_with_what_their_rows_held() -> None:
    async def scenario() -> None:
        async with running(2) as (pool, seen):
            call_ids, pairs = await started(pool, seen, 6)
            mine = [one for one in call_ids if pool.row(one)[0] is pool.tables[0]]  # type: ignore[index]
            assert len(mine) == 3
            for number, call_id in enumerate(mine):
                columns, slot = pool.row(call_id)  # type: ignore[misc]
                columns.tx_seq[slot], columns.up_position[slot] = 1000 + number, 320 * number
            await kill_again_and_again(pool, seen, 0)
            assert seen.named("worker.died")[-1] | {"pid": 0, "why": ""} == {
                "worker": 0, "pid": 0, "why": "", "streams": 3, "moved": 3, "lost": 0,
            }  # fmt: skip
            await until(lambda: all(pool.row(one) for one in call_ids))
            for number, call_id in enumerate(mine):
                columns, slot = pool.row(call_id)  # type: ignore[misc]
                assert columns is pool.tables[1]
                assert (int(columns.tx_seq[slot]), int(columns.up_position[slot])) == (
                    1000 + number,
                    320 * number,
                )
            assert [one["streams"] for one in pool.each()] == [0, 6]
            assert not seen.of(control.StreamFailed)
            for call_id in call_ids:
                assert pool.stop_stream(call_id, "caller_hangup")
            await until(lambda: pool.streams == 0)
            for pair in pairs:
                pair.release()

    asyncio.run(scenario())


@pytest.mark.usefixtures("quick")
def test_calls_that_would_take_the_next_worker_down_as_well_are_given_up_and_its_own_are_not() -> None:
    """A call may be the reason why its worker dies: it is moved once."""

    async def scenario() -> None:
        async with running(2) as (pool, seen):
            call_ids, pairs = await started(pool, seen, 4)
            mine = {one for one in call_ids if pool.row(one)[0] is pool.tables[0]}  # type: ignore[index]
            await kill_again_and_again(pool, seen, 0)
            await until(lambda: all(pool.row(one) for one in call_ids))
            os.kill(pool.each()[1]["pid"], signal.SIGKILL)
            await until(lambda: len(seen.of(control.StreamFailed)) == 2)
            assert {message.call_id for message in seen.of(control.StreamFailed)} == mine
            assert {message.reason for message in seen.of(control.StreamFailed)} == {"worker_lost"}
            await until(lambda: seen.named("worker.restarted") and pool.each()[1]["ready"])
            assert pool.each()[1]["streams"] == 2
            for pair in pairs:
                pair.release()

    asyncio.run(scenario())


def test_calls_move_at_once_when_no_process_can_be_started_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory or of descriptors, with the spare gone: the other worker has room."""
    monkeypatch.setattr(supervisor, "_pause_s", lambda place: 60.0)

    async def scenario() -> None:
        async with running(2) as (pool, seen):
            call_ids, pairs = await started(pool, seen, 4)
            await until(lambda: pool.spare_pid)
            os.kill(pool.spare_pid, signal.SIGKILL)
            await until(lambda: not pool.spare_pid)
            monkeypatch.setattr(supervisor, "_pause_s", lambda place: 0.0 if len(place.deaths) == 1 else 60.0)

            def refuse(*_args: object) -> object:
                raise OSError(11, "Resource temporarily unavailable")

            monkeypatch.setattr(worker_process, "_spawn", refuse)
            os.kill(pool.each()[0]["pid"], signal.SIGKILL)
            await until(lambda: [one["streams"] for one in pool.each()] == [0, 4])
            await until(lambda: all(pool.row(one) for one in call_ids))
            assert "cannot be started" in seen.named("worker.died")[-1]["why"]
            assert not seen.of(control.StreamFailed)
            for pair in pairs:
                pair.release()

    asyncio.run(scenario())


@pytest.mark.parametrize("refusals", [3, 1000])
def test_a_call_that_cannot_be_handed_over_for_want_of_descriptors_is_tried_again_and_then_ends(
    monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    """It must not stay silent for ever."""
    monkeypatch.setattr("trunkline.gateway.media.pool.RETRY_S", 0.02)

    async def scenario() -> None:
        async with running(1) as (pool, seen):
            (call_id,), pairs = await started(pool, seen, 1)
            real, left = worker_process.WorkerProcess.send, [refusals]

            def send(
                self: worker_process.WorkerProcess, message: control.Message, fds: tuple[int, ...] = ()
            ) -> bool:
                if isinstance(message, control.StartStream) and left[0] > 0:
                    left[0] -= 1
                    return False
                return real(self, message, fds)

            monkeypatch.setattr(worker_process.WorkerProcess, "send", send)
            os.kill(pool.pids[0], signal.SIGKILL)
            if refusals == 3:
                await until(lambda: len(seen.of(control.StreamReady)) == 2)
            else:
                await until(lambda: seen.of(control.StreamFailed))
                (failed,) = seen.of(control.StreamFailed)
                assert (failed.call_id, failed.reason) == (call_id, "no_descriptors")
                assert pool.streams == 0
            with monkeypatch.context() as patch:
                patch.setattr(worker_process.WorkerProcess, "send", real)
            pairs[0].release()

    asyncio.run(scenario())
