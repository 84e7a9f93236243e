# SPDX-License-Identifier: GPL-2.0-or-later
"""What agents may do with calls: before the answer, on hold, variables, and how they end them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from support.call_rig import CONFIG, MEDIA, Rig
from trunkline.gateway.calls.call import Phase
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.view import PlaceRequest
from trunkline.gateway.media import agent_asks, control
from trunkline.gateway.media.call_policy import PERMISSIONS
from trunkline.gateway.sip.events import CallState, MediaChanged, OfferFailed
from trunkline.gateway.sip.messages import HangUp, Reinvite, Respond

DECIDING = CONFIG.replace(
    'name = "all"\n',
    'name = "all"\nagent_may = ["hold", "early_media"]\nanswer_timeout_s = 5\nhold_music = "hold.wav"\n'
    'music = { jazz = "/music/jazz.wav" }\n',
)


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


async def ringing(rig: Rig, sdp: str = "offer") -> str:
    """An inbound call that its agent has taken and lets ring."""
    call_id = await rig.invite(sdp=sdp)
    rig.service.media_message(control.StreamReady(call_id, 0, 1, 2.5, answer=False))
    rig.take(Respond)
    return call_id


async def end(rig: Rig, call_id: str) -> None:
    """The caller is gone, and so is the stream."""
    await rig.state(call_id, CallState.ENDED, 487)
    rig.ended(call_id)


def refusals(rig: Rig) -> list[str]:
    return [one.code for one in rig.media.told if isinstance(one, control.CommandRefused)]


def test_an_agent_lets_it_ring_is_heard_and_answers() -> None:
    """180, 183 and 200 with headers of its own; no audio flows before the 183, and a successor knows it."""

    async def scenario(rig: Rig) -> None:
        call_id = await ringing(rig)
        say = rig.service.media_message
        assert rig.service.get(call_id).state == "ringing" and rig.media.updates == []
        assert rig.media.started[call_id].hold_media and rig.media.started[call_id].taken
        say(agent_asks.AgentRing(call_id, {"Alert-Info": "<http://x>"}))
        say(agent_asks.AgentProgress(call_id, {"X-A": "1"}))
        assert rig.service.get(call_id).state == "early" and rig.media.updates == [MEDIA]
        assert MEDIA.send, "early audio goes both ways"
        say(agent_asks.AgentAnswer(call_id, {"X-B": "2"}))
        assert [(one.code, one.headers) for one in rig.take(Respond)] == [
            (180, {"Alert-Info": "<http://x>"}), (183, {"X-A": "1"}), (200, {"X-B": "2"}),
        ]  # fmt: skip
        await rig.state(call_id, CallState.CONFIRMED, 200)
        assert [one.state for one in rig.media.told] == ["early", "answered"]
        assert rig.media.started[call_id].answered
        assert [one.event for one in rig.told()] == ["call.incoming", "call.ringing", "call.early", "call.up"]
        await end(rig, call_id)

    run(scenario)


def test_an_agent_that_accepts_answers_with_its_headers() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        rig.service.media_message(control.StreamReady(call_id, 0, 1, 2.5, headers={"X-A": "1"}))
        assert [(one.code, one.headers) for one in rig.take(Respond)] == [(180, {}), (200, {"X-A": "1"})]
        assert rig.media.updates == [], "audio flows since the agent accepted"
        await end(rig, call_id)

    run(scenario)


@pytest.mark.parametrize(("code", "sent"), [(486, 486), (0, 603)])
def test_an_agent_refuses_what_it_has_let_ring(code: int, sent: int) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await ringing(rig)
        rig.service.media_message(control.AgentHangup(call_id, "Lunch", code, {"X-Why": "lunch"}))
        [command] = rig.take(HangUp)
        assert (command.code, command.headers["X-Why"]) == (sent, "lunch")
        if code:
            assert command.reason == "Lunch"
        await end(rig, call_id)
        view = rig.service.get(call_id)
        assert (view.cause, view.sip_code, view.answered) == ("agent_hangup", sent, None)

    run(scenario)


def test_an_agent_that_never_answers_is_given_up() -> None:
    """The caller gets 480, and the log says whose fault it was."""

    async def scenario(rig: Rig) -> None:
        call_id = await ringing(rig)
        call = rig.service.calls[call_id]
        assert 4 < call.deadline - time.monotonic() <= 5
        call.deadline = time.monotonic() - 1
        rig.service._sweep()
        assert [one.code for one in rig.take(HangUp)] == [480]
        await end(rig, call_id)
        assert rig.service.get(call_id).cause == "agent_no_answer"

    run(scenario, DECIDING)


def test_a_caller_who_gives_up_meanwhile_has_cancelled() -> None:
    async def scenario(rig: Rig) -> None:
        for early in (False, True):
            call_id = await ringing(rig)
            if early:
                rig.service.media_message(agent_asks.AgentProgress(call_id))
            await end(rig, call_id)
            view = rig.service.get(call_id)
            assert (view.cause, view.sip_code) == ("caller_cancelled", 487)
            rig.service.media_message(agent_asks.AgentAnswer(call_id))
        assert [one.code for one in rig.take(Respond)] == [183], "the answer came too late, and was none"

    run(scenario)


def test_what_cannot_be_done_now_is_told_and_harms_nothing() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.take(Respond)
        for message in (
            agent_asks.AgentRing(call_id), agent_asks.AgentProgress(call_id), agent_asks.AgentAnswer(call_id),
            agent_asks.AgentHold(call_id, True, "unknown"), agent_asks.AgentVariables(call_id, {"": "x"}),
        ):  # fmt: skip
            rig.service.media_message(message)
        assert refusals(rig) == ["not_now"] * 3 + ["no_such_music", "bad_variable"]
        assert rig.commands == [] and rig.service.calls[call_id].phase is Phase.UP
        await end(rig, call_id)

    run(scenario)


def test_no_early_audio_for_a_caller_without_an_offer() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await ringing(rig, sdp="")
        rig.service.media_message(agent_asks.AgentProgress(call_id))
        assert refusals(rig) == ["not_now"] and rig.take(Respond) == []
        rig.service.media_message(agent_asks.AgentAnswer(call_id))
        assert [one.code for one in rig.take(Respond)] == [200]
        await end(rig, call_id)

    run(scenario)


@pytest.mark.parametrize("name", ["Contact", "t", "bad name", "X-A"])
def test_headers_that_may_not_be_written_are_left_out_and_told(name: str) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await ringing(rig)
        value = "a\r\nVia: x" if name == "X-A" else "a"
        rig.service.media_message(agent_asks.AgentAnswer(call_id, {name: value}))
        assert [(one.code, one.headers) for one in rig.take(Respond)] == [(200, {})]
        assert refusals(rig) == ["bad_header"]
        await end(rig, call_id)

    run(scenario)


def test_another_agent_may_answer_at_once() -> None:
    """The first one let it ring, and was lost."""

    async def scenario(rig: Rig) -> None:
        call_id = await ringing(rig)
        rig.ready(call_id)
        assert [one.code for one in rig.take(Respond)] == [200] and rig.media.updates == [MEDIA]
        await end(rig, call_id)

    run(scenario)


def test_what_a_route_allows_goes_to_the_worker() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.invite()
        assert rig.media.started[call_id].agent_may == ("hold", "early_media")
        placed = await rig.service.place(PlaceRequest(to="sip:1@192.0.2.10", agent="echo"))
        assert rig.media.started[placed.id].agent_may == PERMISSIONS
        await rig.service.hangup(placed.id)
        rig.ended(placed.id)
        await end(rig, call_id)

    run(scenario, DECIDING)


def test_the_agent_of_an_outbound_call_is_told_how_far_it_is() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = (await rig.service.place(PlaceRequest(to="sip:1@192.0.2.10", agent="echo"))).id
        assert not rig.media.started[call_id].answered
        rig.ready(call_id)
        for state in (CallState.RINGING, CallState.EARLY, CallState.RINGING, CallState.CONFIRMED):
            await rig.state(call_id, state, 180)
        assert [one.state for one in rig.media.told] == ["ringing", "early", "answered"]
        await end(rig, call_id)

    run(scenario)


@pytest.mark.parametrize(("music", "path"), [("", "hold.wav"), ("jazz", "/music/jazz.wav")])
def test_hold_offers_sendonly_plays_music_and_ends(music: str, path: str) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.told()
        say = rig.service.media_message
        say(agent_asks.AgentHold(call_id, True, music))
        say(agent_asks.AgentHold(call_id, True, music))  # once is enough
        assert rig.service.get(call_id).state == "held"
        [play] = rig.media.sent
        assert isinstance(play, control.PlaySound) and play.path.endswith(path) and play.loop
        assert [one.receive for one in rig.media.updates] == [False], "nobody is heard, from now on"
        await rig.sip(OfferFailed(call_id, 488, "no"))  # the peer will have none of it: it hears music all the same
        assert rig.service.get(call_id).state == "held"
        assert refusals(rig) == ["offer_failed"]
        rig.ready(call_id)  # its worker has been replaced
        assert rig.media.sent[1:] == [play]
        say(agent_asks.AgentHold(call_id, False))
        assert [one.hold for one in rig.take(Reinvite)] == [True, False]
        assert [one.receive for one in rig.media.updates] == [False, True]
        assert rig.media.sent[2:] == [control.StopSound(call_id)] and rig.service.get(call_id).state == "up"
        assert [one.event for one in rig.told()] == ["call.held", "call.offer_failed", "call.resumed"]
        await end(rig, call_id)

    run(scenario, DECIDING)


def test_both_sides_may_hold_at_once() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.service.hold(call_id, True)
        call = rig.service.calls[call_id]
        call.session.held = True  # type: ignore[misc]
        await rig.sip(MediaChanged(call_id))
        await rig.service.hold(call_id, False)
        assert rig.service.get(call_id).state == "held", "the peer still holds"
        call.session.held = False  # type: ignore[misc]
        await rig.sip(MediaChanged(call_id))
        assert rig.service.get(call_id).state == "up"
        await end(rig, call_id)

    run(scenario)


def test_variables_stay_with_the_call_to_its_end() -> None:
    """Set by agent and API, told to the worker and its successor, seen in the API, in the last event and log line."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.service.media_message(agent_asks.AgentVariables(call_id, {"customer": "4711", "mood": "bad"}))
        await rig.service.set_variables(call_id, {"mood": "", "note": "two\nlines"})
        wanted = {"customer": "4711", "note": "two\nlines"}
        assert rig.service.get(call_id).variables == wanted == rig.media.started[call_id].variables
        assert rig.media.told[-1] == control.SetVariables(call_id, wanted)
        await end(rig, call_id)
        assert rig.service.get(call_id).variables == wanted
        assert rig.told()[-1].data["variables"] == wanted

    run(scenario)


