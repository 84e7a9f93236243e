# SPDX-License-Identifier: GPL-2.0-or-later
"""What a text from outside may hold, and how long texts may be together.

JSON can spell halves of surrogates (`"\\ud800"`), which Python takes and nobody can write
again: one such text in the list of calls would break the list for everybody.  Control
characters end header lines and move the cursors of terminals.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field

MAX_BYTES = 16_384
"""Headers of a call, and again its metadata, as JSON: escapes can make one character six bytes.

Both, what the configuration adds, and the media description stay below the 64 kB of a control message.
"""

LINE_BREAKS = "\t\n\r"
"Allowed in metadata, which only an agent reads: a text for a language model has lines."


def encoded_bytes(texts: Mapping[str, str]) -> int:
    """Bytes that these take in a message to an agent or a worker."""
    return len(msgspec.json.encode(dict(texts)))


def plain(text: str) -> str:
    """The text, if it has neither control characters nor surrogates in it; raises ValueError."""
    return _checked(text, "")


def lines(text: str) -> str:
    """The same for a text that may have several lines."""
    return _checked(text, LINE_BREAKS)


def _checked(text: str, allowed: str) -> str:
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in allowed:
            raise ValueError(f"the character U+{ord(character):04X} is not allowed here")
    return text


def _within_budget(texts: dict[str, str]) -> dict[str, str]:
    if (size := encoded_bytes(texts)) > MAX_BYTES:
        raise ValueError(f"{size} bytes as JSON; {MAX_BYTES} are allowed")
    return texts


Plain = Annotated[str, AfterValidator(plain)]
Name = Annotated[Plain, Field(max_length=256)]
"Of an agent or a trunk, as the configuration has it."
Address = Annotated[Plain, Field(max_length=512)]
"A URI or a number."
Texts = Annotated[dict[Plain, Annotated[str, AfterValidator(lines)]], AfterValidator(_within_budget)]
HeaderTexts = Annotated[dict[Plain, Plain], AfterValidator(_within_budget)]
