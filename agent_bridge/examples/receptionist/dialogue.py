# SPDX-License-Identifier: MIT
"""What the receptionist says next: a pure state machine, without sound, time or network.

    menu -> date -> confirm date -> number -> confirm number -> goodbye
      |-> hours -> menu                |
      |-> operator: a number to call back -> ...

Each method takes what the caller did and returns what to say, and which question is open then.
"""

from __future__ import annotations

import dataclasses

from trunkline.agent_bridge.examples.receptionist import grammar

MAX_MISSES = 3
"Questions in a row that got no usable answer; then we say goodbye rather than torment a caller."
_KEYS = {"1": "appointment", "2": "hours", "3": "operator", "9": "goodbye"}

WELCOME = "Welcome to the practice of doctor Miller."
MENU = "Please say appointment, opening hours, or operator. Or press one, two or three."
HOURS = "We are open from nine to five, Monday to Friday."
DATE = "For which date? Say a day and a month, or press four keys."
NUMBER = "Please say your telephone number, digit by digit."
CALL_BACK = "Nobody is at the desk. We will call you back."
GOODBYE = "Thank you for calling. Goodbye."
SORRY = "Sorry, I did not understand."
NO_SUCH_DATE = "There is no such date."
SILENT = "Are you still there?"


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What comes next."""

    say: tuple[str, ...]
    "sentences"
    question: str
    "which answers are understood then: a key of `grammar.RULES`, or empty when the talk is over"
    understood: str = ""
    "what we take the caller to have said"


class Dialogue:
    """One talk."""

    def __init__(self) -> None:
        self.date: tuple[int, int] | None = None
        "day and month that the caller has confirmed"
        self.number = ""
        "that the caller has confirmed"
        self._question = "menu"
        self._doubtful: tuple[int, int] | str = ""
        "read back and not confirmed yet: a date or a number"
        self._keys = ""
        self._misses = 0

    def begin(self) -> Reply:
        """The call is up."""
        return Reply((WELCOME, MENU), "menu")

    # --- what the caller does ----------------------------------------------------------------

    def heard(self, words: str) -> Reply:
        """The caller has said this; empty when it could not be understood."""
        self._keys = ""
        match self._question:
            case "menu" if choice := grammar.choice_in(words):
                return self._chosen(choice)
            case "date" if words:
                date = grammar.date_in(words)
                return self._ask_date(date) if date else self._missed(NO_SUCH_DATE)
            case "number" if words:
                return self._ask_number(grammar.digits_in(words))
            case "confirm" if words:
                return self._answered(grammar.agreed_in(words))
        return self._missed(SORRY)

    def pressed(self, key: str) -> Reply | None:
        """The caller has pressed a key; None: there is more to come."""
        self._keys += key
        match self._question:
            case "menu":
                self._keys = ""
                return self._chosen(_KEYS[key]) if key in _KEYS else self._missed(SORRY)
            case "confirm":
                self._keys = ""
                return self._answered(key == "1") if key in "12" else self._missed(SORRY)
            case "date" if len(self._keys) == 4:
                keys, self._keys = self._keys, ""
                date = grammar.date_of_keys(keys) if keys.isdecimal() else None
                return self._ask_date(date) if date else self._missed(NO_SUCH_DATE)
            case "number" if key == "#" or len(self._keys) == 15:
                keys, self._keys = self._keys.rstrip("#"), ""
                return self._ask_number(keys) if keys.isdecimal() else self._missed(SORRY)
        return None

    def silence(self) -> Reply:
        """Nothing has come for a while."""
        return self._missed(SILENT)

    # --- where it leads ----------------------------------------------------------------------

    def _chosen(self, choice: str) -> Reply:
        match choice:
            case "appointment":
                return self._ask("date", choice, DATE)
            case "hours":
                return self._ask("menu", choice, HOURS, MENU)
            case "operator":
                return self._ask("number", choice, CALL_BACK, NUMBER)
        return self._end(choice)

    def _ask_date(self, date: tuple[int, int]) -> Reply:
        self._doubtful = date
        said = grammar.spoken_date(date)
        return self._ask("confirm", said, f"I understood: {said}.", "Is that correct?")

    def _ask_number(self, number: str) -> Reply:
        self._doubtful = number
        return self._ask(
            "confirm", number, f"I understood: {grammar.spoken_digits(number)}.", "Is that correct?"
        )

    def _answered(self, yes: bool) -> Reply:
        of_date = isinstance(self._doubtful, tuple)
        if not yes:
            return self._ask("date", "no", DATE) if of_date else self._ask("number", "no", NUMBER)
        if isinstance(self._doubtful, tuple):
            self.date = self._doubtful
            return self._ask("number", "yes", NUMBER)
        self.number = self._doubtful
        return self._end("yes")

    def _ask(self, question: str, understood: str, *say: str) -> Reply:
        self._question, self._misses = question, 0
        return Reply(say, question, understood)

    def _end(self, understood: str) -> Reply:
        when = (f"We expect you on {grammar.spoken_date(self.date)}.",) if self.date else ()
        return Reply((*when, GOODBYE), "", understood)

    def _missed(self, why: str) -> Reply:
        self._misses += 1
        if self._misses >= MAX_MISSES:
            return Reply((why, GOODBYE), "")
        again = {"menu": MENU, "date": DATE, "number": NUMBER, "confirm": "Please say yes or no."}
        return Reply((why, again[self._question]), self._question)
