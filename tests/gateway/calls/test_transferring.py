# SPDX-License-Identifier: GPL-2.0-or-later
"""Transfers as call control sees them: who may be called, what is told, how both calls end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from support.call_rig import CONFIG, Rig
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.view import TransferRequest
from trunkline.gateway.config import ConfigError, parse
from trunkline.gateway.media import agent_asks, control
from trunkline.gateway.redaction import Cleaner
from trunkline.gateway.sip.events import CallState, TransferChanged
from trunkline.gateway.sip.messages import HangUp, Transfer

OTHERS = CONFIG.replace(
    'name = "all"\ncalled = "6*"\nagent = "echo"',
    'name = "other"\ncalled = "601"\nagent = "other"\n[[route]]\nname = "all"\ncalled = "6*"\nagent = "echo"',
).replace('[[route]]\nname = "refused"', '[[agent]]\nname = "other"\naddress = "unix:/x"\n[[route]]\nname = "refused"')


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


def allowing(*targets: str) -> str:
    shown = ", ".join(f'"{target}"' for target in targets)
    return CONFIG.replace('name = "all"\n', f'name = "all"\ntransfer_targets = [{shown}]\n')


async def end(rig: Rig, *call_ids: str) -> None:
    for call_id in call_ids:
        await rig.state(call_id, CallState.ENDED, 200)
        rig.ended(call_id)


def asks(rig: Rig, call_id: str, target: str = "", attended: str = "", **headers: str) -> list[Transfer]:
    """The agent asks; returns what SIP is asked."""
    rig.service.media_message(agent_asks.AgentTransfer(call_id, target, attended, dict(headers)))
    return rig.take(Transfer)


def refusals(rig: Rig) -> list[str]:
    told = [one.code for one in rig.media.told if isinstance(one, control.CommandRefused)]
    rig.media.told.clear()
    return told


def transfers(rig: Rig, kind: str, result: str) -> float:
    return rig.metrics.registry.get_sample_value("trunkline_transfers_total", {"kind": kind, "result": result}) or 0.0


def test_a_blind_transfer_is_told_and_ends_the_call() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        [command] = asks(rig, call_id, "+49 30 123", Subject="sales")
        assert command == Transfer(call_id, "sip:+4930123@192.0.2.10:5160", "", {"Subject": "sales"})
        rig.media.told.clear()
        for state, code in (("trying", 202), ("ringing", 180)):
            await rig.sip(TransferChanged(call_id, state, code, "x"))
            assert rig.service.get(call_id).transfer == state
        await rig.sip(TransferChanged(call_id, "done", 200, "OK"))
        assert len(rig.take(HangUp)) == 1
        await end(rig, call_id)
        assert [(one.state, one.code) for one in rig.media.told] == [("trying", 202), ("ringing", 180), ("done", 200)]
        view = rig.service.get(call_id)
        assert (view.cause, view.detail, view.transfer) == ("transferred", "", "")
        told = [one.data["state"] for one in rig.told() if one.event == "call.transfer"]
        assert told == ["trying", "ringing", "done"] and transfers(rig, "blind", "done") == 1

    run(scenario)


def test_a_failed_transfer_leaves_the_call_as_it_was_and_may_be_tried_again() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.service.hold(call_id, True)
        assert asks(rig, call_id, "601")
        await rig.sip(TransferChanged(call_id, "failed", 486, "Busy Here"))
        assert rig.media.told[-1] == control.TellTransfer(call_id, "failed", 486, "Busy Here")
        assert rig.service.get(call_id).state == "held" and transfers(rig, "blind", "failed") == 1
        assert asks(rig, call_id, "602")
        await end(rig, call_id)
        assert rig.service.get(call_id).cause == "caller_hangup", "nobody has agreed to the second one"
        assert transfers(rig, "blind", "ended") == 1

    run(scenario)


def test_a_peer_that_hangs_up_once_it_has_agreed_has_been_transferred() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        asks(rig, call_id, "601")
        await rig.sip(TransferChanged(call_id, "trying", 202, "Accepted"))
        await end(rig, call_id)
        view = rig.service.get(call_id)
        assert view.cause == "transferred" and "before it had said" in view.detail
        assert transfers(rig, "blind", "done") == 1

    run(scenario)


@pytest.mark.parametrize(
    ("targets", "target", "uri"),
    [
        ((), "601", "sip:601@192.0.2.10:5160"),
        ((), "sip:601@192.0.2.10:5160", None),
        (("6*",), "601", "sip:601@192.0.2.10:5160"),
        (("6*",), "+49301", None),
        (("6*",), "sip:601@192.0.2.10", None),
        (("sip:6..@192.0.2.10",), "sip:601@192.0.2.10", "sip:601@192.0.2.10"),
        (("sip:6..@192.0.2.10",), "sip:601@192.0.2.10:5099", None),
        (("sip:6..@192.0.2.10",), "sip:6012@192.0.2.10", None),
        (("sip:6..@192.0.2.10",), "601", None),
        (("sip:*@*",), "sips:x@elsewhere.example.com:5061", "sips:x@elsewhere.example.com:5061"),
        (("sip:6..@192.0.2.10",), "sip:6%301@192.0.2.10;transport=tcp", "sip:6%301@192.0.2.10;transport=tcp"),
        (("sip:6..@192.0.2.10",), "sip:601@192.0.2.10;maddr=198.51.100.66", None),
        (("sip:6..@192.0.2.10",), "sip:601@192.0.2.10;%6daddr=198.51.100.66", None),
        (("sip:6..@192.0.2.10",), "sip:601@192.0.2.10;method=BYE", None),
        (("sip:6..@192.0.2.10",), "sip:6;x@192.0.2.10", None),
        (("sip:*@192.0.2.10",), "sip:601;phone-context=x@192.0.2.10", None),
        (("sip:*@192.0.2.10",), "sip:601%3bx@192.0.2.10", None),
        (("sip:*@192.0.2.10",), "sip:601:secret@192.0.2.10", None),
        (("sips:9..@safe.example",), "sip:900@safe.example", None),
        (("sips:9..@safe.example",), "sips:900@safe.example", "sips:900@safe.example"),
        (("sip:re:(?!0900).*@192.0.2.10",), "sip:%30900123@192.0.2.10", None),
        (("sip:re:6@192.0.2.10",), "sip:0900611@192.0.2.10", None),
        (("re:6[0-9]",), "609", None),
        (("re:6[0-9]",), "60", "sip:60@192.0.2.10:5160"),
        (("sip:6..@[2001:DB8::1]",), "sip:601@[2001:db8:0::1]", "sip:601@[2001:db8:0::1]"),
        (("sip:6..@pbx.example.com.",), "sip:601@PBX.example.com", "sip:601@PBX.example.com"),
    ],
)
def test_agents_transfer_to_whom_the_route_allows(targets: tuple[str, ...], target: str, uri: str | None) -> None:
    """Without a list: any number, at the call's own trunk."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        assert [one.target for one in asks(rig, call_id, target)] == ([] if uri is None else [uri])
        assert refusals(rig) == (["forbidden"] if uri is None else [])
        await end(rig, call_id)

    run(scenario, allowing(*targets) if targets else CONFIG)


