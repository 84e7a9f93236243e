# SPDX-License-Identifier: GPL-2.0-or-later
"""Inbound calls from INVITE to the end, and every way they can end."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest

from support.call_rig import CONFIG, MEDIA, FakeMedia, Rig
from trunkline.gateway.calls.call import Phase
from trunkline.gateway.calls.ending import Ending
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.view import PlaceRequest
from trunkline.gateway.media import control
from trunkline.gateway.media.ports import PortPair
from trunkline.gateway.sip.events import CallState, InfoDtmf, MediaChanged, ThreadFailed
from trunkline.gateway.sip.messages import HangUp, Respond, SendInfoDtmf


def run(scenario: Callable[[Rig], Awaitable[None]], config: str = CONFIG) -> None:
    """Play a scenario; afterwards nothing may be left."""

    async def play() -> None:
        rig = Rig(config)
        try:
            await scenario(rig)
            assert rig.holds_nothing()
        finally:
            rig.service.stop()

    asyncio.run(play())


def test_a_call_is_rung_answered_when_the_agent_is_there_and_summed_up_at_the_end() -> None:
    """180 at once, 200 when the agent has it; after BYE the ports stay until the worker is done."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        assert [command.code for command in rig.take(Respond)] == [180]
        start = rig.media.started[call_id]
        assert (start.info.caller, start.info.called, start.info.route) == ("100", "600", "all")
        assert start.info.metadata == {"a": "agent", "b": "route"}
        assert start.info.headers == {"X-Tenant": "acme", "Diversion": "<sip:1@x>"}
        assert start.media == MEDIA
        assert not start.hold_media
        rig.ready(call_id)
        assert [command.code for command in rig.take(Respond)] == [200]
        assert rig.service.get(call_id).state == "answering"
        await rig.state(call_id, CallState.CONFIRMED, 200)
        assert rig.service.get(call_id).state == "up"
        await rig.state(call_id, CallState.ENDED, 200, reason="BYE")
        assert rig.media.stopped == [(call_id, "caller_hangup")]
        assert rig.ports.in_use == 1, "the worker still uses the sockets"
        rig.ended(call_id, packets_received=50, packets_lost=2, jitter_ms=1.5)
        view = rig.service.get(call_id)
        assert (view.state, view.cause, view.sip_code) == ("ended", "caller_hangup", 200)
        assert view.media is not None
        assert (view.media.packets_received, view.media.packets_lost, view.media.jitter_ms) == (50, 2, 1.5)
        assert view.media.loss_percent == pytest.approx(3.846)
        assert [e.event for e in rig.told()] == ["call.incoming", "call.up", "call.ended"]

    run(scenario)


def test_the_canonical_line_tells_the_whole_call(capsys: pytest.CaptureFixture[str]) -> None:
    """One line, with who, route, agent, codec and cause."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.state(call_id, CallState.ENDED, 200)
        rig.ended(call_id)

    run(scenario)
    lines = [line for line in capsys.readouterr().out.splitlines() if "call.ended" in line]
    assert len(lines) == 1
    for fact in ("100", "600", "pbx", "all", "echo", "PCMU", "caller_hangup", "duration_s"):
        assert fact in lines[0]


@pytest.mark.parametrize(
    ("failure", "code", "retry_after"),
    [
        (("agent_unreachable", "nobody listens"), 503, "5"),
        (("agent_timeout", "no answer"), 503, "5"),
        (("agent_rejected", "busy", 486, "Busy Here"), 486, None),
        (("agent_rejected", "no code"), 480, None),
        (("agent_rejected", "a code that refuses nothing", 200), 480, None),
        (("table_full", "no row"), 503, "30"),
        (("bad_media", "unknown codec"), 488, None),
    ],
)
def test_an_agent_that_does_not_take_the_call_is_a_refusal(
    failure: tuple[str, str], code: int, retry_after: str | None
) -> None:
    """503 with Retry-After where trying again may help, the agent's own code where it gave one."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        rig.service.media_message(control.StreamFailed(call_id, *failure))
        [refusal] = rig.take(HangUp)
        assert refusal.code == code
        assert refusal.headers.get("Retry-After") == retry_after
        await rig.state(call_id, CallState.ENDED, code, by_us=True)
        rig.ended(call_id)
        view = rig.service.get(call_id)
        assert (view.cause, view.sip_code, view.answered) == (failure[0], code, None)

    run(scenario)


