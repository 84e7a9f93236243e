# SPDX-License-Identifier: GPL-2.0-or-later
"""Outbound calls: which trunk and URI, the agent first, what the peer answers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.call_rig import CONFIG, MEDIA, Rig, with_ports
from trunkline.gateway.calls import placing
from trunkline.gateway.calls.addresses import UnresolvedError
from trunkline.gateway.calls.placing import calling_uri, choose_trunk, target_uri
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.view import PlaceRequest
from trunkline.gateway.config import Trunk, parse
from trunkline.gateway.media import control
from trunkline.gateway.sip.events import CallState, MediaChanged, Placed
from trunkline.gateway.sip.messages import HangUp, PlaceCall, Respond

TRUNKS = [
    Trunk(name="a", host="pbx.example.com:5160"),
    Trunk(name="b", host="pbx.example.com", caller_domain="me.example.com"),
    Trunk(name="c"),
]


def run(scenario: Callable[[Rig], Awaitable[None]], config: str = CONFIG) -> None:
    async def play() -> None:
        rig = Rig(config)
        try:
            await scenario(rig)
            assert rig.holds_nothing()
        finally:
            rig.service.stop()

    asyncio.run(play())


def request(to: str = "600", trunk: str | None = "pbx", **more: Any) -> PlaceRequest:
    return PlaceRequest(to=to, agent=more.pop("agent", "echo"), trunk=trunk, **more)


@pytest.mark.parametrize(
    ("to", "trunk", "expected"),
    [
        ("600", "c", "c"),
        ("sip:600@pbx.example.com:5160", None, "a"),
        ("sip:600@pbx.example.com", None, "b"),
        ("sip:600@pbx.example.com:5060", None, "b"),
        ("sip:600@PBX.example.com:5999", None, "a"),
    ],
)
def test_the_trunk_is_the_named_one_or_the_one_with_that_host(
    to: str, trunk: str | None, expected: str
) -> None:
    """Named before host and port before host alone."""
    assert choose_trunk(request(to, trunk), TRUNKS).name == expected


def test_the_only_trunk_with_a_host_takes_what_no_other_does() -> None:
    """With several nobody guesses."""
    assert choose_trunk(request("600", None), [TRUNKS[0], TRUNKS[2]]).name == "a"
    for to, trunks in (("600", TRUNKS), ("sip:1@elsewhere", TRUNKS), ("600", [TRUNKS[2]])):
        with pytest.raises(CallRefused) as refusal:
            choose_trunk(request(to, None), trunks)
        assert refusal.value.cause == "no_trunk"
    with pytest.raises(CallRefused) as refusal:
        choose_trunk(request("600", "x"), TRUNKS)
    assert refusal.value.cause == "unknown_trunk"


@pytest.mark.parametrize(
    ("to", "target"),
    [
        ("600", "sip:600@pbx.example.com:5160"),
        ("+49 (30) 123-456", "sip:+4930123456@pbx.example.com:5160"),
        ("*21#", "sip:*21%23@pbx.example.com:5160"),
        ("sip:600@other;transport=tcp", "sip:600@other;transport=tcp"),
    ],
)
def test_a_number_becomes_a_uri_at_the_trunk(to: str, target: str) -> None:
    """A URI stays what it is; `#` is escaped."""
    assert target_uri(to, TRUNKS[0]) == target


@pytest.mark.parametrize("to", ["", "bob", "sip:", "sip:a@b\r\nX: y", "sip:a@b>", "http://x", "6\n00"])
def test_what_is_neither_uri_nor_number_is_refused(to: str) -> None:
    """Nothing that could end a header gets into one."""
    for check in (target_uri, calling_uri):
        if check is calling_uri and not to:
            continue
        with pytest.raises(CallRefused):
            check(to, TRUNKS[0])


def test_the_caller_is_a_number_at_the_trunks_domain_or_a_uri() -> None:
    """caller_domain, else the host without port."""
    assert calling_uri(None, TRUNKS[0]) == ""
    assert calling_uri("100", TRUNKS[0]) == "sip:100@pbx.example.com"
    assert calling_uri("100", TRUNKS[1]) == "sip:100@me.example.com"
    assert calling_uri("sip:x@y", TRUNKS[1]) == "sip:x@y"


@pytest.mark.parametrize(("codec", "ptime_ms"), [("OPUS", 20), ("L16/44100", 10), ("PCMU", 30)])
def test_a_call_that_waits_for_its_answer_has_a_packet_time_that_its_codec_has(codec: str, ptime_ms: int) -> None:
    """The worker refuses what it could not send, and would refuse the call, before anything was negotiated."""
    text = CONFIG.replace('name = "pbx"', f'name = "pbx"\ncodecs = ["{codec}"]', 1)
    config = text.replace("[media]", "[media]\npacket_time_ms = 30")

    async def scenario(rig: Rig) -> None:
        view = await rig.service.place(request())
        media = rig.media.started[view.id].media
        assert (media.codec, media.ptime_ms) == (codec, ptime_ms)
        await rig.service.hangup(view.id)
        rig.ended(view.id)

    run(scenario, config)


def test_the_agent_is_connected_before_anybody_is_rung() -> None:
    """INVITE only after the agent has taken the call; its speech waits for the answer."""

    async def scenario(rig: Rig) -> None:
        view = await rig.service.place(
            request(**{"from": "100"}, headers={"X-Campaign": "a"}, metadata={"k": "v"}, timeout_s=7)
        )
        call_id = view.id
        assert (view.state, view.direction, view.called, view.caller) == ("calling", "outbound", "600", "100")
        start = rig.media.started[call_id]
        assert start.hold_media
        assert start.info.metadata == {"a": "agent", "b": "agent", "k": "v"}
        assert not rig.take(PlaceCall)
        rig.ready(call_id)
        [place] = rig.take(PlaceCall)
        assert (place.target, place.from_uri) == ("sip:600@192.0.2.10:5160", "sip:100@192.0.2.10")
        assert (place.headers, place.timeout_s, place.trunk) == ({"X-Campaign": "a"}, 7, "pbx")
        await rig.state(call_id, CallState.RINGING, 180)
        assert rig.service.get(call_id).state == "ringing"
        rig.service.calls[call_id].session.accepted("answer")
        await rig.sip(MediaChanged(call_id))
        await rig.state(call_id, CallState.EARLY, 183)
        assert rig.service.get(call_id).state == "early"
        assert rig.media.updates == [dataclasses.replace(MEDIA, send=False)]
        await rig.state(call_id, CallState.CONFIRMED, 200)
        assert rig.media.updates[1:] == [MEDIA]
        assert not rig.take(Respond)
        await rig.state(call_id, CallState.ENDED, 200)
        rig.ended(call_id)
        assert rig.service.get(call_id).cause == "callee_hangup"
        told = [event.event for event in rig.told()]
        assert told == ["call.calling", "call.ringing", "call.early", "call.up", "call.ended"]

    run(scenario)


@pytest.mark.parametrize(
    ("code", "headers", "by_us", "cause"),
    [
        (486, {"Via": "x"}, False, "busy"),
        (600, {"Via": "x"}, False, "busy"),
        (603, {"Via": "x"}, False, "declined"),
        (404, {"Via": "x"}, False, "not_found"),
        (408, {}, True, "no_answer"),
        (408, {}, False, "peer_unreachable"),
        (503, {"Via": "x"}, False, "peer_unavailable"),
        (503, {}, False, "peer_unreachable"),
        (499, {"Via": "x"}, False, "call_failed"),
    ],
)
def test_the_peers_answer_is_the_cause(code: int, headers: dict[str, str], by_us: bool, cause: str) -> None:
    """Busy, declined, unknown, nobody answers, nobody is there."""

    async def scenario(rig: Rig) -> None:
        call_id = (await rig.service.place(request())).id
        rig.ready(call_id)
        await rig.state(call_id, CallState.ENDED, code, headers=headers, by_us=by_us, reason="No")
        rig.ended(call_id)
        view = rig.service.get(call_id)
        wire = 0 if cause == "peer_unreachable" else code
        assert (view.cause, view.sip_code, view.answered) == (cause, wire, None)

    run(scenario)


@pytest.mark.parametrize("cause", ["peer_unreachable", "bad_request", "internal_error", "unresolved"])
def test_what_no_message_says_has_a_word_and_a_sentence_and_no_code(cause: str) -> None:
    """A SIP code that nobody sent sends people looking at the wrong machine."""

    async def scenario(rig: Rig) -> None:
        call_id = (await rig.service.place(request())).id
        rig.ready(call_id)
        await rig.state(call_id, CallState.ENDED, 503, by_us=True, cause=cause, reason="a sentence")
        rig.ended(call_id)
        view = rig.service.get(call_id)
        assert (view.cause, view.detail, view.sip_code, view.sip_reason) == (cause, "a sentence", 0, "")
        assert rig.told()[-1].data["detail"] == "a sentence"
        assert rig.metrics.registry.get_sample_value(
            "trunkline_calls_ended_total", {"direction": "outbound", "cause": cause}
        ) == 1  # fmt: skip

    run(scenario)


def test_a_code_without_a_phrase_gets_the_usual_one() -> None:
    """RFC 3261 lets a phrase be empty; a person wants to read one."""

    async def scenario(rig: Rig) -> None:
        call_id = (await rig.service.place(request())).id
        rig.ready(call_id)
        await rig.state(call_id, CallState.ENDED, 486, headers={"Via": "x"})
        rig.ended(call_id)
        assert rig.service.get(call_id).sip_reason == "Busy Here"

    run(scenario)


def test_the_view_names_the_dialog_and_the_from_that_was_used() -> None:
    """Before the INVITE what it will say; afterwards what it said."""

    async def scenario(rig: Rig) -> None:
        view = await rig.service.place(request())
        assert (view.caller, view.sip_call_id) == ("gw1", "")
        rig.ready(view.id)
        await rig.sip(Placed(view.id, "abc@192.0.2.1", "sip:+4930@example.com"))
        view = rig.service.get(view.id)
        assert (view.caller, view.sip_call_id) == ("+4930", "abc@192.0.2.1")
        await rig.state(view.id, CallState.ENDED, 486, headers={"Via": "x"})
        rig.ended(view.id)
        assert rig.service.get(view.id).sip_call_id == "abc@192.0.2.1"
        nobody = await rig.service.place(request("sip:1@192.0.2.20", "info"))
        assert nobody.caller == "trunkline"
        await rig.service.hangup(nobody.id)
        rig.ended(nobody.id)

    run(scenario)


@pytest.mark.parametrize(
    ("to", "word"),
    [
        ("sips:600@192.0.2.10", "transport tls; configured: udp"),
        ("sips:600@192.0.2.10;transport=udp", "sips: is TLS, which transport udp is not"),
        ("sip:600@192.0.2.10:99999", "no port 99999"),
        ("sip:600@192.0.2.10:0", "no port 0"),
        ("sip:600@192.0.2.10?X-Evil=1&Contact=%3Csip:evil@x%3E", "headers"),
        ("sip:600@192.0.2.10;transport=tls", "transport tls"),
        ("sip:600@192.0.2.10;transport=tcp", "configured: udp"),
        ("sip:600@192.0.2.10;transport=udp;transport=tls", "it has transport twice"),
        ("sip:600@192.0.2.10;Transport=udp;%74ransport=tls", "it has transport twice"),
        ("sip:60\u00df@192.0.2.10", "ASCII"),
        ("sip:6%000@192.0.2.10", "form"),
        ("sip:600@[::zz]", "form"),
        ("sip:600@[1::2::3]", "IPv6"),
        ("tel:+4930", "sip:"),
    ],
)
def test_a_uri_that_could_not_be_called_is_refused_before_anything_is_held(to: str, word: str) -> None:
    """422 with the reason, instead of an end that looks like the peer's."""

    async def scenario(rig: Rig) -> None:
        with pytest.raises(CallRefused) as refusal:
            await rig.service.place(request(to))
        assert (refusal.value.cause, refusal.value.http_status) == ("bad_target", 422)
        assert word in refusal.value.detail

    run(scenario)


