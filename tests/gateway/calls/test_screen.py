# SPDX-License-Identifier: GPL-2.0-or-later
"""What the screen admits and refuses, and that a refusal leaves nothing behind."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from support.call_rig import CONFIG, Rig, invite_of, with_ports
from trunkline.gateway.calls import screen as screen_module
from trunkline.gateway.calls import sip_flow
from trunkline.gateway.calls.limits import Limits
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.srtp_use import srtp_use
from trunkline.gateway.calls.throttle import Throttle
from trunkline.gateway.media.ports import PortPool, PortsExhausted
from trunkline.gateway.routing import TrunkTable
from trunkline.gateway.sip.events import CallState, Incoming, Refused
from trunkline.gateway.sip.messages import Admission, HangUp, Refusal


def run(scenario: Callable[[Rig], Awaitable[None]], config: str = CONFIG) -> None:
    async def play() -> None:
        rig = Rig(config)
        try:
            await scenario(rig)
            assert rig.holds_nothing()
        finally:
            rig.service.stop()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("invite", "code", "cause"),
    [
        ({"source": "203.0.113.5:5060"}, 403, "unknown_peer"),
        ({"called": "700"}, 404, "no_route"),
        ({"called": "666"}, 486, "route_refused"),
        ({"sdp": "G729"}, 488, "no_common_codec"),
        ({"sdp": "garbage"}, 400, "bad_sdp"),
    ],
)
def test_a_refusal_has_its_code_and_reason_and_is_told_once(
    invite: dict[str, str], code: int, cause: str
) -> None:
    """Default deny, no route, a route that refuses, SDP that cannot be used."""

    async def scenario(rig: Rig) -> None:
        refusal = await rig.refused(**invite)
        assert (refusal.code, refusal.cause) == (code, cause)
        [event] = rig.told()
        assert (event.event, event.data["cause"], event.data["code"]) == ("call.refused", cause, code)

    run(scenario)


def test_a_route_that_refuses_brings_its_own_phrase() -> None:
    """`reason` of the route goes on the wire."""

    async def scenario(rig: Rig) -> None:
        assert (await rig.refused(called="666")).reason == "Not today"

    run(scenario)


def test_limits_in_all_and_of_a_trunk_are_503_until_a_call_ends() -> None:
    """The limit of the trunk counts its calls only; a call that ends makes room."""

    async def scenario(rig: Rig) -> None:
        calls = [await rig.invite(source="192.0.2.20:5060") for _ in range(2)]
        refusal = await rig.refused(source="192.0.2.20:5060")
        assert (refusal.code, refusal.cause) == (503, "limit_trunk")
        assert refusal.retry_after_s
        calls += [await rig.invite() for _ in range(18)]
        assert (await rig.refused()).cause == "limit_calls"
        await rig.state(calls[0], CallState.ENDED, 487)
        rig.ended(calls[0])
        calls.append(await rig.invite(source="192.0.2.20:5060"))
        for call_id in calls[1:]:
            await rig.state(call_id, CallState.ENDED, 487)
            rig.ended(call_id)

    run(scenario)


def test_no_ports_is_503_and_takes_no_place() -> None:
    """Ports are the scarcest thing when the range is small."""

    async def scenario(rig: Rig) -> None:
        calls = [await rig.invite() for _ in range(2)]
        refusal = await rig.refused()
        assert (refusal.code, refusal.cause) == (503, "no_ports")
        assert rig.limits.calls == 2
        for call_id in calls:
            await rig.state(call_id, CallState.ENDED, 487)
            rig.ended(call_id)

    run(scenario, with_ports(4))


def test_calls_per_second_is_a_bucket_of_one_second() -> None:
    """A burst of one second's worth passes, then one call every 1/rate; outbound calls do not count."""
    limits = Limits(1000, 10)
    start = limits._refilled
    admitted = [limits.admit("t", 0, inbound=True, now=start + i * 0.001) is None for i in range(20)]
    assert admitted.count(True) == 10
    assert limits.admit("t", 0, inbound=False, now=start + 0.02) is None
    hit = limits.admit("t", 0, inbound=True, now=start + 0.02)
    assert hit is not None
    assert hit.cause == "limit_rate"
    assert limits.admit("t", 0, inbound=True, now=start + 0.125) is None
    assert limits.calls == 12