@pytest.mark.parametrize(
    "values", [{"": "x"}, {"n" * 65: "x"}, {"a\n": "x"}, {"a": "\x00"}, {"a": "\ud800"}, {"a": "x" * 4100},
               {f"n{i}": "x" for i in range(65)}],
)  # fmt: skip
def test_variables_are_bounded(values: dict[str, str]) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        with pytest.raises(CallRefused) as refused:
            await rig.service.set_variables(call_id, {"good": "1", **values})
        assert refused.value.cause == "bad_variable" and rig.service.get(call_id).variables == {}
        await end(rig, call_id)

    run(scenario)


@pytest.mark.parametrize(
    ("code", "reason", "headers", "said"),
    [
        (0, "bye", {}, 'Q.850;cause=16;text="the agent ended the call"'),
        (486, 'Too "busy"', {}, "SIP;cause=486;text=\"Too 'busy'\""),
        (503, "", {}, 'SIP;cause=503;text="Service Unavailable"'),
        (486, "", {"Reason": "Q.850;cause=17"}, "Q.850;cause=17"),
    ],
)
def test_a_bye_says_why(code: int, reason: str, headers: dict[str, str], said: str) -> None:
    """RFC 3326: the cause that the agent gives is the BYE's Reason."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.service.media_message(control.AgentHangup(call_id, reason, code, {"X-A": "1", **headers}))
        [command] = rig.take(HangUp)
        assert command.headers == {"Reason": said, "X-A": "1"} and command.code == 0
        await end(rig, call_id)

    run(scenario)


def test_what_is_muted_is_kept_for_another_worker() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        rig.service.media_message(agent_asks.AgentMuted(call_id, True, False))
        assert rig.media.started[call_id].muted == (True, False)
        await end(rig, call_id)

    run(scenario)


def test_a_header_stands_in_all_later_responses_so_it_is_written_once() -> None:
    """A second value is left out and told: the 200 would have both."""

    async def scenario(rig: Rig) -> None:
        call_id = await ringing(rig)
        say = rig.service.media_message
        say(agent_asks.AgentRing(call_id, {"X-Position": "3", "X-Agent": "a"}))
        say(agent_asks.AgentRing(call_id, {"x-position": "2", "X-Agent": "a"}))
        say(control.StreamReady(call_id, 0, 1, 2.5, headers={"X-Agent": "b", "X-New": "1"}))
        sent = [one.headers for one in rig.take(Respond)]
        assert sent == [{"X-Position": "3", "X-Agent": "a"}, {}, {"X-New": "1"}]
        assert refusals(rig) == ["bad_header"] * 2
        await end(rig, call_id)

    run(scenario)


@pytest.mark.parametrize("final", ["answer", "refuse"])
def test_headers_of_all_responses_together_leave_room_for_the_last(final: str) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await ringing(rig)
        say = rig.service.media_message
        for ring in range(30):
            say(agent_asks.AgentRing(call_id, {f"X-{ring}": "x" * 1000}))
        big = {"X-Big": "y" * 2000}
        say(agent_asks.AgentAnswer(call_id, big) if final == "answer" else control.AgentHangup(call_id, "", 486, big))
        sent = rig.take(Respond) + rig.take(HangUp)
        assert sent[-1].code == (200 if final == "answer" else 486) and "X-Big" not in sent[-1].headers
        assert 10_000 < sum(len(name) + len(value) for one in sent for name, value in one.headers.items()) < 16_400
        assert refusals(rig)[-1] == "bad_header"
        await end(rig, call_id)

    run(scenario)


@pytest.mark.parametrize("waits", [False, True])
def test_a_200_that_leads_to_nothing_does_not_keep_the_call(waits: bool) -> None:
    """Neither an ACK nor an end is told by SIP, as when the 200 could not be sent."""

    async def scenario(rig: Rig) -> None:
        if waits:
            call_id = await ringing(rig)
            rig.service.media_message(agent_asks.AgentAnswer(call_id))
        else:
            call_id = await rig.invite()
            rig.ready(call_id)
        call = rig.service.calls[call_id]
        assert call.phase is Phase.ANSWERING and 32 < call.deadline - time.monotonic() <= 40
        call.deadline = time.monotonic() - 1
        rig.service._sweep()
        assert len(rig.take(HangUp)) == 1
        await end(rig, call_id)
        assert rig.service.get(call_id).cause == "no_ack"
        up = await rig.up()
        assert not rig.service.calls[up].deadline
        await end(rig, up)

    run(scenario)


@pytest.mark.parametrize("config", [CONFIG, DECIDING], ids=["may not", "may"])
def test_an_agent_that_hangs_up_by_the_api_needs_the_same_permission(config: str) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        if config is DECIDING:
            with pytest.raises(CallRefused, match="agent_may") as refused:
                await rig.service.hangup_by_agent(call_id, "asked")
            assert refused.value.http_status == 403 and not rig.take(HangUp)
        else:
            await rig.service.hangup_by_agent(call_id, "asked")
            assert len(rig.take(HangUp)) == 1
        await end(rig, call_id)
        await rig.service.hangup_by_agent(call_id, "asked")
        assert rig.service.get(call_id).cause == ("peer_lost" if config is DECIDING else "agent_hangup")
        with pytest.raises(KeyError):
            await rig.service.hangup_by_agent("nobody", "asked")

    run(scenario, config)