@pytest.mark.parametrize(
    "entry",
    [
        "", "6*1", "sip:601", "sip:@x", "re:(", "sip:re:(@x", "reception", "sip:6..@h;x=y", "sip:0800*@*:5060",
        "sip:6..@h:99999", "sip:6;x@h", "sip:6@[::x]",
    ],
)  # fmt: skip
def test_entries_that_nobody_can_mean_are_refused(entry: str) -> None:
    with pytest.raises(ConfigError):
        parse(allowing(entry))


@pytest.mark.parametrize(
    "target",
    ["nonsense", "sip:601@192.0.2.10\r\nVia: x", "sip:601@192.0.2.10?Replaces=x", "<sip:6@192.0.2.10>", "tel:+49"],
)
def test_a_target_that_is_none_is_refused(target: str) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        assert asks(rig, call_id, target) == [] and refusals(rig) == ["bad_target"]
        with pytest.raises(CallRefused):
            await rig.service.transfer(call_id, TransferRequest.model_construct(target=target, attended="", headers={}))
        await end(rig, call_id)

    run(scenario, allowing("sip:*@*"))


def test_what_else_is_refused_with_a_word() -> None:
    async def scenario(rig: Rig) -> None:
        call_id, early = await rig.up(), await rig.invite()
        assert asks(rig, early, "601") == [] and refusals(rig) == ["not_now"]
        for target, attended in (("", ""), ("601", early), ("", call_id), ("", "nobody")):
            assert asks(rig, call_id, target, attended) == []
        assert refusals(rig) == ["bad_target"] * 4
        assert asks(rig, call_id, "", early) == [] and refusals(rig) == ["not_now"]
        for header in ("Contact", "Referred-By", "b", "Refer-Sub", "Target-Dialog"):
            assert asks(rig, call_id, "601", **{header: "x"}) == [] and refusals(rig) == ["bad_header"]
        assert asks(rig, call_id, "601") and not asks(rig, call_id, "602") and refusals(rig) == ["not_now"]
        await end(rig, call_id, early)

    run(scenario)