def test_a_name_without_an_address_has_its_own_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where our own address is fixed, or PJSIP would find out, on its thread."""

    def unknown(host: str, family: int) -> str:
        raise UnresolvedError("Name or service not known")

    monkeypatch.setattr(placing, "resolve", unknown)

    async def scenario(rig: Rig) -> None:
        with pytest.raises(CallRefused) as refusal:
            await rig.service.place(request("sip:600@nowhere.example"))
        assert refusal.value.cause == "unresolved"
        assert "nowhere.example has no address (Name or service not known)" in refusal.value.detail

    run(scenario)


def test_an_agent_that_is_down_makes_no_telephone_ring() -> None:
    """No INVITE, no BYE: there never was a SIP call."""

    async def scenario(rig: Rig) -> None:
        call_id = (await rig.service.place(request())).id
        rig.service.media_message(control.StreamFailed(call_id, "agent_unreachable", "nobody listens"))
        rig.ended(call_id)
        assert not rig.commands
        assert rig.service.get(call_id).cause == "agent_unreachable"

    run(scenario)


def test_hanging_up_before_the_agent_is_there_sends_nothing() -> None:
    """And a StreamReady that crosses it starts nothing."""

    async def scenario(rig: Rig) -> None:
        call_id = (await rig.service.place(request())).id
        await rig.service.hangup(call_id, "changed my mind")
        rig.ready(call_id)
        rig.ended(call_id)
        assert not rig.commands
        await rig.service.hangup(call_id)
        assert rig.service.get(call_id).cause == "api_hangup"

    run(scenario)


def test_hanging_up_while_it_rings_cancels() -> None:
    """The cause is ours, whatever code the CANCEL brings back."""

    async def scenario(rig: Rig) -> None:
        call_id = (await rig.service.place(request())).id
        rig.ready(call_id)
        await rig.state(call_id, CallState.RINGING, 180)
        await rig.service.hangup(call_id)
        assert len(rig.take(HangUp)) == 1
        rig.ended(call_id)
        await rig.state(call_id, CallState.ENDED, 487, by_us=True)
        assert rig.service.get(call_id).cause == "api_hangup"

    run(scenario)


@pytest.mark.parametrize(
    ("wrong", "cause", "status"),
    [
        ({"agent": "nobody"}, "unknown_agent", 422),
        ({"headers": {"Via": "x"}}, "bad_header", 422),
        ({"headers": {"l": "0"}}, "bad_header", 422),
        ({"headers": {"Event": "x"}}, "bad_header", 422),
        ({"headers": {"Proxy-Require": "x"}}, "bad_header", 422),
        ({"headers": {"X-Q": "x" * 3000}}, "bad_header", 422),
        ({"headers": {"X A": "b"}}, "bad_header", 422),
        ({"headers": {f"X-{n}": "" for n in range(40)}}, "bad_header", 422),
    ],
)
def test_a_request_that_cannot_be_done_is_refused_and_holds_nothing(
    wrong: dict[str, Any], cause: str, status: int
) -> None:
    """With a word, a sentence and a status for HTTP."""

    async def scenario(rig: Rig) -> None:
        with pytest.raises(CallRefused) as refusal:
            await rig.service.place(request(**wrong))
        assert (refusal.value.cause, refusal.value.http_status) == (cause, status)
        assert refusal.value.detail

    run(scenario)


def test_limits_and_ports_hold_for_outbound_calls_too() -> None:
    """503 for HTTP; what was taken meanwhile goes back."""

    async def scenario(rig: Rig) -> None:
        first = (await rig.service.place(request())).id
        with pytest.raises(CallRefused) as refusal:
            await rig.service.place(request())
        assert (refusal.value.cause, refusal.value.http_status) == ("no_ports", 503)
        rig.service.drain()
        with pytest.raises(CallRefused) as refusal:
            await rig.service.place(request())
        assert refusal.value.cause == "draining"
        await rig.service.hangup(first)
        rig.ended(first)

    run(scenario, with_ports(2))


def test_a_call_that_does_not_exist_is_a_key_error_and_one_that_is_over_takes_no_digits() -> None:
    """404 and 409 for HTTP."""

    async def scenario(rig: Rig) -> None:
        for work in (rig.service.hangup("x"), rig.service.send_dtmf("x", "1")):
            with pytest.raises(KeyError):
                await work
        with pytest.raises(KeyError):
            rig.service.get("x")
        call_id = (await rig.service.place(request())).id
        with pytest.raises(CallRefused) as refusal:
            await rig.service.send_dtmf(call_id, "1")
        assert refusal.value.http_status == 409
        await rig.service.hangup(call_id)
        rig.ended(call_id)
        assert parse(CONFIG).agent("echo") is not None

    run(scenario)