def test_an_admitted_call_that_pjsip_refuses_gives_everything_back() -> None:
    """By Refused with the same INVITE, or by ENDED before call control has seen it."""

    async def scenario(rig: Rig) -> None:
        invite = invite_of("600", "offer", "192.0.2.10:5060")
        assert isinstance(rig.screen.incoming(invite), Admission)
        assert rig.ports.in_use == 1
        await rig.sip(Refused(invite, Refusal(420, "Bad Extension", "sip_stack", "PJSIP refused it")))
        assert rig.ports.in_use == 0
        verdict = rig.screen.incoming(invite)
        assert isinstance(verdict, Admission)
        await rig.state(verdict.call_id, CallState.ENDED, 500)
        await rig.state(verdict.call_id, CallState.ENDED, 500)

    run(scenario)


def test_an_admitted_call_that_sip_forgets_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep finds it; an Incoming that comes later still gets an answer."""
    monkeypatch.setattr(screen_module, "ADMISSION_LIMIT_S", 0.05)

    async def scenario(rig: Rig) -> None:
        invite = invite_of("600", "offer", "192.0.2.10:5060")
        verdict = rig.screen.incoming(invite)
        assert isinstance(verdict, Admission)
        await asyncio.sleep(0.8)
        assert rig.holds_nothing()
        await rig.sip(Incoming(verdict.call_id, invite))
        assert rig.take(HangUp) == [HangUp(verdict.call_id, 500)]

    run(scenario)


def test_a_scanner_gets_one_log_line_in_an_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """Hundreds of INVITEs from strangers must not fill the disk; the metric counts them all."""

    async def scenario(rig: Rig) -> None:
        for _ in range(300):
            await rig.refused(source="203.0.113.5:5060")
        await rig.refused(source="203.0.113.6:5060")
        assert rig.metrics.registry.get_sample_value(
            "trunkline_calls_refused_total", {"cause": "unknown_peer"}
        ) == 301  # fmt: skip

    run(scenario)
    lines = [line for line in capsys.readouterr().out.splitlines() if "call.refused" in line]
    assert len(lines) == 3 and "suppressed=299" in lines[2], "the count is told, at the latest at the end"


def test_each_number_that_a_known_trunk_cannot_reach_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A refusal of a trunk's is a call that somebody misses; retries of one are counted."""

    async def scenario(rig: Rig) -> None:
        for number in ("701", "702", "701", "703"):
            await rig.refused(called=number)

    run(scenario)
    lines = [line for line in capsys.readouterr().out.splitlines() if "call.refused" in line]
    assert [number for line in lines for number in ("701", "702", "703") if f"called={number}" in line] == [
        "701", "702", "703", "701"
    ]  # fmt: skip
    assert "suppressed=1" in lines[3] and "no route takes 701" in lines[3]


def test_withheld_refusals_are_told_when_their_source_has_been_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not only when the next one comes, which may be never."""
    monkeypatch.setattr(sip_flow, "REFUSAL_LOG_INTERVAL_S", 0.05)

    async def scenario(rig: Rig) -> None:
        for _ in range(5):
            await rig.refused(source="203.0.113.5:5060")
        await asyncio.sleep(0.8)
        assert "suppressed=4" in capsys.readouterr().out

    run(scenario)


def test_an_admitted_call_that_pjsip_refuses_is_one_refusal() -> None:
    """420, 421, 422: counted once, under their own word; no call was started, and nothing stays held."""

    async def scenario(rig: Rig) -> None:
        invite = invite_of("600", "offer", "192.0.2.10:5060")
        assert isinstance(rig.screen.incoming(invite), Admission)
        text = "PJSIP refused it: 422 Session Interval Too Small"
        await rig.sip(Refused(invite, Refusal(422, "Session Interval Too Small", "session_interval", text)))
        assert rig.holds_nothing()
        assert [event.event for event in rig.told()] == ["call.refused"]
        value = rig.metrics.registry.get_sample_value
        assert value("trunkline_calls_refused_total", {"cause": "session_interval"}) == 1

    run(scenario)


def test_a_big_invite_is_a_call_with_fewer_headers() -> None:
    """Escapes double each quote: what an agent is told stays far below the worker's 64 kB."""

    async def scenario(rig: Rig) -> None:
        headers = {f"X-H{number}": '"' * 2000 for number in range(31)}
        invite = dataclasses.replace(invite_of("600", "offer", "192.0.2.10:5060"), headers=headers)
        verdict = rig.screen.incoming(dataclasses.replace(invite, from_uri=f"sip:{'1' * 60000}@x"))
        assert isinstance(verdict, Admission)
        call = rig.screen.admitted[verdict.call_id]
        assert len(msgspec.json.encode(call.info)) < 20_000
        assert (len(call.info.headers), len(call.left_out)) == (4, 27)
        rig.screen.admitted.pop(verdict.call_id).ports.release()
        rig.limits.release("pbx")

    run(scenario)