def test_no_worker_is_a_refusal_at_once() -> None:
    """Without media nothing is rung for long."""

    async def scenario(rig: Rig) -> None:
        rig.media.works = False
        call_id = await rig.invite()
        assert [command.code for command in rig.take(HangUp)] == [503]
        await rig.state(call_id, CallState.ENDED, 503, by_us=True)
        assert rig.service.get(call_id).cause == "no_worker"

    run(scenario)


def test_a_caller_who_gives_up_while_the_agent_is_being_connected() -> None:
    """CANCEL ends the stream; a StreamReady that crosses it answers nobody."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        rig.take(Respond)
        await rig.state(call_id, CallState.ENDED, 487)
        assert rig.media.stopped == [(call_id, "caller_cancelled")]
        rig.ready(call_id)
        assert not rig.take(Respond)
        assert not rig.take(HangUp)
        rig.ended(call_id)
        assert rig.service.get(call_id).cause == "caller_cancelled"

    run(scenario)


@pytest.mark.parametrize("answered", [False, True])
def test_the_agent_hangs_up(answered: bool) -> None:
    """Before the answer with its code, after it with BYE."""

    async def scenario(rig: Rig) -> None:
        call_id = await (rig.up() if answered else rig.invite())
        rig.service.media_message(control.AgentHangup(call_id, "done", 404))
        rig.service.media_message(control.AgentHangup(call_id, "again"))
        [command] = rig.take(HangUp)
        assert command.code == (0 if answered else 404)
        await rig.state(call_id, CallState.ENDED, 200 if answered else 404, by_us=True)
        rig.ended(call_id)
        assert rig.service.get(call_id).cause == "agent_hangup"

    run(scenario)


def test_an_agent_that_is_lost_during_the_call_ends_it_with_a_reason() -> None:
    """The peer's BYE says why (RFC 3326)."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.service.media_message(control.StreamFailed(call_id, "agent_lost", "connection reset"))
        [command] = rig.take(HangUp)
        assert command.headers["Reason"].startswith("Q.850;cause=41")
        rig.ended(call_id)
        assert rig.ports.in_use == 0 or rig.service.calls, "SIP is not over yet"
        await rig.state(call_id, CallState.ENDED, 200, by_us=True)
        assert rig.service.get(call_id).cause == "agent_lost"

    run(scenario)


def test_a_caller_that_sends_nothing_is_hung_up_after_the_limit_unless_on_hold() -> None:
    """Silence below the limit is only told; on hold silence is what was agreed on."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        session = rig.service.calls[call_id].session
        rig.told()
        rig.service.media_message(control.MediaSilent(call_id, 59_000))
        assert [e.event for e in rig.told()] == ["media.silent"]
        session.held, session.agreed = True, dataclasses.replace(MEDIA, send=False)  # type: ignore[attr-defined, misc]
        await rig.sip(MediaChanged(call_id))
        rig.service.media_message(control.MediaSilent(call_id, 61_000))
        assert not rig.take(HangUp)
        assert rig.service.get(call_id).state == "held"
        session.held, session.agreed = False, MEDIA  # type: ignore[attr-defined, misc]
        await rig.sip(MediaChanged(call_id))
        assert [e.event for e in rig.told()] == ["call.held", "call.resumed"]
        assert [media.send for media in rig.media.updates] == [False, True]
        rig.service.media_message(control.MediaSilent(call_id, 61_000))
        assert len(rig.take(HangUp)) == 1
        await rig.state(call_id, CallState.ENDED, 200, by_us=True)
        rig.ended(call_id)
        assert rig.service.get(call_id).cause == "no_media"

    run(scenario)


def test_a_silence_is_told_once_with_its_end_and_again_when_it_ends_the_call() -> None:
    """A worker reports every two seconds; whoever follows the events wants to know what changed."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.told()
        for idle_ms in (2000, 4000, 6000):
            rig.service.media_message(control.MediaSilent(call_id, idle_ms))
        assert [(e.event, e.data["idle_ms"]) for e in rig.told()] == [("media.silent", 2000)]
        rig.media.columns.packets_received[0] += 1
        await asyncio.sleep(0.7)
        assert [e.event for e in rig.told()] == ["media.resumed"]
        for idle_ms in (2000, 30_000, 60_000):
            rig.service.media_message(control.MediaSilent(call_id, idle_ms))
        assert [e.data["idle_ms"] for e in rig.told() if e.event == "media.silent"] == [2000, 60_000]
        await rig.state(call_id, CallState.ENDED, 200, by_us=True)
        rig.ended(call_id)

    run(scenario)


