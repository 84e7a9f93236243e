# SPDX-License-Identifier: GPL-2.0-or-later
"""Twilio's REST API, as far as agents in its dialect need it: who may use it, for which calls, and how it answers."""

from __future__ import annotations

import asyncio
import base64

import httpx
import pytest

from support.fake_calls import TOKEN
from trunkline.agent_bridge.twilio_ids import call_sid
from trunkline.gateway.api import create_app
from trunkline.gateway.api.twilio_accounts import TwilioAccount, TwilioAccounts

CALL = "0b8f5e7e-6c2a-4a57-9d0e-3f6d9d4f8b11"
ONE, TWO = "AC" + "1" * 32, "AC" + "2" * 32
PATH = f"/2010-04-01/Accounts/{ONE}/Calls/{call_sid(CALL)}.json"
ACCOUNTS = [
    TwilioAccount(ONE, "one's token", "bot"),
    TwilioAccount(ONE, "another token", "other bot"),
    TwilioAccount(TWO, "two's token", "two"),
]


@pytest.fixture
def ask_as(service, metrics):
    """One request with basic credentials."""
    app = create_app(service, metrics, TOKEN, twilio=ACCOUNTS)

    def request(user, password, method="POST", path=PATH, **kwargs):
        async def run():
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                auth = httpx.BasicAuth(user, password) if user else None
                return await client.request(method, path, auth=auth, **kwargs)

        return asyncio.run(run())

    return request


def test_completed_ends_the_call(ask_as, service):
    """As at Twilio: a form, the call in the answer."""
    service.add(CALL, agent="bot", answered=1_760_000_000.0, created=1_760_000_000.0)
    answer = ask_as(ONE, "one's token", data={"Status": "completed"})
    assert answer.status_code == 200 and answer.json()["status"] == "completed"
    assert service.asked == [("hangup_by_agent", CALL, "asked by the agent over Twilio's REST API")]


def test_a_call_is_shown_in_twilios_words(ask_as, service):
    """Those that its clients read."""
    service.add(CALL, agent="bot", answered=1_760_000_001.0, created=1_760_000_000.0)
    call = ask_as(ONE, "one's token", "GET").json()
    assert (call["sid"], call["account_sid"], call["status"]) == (call_sid(CALL), ONE, "in-progress")
    assert (call["from"], call["to"], call["direction"]) == ("1001", "600", "inbound")
    assert call["start_time"] == "Thu, 09 Oct 2025 08:53:21 +0000" and call["end_time"] is None
    assert call["uri"] == PATH
    service.change(CALL, state="ended", ended=1_760_000_011.4, cause="caller_hangup")
    call = ask_as(ONE, "one's token", "GET").json()
    assert (call["status"], call["duration"]) == ("completed", "10")


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"state": "incoming"}, "ringing"),
        ({"state": "calling", "direction": "outbound"}, "queued"),
        ({"state": "early", "direction": "outbound"}, "ringing"),
        ({"state": "held", "answered": 1.0}, "in-progress"),
        ({"state": "ended", "cause": "busy", "ended": 2.0}, "busy"),
        ({"state": "ended", "cause": "no_answer", "ended": 2.0}, "no-answer"),
        ({"state": "ended", "cause": "caller_cancelled", "ended": 2.0}, "canceled"),
        ({"state": "ended", "cause": "agent_lost", "ended": 2.0}, "failed"),
    ],
)
def test_states(ask_as, service, fields, status):
    """Each of ours is one of Twilio's."""
    service.add(CALL, agent="bot", **fields)
    assert ask_as(ONE, "one's token", "GET").json()["status"] == status


@pytest.mark.parametrize(
    ("user", "password"),
    [("", ""), (ONE, "wrong"), (ONE, ""), (ONE, "two's token"), (TWO, "two's token"), ("AC", "one's token"),
     (ONE, "töken")],
)  # fmt: skip
def test_strangers_get_401_with_20003(ask_as, service, user, password):
    """Also those of another account; and nothing has happened."""
    service.add(CALL, agent="bot")
    for method in ("GET", "POST"):
        answer = ask_as(user, password, method, data={"Status": "completed"} if method == "POST" else None)
        assert answer.status_code == 401 and answer.json()["code"] == 20003
        assert answer.headers["www-authenticate"].startswith("Basic")
    assert service.asked == []