def test_the_api_is_not_bound_by_what_agents_may() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        await rig.service.transfer(call_id, TransferRequest(target="sip:1@elsewhere.example.com", timeout_s=3))
        [command] = rig.take(Transfer)
        assert (command.target, command.timeout_s) == ("sip:1@elsewhere.example.com", 3)
        await end(rig, call_id)

    run(scenario)


def test_a_number_at_a_trunk_without_host_is_called_where_the_caller_came_from() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up(source="192.0.2.10:5080")
        assert [one.target for one in asks(rig, call_id, "601#")] == ["sip:601%23@192.0.2.10:5080"]
        await end(rig, call_id)

    run(scenario, CONFIG.replace('host = "192.0.2.10:5160"\n', ""))


def test_attended_both_calls_end_as_transferred() -> None:
    """The replaced one by its own peer, or by us when that forgets it."""

    async def scenario(rig: Rig) -> None:
        for forgotten in (False, True):
            call_id, other_id = await rig.up(), await rig.up()
            assert asks(rig, call_id, "", other_id) == [Transfer(call_id, attended=other_id)]
            assert asks(rig, other_id, "601") == [], "it is taken"
            await rig.sip(TransferChanged(call_id, "trying", 202, "Accepted"))
            assert rig.service.get(other_id).transfer == "trying"
            if not forgotten:
                await end(rig, other_id)
            await rig.sip(TransferChanged(call_id, "done", 200, "OK"))
            await end(rig, call_id)
            if forgotten:
                rig.service.calls[other_id].deadline = time.monotonic() - 1
                rig.service._sweep()
                await end(rig, other_id)
            assert [rig.service.get(one).cause for one in (call_id, other_id)] == ["transferred"] * 2
        assert transfers(rig, "attended", "done") == 2 and transfers(rig, "blind", "ended") == 0

    run(scenario)


def test_attended_that_fails_leaves_both_calls_free() -> None:
    async def scenario(rig: Rig) -> None:
        call_id, other_id = await rig.up(), await rig.up()
        asks(rig, call_id, "", other_id)
        await rig.sip(TransferChanged(call_id, "failed", 603, "Decline"))
        assert asks(rig, other_id, "601") and asks(rig, call_id, "601")
        await end(rig, call_id, other_id)
        assert [rig.service.get(one).cause for one in (call_id, other_id)] == ["caller_hangup"] * 2

    run(scenario)


def test_the_other_call_is_free_again_when_the_first_one_ends() -> None:
    async def scenario(rig: Rig) -> None:
        call_id, other_id = await rig.up(), await rig.up()
        asks(rig, call_id, "", other_id)
        await end(rig, call_id)
        assert asks(rig, other_id, "601")
        await end(rig, other_id)

    run(scenario)


