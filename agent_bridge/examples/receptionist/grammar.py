# SPDX-License-Identifier: MIT
"""What callers may say at each question, as grammars (JSGF), and what their words mean."""

from __future__ import annotations

from collections.abc import Sequence

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip
MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth", *(f"twenty {one}" for one in (
        "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")),
    "thirtieth", "thirty first",
)  # fmt: skip

_DIGIT = "|".join((*DIGITS, "oh"))
RULES = {
    "menu": "[i want | i would like | please] [an | the] (appointment | opening hours | operator) [please] | goodbye",
    "date": f"[on] ([the] ({'|'.join(ORDINALS)}) of ({'|'.join(MONTHS)})"
    f" | ({'|'.join(MONTHS)}) [the] ({'|'.join(ORDINALS)}))",
    "number": f"({_DIGIT}) ({_DIGIT}) ({_DIGIT}) ({_DIGIT}) [({_DIGIT})] [({_DIGIT})] [({_DIGIT})] [({_DIGIT})]",
    "confirm": "yes | yes please | that is correct | no | no thank you | that is wrong",
}
"""Body of the public rule for each question."""


def jsgf(question: str) -> str:
    """The grammar of a question, as recognisers read it."""
    return f"#JSGF V1.0; grammar {question}; public <{question}> = {RULES[question]};"


def choice_in(words: str) -> str:
    """What a caller chose from the menu: the one word that matters, or nothing."""
    return next((one for one in ("appointment", "hours", "operator", "goodbye") if one in words.split()), "")


def date_in(words: str) -> tuple[int, int] | None:
    """Day and month in "the twenty first of march" or "march the twenty first"; None when there is no such day."""
    said = words.split()
    month = next((number for number, name in enumerate(MONTHS, 1) if name in said), 0)
    named = [word for word in said if word not in (*MONTHS, "on", "the", "of")]
    if not month or " ".join(named) not in ORDINALS:
        return None
    day = ORDINALS.index(" ".join(named)) + 1
    return (day, month) if day <= MONTH_DAYS[month - 1] else None


def date_of_keys(keys: str) -> tuple[int, int] | None:
    """Day and month in four keys: 2103 is the twenty first of March."""
    day, month = int(keys[:2]), int(keys[2:4])
    return (day, month) if 1 <= month <= 12 and 1 <= day <= MONTH_DAYS[month - 1] else None


def digits_in(words: str) -> str:
    """`4711` in "four seven one one"."""
    return "".join("0" if word == "oh" else str(DIGITS.index(word)) for word in words.split())


def agreed_in(words: str) -> bool:
    """Whether that was a yes."""
    return words.startswith(("yes", "that is correct"))


def spoken_date(date: tuple[int, int]) -> str:
    """The twenty first of march."""
    return f"the {ORDINALS[date[0] - 1]} of {MONTHS[date[1] - 1]}"


def spoken_digits(digits: Sequence[str]) -> str:
    """Four, seven, one, one: with pauses, so that it can be written down."""
    return ", ".join(DIGITS[int(digit)] for digit in digits)
