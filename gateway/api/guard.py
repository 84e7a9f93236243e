# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may talk to the API: checked before a byte of the request's body is read.

An ASGI layer around everything, not a FastAPI dependency: FastAPI parses the
body before it asks its dependencies, so a stranger could make it read and
validate whatever he likes.

- Bearer token (RFC 6750), compared in constant time.
- A gateway that is bound to loopback answers only to loopback names in `Host`.
  Otherwise a web page could reach it through the user's own browser, by a name
  of its own that it lets point to 127.0.0.1 (DNS rebinding).
- Paths of Twilio's REST API have credentials of their own (`twilio_accounts`).
- A body has a limit: the largest sensible request is a few kilobytes.
"""

from __future__ import annotations

import hmac
import ipaddress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trunkline.gateway.api.errors import error_response
from trunkline.gateway.api.strangers import BEARER, TWILIO, Strangers
from trunkline.gateway.api.twilio_accounts import TwilioAccounts

OPEN_PATHS = frozenset({"/healthz", "/docs", "/openapi.json"})
"Need no token: they tell nothing that the published source does not."

MAX_BODY_BYTES = 65_536
LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})


def is_loopback(host: str) -> bool:
    """True for an address in 127.0.0.0/8, ::1, and names that always mean them."""
    host = host.strip("[]").rstrip(".").lower()
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """Host part of a Host header (RFC 9110 7.2): `name`, `name:port`, `[v6]`, `[v6]:port`."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


class Guard:
    """ASGI middleware: host, token, body size, in this order."""

    def __init__(
        self, app: ASGIApp, token: str, loopback_only: bool, twilio: TwilioAccounts, strangers: Strangers
    ) -> None:
        if not token:
            raise ValueError("the API needs a token that is not empty")
        self.app = app
        self.token = token.encode()
        self.loopback_only = loopback_only
        self.twilio = twilio
        self.strangers = strangers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return  # there are no WebSockets here; returning refuses them
        headers = dict(reversed(scope["headers"]))  # of a repeated one, the first
        client = (scope.get("client") or ("unknown",))[0]
        problem = self._problem(scope["path"], headers, client)
        if problem is not None:
            await problem(scope, receive, send)
            return
        await self._with_body(scope, receive, send, headers.get(b"content-length", b"0"))

    def _problem(self, path: str, headers: dict[bytes, bytes], client: str) -> ASGIApp | None:
        host = headers.get(b"host", b"").decode("latin-1")
        if self.loopback_only and not is_loopback(host_of(host)):
            detail = f"this gateway listens on loopback only and does not answer to the name `{host}`"
            return error_response(421, "wrong_host", detail)
        if path in OPEN_PATHS:
            return None
        twilio = self.twilio.concern(path)
        given = headers.get(b"authorization", b"")
        problem = self.twilio.refusal(given) if twilio else self._wrong_token(given)
        if problem is not None:
            self.strangers.refused(TWILIO if twilio else BEARER, client)
        return problem

    def _wrong_token(self, authorization: bytes) -> ASGIApp | None:
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not given.strip():
            return _unauthorized("a bearer token is needed: `Authorization: Bearer TOKEN`", "")
        if not hmac.compare_digest(given.strip(), self.token):
            return _unauthorized("the bearer token is not this gateway's", 'error="invalid_token"')
        return None

    async def _with_body(self, scope: Scope, receive: Receive, send: Send, declared: bytes) -> None:
        # Taken whole: it is small, and a chunked body tells its length only by ending.
        body = b""
        more = declared.isdigit() and int(declared) <= MAX_BODY_BYTES
        too_large = not more
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            too_large = len(body) > MAX_BODY_BYTES
            more = message.get("more_body", False) and not too_large
        if too_large:
            answer = error_response(413, "too_large", f"a request body may have {MAX_BODY_BYTES} bytes")
            await answer(scope, receive, send)
            return
        taken = False

        async def replay() -> Message:
            nonlocal taken
            if taken:
                return await receive()
            taken = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)


def _unauthorized(detail: str, parameter: str) -> ASGIApp:
    challenge = 'Bearer realm="trunkline"' + (f", {parameter}" if parameter else "")
    return error_response(401, "unauthorized", detail, {"WWW-Authenticate": challenge})
