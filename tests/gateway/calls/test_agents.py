# SPDX-License-Identifier: GPL-2.0-or-later
"""Several agents to a route: who is asked, what is told when one fails, and what becomes of a call without any."""

from __future__ import annotations

import asyncio
import pathlib
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.call_rig import CONFIG, Rig
from support.twilio_server import TwilioServer
from support.waiting import wait_for
from trunkline.agent_bridge import wire
from trunkline.gateway.agent_probe import probe
from trunkline.gateway.calls.call import Call
from trunkline.gateway.calls.view import PlaceRequest
from trunkline.gateway.media import control
from trunkline.gateway.media.agent_asks import AgentChanged, AgentFailed, AgentState
from trunkline.gateway.sip.events import CallState
from trunkline.gateway.sip.messages import HangUp

SEVERAL = CONFIG.replace(
    'agent = "echo"\nmetadata = { b = "route" }',
    'agents = ["echo", "two", "three"]\nmetadata = { b = "route" }\nrescue_sound = "wait.wav"\npatience_ms = 4000',
) + "".join(f'[[agent]]\nname = "{name}"\naddress = "unix:/nowhere/{name}"\n' for name in ("two", "three"))
HANDED_ON = SEVERAL.replace("patience_ms", 'fallback = "transfer"\nfallback_target = "100"\npatience_ms')


def play(scenario: Callable[[Rig], Awaitable[None]], config: str = SEVERAL) -> None:
    async def whole() -> None:
        rig = Rig(config)
        try:
            await scenario(rig)
        finally:
            rig.service.stop()

    asyncio.run(whole())


def taken(rig: Rig, call_id: str, agent: str, tries: int = 1) -> None:
    rig.service.media_message(control.StreamReady(call_id, 0, 1, 2.5, agent=agent, tries=tries))


def test_the_worker_gets_the_whole_list_and_what_the_route_says() -> None:
    """In order, with sound, replay and patience; the sound's path needs no folder."""

    async def scenario(rig: Rig) -> None:
        start = rig.media.started[await rig.invite()]
        assert (start.agent.name, [one.name for one in start.others]) == ("echo", ["two", "three"])
        rescue = start.rescue
        assert (rescue.within_ms, rescue.replay_ms, rescue.patience_ms) == (2000, 10_000, 4000)
        assert rescue.sound.endswith("wait.wav") and not rescue.fallback_sound

    play(scenario)


def test_a_single_agent_of_ours_is_waited_for_without_replay_and_one_of_another_dialect_is_not() -> None:
    """Closing the connection is how an AudioSocket server hangs up; a route may ask for it all the same."""
    foreign = CONFIG.replace('address = "unix:/nowhere"', 'address = "unix:/nowhere"\ndialect = "audiosocket"')
    asked = foreign.replace('agent = "echo"\nmetadata', 'agent = "echo"\nrescue_ms = 1500\nreplay_ms = 3000\nmetadata')
    for config, expected in ((CONFIG, (2000, 0)), (foreign, (0, 0)), (asked, (1500, 3000))):

        async def scenario(rig: Rig, expected: tuple[int, int] = expected) -> None:
            rescue = rig.media.started[await rig.invite()].rescue
            assert (rescue.within_ms, rescue.replay_ms) == expected

        play(scenario, config)


def test_a_call_placed_by_route_has_its_agents_and_one_with_an_agent_has_no_other() -> None:
    async def scenario(rig: Rig) -> None:
        for fields, others in (({"route": "all"}, 2), ({"route": "all", "agent": "three"}, 0)):
            placed = await rig.service.place(PlaceRequest(to="123", trunk="pbx", **fields))
            assert len(rig.media.started[placed.id].others) == others

    play(scenario)


