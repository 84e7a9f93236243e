# SPDX-License-Identifier: GPL-2.0-or-later
"""Supervision of media workers: who gets a call, and what a call sees of a worker's death."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys

import msgspec
import pytest

from support.pool_rig import MEDIA, PROGRAM, Seen, open_fds, ports, running, start_of, until
from trunkline.gateway.media import control, supervisor
from trunkline.gateway.media.agent_asks import AgentChanged, AgentState
from trunkline.gateway.media.pool import MediaPool, NoWorker
from trunkline.rtp.dtls_certificate import Fingerprint, Identity
from trunkline.rtp.media_description import DtlsTerms
from trunkline.rtp.sdes import CryptoKey, new_key


def test_streams_go_to_the_least_loaded_worker_and_back() -> None:
    """Start, update, digits, stop: each reaches the worker, the sockets too, and nothing is left."""

    async def scenario() -> None:
        async with running(2) as (pool, seen):
            pairs = [ports.acquire() for _ in range(4)]
            starts = [start_of() for _ in pairs]
            for start, pair in zip(starts, pairs, strict=True):
                pool.start_stream(start, pair)
            await until(lambda: len(seen.of(control.StreamReady)) == 4)
            by_table = {id(pool.row(start.info.call_id)[0]) for start in starts}  # type: ignore[index]
            assert len(by_table) == 2
            first = starts[0].info.call_id
            pool.update(first, MEDIA)
            assert pool.send(control.SendDtmf(first, "12"))
            await until(lambda: len(seen.of(control.AgentEvent)) == 2)
            told = seen.of(control.AgentEvent)[1].data
            assert told["fds"] == 2
            assert told["port"] == pairs[0].rtp_port
            for start in starts:
                assert pool.stop_stream(start.info.call_id, "caller_hangup")
            await until(lambda: len(seen.of(control.StreamEnded)) == 4)
            assert pool.streams == 0
            for pair in pairs:
                pair.release()

    before = open_fds()
    asyncio.run(scenario())
    assert open_fds() == before


@pytest.mark.parametrize("death", ["crash", "kill", "hang"])
def test_a_worker_that_dies_is_replaced_and_its_streams_go_on_in_their_rows(
    death: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same row, same generation, same ports, counters as they were; updates in between are not lost."""
    monkeypatch.setattr(supervisor, "HEARTBEAT_LIMIT_NS", 1_500_000_000)

    async def scenario() -> None:
        async with running() as (pool, seen):
            pair, start = ports.acquire(), start_of()
            call_id = start.info.call_id
            pool.start_stream(start, pair)
            await until(lambda: pool.row(call_id))
            columns, slot = pool.row(call_id)  # type: ignore[misc]
            generation, pid = int(columns.generation[slot]), pool.pids[0]
            if death == "kill":
                os.kill(pid, signal.SIGKILL)
            else:
                pool.send(control.SendDtmf(call_id, "D" if death == "crash" else "C"))
            await until(lambda: seen.named("worker.restarted"))
            await until(lambda: len(seen.of(control.StreamReady)) == 2)
            assert pool.row(call_id) == (columns, slot)
            assert int(columns.generation[slot]) == generation
            assert int(columns.packets_received[slot]) == 2
            assert pool.pids != [pid]
            pool.send(control.SendDtmf(call_id, "7"))
            await until(lambda: seen.of(control.AgentEvent))
            assert seen.of(control.AgentEvent)[0].data["port"] == pair.rtp_port
            died = seen.named("worker.died")[0]
            assert died["streams"] == 1
            assert ("SIGKILL" in died["why"]) == (death != "crash")
            assert bool(seen.named("worker.hung")) == (death == "hang")
            pair.release()

    asyncio.run(scenario())


