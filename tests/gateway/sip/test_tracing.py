# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of calls that are traced are told, in the order in which they crossed the wire; those of others are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.ports import free_port
from support.sip_rig import SipRig
from support.sipp import Message, Sipp
from trunkline.gateway.sip.events import CallState, SipMessage
from trunkline.gateway.sip.messages import HangUp, Respond, Trace
from trunkline.gateway.sip.settings import Registration, Trunk


def told(sip: SipRig, call_id: str) -> list[tuple[str, bool]]:
    seen = [event for event in sip.events if isinstance(event, SipMessage) and event.call_id == call_id]
    assert all(event.local_port == sip.port and event.peer.startswith("127.0.0.1:") for event in seen)
    return [(event.text.split("\r\n")[0], event.outbound) for event in seen]


def crossed(messages: list[Message]) -> list[tuple[str, bool]]:
    return [(message.start_line, not message.sent) for message in messages]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_from_the_middle_of_a_call_to_its_end(sip: SipRig, tcp: bool) -> None:
    with Sipp("uac_basic", sip.port, tcp=tcp) as caller:
        call_id, _ = sip.incoming()
        sip.post(Respond(call_id, 180), Trace(call_id, wanted=True), Respond(call_id, 200))
        messages = caller.wait()
    sip.state(call_id, CallState.ENDED)
    assert told(sip, call_id) == crossed(messages)[3:], "all but INVITE, 100 and 180"


def test_nothing_is_told_unasked_nor_any_more(sip: SipRig) -> None:
    with Sipp("uac_basic", sip.port) as caller:
        call_id, _ = sip.incoming()
        sip.post(Trace(call_id, wanted=True), Respond(call_id, 180), Trace(call_id, wanted=False))
        sip.post(Respond(call_id, 200))
        caller.wait()
    sip.state(call_id, CallState.ENDED)
    assert told(sip, call_id) == [("SIP/2.0 180 Ringing", True)]
    sip.post(Trace(call_id, wanted=True))  # too late, which is no error


def test_a_call_of_ours_that_is_refused(sip: SipRig) -> None:
    with Sipp("uas_busy", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host, trace=True)
        messages = callee.wait()
    sip.state(call_id, CallState.ENDED)
    assert told(sip, call_id) == [one for one in crossed(messages) if not one[0].startswith("ACK")]


def test_a_call_of_ours_that_has_to_show_who_it_is(start_sip: Callable[..., SipRig]) -> None:
    """PJSIP answers the challenge by itself and shows what comes of it."""
    registrar = f"sip:127.0.0.1:{free_port()}"
    sip = start_sip(trunks=(Trunk("pbx", registration=Registration(registrar, "gw1", "s3cret-pass")),))
    with Sipp("uas_auth", sip.port, keys={"username": "gw1", "password": "s3cret-pass"}) as callee:
        call_id, _ = sip.place(callee.uri_host, trace=True)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        messages = callee.wait()
    shown = crossed(messages)[:-2]  # without our BYE and its answer
    missing = [("SIP/2.0 401 Unauthorized", False), shown[2]]
    assert missing[1][0].startswith("ACK") and told(sip, call_id) == [one for one in shown if one not in missing]
