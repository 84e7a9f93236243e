# SPDX-License-Identifier: GPL-2.0-or-later
"""What routes about one call share: its id in the path, and refusals of call control as problems of the API."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, TypeVar

from fastapi import Path

from trunkline.gateway.api.errors import ApiProblem
from trunkline.gateway.api.service import Calls, refusal_of
from trunkline.gateway.calls.view import CallView

T = TypeVar("T")

CallId = Annotated[str, Path(description="id of the call", examples=["0b8f5e7e-6c2a-4a57-9d0e-3f6d9d4f8b11"])]


def found(service: Calls, call_id: str) -> CallView:
    """The call of this id."""
    try:
        return service.get(call_id)
    except KeyError:
        raise ApiProblem(404, "no_such_call", f"there is no call {call_id}") from None


async def asked(work: Awaitable[T]) -> T:
    """Let call control do it; its refusals become the API's."""
    try:
        return await work
    except KeyError as problem:
        raise ApiProblem(404, "no_such_call", f"there is no call {problem.args[0]}") from None
    except Exception as problem:
        refusal = refusal_of(problem)
        if refusal is None:
            raise
        raise ApiProblem(*refusal) from problem
