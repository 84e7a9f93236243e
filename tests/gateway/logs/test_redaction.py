# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers are found wherever and however a peer writes them; addresses and ids stay readable."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from trunkline.gateway.redaction import NUMBERS_KEY, Cleaner, digits_of, mask_number, printable, redact

NUMBERS = st.from_regex(r"[1-9][0-9]{4,14}", fullmatch=True)


@st.composite
def written(draw: st.DrawFn, number: str) -> str:
    """A number as people and machines punctuate it."""
    separators = st.sampled_from(["", "", "", "-", ".", " ", ") ", "(", "/"[:0]])
    body = number[0] + "".join(draw(separators) + digit for digit in number[1:])
    return draw(st.sampled_from(["", "+"])) + body


@st.composite
def number_in_text(draw: st.DrawFn) -> tuple[str, str]:
    """A number and a text in which it stands somewhere."""
    number = draw(NUMBERS)
    form = draw(written(number))
    frame = draw(
        st.sampled_from(
            [
                "{}",
                "no route takes {} from pbx",
                "<sip:{}@127.0.0.1:5060>;tag=12",
                "sip:{};phone-context=x@host",
                "tel:{};ext=1",
                '"{}" <sip:x@host>',
                "x{}x",
                "call {}.",
                "a={},b",
                "{{'to': '{}'}}",
                "id-{}-7",
            ]
        )
    )
    return number, frame.format(form)


def survives(number: str, text: str) -> bool:
    """Whether the number can still be read in a text, punctuation aside."""
    return number in re.sub(r"[\-.() +]", "", text)


@given(number_in_text())
def test_a_calls_number_is_hidden_in_any_text_and_spelling(case: tuple[str, str]) -> None:
    """With up to two separators between digits."""
    number, text = case
    assert not survives(number, redact(text, digits_of([number])))


@given(NUMBERS.filter(lambda number: len(number) >= 6))
def test_a_long_number_is_hidden_even_when_nobody_named_it(number: str) -> None:
    """It may be the number of another call, or of somebody called through."""
    for frame in (
        "Diversion: {}",
        "<sip:{}@h>",
        "tel:+{}",
        "[{}]",
        "(+{})",
        "{}.",
        "to={}",
        "line {}",
        "{} called",
    ):
        assert not survives(number, redact(frame.format(number)))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1:5060",
        "from 192.168.100.20 to 10.0.0.1.",
        "8c6b1f7e-3c1d-4a52-9d49-123456789012",
        "503 Service Unavailable",
        "port 16384 of 32767",
        "sip:gw1@pbx.example.com:5060",
        "sip:127.0.0.1:5160",
        "took 0.25 s, 20 ms, 99.5 %",
        "0x7f33aa112233",
        "Connection refused (120111)",
        "pjsua_acc_set_registration: Object is busy (171039)",
        "registration failed [status=171060]",
        "error 120111, code=171082",
        "1048576 bytes in 250000 us",
        "pid 4194303",
    ],
)
def test_what_is_no_number_is_left(text: str) -> None:
    """A log that hides addresses and codes is of no use."""
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sip:600@pbx", "sip:***00@pbx"),
        ("sip:+4930123456@pbx", "sip:***56@pbx"),
        ("sip:%34%39%33%30@pbx", "sip:***30@pbx"),
        ("sip:12@pbx", "sip:***@pbx"),
        ("sip:600:secret@pbx", "sip:***00@pbx"),
        ("tel:110", "tel:***10"),
    ],
)
def test_short_numbers_are_hidden_in_uris(text: str, expected: str) -> None:
    """An extension is a number, too; the last two digits stay if there are more."""
    assert redact(text) == expected


def test_facts_stay_whatever_the_calls_numbers_are() -> None:
    """An extension of three digits would hide half of a log; a long own number is hidden even so."""
    numbers = digits_of(["320", "171060"])
    assert redact("320 asked for 320 bytes", numbers) == "***20 asked for 320 bytes"
    assert redact("status=171060", numbers) == "status=***60"


@pytest.mark.parametrize(
    "sip_call_id", ["1-1234567@127.0.0.1", "600", "f665b466-9194412345", "20261120203845.17"]
)
def test_a_sip_call_id_stays_what_one_searches_for(sip_call_id: str) -> None:
    """In the peer's log as well; only a long number of the call itself is taken out of it."""
    cleaner = Cleaner(redact_numbers=True)
    event = {NUMBERS_KEY: ("600", "4930123456"), "sip_call_id": sip_call_id}
    assert cleaner(None, "info", event) == {"sip_call_id": sip_call_id}
    event = {NUMBERS_KEY: ("4930123456",), "sip_call_id": "4930123456-\x1b1@h"}
    assert cleaner(None, "info", event) == {"sip_call_id": "***56-\\x1b1@h"}