def test_hanging_up_between_our_200_and_the_ack_is_a_bye() -> None:
    """Our 200 has been sent: no other code ever will be, and the view does not say one."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        rig.ready(call_id)
        await rig.service.hangup(call_id, "x")
        [command] = rig.take(HangUp)
        assert command.code == 0 and "Reason" in command.headers
        await rig.state(call_id, CallState.ENDED, 200, by_us=True)
        rig.ended(call_id)
        view = rig.service.get(call_id)
        assert (view.cause, view.sip_code, view.detail) == ("api_hangup", 200, "x")

    run(scenario)


def test_a_200_that_is_never_acknowledged_stays_what_was_on_the_wire() -> None:
    """PJSIP's 408 for it is its own."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        rig.ready(call_id)
        await rig.state(call_id, CallState.ENDED, 408)
        rig.ended(call_id)
        assert (rig.service.get(call_id).cause, rig.service.get(call_id).sip_code) == ("no_ack", 200)

    run(scenario)


def test_what_the_agent_has_queued_can_be_cleared_while_the_call_is_up() -> None:
    """409 before and after, 503 while no worker has it."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        with pytest.raises(CallRefused) as refusal:
            await rig.service.clear_audio(call_id)
        assert refusal.value.http_status == 409
        rig.ready(call_id)
        await rig.state(call_id, CallState.CONFIRMED, 200)
        await rig.service.clear_audio(call_id)
        assert rig.media.sent == [control.ClearAudio(call_id)]
        rig.media.works = False
        with pytest.raises(CallRefused) as refusal:
            await rig.service.clear_audio(call_id)
        assert refusal.value.http_status == 503
        await rig.state(call_id, CallState.ENDED, 200)
        rig.ended(call_id)

    run(scenario)


def test_whatever_a_start_of_media_raises_ends_that_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is too long for the channel was a call that never ended."""

    def too_long(self: FakeMedia, start: control.StartStream, ports: PortPair) -> None:
        self.started[start.info.call_id] = start
        raise ValueError("message of 70000 bytes")

    monkeypatch.setattr(FakeMedia, "start_stream", too_long)

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        assert [command.code for command in rig.take(HangUp)] == [500]
        await rig.state(call_id, CallState.ENDED, 500, by_us=True)
        view = rig.service.get(call_id)
        assert (view.cause, view.detail) == ("internal_error", "ValueError: message of 70000 bytes")
        placed = await rig.service.place(PlaceRequest(to="600", agent="echo", trunk="pbx"))
        assert rig.service.get(placed.id).cause == "internal_error"

    run(scenario)


def test_a_fault_of_the_sweep_is_told_with_the_call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It acts on a call, not on an event about one."""
    monkeypatch.setattr(Ending, "overdue", lambda self, call, now: 1 / 0)

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.service.calls[call_id].wait(0.0, "agent")
        await asyncio.sleep(0.7)
        assert [command.call_id for command in rig.take(HangUp)] == [call_id]
        await rig.state(call_id, CallState.ENDED, 200, by_us=True)
        rig.ended(call_id)
        assert f"call_id={call_id}" in capsys.readouterr().out

    run(scenario)


def test_an_offerless_invite_is_held_until_the_answer_in_the_ack() -> None:
    """The agent is connected, media starts when it is known."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite(sdp="")
        assert rig.media.started[call_id].hold_media
        rig.ready(call_id)
        rig.service.calls[call_id].session.accepted("answer")
        await rig.sip(MediaChanged(call_id))
        assert rig.media.updates == [MEDIA]
        await rig.state(call_id, CallState.CONFIRMED, 200)
        assert rig.media.updates == [MEDIA], "nothing new, nothing sent"
        await rig.state(call_id, CallState.ENDED, 200)
        rig.ended(call_id)

    run(scenario)


