# SPDX-License-Identifier: GPL-2.0-or-later
"""`trunkline transfer`, `hold` and `resume`."""

from __future__ import annotations

import pytest


def changed(state: str, code: int = 0, reason: str = "") -> tuple[str, dict[str, object]]:
    return "call.transfer", {"state": state, "code": code, "reason": reason, "kind": "blind"}


@pytest.mark.parametrize(
    ("story", "code", "said"),
    [
        (
            [changed("trying", 202, "Accepted"), changed("ringing", 180, "Ringing"), changed("done", 200, "OK"),
             ("call.ended", {"cause": "transferred"})],
            0, ["trying (202 Accepted)", "ringing (180 Ringing)", "done (200 OK)", "the call has ended: transferred"],
        ),
        ([changed("failed", 486, "Busy Here")], 3, ["failed (486 Busy Here)"]),
        ([("call.ended", {"cause": "caller_hangup"})], 3, ["the call has ended: caller_hangup"]),
    ],
)  # fmt: skip
def test_a_transfer_is_followed_to_its_result(gateway, service, trunkline, story, code, said):
    service.add("aaaa-1")
    service.transfer_story = story
    result = trunkline("transfer", "aaaa", "601")
    assert result.exit_code == code and result.stdout.splitlines() == said
    assert service.asked == [("transfer", "aaaa-1", "601", "", {})]


def test_an_attended_transfer_names_the_other_call_by_its_beginning(gateway, service, trunkline):
    service.add("aaaa-1")
    service.add("bbbb-2")
    service.transfer_story = [("call.ended", {"cause": "transferred"})]
    assert trunkline("transfer", "aaaa", "--attended", "bbbb").exit_code == 0
    assert service.asked == [("transfer", "aaaa-1", "", "bbbb-2", {})]


@pytest.mark.parametrize("words", [(), ("601", "--attended", "bbbb")])
def test_a_transfer_needs_one_target(gateway, service, trunkline, words):
    service.add("aaaa-1")
    assert trunkline("transfer", "aaaa", *words).exit_code == 2 and service.asked == []


def test_hold_and_resume(gateway, service, trunkline):
    service.add("aaaa-1")
    assert trunkline("hold", "aaaa", "--music", "jazz").stdout.strip() == "holding aaaa-1"
    assert trunkline("resume", "aaaa").stdout.strip() == "resumed aaaa-1"
    assert service.asked == [("hold", "aaaa-1", True, "jazz"), ("hold", "aaaa-1", False, "")]


def test_a_refusal_is_a_sentence(gateway, service, trunkline, refusal):
    service.add("aaaa-1")
    service.refuse = refusal(409, "not_now", "a call can be held only while it is up")
    result = trunkline("hold", "aaaa")
    assert result.exit_code == 2 and "a call can be held only while it is up" in result.stderr
