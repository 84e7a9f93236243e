# SPDX-License-Identifier: GPL-2.0-or-later
"""Turn pydantic's error details into what was found, what is allowed and what was probably meant."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic_core import ErrorDetails

from trunkline.gateway.config import schema
from trunkline.gateway.config.errors import Location, Problem

_MAX_SHOWN_CHARS = 60
_KINDS = {
    bool: "true/false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
}


def problem(detail: ErrorDetails) -> Problem:
    """One of pydantic's errors, for people."""
    location = detail["loc"]
    match detail["type"]:
        case "extra_forbidden":
            return Problem(location, _unknown_key(location))
        case "missing":
            return Problem(location, f"required, and missing; allowed: {_allowed(location)}")
        case "value_error" | "literal_error":
            return Problem(_without_marks(location), _wrong_value(detail))
        case kind:
            found = _found(detail["input"], with_kind=kind.endswith("_type"))
            return Problem(_without_marks(location), f"{found}; allowed: {_allowed(location)}")


def nearest(word: str, known: list[str]) -> str:
    """` (did you mean 'x'?)` for the most similar known word, or nothing."""
    match = difflib.get_close_matches(word.lower(), [name.lower() for name in known], n=1, cutoff=0.6)
    if not match:
        return ""
    return f"did you mean {next(name for name in known if name.lower() == match[0])!r}? "


def _unknown_key(location: Location) -> str:
    section = schema.section_at(location[:-1])
    known = [key.name for key in schema.keys(section)] if section else []
    return f"unknown key; {nearest(str(location[-1]), known)}allowed here: {', '.join(known)}"


def _wrong_value(detail: ErrorDetails) -> str:
    """A value of the right type that its own check refused."""
    found = _found(detail["input"])
    if detail["type"] == "value_error":
        return f"{found}: {detail['ctx']['error']}"
    allowed = _allowed(detail["loc"])
    words = [word.strip("`, ") for word in allowed.replace(" or ", ", ").split(", ")]
    hint = nearest(detail["input"], words) if isinstance(detail["input"], str) else ""
    return f"{found}; {hint}allowed: {allowed}"


def _allowed(location: Location) -> str:
    """What the key at a location takes."""
    key = schema.key_at(_without_marks(location))
    if key is None:
        return "text"
    if key.section is None:
        in_list = bool(location) and isinstance(location[-1], int)
        return key.allowed.removeprefix("list of ") if in_list else key.allowed
    name = f"[[{key.name}]]" if key.repeated else f"[{key.name}]"
    return f"a table {name} with {', '.join(part.name for part in schema.keys(key.section))}"


def _found(value: Any, with_kind: bool = False) -> str:
    """`found 'x'`, with the kind of value where that is what is wrong with it."""
    kind = f" ({_KINDS[type(value)]})" if with_kind and type(value) in _KINDS else ""
    if isinstance(value, dict | list):
        return f"found {_KINDS[type(value)]}"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    if len(text) > _MAX_SHOWN_CHARS:
        text = f"{text[: _MAX_SHOWN_CHARS - 3]}..."
    return f"found {text}{kind}"


def _without_marks(location: Location) -> Location:
    """pydantic marks a wrong key of a free table by a last part `[key]`."""
    return location[:-1] if location and location[-1] == "[key]" else location