def test_a_call_that_is_handed_on_tells_when_it_fails() -> None:
    """What is done with calls whose agents are lost; whoever asks hears of it once, and never of one that went well."""

    async def scenario(rig: Rig) -> None:
        why: list[str] = []
        transferring = rig.service._transferring
        early = rig.service.calls[await rig.invite()]
        assert not transferring.hand_on(early, "601", lambda call, text: why.append(text)), "it is not up"
        call_id = await rig.up()
        call = rig.service.calls[call_id]
        for _ in range(2):
            assert transferring.hand_on(call, "601", lambda call, text: why.append(text))
            await rig.sip(TransferChanged(call_id, "failed", 486, "Busy Here"))
        asks(rig, call_id, "601")
        await rig.sip(TransferChanged(call_id, "failed", 486, "Busy Here"))
        assert why == ["486 Busy Here"] * 2
        assert transferring.hand_on(call, "601", lambda call, text: why.append(text))
        await rig.sip(TransferChanged(call_id, "done", 200, "OK"))
        await end(rig, call_id, early.id)
        assert len(why) == 2 and not transferring._failed

    run(scenario)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_target_is_not_hung_up_because_the_other_party_left_before_the_result(replaced: bool) -> None:
    """It may yet be replaced; if not, its agent has it as before."""

    async def scenario(rig: Rig) -> None:
        call_id, other_id = await rig.up(), await rig.up()
        asks(rig, call_id, "", other_id)
        await rig.sip(TransferChanged(call_id, "ringing", 180, "Ringing"))
        await end(rig, call_id)
        other = rig.service.calls[other_id]
        assert 50 < other.deadline - time.monotonic() < 70
        if replaced:
            await end(rig, other_id)
            assert rig.service.get(other_id).cause == "transferred"
            return
        other.deadline = time.monotonic() - 1
        rig.service._sweep()
        assert not rig.take(HangUp) and asks(rig, other_id, "601")
        lose_agent(rig, other_id)
        assert not rig.take(HangUp), "this transfer outlives its agent like any other"
        await end(rig, other_id)

    run(scenario)


FALLING_BACK = CONFIG.replace('name = "all"\n', 'name = "all"\nfallback = "transfer"\nfallback_target = "699"\n')


def lose_agent(rig: Rig, *call_ids: str) -> None:
    for call_id in call_ids:
        rig.service.media_message(control.StreamFailed(call_id, "agent_lost", "gone"))


@pytest.mark.parametrize("result", ["done", "failed", "bye"])
@pytest.mark.parametrize("config", [CONFIG, FALLING_BACK])
def test_a_transfer_outlives_the_agent_that_began_it(result: str, config: str) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        asks(rig, call_id, "601")
        await rig.sip(TransferChanged(call_id, "ringing", 180, "Ringing"))
        lose_agent(rig, call_id)
        call = rig.service.calls[call_id]
        assert not rig.take(HangUp) and 50 < call.deadline - time.monotonic() < 70
        assert rig.media.started[call_id].agentless
        if result != "bye":
            await rig.sip(TransferChanged(call_id, result, 486 if result == "failed" else 200, "Busy Here"))
        if result == "failed" and config is FALLING_BACK:
            assert [one.target for one in rig.take(Transfer)] == ["sip:699@192.0.2.10:5160"]
            await rig.sip(TransferChanged(call_id, "done", 200, "OK"))
        assert len(rig.take(HangUp)) == (result != "bye")
        await end(rig, call_id)
        lost = result == "failed" and config is CONFIG
        view = rig.service.get(call_id)
        assert view.cause == ("agent_lost" if lost else "transferred") and not rig.service._transferring._failed
        if lost:
            assert "486 Busy Here" in view.detail

    run(scenario, config)


