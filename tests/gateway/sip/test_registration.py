# SPDX-License-Identifier: GPL-2.0-or-later
"""Registering trunks, and the credentials that they hold, against SIPp as registrar."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from support.ports import free_port
from support.sip_rig import SipRig
from support.sipp import Sipp, SippFailed
from trunkline.gateway.sip.account import identity, route_uri
from trunkline.gateway.sip.backoff import Backoff
from trunkline.gateway.sip.events import CallState, RegistrationChanged
from trunkline.gateway.sip.messages import HangUp
from trunkline.gateway.sip.settings import Registration, Trunk

StartSip = Callable[..., SipRig]
KEYS = {"username": "gw1", "password": "s3cret-pass", "expires_s": "7", "retry_s": "1"}


def trunk(port: int, password: str = "s3cret-pass") -> Trunk:
    return Trunk("pbx", registration=Registration(f"sip:127.0.0.1:{port}", "gw1", password))


def test_registration_with_digest_and_removal_at_the_end(start_sip: StartSip) -> None:
    with Sipp("uas_register", 9, keys=KEYS) as registrar:
        sip = start_sip(trunks=(trunk(registrar.port),))
        registered = sip.wait(RegistrationChanged)
        sip.stop()
        first = registrar.wait()[0]
    assert (registered.trunk, registered.registered, registered.code) == ("pbx", True, 200)
    assert 290 <= registered.expires_s <= 300 and registered.retry_in_s is None
    last = sip.wait(RegistrationChanged, 2)
    assert (last.registered, last.retry_in_s) == (False, None)
    assert first.header("Contact").startswith(f"<sip:gw1@127.0.0.1:{sip.port}")


def test_a_registration_is_refreshed_before_it_expires_and_that_is_no_news(start_sip: StartSip) -> None:
    with Sipp("uas_register_short", 9, keys=KEYS) as registrar:
        sip = start_sip(trunks=(trunk(registrar.port),))
        sip.wait(RegistrationChanged, registered=True)
        while len(registrar.received("REGISTER")) < 2:
            time.sleep(0.05)
        time.sleep(0.1)
        assert all(one.registered for one in sip.events)  # type: ignore[union-attr]
        sip.stop()
        registrar.wait()


def test_after_a_refusal_it_tries_again_when_told_and_recovers(start_sip: StartSip) -> None:
    with Sipp("uas_register_refuse", 9, keys=KEYS) as registrar:
        sip = start_sip(trunks=(trunk(registrar.port),))
        failed = sip.wait(RegistrationChanged)
        registrar.wait()
    assert (failed.registered, failed.code) == (False, 503)
    assert failed.retry_in_s is not None and 1.0 <= failed.retry_in_s < 2.0
    with Sipp("uas_register", 9, port=registrar.port, keys=KEYS) as registrar:
        sip.wait(RegistrationChanged, registered=True)
        sip.stop()
        registrar.wait()


def test_a_registrar_that_comes_up_late_is_found(start_sip: StartSip) -> None:
    port = free_port()
    sip = start_sip(trunks=(trunk(port),))
    time.sleep(0.3)
    with Sipp("uas_register", 9, port=port, keys=KEYS) as registrar:
        sip.wait(RegistrationChanged, registered=True)
        sip.stop()
        registrar.wait()


def test_wrong_credentials_are_reported_and_not_repeated_soon(start_sip: StartSip) -> None:
    with Sipp("uas_register", 9, keys=KEYS) as registrar:
        sip = start_sip(trunks=(trunk(registrar.port, "wrong"),))
        failed = sip.wait(RegistrationChanged)
        assert (failed.registered, failed.code) == (False, 403)
        assert failed.retry_in_s is not None and failed.retry_in_s >= 15
        with pytest.raises(SippFailed):
            registrar.wait()


def test_a_call_answers_the_challenge_of_its_trunk(start_sip: StartSip) -> None:
    sip = start_sip(trunks=(trunk(free_port()),))
    with Sipp("uas_auth", sip.port, keys=KEYS) as callee:
        call_id, session = sip.place(callee.uri_host)
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        messages = callee.wait()
    invites = [one for one in messages if one.start_line.startswith("INVITE")]
    assert 'username="gw1"' in invites[1].header("Authorization")
    assert session.steps == ["offer", "accepted"]
    assert sip.states(call_id).count(CallState.CALLING) == 1


def test_credentials_appear_in_no_log_line(start_sip: StartSip) -> None:
    with capture_logs() as lines, Sipp("uas_register", 9, keys=KEYS) as registrar:
        sip = start_sip(trunks=(trunk(registrar.port),), log_level=5)
        sip.wait(RegistrationChanged, registered=True)
        sip.stop()
        registrar.wait()
        sent = registrar.received("REGISTER")[1].header("Authorization")
    digest = sent.partition('response="')[2].partition('"')[0]
    text = "\n".join(str(line) for line in lines)
    assert len(digest) == 32 and "REGISTER sip:" in text and "Authorization: ***" in text
    assert digest not in text and "s3cret" not in text


def test_no_repr_shows_a_password() -> None:
    assert "s3cret" not in repr(trunk(5060))


def test_an_outbound_proxy_gets_every_request(start_sip: StartSip) -> None:
    with Sipp("uas_basic", 9) as proxy:
        sip = start_sip(trunks=(Trunk("pbx", outbound_proxy=f"sip:127.0.0.1:{proxy.port}"),))
        call_id, _ = sip.place("pbx.example.invalid")
        sip.state(call_id, CallState.CONFIRMED)
        sip.post(HangUp(call_id))
        invite = proxy.wait()[0]
    assert invite.start_line == "INVITE sip:600@pbx.example.invalid SIP/2.0"
    assert invite.header("Route") == f"<sip:127.0.0.1:{proxy.port};lr>"


@pytest.mark.parametrize(
    ("trunk", "expected"),
    [
        (Trunk("a"), "<sip:trunkline@192.0.2.9>"),
        (Trunk("a", host="pbx.example.com:5070"), "<sip:trunkline@pbx.example.com>"),
        (Trunk("a", host="pbx", from_user="4711", caller_domain="example.org"), "<sip:4711@example.org>"),
        (
            Trunk("a", registration=Registration("sip:reg.example.com:5060;transport=tcp", "u")),
            "<sip:u@reg.example.com>",
        ),
        (Trunk("a", host="[2001:db8::1]:5060"), "<sip:trunkline@[2001:db8::1]>"),
    ],
)
def test_the_identity_of_a_trunk(trunk: Trunk, expected: str) -> None:
    assert identity(trunk, "192.0.2.9") == expected


@pytest.mark.parametrize("proxy", ["sip:p:5060", "<sip:p:5060>", "sip:p:5060;lr", "<sip:p:5060;lr>"])
def test_an_outbound_proxy_is_a_loose_router(proxy: str) -> None:
    assert route_uri(proxy) == "<sip:p:5060;lr>"


def test_backoff_doubles_to_a_minute_is_random_and_begins_anew() -> None:
    backoff = Backoff(random.Random(1))
    delays = [backoff.failed(503) for _ in range(10)]
    for number, delay in enumerate(delays):
        longest = min(2.0**number, 60.0)
        assert longest / 2 <= delay <= longest
    backoff.succeeded()
    assert backoff.failed(408) <= 1.0
    assert Backoff(random.Random(2)).failed(403) >= 15.0
    assert Backoff(random.Random(2)).failed(503, retry_after_s=300.0) == 300.0
