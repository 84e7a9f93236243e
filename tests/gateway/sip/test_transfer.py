# SPDX-License-Identifier: GPL-2.0-or-later
"""Transfers that we ask for: REFER, NOTIFY, and peers that keep to nothing of it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from support.ports import free_port
from support.sip_rig import SipRig
from support.sipp import Sipp
from trunkline.gateway.sip import transfer
from trunkline.gateway.sip.events import CallState, TransferChanged
from trunkline.gateway.sip.leg import Step
from trunkline.gateway.sip.message import SipText
from trunkline.gateway.sip.messages import HangUp, Respond, Transfer
from trunkline.gateway.sip.settings import Registration, Trunk
from trunkline.gateway.sip.timers import Timer
from trunkline.gateway.sip.transfer import DialogName, sipfrag_status


def told(sip: SipRig) -> list[tuple[str, int]]:
    return [(one.state, one.code) for one in sip.events if isinstance(one, TransferChanged)]


@pytest.mark.parametrize(
    ("final", "last"),
    [("SIP/2.0 200 OK", ("done", 200)), ("SIP/2.0 486 Busy Here", ("failed", 486)), ("SIP/2.0 603", ("failed", 603))],
)
def test_a_transfer_is_told_from_the_refer_to_its_result(sip: SipRig, final: str, last: tuple[str, int]) -> None:
    with Sipp("uas_refer", sip.port, keys={"final": final}) as callee:
        call_id, session = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, "sip:700@pbx.example.com", headers={"X-Why": "asked"}))
        sip.wait(TransferChanged, state=last[0])
        sip.post(HangUp(call_id))
        callee.wait()
        refer = callee.received("REFER")[0]
    assert told(sip) == [("trying", 202), ("ringing", 180), last]
    assert refer.header("Refer-To") == "<sip:700@pbx.example.com>" and refer.header("X-Why") == "asked"
    assert refer.header("Referred-By").startswith("<sip:gateway@")
    assert session.steps == ["offer", "accepted"], "no SDP of PJSIP's own was made for it"


@pytest.mark.parametrize("refusal", ["405 Method Not Allowed", "501 Not Implemented", "603 Decline"])
def test_a_peer_that_refuses_to_be_transferred_goes_on_with_us(sip: SipRig, refusal: str) -> None:
    with Sipp("uas_refer_refused", sip.port, words={"REFUSAL": refusal}) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, "sip:700@pbx.example.com"))
        failed = sip.wait(TransferChanged)
        assert (failed.state, failed.code, failed.reason) == ("failed", int(refusal[:3]), refusal[4:])
        assert sip.states(call_id)[-1] is CallState.CONFIRMED
        sip.post(HangUp(call_id))
        callee.wait()


def test_a_peer_that_never_tells_is_given_up(sip: SipRig) -> None:
    with Sipp("uas_refer_silent", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, "sip:700@pbx.example.com", timeout_s=0.5))
        assert sip.wait(TransferChanged, state="failed").code == 408
        sip.post(HangUp(call_id))
        callee.wait()
    assert told(sip) == [("trying", 202), ("failed", 408)]


def test_a_second_transfer_waits_for_nobody_and_is_refused(sip: SipRig) -> None:
    with Sipp("uas_refer_silent", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, "sip:700@pbx.example.com"), Transfer(call_id, "sip:701@pbx.example.com"))
        sip.wait(TransferChanged, state="trying")
        assert sip.wait(TransferChanged, state="failed").code == 491
        sip.post(HangUp(call_id))
        callee.wait()
        assert len(callee.received("REFER")) == 1


def test_a_peer_that_ends_its_reports_and_hangs_up(sip: SipRig) -> None:
    with Sipp("uas_refer_leaves", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, "sip:700@pbx.example.com"))
        assert not sip.state(call_id, CallState.ENDED).by_us
        callee.wait()
    assert told(sip) == [("trying", 202)], "the BYE came before anything had failed"


@pytest.mark.parametrize("header", ["Refer-To", "Replaces", "bad name"])
def test_headers_of_the_stack_and_line_breaks_do_not_leave(sip: SipRig, header: str) -> None:
    with Sipp("uas_basic", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, "sip:700@pbx.example.com", headers={header: "x"}))
        assert sip.wait(TransferChanged).state == "failed"
        sip.post(HangUp(call_id))
        callee.wait()
        assert not callee.received("REFER")


def test_attended_the_other_party_is_named_by_its_dialog(sip: SipRig) -> None:
    """Refer-To is the Contact of the other call's party, its Replaces that dialog with the tags as it knows them."""
    with Sipp("uas_basic", sip.port) as consulted, Sipp("uac_transferred", sip.port) as caller:
        inbound, _ = sip.incoming()
        sip.post(Respond(inbound, 200))
        outbound, _ = sip.place(consulted.uri_host)
        sip.state(inbound, CallState.CONFIRMED)
        sip.state(outbound, CallState.CONFIRMED)
        sip.post(Transfer(inbound, attended=outbound))
        sip.wait(TransferChanged, state="done")
        sip.post(HangUp(inbound), HangUp(outbound))
        caller.wait()
        refer = caller.received("REFER")[0]
        answered = next(one for one in consulted.wait() if one.sent and "m=audio" in one.body)
    tags = {name: answered.header(name).rpartition("tag=")[2] for name in ("From", "To")}
    call_id = re.sub("@", "%40", answered.header("Call-ID"))
    wanted = f"{call_id}%3Bto-tag%3D{tags['To']}%3Bfrom-tag%3D{tags['From']}"
    assert refer.header("Refer-To") == f"<sip:{consulted.uri_host};transport=UDP?Replaces={wanted}>"