@pytest.mark.parametrize("value", [b"Basic !!!", b"Basic", b"Bearer " + TOKEN.encode(), b"Basic " + b"\xff" * 9])
def test_credentials_that_are_none_are_401(ask_as, service, value):
    """Not even the API's own token is good here."""
    service.add(CALL, agent="bot")
    assert ask_as("", "", headers={"Authorization": value}).status_code == 401


def test_without_credentials_every_path_is_401(ask_as):
    """A stranger does not learn what there is."""
    for path in ("/2010-04-01/", "/2010-04-01/Accounts", f"/2010-04-01/Accounts/{ONE}/Calls.json"):
        assert ask_as("", "", "GET", path).status_code == 401
        assert ask_as(ONE, "one's token", "GET", path).status_code == 404


def test_the_credentials_are_no_key_to_the_api(ask_as):
    """Its other paths want its own token."""
    assert ask_as(ONE, "one's token", "GET", "/v1/calls").status_code == 401


def test_without_such_agents_the_paths_want_the_apis_token(ask, service):
    """There is nobody who could know another."""
    service.add(CALL, agent="bot")
    assert ask("POST", PATH, token=None).status_code == 401
    assert ask("POST", PATH, data={"Status": "completed"}).json()["code"] == 20003


@pytest.mark.parametrize(
    "given",
    [
        {"path": PATH.replace("0b8f5e7e", "00000000")},
        {"path": f"/2010-04-01/Accounts/{ONE}/Calls/CAnonsense.json"},
        {"password": "another token"},
        {"agent": "echo"},
        {"state": "ended"},
    ],
)
def test_calls_that_are_none_of_theirs_are_404_with_20404(ask_as, service, given):
    """Unknown, over, or another agent's: as if there were none."""
    service.add(CALL, agent=given.get("agent", "bot"), state=given.get("state", "up"))
    answer = ask_as(
        ONE, given.get("password", "one's token"), path=given.get("path", PATH), data={"Status": "completed"}
    )
    assert answer.status_code == 404 and answer.json()["code"] == 20404
    assert answer.json()["status"] == 404 and service.asked == []


@pytest.mark.parametrize(
    ("form", "code", "says"),
    [
        ({}, 20001, "not by nothing"),
        ({"Status": "in-progress"}, 20001, "not by Status=in-progress"),
        ({"Url": "http://x", "Method": "POST"}, 20001, "not by Method, Url"),
        ({"Status": "canceled"}, 21220, "A call in progress is ended by Status=completed"),
    ],
)
def test_what_cannot_be_done_is_400(ask_as, service, form, code, says):
    """TwiML and other states: said in a sentence."""
    service.add(CALL, agent="bot", answered=1.0)
    answer = ask_as(ONE, "one's token", data=form)
    assert (answer.status_code, answer.json()["code"]) == (400, code) and says in answer.json()["message"]
    assert service.asked == []


def test_accounts_show_no_token():
    """They may end up in a traceback."""
    assert "token" not in repr(ACCOUNTS).replace("TwilioAccount", "")
    accounts = TwilioAccounts(ACCOUNTS)
    given = b"Basic " + base64.b64encode(f"{ONE}:another token".encode())
    assert accounts.agents(given) == {"other bot"} and accounts.agents(given, TWO) == frozenset()


def test_what_the_route_forbids_its_agents_is_403(ask_as, service, refusal):
    """Its calls are ended by others then."""
    service.add(CALL, agent="bot", answered=1_760_000_000.0, created=1_760_000_000.0)
    service.refuse = refusal(403, "forbidden", "the route does not allow it")
    answer = ask_as(ONE, "one's token", data={"Status": "completed"})
    assert answer.status_code == 403 and answer.json()["message"] == "the route does not allow it"


def test_wrong_credentials_are_counted(ask_as, metrics):
    """As of another kind than the gateway's own."""
    assert ask_as(ONE, "wrong").status_code == 401
    assert metrics.refused == ["twilio"]