def test_a_short_number_of_the_call_is_hidden_outside_uris() -> None:
    """But not where it is part of an address."""
    numbers = digits_of(["600", "sip:100@pbx"])
    assert redact("600 called 100, 6000 did not", numbers) == "***00 called ***00, 6000 did not"
    assert redact("192.168.100.20", numbers) == "192.168.100.20"


@given(st.text(max_size=60), st.lists(st.text("0123456789+", max_size=12), max_size=3))
def test_any_text_can_be_redacted(text: str, numbers: list[str]) -> None:
    """No peer's text raises, and masking again changes nothing."""
    once = redact(text, digits_of(numbers))
    assert redact(once, digits_of(numbers)) == once


@pytest.mark.parametrize("text", ["1-" * 30_000 + "x", "sip:" * 2_000, "+1" * 20_000, "1.1.1.1." * 8_000])
def test_a_long_text_of_a_peer_is_redacted_in_no_time(text: str) -> None:
    """SIP messages reach kilobytes, and the log must not be the slowest part of refusing one."""
    begun = time.monotonic()
    redact(text, digits_of(["4930123456", "600"]))
    assert time.monotonic() - begun < 2


def test_the_mask_keeps_two_digits_and_hides_the_length() -> None:
    """Enough to tell calls apart."""
    assert mask_number("+49 (30) 123456") == "***56"
    assert mask_number("600") == "***00"
    assert mask_number("42") == "***"


def test_values_are_cleaned_at_any_depth_and_of_any_type() -> None:
    """Headers in dicts, lists, objects with a repr, bytes; numeric values only when they are the number."""

    class Peer:
        def __repr__(self) -> str:
            return "Peer(4930123456)"

    event = Cleaner(redact_numbers=True)(
        None,
        "info",
        {
            NUMBERS_KEY: ("4930123456",),
            "headers": {"X-4930123456": ["sip:4930123456@h", {"a": ("4930123456",)}]},
            "peer": Peer(),
            "raw": b"4930123456",
            "number": 4930123456,
            "packets": 600,
            "nothing": None,
            "flag": True,
        },
    )
    assert "4930123456" not in repr(event)
    assert NUMBERS_KEY not in event
    assert (event["packets"], event["nothing"], event["flag"]) == (600, None, True)


def test_nothing_is_hidden_when_it_is_not_asked_for() -> None:
    """And the numbers for redaction are not written either."""
    event = Cleaner(redact_numbers=False)(None, "info", {NUMBERS_KEY: ("600",), "to": "sip:4930123456@h"})
    assert event == {"to": "sip:4930123456@h"}


def test_secrets_are_hidden_by_key_and_by_value() -> None:
    """Also when they are part of an error's text, or escaped in a URL."""
    cleaner = Cleaner(redact_numbers=False, secrets=[SecretStr("s3cr et"), SecretStr("x")])
    event = cleaner(
        None,
        "info",
        {
            "password": "abc",
            "api_token": "abc",
            "headers": {"Authorization": "Digest abc", "X": "y"},
            "detail": "refused s3cr et, then s3cr%20et",
            "message": "INVITE sip:x\r\nProxy-Authorization: Digest abc\r\nX: y",
            "secret_value": SecretStr("abc"),
            "token_env": "NAME",
            "tokens": 3,
        },
    )
    assert "abc" not in repr(event)
    assert "s3cr" not in repr(event)
    assert event["headers"]["X"] == "y"
    assert event["message"].endswith("X: y")
    assert (event["token_env"], event["tokens"]) == ("NAME", 3)


@pytest.mark.parametrize(
    "evil", ["\u200f", "\udcff", "\x1b[2J", "a\nFAKE LINE", "\r", "\x9b31m", "\u202e", "\u2028"]
)
def test_a_peer_cannot_write_to_the_terminal(evil: str) -> None:
    """Escape sequences, line ends and direction marks are shown, not sent."""
    event = Cleaner(redact_numbers=False)(None, "info", {"from_name": evil, "exception": "a\nb"})
    assert event["from_name"].isprintable()
    assert event["exception"] == "a\nb"
    assert printable(evil).isprintable()
    assert printable("Zoë, 東京 ☎") == "Zoë, 東京 ☎"


def test_nan_is_written_as_nothing() -> None:
    """JSON has no NaN: one such value would break the line for every reader."""
    assert Cleaner(redact_numbers=False)(None, "info", {"rtt_ms": float("nan"), "x": 1.5}) == {
        "rtt_ms": None,
        "x": 1.5,
    }


def test_texts_of_agents_are_hidden_with_the_numbers() -> None:
    """A variable may hold anything, a short number among it; its name says what it was."""
    event = {"event": "call.ended", "variables": {"callback": "4711", "topic": "bill"}}
    assert Cleaner(redact_numbers=True)(None, "info", dict(event))["variables"] == {"callback": "***", "topic": "***"}
    assert Cleaner(redact_numbers=False)(None, "info", dict(event)) == event
