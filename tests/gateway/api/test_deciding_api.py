# SPDX-License-Identifier: GPL-2.0-or-later
"""Transfer, hold and variables: what reaches call control, and what comes back."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("path", "method", "body", "asked"),
    [
        ("transfer", "POST", {"target": "601", "headers": {"X-A": "b"}}, ("transfer", "a", "601", "", {"X-A": "b"})),
        ("transfer", "POST", {"attended": "other"}, ("transfer", "a", "", "other", {})),
        ("hold", "POST", {}, ("hold", "a", True, "")),
        ("hold", "POST", {"held": False, "music": "jazz"}, ("hold", "a", False, "jazz")),
        ("variables", "PUT", {"values": {"customer": "4711"}}, ("variables", "a", {"customer": "4711"})),
    ],
)
def test_what_is_asked_reaches_call_control(ask, service, path, method, body, asked):
    service.add("a")
    answer = ask(method, f"/v1/calls/a/{path}", json=body)
    assert answer.is_success and service.asked == [asked] and answer.json()["id"] == "a"


def test_variables_are_seen_in_the_call(ask, service):
    service.add("a")
    assert ask("PUT", "/v1/calls/a/variables", json={"values": {"k": "v"}}).json()["variables"] == {"k": "v"}


@pytest.mark.parametrize("body", [{}, {"target": "601", "attended": "b"}, {"target": "601", "to": "602"}])
def test_a_transfer_has_exactly_one_target(ask, service, body):
    service.add("a")
    answer = ask("POST", "/v1/calls/a/transfer", json=body)
    assert answer.status_code == 422 and service.asked == []


@pytest.mark.parametrize("path", ["transfer", "hold", "variables"])
def test_a_call_that_is_not_there(ask, path):
    body = {"transfer": {"target": "1"}, "hold": {}, "variables": {"values": {}}}[path]
    answer = ask("PUT" if path == "variables" else "POST", f"/v1/calls/none/{path}", json=body)
    assert (answer.status_code, answer.json()["error"]) == (404, "no_such_call")


def test_a_refusal_keeps_its_word(ask, service, refusal):
    service.add("a")
    service.refuse = refusal(409, "not_now", "a call can be transferred only while it is up")
    answer = ask("POST", "/v1/calls/a/transfer", json={"target": "601"})
    assert (answer.status_code, answer.json()["error"]) == (409, "not_now")
