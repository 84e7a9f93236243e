# SPDX-License-Identifier: MIT
"""The receptionist's talk, without sound."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.agent_bridge.examples.receptionist import dialogue, grammar
from trunkline.agent_bridge.examples.receptionist.dialogue import Dialogue


def test_an_appointment_is_made_by_words() -> None:
    talk = Dialogue()
    assert talk.begin().question == "menu"
    assert talk.heard("i would like an appointment").question == "date"
    reply = talk.heard("on the twenty first of march")
    assert (reply.say[0], reply.question) == ("I understood: the twenty first of march.", "confirm")
    assert talk.heard("yes please").question == "number"
    reply = talk.heard("four seven oh one")
    assert (reply.understood, reply.say[0]) == ("4701", "I understood: four, seven, zero, one.")
    reply = talk.heard("that is correct")
    assert reply.question == "" and reply.say[0] == "We expect you on the twenty first of march."
    assert (talk.date, talk.number) == ((21, 3), "4701")


def test_the_same_by_keys() -> None:
    talk = Dialogue()
    replies = [talk.pressed(key) for key in "1210314711#1"]
    assert [one.question for one in replies if one] == ["date", "confirm", "number", "confirm", ""]
    assert (talk.date, talk.number) == ((21, 3), "4711")


def test_a_number_that_was_misheard_is_asked_for_again() -> None:
    talk = Dialogue()
    assert "Nobody is at the desk" in talk.heard("operator").say[0]
    talk.heard("one two three four")
    assert talk.heard("no").question == "number"
    talk.heard("four seven one one")
    assert talk.heard("yes").say == (dialogue.GOODBYE,)
    assert (talk.date, talk.number) == (None, "4711")


@pytest.mark.parametrize("words", ["the thirty first of june", "february the thirtieth"])
def test_a_date_that_does_not_exist(words: str) -> None:
    talk = Dialogue()
    talk.heard("appointment")
    assert talk.heard(words).say == (dialogue.NO_SUCH_DATE, dialogue.DATE)
    assert talk.pressed("3") is talk.pressed("1") is talk.pressed("0") is None
    reply = talk.pressed("6")
    assert reply is not None and reply.say[0] == dialogue.NO_SUCH_DATE


def test_hours_lead_back_to_the_menu_and_nobody_is_asked_for_ever() -> None:
    talk = Dialogue()
    assert talk.heard("opening hours").say == (dialogue.HOURS, dialogue.MENU)
    assert [talk.heard("").question, talk.silence().question] == ["menu", "menu"]
    last = talk.heard("")
    assert last.say == (dialogue.SORRY, dialogue.GOODBYE) and last.question == ""


@given(st.dates(dt.date(2028, 1, 1), dt.date(2028, 12, 31)))
def test_every_date_is_understood_as_it_is_said(date: dt.date) -> None:
    said = (date.day, date.month)
    spoken = grammar.spoken_date(said)
    assert grammar.date_in(spoken) == grammar.date_in(f"on {spoken}") == said
    words = spoken.split(" of ")
    assert grammar.date_in(f"{words[1]} {words[0]}") == said
    assert grammar.date_of_keys(f"{date.day:02}{date.month:02}") == said


@given(st.text("0123456789", min_size=4, max_size=8))
def test_every_number_is_read_back_as_it_was_said(number: str) -> None:
    spoken = grammar.spoken_digits(number)
    assert grammar.digits_in(spoken.replace(",", "")) == number