def test_attended_with_a_call_that_is_not_up_fails_here(sip: SipRig) -> None:
    with Sipp("uas_basic", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, attended="nobody"))
        assert sip.wait(TransferChanged).state == "failed"
        sip.post(HangUp(call_id))
        callee.wait()


def notify(body: str, kind: str = "message/sipfrag;version=2.0") -> SipText:
    return SipText("NOTIFY sip:x SIP/2.0", {"Content-Type": kind}, body)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("SIP/2.0 180 Ringing\r\n", (180, "Ringing")),
        ("SIP/2.0 200 OK\r\nContact: <sip:x>\r\n", (200, "OK")),
        ("\r\nsip/2.0  603", (603, "")),
        ("SIP/2.0 099 Low", None),
        ("HTTP/1.1 200 OK", None),
        ("", None),
    ],
)
def test_status_lines_of_notifies(body: str, status: tuple[int, str] | None) -> None:
    assert sipfrag_status(notify(body)) == status
    assert sipfrag_status(notify(body, "text/plain")) is None


def test_a_dialog_has_a_name_only_with_both_tags() -> None:
    headers = {"From": "<sip:a@b>;tag=1", "To": '"x;tag=9" <sip:c@d;tag=7>;tag=2', "Call-ID": "z"}
    assert DialogName.of(SipText("", headers, ""), "To") == DialogName("z", "1", "2")
    assert DialogName.of(SipText("", headers | {"To": "<sip:c@d;tag=7>"}, ""), "To") is None


def test_a_refer_is_repeated_with_our_credentials(start_sip: Callable[..., SipRig]) -> None:
    """A 401 is no failure while PJSIP has a password for it."""
    registration = Registration(f"sip:127.0.0.1:{free_port()}", "gw1", "secret")
    sip = start_sip(trunks=(Trunk("pbx", registration=registration),))
    with Sipp("uas_refer_auth", sip.port) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, "sip:700@pbx.example.com"))
        sip.wait(TransferChanged, state="done")
        sip.post(HangUp(call_id))
        callee.wait()
    assert told(sip) == [("trying", 202), ("done", 200)]


def test_a_refer_that_wants_credentials_that_we_have_not_fails(
    sip: SipRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "CREDENTIALS_S", 0.3)
    with Sipp("uas_refer_refused", sip.port, words={"REFUSAL": "401 Unauthorized"}) as callee:
        call_id, _ = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(Transfer(call_id, "sip:700@pbx.example.com"))
        assert sip.wait(TransferChanged).code == 401
        sip.post(HangUp(call_id))
        callee.wait()


def test_the_time_for_a_transfer_is_that_for_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that takes 30 s to agree has 30 s left for the result, also when it wants credentials first."""
    now, delays = [1000.0], []
    monkeypatch.setattr(transfer.time, "monotonic", lambda: now[0])

    class Scene:
        call_id, leg, dialog = "c", None, None
        refer = staticmethod(lambda target, headers: None)
        emit = staticmethod(lambda event: None)

        @staticmethod
        def later(delay_s: float, action: Callable[[], None]) -> Timer:
            delays.append(delay_s)
            return Timer(action)

    scene = Scene()
    scene.leg = scene  # type: ignore[assignment]
    transfers = transfer.Transfers(scene, scene)  # type: ignore[arg-type]
    transfers.ask(Transfer("c", "sip:1@x", timeout_s=60), None)
    for code in (401, 202):
        now[0] += 15
        transfers.answered(Step(False, "REFER", 5, 4, code, "", SipText("", {}, ""), lambda _: False))
    assert delays == [60, transfer.CREDENTIALS_S, 30]
