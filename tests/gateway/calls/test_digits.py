# SPDX-License-Identifier: GPL-2.0-or-later
"""Which way digits take to the other party, what is said when there is none, and what is counted."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable

import pytest

from support.call_rig import CONFIG, MEDIA, Rig
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.media import control
from trunkline.gateway.sip.events import InfoDtmf, InfoDtmfAnswered, MediaChanged
from trunkline.gateway.sip.messages import SendInfoDtmf

WITHOUT = dataclasses.replace(MEDIA, send_dtmf_pt=-1)
REFUSED = InfoDtmfAnswered("", 415, "Unsupported Media Type", True, "12", 100, 50)


def run(scenario: Callable[[Rig], Awaitable[None]], **trunk: str) -> None:
    """With a trunk whose keys these are."""
    keys = "".join(f'{key} = "{value}"\n' for key, value in trunk.items())
    config = CONFIG.replace('from_user = "gw1"\n', f'from_user = "gw1"\n{keys}')

    async def body() -> None:
        await scenario(Rig(config))

    asyncio.run(body())


async def call(rig: Rig, media: object = WITHOUT) -> str:
    """A call that is up, with this agreed on."""
    call_id = await rig.up()
    rig.service.calls[call_id].session.agreed = media  # type: ignore[attr-defined]
    await rig.sip(MediaChanged(call_id))
    return call_id


def counted(rig: Rig, direction: str, method: str) -> float:
    labels = {"direction": direction, "method": method}
    return rig.metrics.registry.get_sample_value("trunkline_dtmf_digits_total", labels) or 0.0


def test_auto_goes_from_events_to_info_to_tones() -> None:
    """A peer that refuses INFO gets what it refused, and all that follows, as tones."""

    async def scenario(rig: Rig) -> None:
        call_id = await call(rig)
        await rig.service.send_dtmf(call_id, "12", 100, 50)
        assert rig.take(SendInfoDtmf) == [SendInfoDtmf(call_id, "12", 100, 50)]
        await rig.sip(dataclasses.replace(REFUSED, call_id=call_id))
        await rig.service.send_dtmf(call_id, "3", 100, 50)
        rig.service.media_message(control.AgentDtmf(call_id, "4", 120, 60))
        assert rig.media.sent == [
            control.SendDtmf(call_id, "12", 100, 50, inband=True),
            control.SendDtmf(call_id, "3", 100, 50, inband=True),
            control.SendDtmf(call_id, "4", 120, 60, inband=True),
        ]
        assert not rig.take(SendInfoDtmf)
        rig.service.calls[call_id].session.agreed = MEDIA  # type: ignore[attr-defined]
        await rig.sip(MediaChanged(call_id))
        await rig.service.send_dtmf(call_id, "5", 100, 50)
        assert rig.media.sent[-1] == control.SendDtmf(call_id, "5", 100, 50)

    run(scenario)


@pytest.mark.parametrize("body", ["dtmf", "dtmf-relay"])
def test_info_is_sent_as_the_trunk_says(body: str) -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await call(rig, MEDIA)
        assert rig.media.started[call_id].media.send_dtmf_pt == -1
        await rig.service.send_dtmf(call_id, "1", 100, 50)
        assert rig.take(SendInfoDtmf) == [SendInfoDtmf(call_id, "1", 100, 50, f"application/{body}")]
        await rig.sip(dataclasses.replace(REFUSED, call_id=call_id))
        text = "415 Unsupported Media Type"
        assert rig.media.sent == [control.DtmfRefused(call_id, text)], "nothing else where the trunk says INFO"
        failed = [one.data for one in rig.told() if one.event == "call.dtmf_failed"]
        assert [(one["digits"], one["code"]) for one in failed] == [(2, 415)]

    run(scenario, dtmf="info", dtmf_info_body=body)


def test_tones_where_the_trunk_says_so() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await call(rig, MEDIA)
        assert rig.media.started[call_id].digits == control.DigitParams(inband=True, detect="on")
        await rig.service.send_dtmf(call_id, "1", 100, 50)
        assert rig.media.sent == [control.SendDtmf(call_id, "1", 100, 50, inband=True)]

    run(scenario, dtmf="inband", dtmf_detect="on")


def test_what_cannot_be_sent_is_told() -> None:
    """To the API at once, of the agent's in the event stream; never which digits they were."""

    async def scenario(rig: Rig) -> None:
        call_id = await call(rig)
        with pytest.raises(CallRefused, match="the peer takes no telephone-event") as caught:
            await rig.service.send_dtmf(call_id, "1950", 100, 50)
        assert (caught.value.cause, caught.value.http_status) == ("no_dtmf", 409)
        rig.told()
        rig.service.media_message(control.AgentDtmf(call_id, "1950", 120))
        (event,) = rig.told()
        assert event.event == "call.dtmf_failed" and event.data["digits"] == 4
        assert "1950" not in str(event.data)
        (refused,) = rig.media.sent
        assert isinstance(refused, control.DtmfRefused) and "no telephone-event" in refused.text

    run(scenario, dtmf="rfc4733")


def test_a_route_cuts_and_a_placed_call_may() -> None:
    async def scenario(rig: Rig) -> None:
        assert rig.media.started[await rig.up()].digits.cut

    async def body() -> None:
        await scenario(Rig(CONFIG.replace('name = "all"\n', 'name = "all"\ndtmf_audio = "cut"\n')))

    asyncio.run(body())


def test_digits_are_counted_by_direction_and_method() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await call(rig)
        for method in ("rfc4733", "inband", "info"):
            rig.service.media_message(control.CallerDtmf(call_id, "5", 100, method))
            assert counted(rig, "received", method) == 1
        rig.service.media_message(control.DtmfQueued(call_id, 3, "inband"))
        await rig.sip(InfoDtmfAnswered(call_id, 200, "OK", False, "", 100, 50))
        await rig.sip(InfoDtmfAnswered(call_id, 408, "Request Timeout", False, "1", 100, 50))
        await rig.sip(InfoDtmfAnswered("gone", 200, "OK", False, "", 100, 50))
        assert [counted(rig, "sent", method) for method in ("rfc4733", "info", "inband")] == [0, 1, 3]

    run(scenario)


def test_info_of_the_peer_goes_to_the_worker_for_it_knows_what_else_was_pressed() -> None:
    async def scenario(rig: Rig) -> None:
        call_id = await call(rig)
        await rig.sip(InfoDtmf(call_id, "5", 160))
        assert rig.media.sent == [control.InjectDtmf(call_id, "5", 160)]

    run(scenario)