def test_what_is_asked_while_a_worker_is_away_holds_when_it_is_back() -> None:
    """Updates are remembered, digits are refused, a stop needs no worker, a new call waits for it."""

    async def scenario() -> None:
        async with running() as (pool, seen):
            kept, stopped, new = start_of(), start_of(), start_of()
            pairs = [ports.acquire() for _ in range(3)]
            pool.start_stream(kept, pairs[0])
            pool.start_stream(stopped, pairs[1])
            await until(lambda: len(seen.of(control.StreamReady)) == 2)
            os.kill(pool.pids[0], signal.SIGKILL)
            await until(lambda: pool.ready_workers == 0)
            assert not pool.send(control.SendDtmf(kept.info.call_id, "1"))
            assert not pool.stop_stream(stopped.info.call_id, "caller_hangup")
            pool.start_stream(new, pairs[2])
            pool.update(kept.info.call_id, MEDIA)
            await until(lambda: len(seen.of(control.StreamReady)) == 4)
            resumed = [message.call_id for message in seen.of(control.StreamReady)[2:]]
            assert resumed == [kept.info.call_id, new.info.call_id]
            for pair in pairs:
                pair.release()

    asyncio.run(scenario())


def test_a_stream_that_was_stopping_when_its_worker_died_has_ended() -> None:
    """Nobody will answer the stop any more, so the pool does."""

    async def scenario() -> None:
        async with running() as (pool, seen):
            start, pair = start_of(), ports.acquire()
            pool.start_stream(start, pair)
            await until(lambda: seen.of(control.StreamReady))
            assert pool.stop_stream(start.info.call_id, "silent")
            os.kill(pool.pids[0], signal.SIGKILL)
            await until(lambda: seen.of(control.StreamEnded))
            assert pool.streams == 0
            pair.release()

    asyncio.run(scenario())


def test_a_worker_that_dies_again_and_again_is_given_up_with_its_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five deaths within ten seconds: the calls end, new ones are refused, restarts go on slowly."""
    monkeypatch.setattr(supervisor, "_pause_s", lambda place: 5.0 if place.failing else 0.0)

    async def scenario() -> None:
        async with running() as (pool, seen):
            start, pair = start_of(), ports.acquire()
            pool.start_stream(start, pair)
            for deaths in range(1, supervisor.MAX_DEATHS + 1):
                await until(lambda: pool.ready_workers == 1)
                os.kill(pool.pids[0], signal.SIGKILL)
                await until(lambda expected=deaths: len(seen.named("worker.died")) == expected)
            failed = seen.of(control.StreamFailed)
            assert [message.reason for message in failed] == ["worker_lost"]
            assert pool.streams == 0
            with pytest.raises(NoWorker):
                pool.start_stream(start_of(), pair)
            pair.release()

    asyncio.run(scenario())


def test_workers_that_do_not_start_are_an_error_with_their_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway must not start without media; what the worker printed, and how it ended, is reported."""
    monkeypatch.setattr(supervisor, "_pause_s", lambda place: 0.0)
    seen, refused = Seen(), []

    async def scenario() -> None:
        pool = MediaPool(
            2, 100, ("--mode", "stillborn"), program=PROGRAM, on_message=seen.messages.append,
            on_event=lambda name, data: seen.events.append((name, data)),
        )  # fmt: skip
        try:
            await pool.start()
        except supervisor.WorkersFailed as error:
            refused.append(str(error))

    before = open_fds()
    asyncio.run(scenario())
    assert open_fds() == before
    assert refused
    assert any("says hello" in data["line"] for data in seen.named("worker.output"))
    assert "exit code 3" in {data["why"] for data in seen.named("worker.died")}


def test_workers_end_when_the_gateway_is_gone() -> None:
    """A gateway that is killed leaves no process: the control channel's end ends its workers."""
    gateway = subprocess.Popen([sys.executable, "-c", GATEWAY, *PROGRAM], stdout=subprocess.PIPE, text=True)
    assert gateway.stdout is not None
    pids = [int(word) for word in gateway.stdout.readline().split()]
    gateway.kill()
    gateway.wait()
    gateway.stdout.close()
    assert len(pids) == 2
    asyncio.run(until(lambda: not any(alive(pid) for pid in pids)))