def test_an_agent_that_failed_is_asked_last_until_it_has_been_back_for_a_while() -> None:
    """Told once as agent.down and agent.up; the next call does not find out for itself."""

    async def scenario(rig: Rig) -> None:
        rig.told()
        for _ in range(3):
            rig.service.media_message(AgentFailed("echo", "agent_unreachable", "nobody listens", 1))
        assert [(one.event, one.data["agent"], one.data["reason"]) for one in rig.told()] == [
            ("agent.down", "echo", "agent_unreachable")
        ]
        assert rig.service.status()["agents_down"] == {"echo": "agent_unreachable"}
        call_id = await rig.invite()
        start = rig.media.started[call_id]
        assert [start.agent.name, *(one.name for one in start.others)] == ["two", "three", "echo"]
        taken(rig, call_id, "echo")
        assert rig.service.get(call_id).agent == "echo", "who took it, not who was asked first"
        assert [one.event for one in rig.told() if one.event.startswith("agent.")] == ["agent.up"]
        assert rig.media.started[await rig.invite()].agent.name == "echo"
        views = {view.name: view for view in rig.service.agents()}
        assert views["echo"].failures == {"agent_unreachable": 3} and views["echo"].calls == 2
        page = rig.metrics.render().decode()
        assert 'trunkline_agent_failures_total{agent="echo",reason="agent_unreachable"} 3.0' in page
        assert 'trunkline_agent_up{agent="echo"} 1.0' in page

    play(scenario)


def test_a_call_that_changes_its_agent_says_so_in_its_event_its_view_and_its_last_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`agents=echo,two attempts=2`, and who has it now."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        taken(rig, call_id, "echo")
        await rig.state(call_id, CallState.CONFIRMED, 200)
        rig.told()
        rig.service.media_message(AgentState(call_id, b"blob"))
        rig.service.media_message(AgentChanged(call_id, "two", "agent_lost", 2, 31.5, 4000))
        (changed,) = [one for one in rig.told() if one.event == "agent.changed"]
        assert changed.data["agent"] == "two"
        assert {k: changed.data[k] for k in ("before", "to", "why", "attempt", "took_ms", "replayed_ms")} == {
            "before": "echo", "to": "two", "why": "agent_lost", "attempt": 2, "took_ms": 31.5, "replayed_ms": 4000,
        }  # fmt: skip
        view = rig.service.get(call_id)
        assert (view.agent, view.agents, view.attempts) == ("two", ["echo", "two"], 2)
        page = rig.metrics.render().decode()
        assert 'trunkline_agent_changes_total{result="rescued"} 1.0' in page
        assert 'trunkline_agent_change_seconds_bucket{le="0.05"} 1.0' in page
        await rig.service.hangup(call_id)
        await rig.state(call_id, CallState.ENDED, 200, by_us=True)
        rig.ended(call_id)

    from trunkline.gateway.logs import call_summary

    seen: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trunkline.gateway.logs.call_summary", lambda view: seen.append(call_summary(view)) or seen[-1])
        play(scenario)
    assert (seen[0]["agents"], seen[0]["attempts"]) == ("echo,two", 2)


def test_a_call_that_keeps_its_agent_has_nothing_of_this_in_its_last_line() -> None:
    """One agent, one attempt: `agent` says it."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        view = rig.service.get(call_id)
        assert (view.agents, view.attempts) == ([], 1)

    play(scenario)


def test_a_call_without_any_agent_ends_or_is_handed_on_as_its_route_says() -> None:
    """BYE; or the transfer, once, and BYE when it fails."""

    async def ends(rig: Rig) -> None:
        call_id = await rig.up()
        rig.service.media_message(control.StreamFailed(call_id, "agent_lost", "gone; no agent took the call over"))
        assert len(rig.take(HangUp)) == 1
        assert rig.service.get(call_id).cause == "agent_lost"

    async def handed_on(rig: Rig) -> None:
        asked: list[tuple[str, str]] = []

        def transfer(call: Call, target: str) -> bool:
            asked.append((call.id, target))
            return True

        fallback = rig.service._media.fallback
        fallback.transfer = transfer
        call_id = await rig.up()
        rig.service.media_message(control.StreamFailed(call_id, "agent_lost", "gone"))
        assert asked == [(call_id, "100")] and not rig.take(HangUp)
        assert [one.data["to"] for one in rig.told() if one.event == "call.fallback"] == ["100"]
        fallback.failed(rig.service.calls[call_id], "486 Busy Here")
        assert len(rig.take(HangUp)) == 1
        assert "486 Busy Here" in rig.service.get(call_id).detail

    async def cannot(rig: Rig) -> None:
        rig.service._media.fallback.transfer = lambda call, target: False
        call_id = await rig.up()
        rig.service.media_message(control.StreamFailed(call_id, "agent_lost", "gone"))
        assert len(rig.take(HangUp)) == 1, "nobody can transfer: it ends"

    async def in_vain(rig: Rig) -> None:
        rig.service._media.fallback.transfer = lambda call, target: True
        call_id = await rig.up()
        rig.service.media_message(control.StreamFailed(call_id, "agent_lost", "gone"))
        call = rig.service.calls[call_id]
        call.deadline = 1.0
        await asyncio.sleep(0.7)
        assert call.cause == "agent_lost" and len(rig.take(HangUp)) == 1

    play(ends)
    play(handed_on, HANDED_ON)
    play(cannot, HANDED_ON)
    play(in_vain, HANDED_ON)


def test_before_the_answer_the_last_refusal_is_the_callers() -> None:
    """No transfer of what was never up: the code of the agent."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        rig.service.media_message(control.StreamFailed(call_id, "agent_rejected", "busy", 486, "busy"))
        (hangup,) = rig.take(HangUp)
        assert hangup.code == 486

    play(scenario, HANDED_ON)


