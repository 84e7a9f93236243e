# SPDX-License-Identifier: GPL-2.0-or-later
"""Patterns of routes: which numbers and header values they take.

600      exactly this
6..      a 6 and any two characters
+49*     begins with +49; `*` stands for the rest, also for nothing, and only at the end
*        anything, also nothing
re:^\\+49(30|40)   a regular expression (Python's `re`), searched for, so anchor it
"""

from __future__ import annotations

import dataclasses
import re

REGEX_PREFIX = "re:"

REGEX_MAX_CHARS = 256
"""Longest value that a regular expression is tried on.

The caller chooses the value and the owner chose the expression, perhaps a slow
one: backtracking must not become a way to stop the SIP thread.  No number and
no sensible routing header is longer; what is longer does not match.
"""

_TELEPHONE = re.compile(r"\+?[0-9*#A-Da-d\-.() ]+")
_SEPARATORS = str.maketrans("", "", "-.() ")


def bare_number(user: str) -> str:
    """`user` without visual separators (RFC 3966 5.1.1), if it is a telephone number at all.

    A name such as `john.doe` or `gw-1` is left as it is.
    """
    if _TELEPHONE.fullmatch(user) and any(character.isdigit() for character in user):
        return user.translate(_SEPARATORS)
    return user


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """One compiled pattern."""

    text: str
    "as written in the configuration"
    _compiled: re.Pattern[str]
    _is_regex: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Compile; raises ValueError that says what is wrong with the text."""
        if text.startswith(REGEX_PREFIX):
            try:
                return cls(text, re.compile(text.removeprefix(REGEX_PREFIX)), True)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
        if not text:
            raise ValueError("an empty pattern matches nothing; leave the key out, or write '*' for anything")
        if "*" in text[:-1]:
            raise ValueError("'*' stands for the rest and may only come last; use 're:' for anything else")
        head = text.removesuffix("*")
        body = "".join("." if character == "." else re.escape(character) for character in head)
        return cls(text, re.compile(body + (".*" if text.endswith("*") else ""), re.DOTALL), False)

    @property
    def takes_all(self) -> bool:
        """Whether everything matches, so that what follows is never reached."""
        return self.text in ("*", "re:", "re:.*")

    def matches(self, value: str) -> bool:
        """Whether `value` (a bare number, or a header's text) is taken."""
        if self._is_regex:
            return len(value) <= REGEX_MAX_CHARS and self._compiled.search(value) is not None
        return self._compiled.fullmatch(value) is not None

    def takes_whole(self, value: str) -> bool:
        """Like `matches`, with a regular expression that must match from beginning to end, as a permission should."""
        return len(value) <= REGEX_MAX_CHARS and self._compiled.fullmatch(value) is not None

    @property
    def is_regex(self) -> bool:
        """Whether it was written as `re:...`."""
        return self._is_regex


def parse_number_pattern(text: str) -> Pattern:
    """Like `Pattern.parse`, and refuses separators that no compared number still has."""
    pattern = Pattern.parse(text)
    plain = text.translate(str.maketrans("", "", "-() "))
    if not text.startswith(REGEX_PREFIX) and plain != text and re.fullmatch(r"\+?[0-9.]+\*?", plain):
        raise ValueError(f"numbers are compared without '-', '(', ')' and spaces: write {plain!r}")
    return pattern