def test_digits_travel_as_the_call_can() -> None:
    """RTP events where agreed on; INFO where the trunk says so; INFO of the caller goes to the agent."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.service.send_dtmf(call_id, "12#", 100, 50)
        await rig.sip(InfoDtmf(call_id, "5", 160))
        assert rig.media.sent == [
            control.SendDtmf(call_id, "12#", 100, 50), control.InjectDtmf(call_id, "5", 160),
        ]  # fmt: skip
        by_info = await rig.up(source="192.0.2.20:5060")
        assert rig.media.started[by_info].media.send_dtmf_pt == -1
        await rig.service.send_dtmf(by_info, "7", 100, 50)
        rig.service.media_message(control.AgentDtmf(by_info, "8", 120))
        assert rig.take(SendInfoDtmf) == [SendInfoDtmf(by_info, "7", 100, 50), SendInfoDtmf(by_info, "8", 120)]
        for each in (call_id, by_info):
            await rig.state(each, CallState.ENDED, 200)
            rig.ended(each)

    run(scenario)


def test_a_worker_that_never_reports_the_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds, then the ports go back all the same."""
    monkeypatch.setattr("trunkline.gateway.calls.ending.MEDIA_STOP_LIMIT_S", 0.1)

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.state(call_id, CallState.ENDED, 200)
        assert await rig.service.wait_empty(2)

    run(scenario)


def test_sip_that_never_reports_the_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost ENDED must not keep a call for ever."""
    monkeypatch.setattr("trunkline.gateway.calls.ending.SIP_END_LIMIT_S", 0.1)

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.service.hangup(call_id)
        rig.ended(call_id)
        assert await rig.service.wait_empty(2)
        assert rig.service.get(call_id).cause == "api_hangup"

    run(scenario)


def test_a_worker_that_says_nothing_about_the_agent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The caller does not hear it ring for ever."""
    monkeypatch.setattr("trunkline.gateway.calls.streams.AGENT_MARGIN_S", -5.9)

    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        await asyncio.sleep(0.8)
        assert [command.code for command in rig.take(HangUp)] == [503]
        await rig.state(call_id, CallState.ENDED, 503, by_us=True)
        rig.ended(call_id)

    run(scenario)


def test_a_fault_in_a_reaction_ends_that_call_only() -> None:
    """An exception is logged and costs one call."""

    async def scenario(rig: Rig) -> None:
        call_id, other = await rig.up(), await rig.up()
        rig.service.calls[call_id].session = None  # type: ignore[assignment]
        await rig.sip(MediaChanged(call_id))
        assert [command.call_id for command in rig.take(HangUp)] == [call_id]
        await rig.state(call_id, CallState.ENDED, 200, by_us=True)
        rig.ended(call_id)
        assert rig.service.get(call_id).cause == "internal_error"
        assert rig.service.calls[other].phase is Phase.UP
        await rig.state(other, CallState.ENDED, 200)
        rig.ended(other)

    run(scenario)


def test_draining_refuses_new_calls_and_the_end_hangs_up_all() -> None:
    """SIGTERM: 503 for new ones, then everybody is told that the gateway stops."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.service.drain()
        assert (await rig.refused()).cause == "draining"
        assert not await rig.service.wait_empty(0.05)
        rig.service.hang_up_all()
        assert len(rig.take(HangUp)) == 1
        await rig.state(call_id, CallState.ENDED, 200, by_us=True)
        rig.ended(call_id)
        assert rig.service.get(call_id).cause == "shutdown"
        assert await rig.service.wait_empty(0.05)

    run(scenario)


def test_a_failed_sip_thread_is_passed_on() -> None:
    """The gateway has to end then."""

    async def scenario(rig: Rig) -> None:
        await rig.sip(ThreadFailed("broken"))
        assert rig.fatal == ["broken"]

    run(scenario)