def test_the_lack_of_descriptors_has_its_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cure is another than that of a port range that is used up."""

    def exhausted(self: PortPool) -> None:
        raise PortsExhausted("descriptors", "cannot open RTP port 26400: Too many open files")

    monkeypatch.setattr(PortPool, "acquire", exhausted)

    async def scenario(rig: Rig) -> None:
        refusal = await rig.refused()
        assert (refusal.cause, refusal.code) == ("no_descriptors", 503)

    run(scenario)


def test_a_throttle_counts_what_it_held_back_and_forgets_old_subjects() -> None:
    """The next line tells how many were left out; memory is bounded."""
    throttle = Throttle(10)
    assert [throttle.allow("a", now, {}) for now in (0, 1, 2, 9.9, 10)] == [0, None, None, None, 3]
    for number in range(5000):
        throttle.allow(number, 11, {})
    assert len(throttle._seen) <= 1000
    throttle = Throttle(10)
    for now in (0, 1, 2):
        throttle.allow("a", now, {"at": now})
    assert throttle.flush(9) == [] and throttle.flush(10) == [(2, {"at": 2})] and throttle.flush(11) == []


def test_srtp_without_tls_is_refused_where_it_is_required() -> None:
    """488 with a reason and a cure, and the ports are free again."""

    async def scenario(rig: Rig) -> None:
        def refuse(*_: object) -> object:
            raise CallRefused("srtp_without_tls", "keys would be readable")

        rig.screen._new_session = refuse  # type: ignore[assignment]
        refusal = await rig.refused()
        assert (refusal.code, refusal.cause) == (488, "srtp_without_tls")
        assert refusal.detail == "keys would be readable"

    run(scenario)


@pytest.mark.parametrize(
    ("transport", "back", "without", "told", "only"),
    [
        ("tls", "tls", False, "tls", True),
        ("tls", "tls", True, "tls", False),
        ("tls", "udp", False, "udp, which its Contact or Record-Route asks for instead of TLS", False),
        ("udp", "tls", False, "udp", False),
    ],
)
def test_keys_need_tls_both_ways(transport: str, back: str, without: bool, told: str, only: bool) -> None:
    """What came by TLS may ask for our requests by UDP; and SIP is told where TLS is what allows the keys."""

    async def scenario(rig: Rig) -> None:
        seen: list[str] = []
        real = rig.screen._new_session

        def new(*arguments: Any) -> Any:
            seen.append(arguments[-1])
            return real(*arguments)

        rig.screen._new_session = new
        plain = next(one for one in rig.config.trunks if one.name == "pbx")
        trunk = plain.model_copy(update={"srtp": "optional", "srtp_without_tls": without})
        rig.screen.trunks = TrunkTable([trunk])
        invite = dataclasses.replace(invite_of("600", "v=0", "192.0.2.10:5060"), transport=transport, way_back=back)
        verdict = rig.screen.incoming(invite)
        assert isinstance(verdict, Admission) and seen == [told] and verdict.tls_only == only
        await rig.sip(Incoming(verdict.call_id, invite))
        await rig.state(verdict.call_id, CallState.ENDED, 487)
        rig.ended(verdict.call_id)
        if told.startswith("udp"):
            with pytest.raises(CallRefused, match="readable in SIP by udp"):
                srtp_use(trunk.model_copy(update={"srtp": "required", "srtp_without_tls": False}), invite.keys_by)

    run(scenario)
