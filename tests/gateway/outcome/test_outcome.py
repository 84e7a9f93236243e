# SPDX-License-Identifier: GPL-2.0-or-later
"""One table says what each reason for refusing or ending a call means to everybody."""

from __future__ import annotations

import re

import pytest

from trunkline.gateway.outcome import OTHER, OUTCOMES, label, outcome, reason_phrase, refusal, word_for_code


def test_every_entry_is_complete() -> None:
    """A word fit for a label, a text, a code that fits its kind, a phrase with each code."""
    for word, entry in OUTCOMES.items():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", word)
        assert entry.word == word
        assert entry.help
        assert not entry.help.endswith(".")
        assert bool(entry.sip_code) == bool(entry.sip_reason), word
        assert entry.sip_code in (0, 200) or 400 <= entry.sip_code <= 699
        if entry.kind == "refused":
            assert entry.sip_code != 200


@pytest.mark.parametrize(
    ("word", "code", "retry"),
    [
        ("unknown_peer", 403, False),
        ("no_route", 404, False),
        ("limit_calls", 503, True),
        ("limit_trunk", 503, True),
        ("limit_rate", 503, True),
        ("no_common_codec", 488, False),
        ("agent_unreachable", 503, True),
        ("agent_timeout", 503, True),
        ("draining", 503, True),
        ("caller_cancelled", 487, False),
    ],
)
def test_refusals_have_the_codes_that_are_promised(word: str, code: int, retry: bool) -> None:
    """Every 503 of ours says when to come back."""
    refused = refusal(word, "detail")
    assert (refused.code, refused.cause, refused.detail) == (code, word, "detail")
    assert (refused.retry_after_s is not None) is retry


def test_every_503_of_ours_tells_when_to_come_back() -> None:
    """Without Retry-After, RFC 3261 21.5.4 has the peer treat it as a 500."""
    ours = {entry.word: entry for entry in OUTCOMES.values() if entry.word != "peer_unavailable"}
    assert [word for word, entry in ours.items() if entry.sip_code == 503 and not entry.retry_after_s] == []


def test_a_route_or_agent_brings_its_own_code() -> None:
    """With its own phrase, or the usual one of that code; Retry-After only where SIP allows it."""
    assert refusal("route_refused", "").code == 603
    busy = refusal("route_refused", "", code=486)
    assert (busy.code, busy.reason) == (486, "Busy Here")
    assert refusal("route_refused", "", code=403, reason="Not here").reason == "Not here"
    assert refusal("agent_unreachable", "", code=410).retry_after_s is None
    assert refusal("limit_rate", "", retry_after_s=7).retry_after_s == 7


def test_an_unknown_word_is_an_internal_error_and_one_label() -> None:
    """A slip in a word must not end a call's clean-up, nor make labels without end."""
    assert outcome("nonsense").sip_code == 500
    assert label("nonsense") == label("x" * 1000) == OTHER
    assert label("no_route") == "no_route"
    assert refusal("nonsense", "").code == 500


@pytest.mark.parametrize(
    ("code", "phrase"),
    [
        (404, "Not Found"),
        (486, "Busy Here"),
        (488, "Not Acceptable Here"),
        (603, "Decline"),
        (503, "Service Unavailable"),
    ],
)
def test_phrases_are_those_of_sip(code: int, phrase: str) -> None:
    """RFC 3261 21, not HTTP, where they differ."""
    assert reason_phrase(code) == phrase


def test_any_code_has_a_phrase() -> None:
    """Codes that nobody has defined yet, too."""
    assert all(reason_phrase(code) for code in range(100, 700))


@pytest.mark.parametrize(
    ("code", "word"),
    [(486, "busy"), (600, "busy"), (408, "no_answer"), (480, "no_answer"), (603, "declined"),
     (404, "not_found"), (401, "auth_failed"), (407, "auth_failed"), (503, "peer_unavailable"), (418, "call_failed")],
)  # fmt: skip
def test_a_peers_code_becomes_our_word(code: int, word: str) -> None:
    """For outbound calls; every code has one, and every word its entry."""
    assert word_for_code(code) == word
    assert all(word_for_code(any_code) in OUTCOMES for any_code in range(300, 700))
