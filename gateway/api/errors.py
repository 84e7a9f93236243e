# SPDX-License-Identifier: GPL-2.0-or-later
"""Every error of the API has one shape: a word for programs, a sentence for people."""

from __future__ import annotations

import difflib
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from trunkline.gateway.calls.view import (
    DtmfRequest,
    HoldRequest,
    PlaceRequest,
    TransferRequest,
    VariablesRequest,
)

_BODIES: dict[str, type[BaseModel]] = {
    "dtmf": DtmfRequest, "transfer": TransferRequest, "hold": HoldRequest, "variables": VariablesRequest,
}  # fmt: skip
"By the last part of the path; any other takes a PlaceRequest."
WORDS = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class ApiError(BaseModel):
    """Body of every answer that is not a success."""

    error: str = Field(description="one word, stable, for programs", examples=["no_such_call"])
    detail: str = Field(description="one sentence, for people", examples=["there is no call 7c1f"])


class ApiProblem(Exception):
    """Raised by a handler to answer with an error."""

    def __init__(self, status: int, error: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.error = error
        self.detail = detail


def error_response(
    status: int, error: str, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The one shape on the wire."""
    # A detail may quote what was sent, and JSON can spell halves of surrogates that nobody can write again.
    writable = detail.encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": error, "detail": writable}, status, headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: these statuses carry an ApiError."""
    meanings = {
        401: "the bearer token is missing or wrong",
        404: "there is no such call",
        409: "the call is in no state for this",
        422: "a field is missing, unknown or wrong; `detail` names it",
        503: "the gateway cannot take the call now",
    }
    return {s: {"model": ApiError, "description": meanings.get(s, "refused")} for s in statuses}


def explain(problem: dict[str, Any], path: str) -> str:
    """One pydantic complaint as a sentence that names the field."""
    where = [str(part) for part in problem["loc"] if part not in ("body", "query", "path")]
    name = ".".join(where) or "the body"
    if problem["type"] == "extra_forbidden":
        model = _BODIES.get(path.rpartition("/")[2], PlaceRequest)
        known = [field.alias or key for key, field in model.model_fields.items()]
        near = difflib.get_close_matches(where[-1], known, 1)
        hint = f"; did you mean `{near[0]}`?" if near else f"; known fields: {', '.join(known)}"
        return f"unknown field `{name}`{hint}"
    if problem["type"] == "missing":
        return f"`{name}` is missing"
    if problem["type"] == "json_invalid":
        return f"the body is not JSON: {problem.get('ctx', {}).get('error', problem['msg'])}"
    return f"`{name}`: {problem['msg'].removeprefix('Value error, ')}"


def install(app: FastAPI) -> None:
    """Give all errors the one shape."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, problem: RequestValidationError) -> JSONResponse:
        sentences = [explain(dict(item), request.url.path) for item in problem.errors()]
        return error_response(422, "invalid_request", "; ".join(sentences))

    @app.exception_handler(ApiProblem)
    async def refused(request: Request, problem: ApiProblem) -> JSONResponse:
        return error_response(problem.status, problem.error, problem.detail)

    @app.exception_handler(HTTPException)
    async def http(request: Request, problem: HTTPException) -> JSONResponse:
        word = WORDS.get(problem.status_code, "error")
        detail = str(problem.detail)
        if problem.status_code == 404:
            detail = f"there is no {request.url.path} here; /docs lists what there is"
        headers = dict(problem.headers) if problem.headers else None
        return error_response(problem.status_code, word, detail, headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, problem: Exception) -> JSONResponse:
        # Starlette logs the traceback; a client learns no more than that it was not its fault.
        return error_response(500, "internal_error", "the gateway failed on this request; its log says why")