@pytest.mark.parametrize("result", ["done", "failed", "bye"])
def test_so_does_an_attended_one_when_both_calls_lose_their_agent(result: str) -> None:
    async def scenario(rig: Rig) -> None:
        call_id, other_id = await rig.up(), await rig.up()
        asks(rig, call_id, "", other_id)
        await rig.sip(TransferChanged(call_id, "trying", 202, "Accepted"))
        lose_agent(rig, call_id, other_id)
        assert not rig.take(HangUp)
        if result == "bye":
            await end(rig, call_id)
        else:
            await rig.sip(TransferChanged(call_id, result, 603 if result == "failed" else 200, "Decline"))
        assert len(rig.take(HangUp)) == {"done": 1, "failed": 2, "bye": 1}[result]
        await end(rig, *rig.service.calls)
        causes = [rig.service.get(one).cause for one in (call_id, other_id)]
        assert causes == {
            "done": ["transferred"] * 2, "failed": ["agent_lost"] * 2, "bye": ["transferred", "agent_lost"]
        }[result]  # fmt: skip

    run(scenario)


@pytest.mark.parametrize("reason", ["agent_lost", "agent_unreachable", "worker_lost"])
def test_nothing_of_its_media_ends_a_call_that_is_being_handed_on(reason: str) -> None:
    """A worker that was replaced may find no agent either; the transfer goes on."""

    async def scenario(rig: Rig) -> None:
        call_id = await rig.up()
        lose_agent(rig, call_id)
        await rig.sip(TransferChanged(call_id, "ringing", 180, "Ringing"))
        assert len(rig.take(Transfer)) == 1
        rig.service.media_message(control.StreamFailed(call_id, reason, "gone"))
        assert not rig.commands or not rig.take(HangUp)
        await rig.sip(TransferChanged(call_id, "done", 200, "OK"))
        await end(rig, call_id)
        assert rig.service.get(call_id).cause == "transferred"

    run(scenario, FALLING_BACK)


def test_an_agent_names_no_call_of_another_agent() -> None:
    async def scenario(rig: Rig) -> None:
        call_id, foreign = await rig.up(), await rig.up(called="601")
        assert asks(rig, call_id, "", foreign) == [] and refusals(rig) == ["bad_target"]
        await rig.service.transfer(call_id, TransferRequest(attended=foreign))
        assert rig.take(Transfer), "the operator may"
        await end(rig, call_id, foreign)

    run(scenario, OTHERS)


@pytest.mark.parametrize("key", ["agent_may = []", "transfer_targets = []", "answer_timeout_s = 5", "hold_music = 'a'"])
def test_what_agents_may_is_no_matter_of_a_route_that_refuses(key: str) -> None:
    with pytest.raises(ConfigError, match="goes with an agent only"):
        parse(CONFIG.replace('name = "refused"\n', f'name = "refused"\n{key}\n'))


def test_an_unknown_permission_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="early_media"):
        parse(CONFIG.replace('name = "all"\n', 'name = "all"\nagent_may = ["sing"]\n'))


def test_lines_about_transfers_hide_their_targets_where_numbers_are_hidden() -> None:
    """Short ones too, in our sentences and in the peer's phrases."""

    async def scenario(rig: Rig) -> None:
        with capture_logs() as lines:
            call_id = await rig.up()
            asks(rig, call_id, "sip:4711@192.0.2.10")
            asks(rig, call_id, "6712")
            await rig.sip(TransferChanged(call_id, "failed", 486, "6712 is busy"))
            lose_agent(rig, call_id)
            await rig.sip(TransferChanged(call_id, "failed", 486, "6990 is busy"))
            await end(rig, call_id)
        told = [dict(line) for line in lines if line["event"].startswith(("agent.", "call.transfer", "call.ended"))]
        assert len(told) >= 4
        shown = " ".join(str(Cleaner(redact_numbers=True)(None, "info", line)) for line in told)
        assert "is busy" in shown and not any(number in shown for number in ("4711", "6712", "6990"))

    run(scenario, FALLING_BACK.replace("699", "6990"))
