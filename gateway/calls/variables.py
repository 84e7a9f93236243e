# SPDX-License-Identifier: GPL-2.0-or-later
"""Call variables: texts that agents and the API keep with a call, for the next agent, events and the log line."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.gateway.calls.book import Book
from trunkline.gateway.calls.call import Call
from trunkline.gateway.calls.refused import CallRefused
from trunkline.gateway.calls.texts import encoded_bytes, lines, plain
from trunkline.gateway.media import control

MAX_VARIABLES = 64
MAX_NAME = 64
MAX_BYTES = 4096
"Of all names and values, as JSON: they stand in the log line, and travel with headers and metadata in one message."


def set_variables(book: Book, call: Call, values: Mapping[str, str]) -> None:
    """Add, change and, where a value is empty, remove; all of them or none. Raises CallRefused."""
    for name, value in values.items():
        if not 1 <= len(name) <= MAX_NAME:
            raise CallRefused("bad_variable", f"names of variables have 1 to {MAX_NAME} characters, not {len(name)}")
        try:
            plain(name)
            lines(value)
        except ValueError as error:
            raise CallRefused("bad_variable", f"variable {name!a}: {error}") from error
    merged = {name: value for name, value in {**call.variables, **values}.items() if value}
    if len(merged) > MAX_VARIABLES:
        raise CallRefused("bad_variable", f"{len(merged)} variables; {MAX_VARIABLES} are allowed")
    if (size := encoded_bytes(merged)) > MAX_BYTES:
        raise CallRefused("bad_variable", f"the variables have {size} bytes together; {MAX_BYTES} are allowed")
    if merged == call.variables:
        return
    call.variables = merged
    book.media.remember(call.id, variables=merged)
    book.media.send(control.SetVariables(call.id, merged))
    book.publish("call.variables", call, variables=dict(merged))