GATEWAY = """
import asyncio, sys
from trunkline.gateway.media.pool import MediaPool

async def scenario():
    pool = MediaPool(2, 10, program=sys.argv[1:], on_message=print, on_event=lambda name, data: None)
    await pool.start()
    print(*pool.pids, flush=True)
    await asyncio.sleep(60)

asyncio.run(scenario())
"""
"A gateway that starts workers and waits to be killed."


def alive(pid: int) -> bool:
    """Whether it runs; one that waits for its parent to be told (a zombie) does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_agent_that_has_a_call_and_its_state_reach_the_successor() -> None:
    """With the others behind it, in turn, and which agent it is."""
    pool = MediaPool(1, 4, on_message=lambda message: None, on_event=lambda event, data: None)
    place = pool._supervisor.places[0]
    names = [control.AgentParams(name, f"unix:/{name}", "trunkline") for name in "abc"]
    start = msgspec.structs.replace(start_of(), agent=names[0], others=tuple(names[1:]))
    pair = ports.acquire()
    pool.start_stream(start, pair)
    call_id = start.info.call_id
    pool.worker_said(place, control.StreamReady(call_id, 0, 1, 1.0, agent="b"))
    pool.worker_said(place, AgentState(call_id, b"blob"))
    pool.worker_said(place, AgentChanged(call_id, "c", "agent_lost", 2, 10.0))
    kept = pool._streams[call_id].start
    assert [kept.agent.name, *(one.name for one in kept.others)] == ["c", "a", "b"]
    assert (kept.attempt, kept.agent_state) == (2, b"blob")
    pool.worker_said(place, AgentChanged("nobody", "a", "agent_lost", 2, 10.0))
    pool.worker_said(place, AgentChanged(call_id, "", "agent_lost", 3, 10.0))
    assert pool._streams[call_id].start.agent.name == "c", "nobody has it: the last one is asked again"
    pool.forget(call_id)
    pair.release()


def test_keys_of_a_handshake_reach_the_successor_and_outlive_updates() -> None:
    """As long as the terms are those that they were made for; nowhere do they show."""
    fingerprint = Fingerprint("sha-256", bytes(range(32)))
    terms = DtlsTerms(True, (fingerprint,), Identity(b"certificate", b"PRIVATE"))
    send, receive = new_key("AEAD_AES_128_GCM"), new_key("AEAD_AES_128_GCM")

    async def main() -> None:
        async with running() as (pool, seen):
            pair = ports.acquire()
            start = msgspec.structs.replace(start_of(), media=dataclasses.replace(MEDIA, dtls=terms))
            call_id = start.info.call_id
            pool.start_stream(start, pair)
            stream, place = pool._streams[call_id], pool._supervisor.places[0]

            def holds() -> tuple[CryptoKey | None, CryptoKey | None]:
                return stream.start.media.send_key, stream.start.media.receive_key

            def say(active: bool = True, of: Fingerprint = fingerprint) -> None:
                said = control.encode(control.KeysAgreed(call_id, active, (of,), send, receive))
                pool.worker_said(place, control.decode_from_worker(said))

            say(active=False)
            say(of=Fingerprint("sha-256", bytes(32)))
            assert holds() == (None, None)
            say()
            assert holds() == (send, receive) and stream.start.media.dtls == terms
            pool.update(call_id, dataclasses.replace(MEDIA, dtls=terms, send=False))
            assert holds() == (send, receive) and not stream.start.media.send
            sent = control.decode_to_worker(control.encode(stream.start))
            assert isinstance(sent, control.StartStream) and sent.media == stream.start.media
            for shown in (repr(stream.start), repr(seen.messages)):
                assert repr(send.master)[2:8] not in shown and "PRIVATE" not in shown
            other = dataclasses.replace(terms, active=False)
            pool.update(call_id, dataclasses.replace(MEDIA, dtls=other))
            assert holds() == (None, None)
            say()
            assert holds() == (None, None)
            pair.release()

    asyncio.run(main())
