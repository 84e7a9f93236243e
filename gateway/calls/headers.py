# SPDX-License-Identifier: GPL-2.0-or-later
"""Which SIP headers travel between an INVITE and an agent, and which may be added to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trunkline.gateway.calls.texts import MAX_BYTES, encoded_bytes
from trunkline.gateway.sip.headers import HeaderError, check_headers

MAX_HEADERS = 32
MAX_VALUE_CHARACTERS = 2048


def for_agent(globs: Sequence[str], headers: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The headers that a trunk's `headers_to_agent` names, as sent, and the names that passed the limits."""
    exact = {glob.lower() for glob in globs if not glob.endswith("*")}
    beginnings = tuple(glob[:-1].lower() for glob in globs if glob.endswith("*"))
    chosen: dict[str, str] = {}
    left_out: list[str] = []
    room = MAX_BYTES
    for name, whole in headers.items():
        lower = name.lower()
        if lower not in exact and not lower.startswith(beginnings):
            continue
        value = whole[:MAX_VALUE_CHARACTERS]
        size = encoded_bytes({name: value})
        if len(chosen) == MAX_HEADERS or size > room:
            left_out.append(name)
            continue
        room -= size
        chosen[name] = value
    return chosen, left_out


def for_response(before: Mapping[str, str], headers: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """The headers that a response to an INVITE adds to those of the responses before it, and what is wrong with others.

    PJSIP makes each response out of the one before: what has once been written stands in all that follow, and together
    they must fit into a datagram, or the call can neither be answered nor refused any more.
    """
    had = {name.lower(): value for name, value in before.items()}
    new = {name: value for name, value in headers.items() if had.get(name.lower()) != value}
    if again := [name for name in new if name.lower() in had]:
        why = f"{', '.join(again)} stands in an earlier response to this INVITE, and can have no other value now"
        return {name: value for name, value in new.items() if name not in again}, why
    if (size := encoded_bytes({**before, **new})) > MAX_BYTES:
        return {}, f"the headers of all responses to one INVITE would have {size} bytes; {MAX_BYTES} are allowed"
    return new, ""


def problem_of(headers: Mapping[str, str]) -> str:
    """Why these may not be added to an INVITE, or empty."""
    if len(headers) > MAX_HEADERS:
        return f"{len(headers)} headers; {MAX_HEADERS} are allowed"
    try:
        check_headers(dict(headers))
    except HeaderError as error:
        return str(error)
    for name, value in headers.items():
        if len(value) > MAX_VALUE_CHARACTERS:
            return f"the value of {name} has {len(value)} characters; {MAX_VALUE_CHARACTERS} are allowed"
    if (size := encoded_bytes(headers)) > MAX_BYTES:
        return f"the headers have {size} bytes together; {MAX_BYTES} are allowed"
    return ""