# --- probing --------------------------------------------------------------------------------


def serve(path: pathlib.Path, answer: bytes | None) -> threading.Thread:
    """An agent that takes one connection, reads, and answers (None: says nothing)."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def once() -> None:
        with listener, listener.accept()[0] as sock:
            if sock.recv(4096) and answer is not None:
                sock.sendall(answer)
            elif answer is None:
                sock.settimeout(3)
                sock.recv(1)

    thread = threading.Thread(target=once, daemon=True)
    thread.start()
    return thread


def params(path: pathlib.Path, name: str = "a") -> control.AgentParams:
    return control.AgentParams(name, f"unix:{path}", "trunkline", connect_timeout_ms=300)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (wire.control_message("hello", version=1, agent="x"), ""),
        (wire.control_message("hello", version=99, agent="x"), "agent_version"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "agent_protocol"),
        (b"", "agent_lost"),
        (None, "agent_timeout"),
    ],
)
def test_a_probe_says_hello_and_no_more(short_path: pathlib.Path, answer: bytes | None, reason: str) -> None:
    """Up is who answers it as our dialect does."""
    thread = serve(short_path / "a.sock", answer)
    assert probe(params(short_path / "a.sock"))[0] == reason
    thread.join(5)


def test_a_probe_of_nobody_and_of_another_dialect(short_path: pathlib.Path) -> None:
    """AudioSocket has no handshake: taking the connection is enough. A WebSocket must be upgraded, and is closed."""
    assert probe(params(short_path / "none.sock"))[0] == "agent_unreachable"
    thread = serve(short_path / "a.sock", b"")
    assert probe(control.AgentParams("a", f"unix:{short_path}/a.sock", "audiosocket"))[0] == ""
    thread.join(5)
    with TwilioServer() as good:
        where = control.AgentParams("a", f"tcp:127.0.0.1:{good.port}", "twilio", 8000, url=good.url)
        assert probe(where) == ("", "")
        wait_for(lambda: [one.closed for one in good.streams] == [(1000, "")], "the end of it")
    with TwilioServer(check=lambda connection, request: connection.respond(403, "no")) as refusing:
        where = control.AgentParams("a", f"tcp:127.0.0.1:{refusing.port}", "twilio", 8000, url=refusing.url)
        reason, detail = probe(where)
        assert reason == "agent_unreachable" and "HTTP 403" in detail


def test_an_agent_that_is_down_is_looked_after_until_it_is_up(short_path: pathlib.Path) -> None:
    """Without any call: a second after it failed, and the event tells."""
    config = SEVERAL.replace("unix:/nowhere/two", f"unix:{short_path}/two.sock")

    async def scenario(rig: Rig) -> None:
        thread = serve(short_path / "two.sock", wire.control_message("hello", version=1, agent="x"))
        rig.service._book.agent_params["two"] = params(short_path / "two.sock", "two")  # type: ignore[index]
        rig.service.media_message(AgentFailed("two", "agent_lost", "it died", 0))
        assert not next(view for view in rig.service.agents() if view.name == "two").up
        for _ in range(40):
            await asyncio.sleep(0.1)
            if any(one.event == "agent.up" for one in rig.told()):
                break
        else:
            raise AssertionError("nobody looked")
        thread.join(5)

    play(scenario, config)
