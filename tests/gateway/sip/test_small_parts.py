# SPDX-License-Identifier: GPL-2.0-or-later
"""INFO bodies, deadlines, redaction: parts that need neither PJSIP nor a peer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.gateway.sip import info
from trunkline.gateway.sip.pjlog import Faucet, redact
from trunkline.gateway.sip.timers import Timers


@pytest.mark.parametrize(
    ("media_type", "body", "expected"),
    [
        (info.DTMF_RELAY, "Signal=5\r\nDuration=160\r\n", ("5", 160)),
        (info.DTMF_RELAY, "Signal= *\nDuration= 250", ("*", 250)),
        (info.DTMF_RELAY, "signal=d\r\n", ("D", 160)),
        (info.DTMF_RELAY, "Signal=11\r\nDuration=99999\r\n", ("#", 10_000)),
        (info.DTMF, "9\r\n", ("9", 160)),
        (info.DTMF, "10", ("*", 160)),
        (info.DTMF, "Signal=7\r\nDuration=90\r\n", ("7", 90)),
    ],
)
def test_digits_as_pbxs_send_them(media_type: str, body: str, expected: tuple[str, int]) -> None:
    press = info.parse(media_type, body)
    assert press is not None and (press.digit, press.duration_ms) == expected


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (info.DTMF_RELAY, "Signal=x"),
        (info.DTMF_RELAY, ""),
        (info.DTMF, "55"),
        ("text/plain", "5"),
        (info.DTMF, ""),
    ],
)
def test_what_is_no_digit(media_type: str, body: str) -> None:
    assert info.parse(media_type, body) is None


@given(st.sampled_from("0123456789*#ABCD"), st.integers(40, 10_000))
def test_what_we_send_reads_back(digit: str, duration_ms: int) -> None:
    assert info.parse(info.DTMF_RELAY, info.relay_body(digit, duration_ms)) == info.Press(digit, duration_ms)


@given(st.text())
def test_any_info_body_parses(body: str) -> None:
    for media_type in (info.DTMF, info.DTMF_RELAY):
        press = info.parse(media_type, body)
        assert press is None or press.digit in "0123456789*#ABCD"


def test_deadlines_fire_once_in_order_and_not_when_cancelled() -> None:
    timers, fired = Timers(), []
    timers.at(30, lambda: fired.append("c"))
    early = timers.at(5, lambda: fired.append("never"))
    timers.at(10, lambda: fired.append("a"))
    timers.at(10, lambda: fired.append("b"))
    early.cancel()
    assert timers.next_deadline_ns() == 10
    assert timers.due(9) == []
    for now_ns in (10, 30, 31):
        for action in timers.due(now_ns):
            action()
    assert fired == ["a", "b", "c"] and timers.next_deadline_ns() is None


def test_redaction_leaves_no_credentials_and_everything_else() -> None:
    text = (
        "TX 500 bytes Request msg REGISTER\r\nVia: x\r\n"
        'Authorization: Digest username="gw1", nonce="abc",\r\n response="0123456789abcdef"\r\nContact: <sip:a>\r\n'
        'proxy-authorization : Digest response="fedcba"\r\nX: response=secret nonce=n1, password="pw"\r\n'
    )
    shown = redact(text)
    assert not any(secret in shown for secret in ("0123456789", "fedcba", "secret", "n1", '"pw"', "gw1"))
    assert "Contact: <sip:a>" in shown and "Via: x" in shown


def test_log_lines_are_rationed_and_the_rest_counted() -> None:
    faucet = Faucet()
    assert sum(faucet.admit(100.0) for _ in range(1000)) == Faucet.BURST
    assert faucet.dropped == 1000 - Faucet.BURST
    assert sum(faucet.admit(101.0) for _ in range(1000)) == Faucet.PER_SECOND
